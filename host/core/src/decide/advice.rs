//! A refusal by the grants: what was asked for, and the lines of grants.toml that would allow
//! it. The lines are for the operator to judge; nothing here widens a grant.

use super::No;
use crate::failure::{Code, Failure};
use crate::session::Session;

/// Lines of grants.toml, on one line.
pub(super) enum Advice {
    /// A section that is not there.
    Add(String),
    /// A key of a section that is there.
    Set(String),
}

/// The refusal. `section` is dotted and without brackets, and becomes the reason; `asked`
/// completes "the component asked …".
pub(super) fn not_granted(section: &str, asked: &str, advice: Advice) -> No {
    let advice = match advice {
        Advice::Add(lines) => format!("add to grants.toml: {lines}"),
        Advice::Set(lines) => format!("set in grants.toml: {lines}"),
    };
    No::Refused(Failure::new(
        Code::PermissionDenied,
        &format!("grant:{section}"),
        format!("the component asked {asked}, which is not granted; {advice}"),
    ))
}

/// The pattern to propose for a name: it fits this volume's and, where the name tells whose it
/// is, no other volume's.
pub(super) fn proposed(session: &Session, name: &str) -> String {
    name.replacen(session.name.as_str(), "{volume}", 1)
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.extend(format!("\\u{:04X}", u32::from(c)).chars()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A list as TOML writes it.
pub(super) fn list<'a>(entries: impl IntoIterator<Item = &'a str>) -> String {
    let entries: Vec<String> = entries.into_iter().map(quoted).collect();
    format!("[{}]", entries.join(", "))
}
