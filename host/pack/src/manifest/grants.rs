//! The grants file that gives a driver exactly what it asks for: a text with the vendor's reasons as
//! comments, for an operator who has read them, and to check an ask by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Ask, Needs};
use crate::capability::Capability;

/// What no vendor can know, and the operator says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    /// `directory` of `[images]`.
    pub images_directory: Option<String>,
    /// `failure-exit-code` of `[reply]`.
    pub failure_exit_code: Option<u8>,
    /// `[config]`.
    pub config: BTreeMap<String, String>,
}

impl Operators {
    /// Takes over what others say.
    pub fn add(&mut self, said: Self) {
        self.images_directory = said.images_directory.or(self.images_directory.take());
        self.failure_exit_code = said.failure_exit_code.or(self.failure_exit_code);
        self.config.extend(said.config);
    }

    /// As good as any, to see whether the rest is right.
    pub(super) fn anyone() -> Self {
        Self {
            images_directory: Some("/images".to_owned()),
            failure_exit_code: Some(1),
            config: BTreeMap::new(),
        }
    }
}

/// Writes the file. What the operator does not say is left out, valid or not; so are devices, whose
/// paths are the operator's to find.
pub(super) fn write(asks: &[&Ask], limits: &Needs, operators: &Operators) -> String {
    let mut text = "version = 1\n".to_owned();
    if let Some(code) = &operators.failure_exit_code {
        let _ = write!(text, "\n[reply]\nfailure-exit-code = {code}\n");
    }
    if !operators.config.is_empty() {
        text.push_str("\n[config]\n");
        for (key, value) in &operators.config {
            let _ = writeln!(text, "{} = {}", quoted(key), quoted(value));
        }
    }
    let limits = limits.parameters();
    if !limits.is_empty() {
        text.push_str("\n[limits]\n");
        for (key, number) in limits {
            let _ = writeln!(text, "{key} = {number}");
        }
    }
    for (section, of_it) in SECTIONS {
        let asks: Vec<&Ask> =
            asks.iter().filter(|ask| of_it.contains(&ask.capability)).copied().collect();
        if asks.is_empty() {
            continue;
        }
        text.push('\n');
        for ask in &asks {
            let _ = writeln!(text, "# {}: {}", ask.capability, ask.reason);
        }
        let secrets = asks.iter().flat_map(|ask| ask.keys.iter().flatten());
        for (index, secret) in secrets.enumerate() {
            text.push_str(if index == 0 { "" } else { "\n" });
            let uses: Vec<String> = secret.uses.iter().map(|used| quoted(used.name())).collect();
            let key = quoted(&secret.key);
            let _ = writeln!(text, "{section}\nkey = {key}\nuses = [{}]", uses.join(", "));
        }
        if of_it.contains(&Capability::Secrets) {
            continue;
        }
        let _ = writeln!(text, "{section}");
        if let Some(directory) =
            operators.images_directory.as_ref().filter(|_| of_it.contains(&Capability::Images))
        {
            let _ = writeln!(text, "directory = {}", quoted(directory));
        }
        let parameters: BTreeMap<&str, BTreeSet<String>> =
            asks.iter().flat_map(|ask| ask.parameters()).collect();
        for (key, values) in &parameters {
            let _ = writeln!(text, "{key} = {}", value(key, values));
        }
        for ask in &asks {
            if let Some((_, switch)) = ask.capability.to_string().rsplit_once('.')
                && section != format!("[{}]", ask.capability)
            {
                let _ = writeln!(text, "{switch} = true");
            }
        }
    }
    text
}

/// The sections that a driver can ask for, and by which capabilities.
const SECTIONS: [(&str, &[Capability]); 7] = [
    ("[state]", &[Capability::State]),
    ("[[secrets]]", &[Capability::Secrets]),
    ("[images]", &[Capability::Images, Capability::ImagesCreate, Capability::ImagesGrow]),
    (
        "[filesystems]",
        &[Capability::FilesystemsFormat, Capability::FilesystemsCheck, Capability::FilesystemsGrow],
    ),
    ("[mounts.block]", &[Capability::MountsBlock]),
    ("[mounts.bind]", &[Capability::MountsBind]),
    ("[mounts.tmpfs]", &[Capability::MountsTmpfs]),
];

/// A parameter as the file has it: one size or number, or a list of texts.
fn value(key: &str, values: &BTreeSet<String>) -> String {
    let texts: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    match (key, values.first(), texts.first()) {
        ("max-files", Some(number), _) => number.clone(),
        ("max-size", _, Some(size)) => size.clone(),
        _ => format!("[{}]", texts.join(", ")),
    }
}

/// A text as TOML has it between quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
