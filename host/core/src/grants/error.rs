//! What is wrong with a grants file, said to the person who wrote it: the line, the mistake, and
//! what would be valid. It turns the parser's words into those; it checks nothing itself.

use crate::failure::{Code, Failure};
use std::fmt;
use std::ops::Range;

/// Why a grants file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantsError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there, and after `; valid: ` what would not be.
    pub mistake: String,
}

impl GrantsError {
    /// The failure of a call whose installed grants cannot be used.
    pub fn as_failure(&self) -> Failure {
        let message = format!(
            "the installed grants.toml cannot be used: {self}; install the driver again with grants that `wasmount grants check` accepts"
        );
        Failure::new(Code::FailedPrecondition, "grants-invalid", message)
    }

    /// A mistake at a byte offset of the text.
    pub(super) fn at(text: &str, offset: usize, mistake: impl Into<String>) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Self { line, mistake: mistake.into() }
    }

    /// The parser's error.
    pub(super) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let Range { start, .. } = error.span().unwrap_or(0..0);
        Self::at(text, start, reword(error.message()))
    }
}

impl fmt::Display for GrantsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.mistake)
    }
}

impl std::error::Error for GrantsError {}

/// serde speaks of fields and variants; the file has keys and names.
fn reword(message: &str) -> String {
    // A parser's message can go over several lines; an error here is one.
    let message = message.trim().replace('\n', ", ").replace("expected i64", "expected a number");
    let quoted = |rest: &str| rest.split('`').next().map(str::to_owned);
    for (prefix, noun) in [("unknown field `", "key"), ("unknown variant `", "name")] {
        if let Some(rest) = message.strip_prefix(prefix) {
            let wrong = quoted(rest).unwrap_or_default();
            let choices: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
            return match choices[..] {
                [] => format!("unknown {noun} `{wrong}`; valid: none"),
                _ => format!("unknown {noun} `{wrong}`; valid: {}", choices.join(", ")),
            };
        }
    }
    match message.strip_prefix("missing field ") {
        Some(name) => format!("{name} is missing"),
        None => message,
    }
}
