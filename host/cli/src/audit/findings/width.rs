//! What is granted beside what is asked for: beyond the request, not at all, or wider. What is asked for
//! without saying how far is the operator's to bound; what was made of it is for `deeds`.

use std::collections::BTreeSet;

use wasmount_core::grants::{Grants, Limits};
use wasmount_pack::Inspection;

use super::super::review::Row;
use crate::coverage::{Coverage, Missing, lines};
use crate::diff::width::covers;
use crate::finding::Findings;

/// What a vendor cannot know, and so cannot ask for.
const OPERATORS: [&str; 4] = ["directory", "path", "id", "verify"];

const LATER: &str = "a later version could use it without asking";

/// What the manifest asks for and the component cannot use, or the other way round.
pub(super) fn examine_asks(inspection: &Inspection, found: &mut Findings) {
    for capability in inspection.unexplained() {
        found.warning(
            "ask-unexplained",
            format!("the component imports what needs {capability}, and its manifest does not ask for it"),
            "nobody says what it is for",
            "ask the vendor for a component that was made by `wasmount build`",
        );
    }
    for capability in inspection.unused() {
        found.note(
            "ask-unused",
            format!("the manifest asks for {capability}, and the component never imports it"),
            "it cannot be used, whatever is granted",
            "ask the vendor for a component that was made by `wasmount build`",
        );
    }
}

/// What is granted for nothing, and what is imported and not granted.
pub(super) fn examine_coverage(coverage: &Coverage, found: &mut Findings) {
    for unused in &coverage.unused {
        found.warning(
            "grant-beyond-request",
            format!("{unused} is granted, and the component has no use for it"),
            LATER,
            "take it out of grants.toml, and `wasmount grants apply` the rest",
        );
    }
    for Missing { function, needs, .. } in &coverage.missing {
        found.note(
            "grant-missing",
            format!("{function} will be refused in every call"),
            "the component imports it, and it is not granted",
            format!("if it is to be: {}", needs.join(" and ")),
        );
    }
}

/// A grant that is wider than the vendor asks for.
pub(super) fn examine_width(row: &Row, found: &mut Findings) {
    let (Some(requested), Some(granted)) = (&row.requested, &row.granted) else { return };
    let asked = &requested.parameters;
    // Who says nothing of any has not said how far.
    if asked.is_empty() {
        return;
    }
    let nothing = BTreeSet::new();
    for (key, given) in granted.parameters.iter().filter(|(key, _)| !OPERATORS.contains(key)) {
        let asked = asked.get(key).unwrap_or(&nothing);
        let beyond =
            given.iter().filter(|given| !asked.iter().any(|asked| covers(key, asked, given)));
        wider(lines(row.capability), key, &listed(beyond), &listed(asked), found);
    }
}

/// The same of `[limits]`, of which whoever says nothing needs what is there by default.
pub(super) fn examine_limits(inspection: &Inspection, grants: &Grants, found: &mut Findings) {
    let (needs, default) = (inspection.manifest.limits.parameters(), Limits::default());
    for (key, given, default) in [
        ("memory-mib", grants.limits.memory_mib.get(), default.memory_mib.get()),
        ("cpu-seconds", grants.limits.cpu_seconds.get(), default.cpu_seconds.get()),
    ] {
        let asked = needs.get(key).copied().unwrap_or(default);
        if given > asked {
            wider("[limits]", key, &given.to_string(), &asked.to_string(), found);
        }
    }
}

fn wider(section: &str, key: &str, beyond: &str, asked: &str, found: &mut Findings) {
    if beyond.is_empty() {
        return;
    }
    let asked = if asked.is_empty() { "none" } else { asked };
    found.warning(
        "grant-wider-than-request",
        format!("{section} gives {key} {beyond}, and the component asks for {asked}"),
        LATER,
        format!("give no more of `{key}` than is asked for"),
    );
}

fn listed<'t>(texts: impl IntoIterator<Item = &'t String>) -> String {
    Vec::from_iter(texts.into_iter().map(String::as_str)).join(", ")
}
