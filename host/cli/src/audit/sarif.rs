//! The findings as SARIF 2.1.0, for whatever collects the findings of all tools. Nothing but findings:
//! what is requested, granted and used has no place there.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wasmount_core::bundle::{GRANTS, RECEIPT};

use super::Document;
use crate::finding::{Finding, Severity};
use crate::output::printable;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The document.
pub(super) fn of(document: &Document) -> Value {
    // One rule for each kind of finding that there is, told by the first of its kind.
    let mut rules = BTreeMap::new();
    for finding in document.findings() {
        rules.entry(finding.id).or_insert_with(|| rule(finding));
    }
    let numbers: BTreeMap<&str, usize> = rules.keys().copied().zip(0..).collect();
    let results: Vec<Value> =
        document.findings().map(|finding| result(finding, numbers[finding.id])).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "wasmount",
                "semanticVersion": document.wasmount,
                "rules": rules.into_values().collect::<Vec<_>>(),
            } },
            "invocations": [{
                "executionSuccessful": true,
                "endTimeUtc": document.made_at,
                "machine": document.node,
            }],
            "results": results,
        }],
    })
}

fn rule(finding: &Finding) -> Value {
    json!({
        "id": finding.id,
        "shortDescription": message(&finding.id.replace('-', " ")),
        "fullDescription": message(&finding.why),
        "defaultConfiguration": { "level": level(finding.severity) },
    })
}

fn result(finding: &Finding, rule: usize) -> Value {
    let about = finding.driver.as_deref().unwrap_or("the node");
    let text = format!("{about}: {}. Why: {}. Do: {}.", finding.what, finding.why, finding.remedy);
    json!({
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": level(finding.severity),
        "message": message(&text),
        "locations": [{
            "physicalLocation": { "artifactLocation": { "uri": file(finding) } },
            "logicalLocations": [{ "fullyQualifiedName": about, "kind": "module" }],
        }],
    })
}

/// The file that it is about, seen from the plugin directory: whoever collects findings wants one of each.
fn file(finding: &Finding) -> String {
    const OF_GRANTS: [&str; 6] =
        ["grant", "pattern", "secret", "setting", "isolation", "image-directory"];
    // A driver's name has nothing in it that a URI would write otherwise.
    let Some(driver) = &finding.driver else { return "./".to_owned() };
    let is_of_grants = OF_GRANTS.iter().any(|word| finding.id.starts_with(word));
    let name = if is_of_grants { GRANTS } else { RECEIPT };
    format!("{}/current/{name}", driver.replacen('/', "~", 1))
}

/// A text as a message. In SARIF's own rules, braces are the place of an argument, and brackets with
/// parentheses a link, in a plain text, too (2.1.0, 3.11.5 and 3.11.6); here, all of it is text.
fn message(text: &str) -> Value {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '{' | '}' => escaped.extend([c, c]),
            '[' | ']' | '\\' => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
    }
    json!({ "text": escaped })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_message_is_more_than_text() {
        for (text, escaped) in [
            ("plain (a, b)", "plain (a, b)"),
            ("[fix](javascript:alert(1))", "\\[fix\\](javascript:alert(1))"),
            ("{volume}.img, {0}", "{{volume}}.img, {{0}}"),
            ("a\\[b", "a\\\\\\[b"),
            ("\u{1b}", "\\\\u{{1b}}"),
        ] {
            assert_eq!(message(text)["text"], escaped, "{text}");
        }
    }
}
