//! A review for a terminal.

use std::fmt::Write as _;

use wasmount_core::bundle::receipt::{GrantsFrom, GrantsOrigin, Signature};

use super::Document;
use super::review::{Installed, Review, Row, Used};
use crate::output::{columns, printable, wrap};
use crate::receipt::NO_FILE;

/// The whole text.
pub(super) fn of(document: &Document) -> String {
    let mut text = String::new();
    // Writing to a text does not fail.
    for finding in &document.findings {
        let _ = writeln!(text, "{}\n", finding.under(""));
    }
    for review in &document.drivers {
        describe(review, &mut text);
        text.push('\n');
    }
    let count = document.drivers.len();
    let drivers = if count == 1 { "driver" } else { "drivers" };
    let _ = writeln!(text, "reviewed {count} {drivers}: {}", document.counts());
    text
}

fn describe(review: &Review, text: &mut String) {
    match &review.installed {
        Some(installed) => {
            let component = &installed.component;
            let _ = writeln!(
                text,
                "{}: {} {}, {}",
                review.driver,
                printable(&component.name),
                printable(&component.version),
                printable(&component.description)
            );
            for [what, is] in facts(installed) {
                let _ = writeln!(text, "  {what:<10} {}", printable(&is));
            }
            settings(review, text);
        }
        None => {
            let _ = writeln!(text, "{}", review.driver);
        }
    }
    if !review.capabilities.is_empty() {
        let _ = write!(text, "\n{}", table(review));
        for row in &review.capabilities {
            details(row, text);
        }
    }
    if !review.findings.is_empty() {
        text.push('\n');
    }
    for finding in &review.findings {
        let _ = writeln!(text, "{}", finding.under(""));
    }
}

/// What was installed, in a few lines.
pub(super) fn facts(installed: &Installed) -> Vec<[String; 2]> {
    let fact = |what: &str, is: String| [what.to_owned(), is];
    let isolation = match (&installed.isolation.lacking, installed.isolation.demanded) {
        (None, true) => "all layers of the wall, which the grants demand".to_owned(),
        (None, false) => "all layers of the wall".to_owned(),
        (Some(lacking), true) => format!("not run: all is demanded, the kernel lacks {lacking}"),
        (Some(lacking), false) => format!("the wall without {lacking}"),
    };
    let log = &installed.log;
    let told = match &log.since {
        None => "nothing yet".to_owned(),
        Some(since) => {
            let before = if log.rotated { " (what was before is rotated away)" } else { "" };
            let calls = if log.calls == 1 { "call" } else { "calls" };
            format!("{} {calls} since {since}{before}", log.calls)
        }
    };
    vec![
        fact("version", installed.version.clone()),
        fact(
            "installed",
            format!(
                "{} by {}, from {}",
                installed.installed_at, installed.installed_by, installed.source
            ),
        ),
        fact("component", installed.component.digest.clone()),
        fact("signed", signed(installed.signature.as_ref())),
        fact("grants", granted(installed)),
        fact(
            "engine",
            format!(
                "wasmtime {} for {}, by wasmount {}",
                installed.wasmtime, installed.target_cpu, installed.wasmount
            ),
        ),
        fact("isolation", isolation),
        fact(
            "exports",
            format!("{}; attached {}", installed.exports.join(", "), installed.attaching.by()),
        ),
        fact("log", told),
    ]
}

fn signed(signature: Option<&Signature>) -> String {
    match signature {
        Some(Signature::Signed { key_id, key_name, trusted_comment, .. }) => {
            format!("by {key_name} (key {key_id}), who says: {trusted_comment}")
        }
        Some(Signature::Unsigned) => "by nobody, which was allowed".to_owned(),
        None => "not looked at".to_owned(),
    }
}

fn granted(installed: &Installed) -> String {
    let from = match installed.grants_source.as_str() {
        NO_FILE => String::new(),
        source => format!(", from {source}"),
    };
    let by = installed.grants_from.map_or("(by what, was not recorded then)", GrantsFrom::by);
    let text = match installed.grants_origin {
        GrantsOrigin::Accepted if installed.grants_from != Some(GrantsFrom::Accepted) => {
            ", as its manifest asked"
        }
        _ => "",
    };
    format!("{by}{text}{from}")
}

fn settings(review: &Review, text: &mut String) {
    for (number, setting) in review.settings.iter().enumerate() {
        let heading = if number == 0 { "settings" } else { "" };
        let said = format!("{} {}", setting.key, setting.shown());
        let _ = writeln!(text, "  {heading:<10} {}", printable(&said));
    }
}

fn table(review: &Review) -> String {
    let mut rows: Vec<[String; 4]> =
        vec![["CAPABILITY", "REQUESTED", "GRANTED", "USED"].map(str::to_owned)];
    let mut marked = false;
    for row in &review.capabilities {
        let mark = if row.super_privileged { " !" } else { "" };
        marked |= row.super_privileged;
        let [requested, granted, used] = row.summary(review.known);
        rows.push([format!("{}{mark}", row.capability), requested, granted, used]);
        for key in row.keys() {
            let [requested, granted, used] = row.cells(key).map(|cell| printable(&cell));
            rows.push([format!("  {key}"), requested, granted, used]);
        }
    }
    let rows: Vec<[&str; 4]> = rows.iter().map(|row| row.each_ref().map(String::as_str)).collect();
    let mut text = columns(&rows);
    if marked {
        text.push_str("! reaches further than others, and is never given without being named\n");
    }
    text
}

/// Why it is asked for, and what was made of it.
fn details(row: &Row, text: &mut String) {
    if row.requested.is_none() && row.used.is_none() {
        return;
    }
    let _ = writeln!(text, "\n    {}", row.capability);
    if let Some(requested) = &row.requested {
        let functions = requested.functions.iter().map(String::as_str);
        let _ = writeln!(text, "{}", wrap("for", functions, ", "));
        let reason = requested.reason.as_deref().unwrap_or("(the vendor does not say)");
        let _ = writeln!(text, "{}", wrap("why", printable(reason).split(' '), " "));
    }
    if let Some(used) = &row.used {
        let told = printable(&used_in_words(used));
        let _ = writeln!(text, "{}", wrap("use", told.split(' '), " "));
    }
}

/// When, in which operations and for which volumes.
fn used_in_words(used: &Used) -> String {
    let Used { first, last, .. } = used;
    let when = if first == last { first.clone() } else { format!("{first} to {last}") };
    format!("{when}, in {}, for {}", used.operations.join(", "), used.volumes.join(", "))
}
