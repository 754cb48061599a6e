//! A suggestion as text: a grants file, and what it changes with a reason for each line.

use toml::{Table, Value};

use crate::output::printable;

/// A section of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// Such as `[images]`; empty for the keys before the first section.
    pub(super) header: String,
    pub(super) fate: Fate,
    /// Why it stays or goes; empty for what is no grant.
    pub(super) reason: String,
    pub(super) keys: Vec<Key>,
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    /// The value as it is in the file; none if the file does not have the key.
    pub(super) before: Option<String>,
    /// The value as it is suggested; none if the key is to go.
    pub(super) after: Option<String>,
    pub(super) reason: String,
}

/// What is suggested for a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Goes,
    Comes,
}

impl Section {
    /// Whether anything of it is suggested to be otherwise.
    pub(super) fn changes(&self) -> bool {
        self.fate != Fate::Stays || self.keys.iter().any(|key| key.before != key.after)
    }
}

/// The grants file.
pub(super) fn file(sections: &[Section], what: &str) -> String {
    let mut text = format!(
        "# Suggested by `wasmount grants suggest` for {what}. Comments of the present file are not kept.\n"
    );
    for section in sections.iter().filter(|section| section.fate != Fate::Goes) {
        if !section.header.is_empty() {
            text.push_str(&format!("\n{}\n", section.header));
        }
        for key in &section.keys {
            if let Some(value) = &key.after {
                text.push_str(&format!("{} = {value}\n", key.name));
            }
        }
    }
    text
}

/// Why a value makes way for another.
const MORE: &str = "more than was used, or is asked for";

/// All lines of both files: `-` before those that go, `+` before those that come.
pub(super) fn diff(sections: &[Section]) -> String {
    let mut rows: Vec<(char, String, &str)> = Vec::new();
    for section in sections {
        let sign = match section.fate {
            Fate::Stays => ' ',
            Fate::Goes => '-',
            Fate::Comes => '+',
        };
        if !section.header.is_empty() {
            rows.push((' ', String::new(), ""));
            rows.push((sign, section.header.clone(), &section.reason));
        }
        for Key { name, before, after, reason } in &section.keys {
            let line = |value: &String| printable(&format!("{name} = {value}"));
            let own = if reason.is_empty() { &section.reason } else { reason };
            match (section.fate, before, after) {
                (Fate::Goes, before, _) => {
                    rows.extend(before.iter().map(|value| ('-', line(value), own.as_str())));
                }
                (Fate::Stays, Some(value), Some(same)) if value == same => {
                    rows.push((' ', line(value), reason));
                }
                (_, Some(value), None) => rows.push(('-', line(value), own)),
                (_, before, after) => {
                    rows.extend(before.iter().map(|value| ('-', line(value), MORE)));
                    rows.extend(after.iter().map(|value| ('+', line(value), own.as_str())));
                }
            }
        }
    }
    let width = rows.iter().map(|row| row.1.chars().count()).filter(|width| *width <= 48).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for (sign, line, reason) in rows {
        let row = match reason.is_empty() {
            true => format!("{sign} {line}"),
            false => format!("{sign} {line:width$}  # {reason}"),
        };
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// A section that is no grant, with some of a table's keys.
pub(super) fn kept(header: &str, table: &Table, names: &[&str]) -> Section {
    let keys = names.iter().filter_map(|name| table.get(*name).map(|value| same(name, value)));
    let keys = keys.collect();
    Section { header: header.to_owned(), fate: Fate::Stays, reason: String::new(), keys }
}

/// A key that stays as it is.
pub(super) fn same(name: &str, value: &Value) -> Key {
    let value = Some(inline(value));
    Key { name: bare(name), before: value.clone(), after: value, reason: String::new() }
}

/// A key that comes.
pub(super) fn new(name: &str, value: String) -> Key {
    Key { name: name.to_owned(), before: None, after: Some(value), reason: String::new() }
}

/// A list of texts.
pub(super) fn list(entries: &[String]) -> String {
    let entries: Vec<String> = entries.iter().map(|entry| quoted(entry)).collect();
    format!("[{}]", entries.join(", "))
}

/// A value as TOML writes it on one line.
pub(super) fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(entries) => {
            let entries: Vec<String> = entries.iter().map(inline).collect();
            format!("[{}]", entries.join(", "))
        }
        Value::Table(keys) => {
            let keys: Vec<String> = keys
                .iter()
                .map(|(key, value)| format!("{} = {}", bare(key), inline(value)))
                .collect();
            format!("{{ {} }}", keys.join(", "))
        }
        Value::Integer(number) => number.to_string(),
        Value::Boolean(is) => is.to_string(),
        // Grants have none of these.
        Value::Float(number) => number.to_string(),
        Value::Datetime(time) => time.to_string(),
    }
}

/// A key as TOML writes it.
fn bare(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    match !name.is_empty() && name.bytes().all(plain) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
