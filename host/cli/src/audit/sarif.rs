//! The findings as SARIF 2.1.0, for whatever collects the findings of all tools. Nothing but findings:
//! what is requested, granted and used has no place there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

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
        "shortDescription": { "text": finding.id.replace('-', " ") },
        "fullDescription": { "text": printable(&finding.why) },
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
        "message": { "text": printable(&text) },
        "locations": [{
            "logicalLocations": [{ "fullyQualifiedName": about, "kind": "module" }],
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}
