//! Why a component could not be built or read: a text for the person at the terminal. There is nothing
//! to match on, since nobody can do anything about it but read it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// The longest message, in bytes. Part of it may come from a component that nobody trusts.
const MAX_MESSAGE: usize = 8 * 1024;

/// What failed, why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(#[serde(deserialize_with = "shown")] String);

/// Whoever says so may be no more to be trusted than the component.
fn shown<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    String::deserialize(deserializer).map(|message| printable(&message, MAX_MESSAGE))
}

impl Error {
    /// An error with this message, without what a terminal would take for a command.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(printable(&message.into(), MAX_MESSAGE))
    }

    /// The same error with what it is about put before it.
    pub(crate) fn during(self, what: &str) -> Self {
        Self::new(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// A text that can be shown: control characters (line ends excepted) replaced, invisible
/// and direction-changing ones too, and no longer than so many bytes.
pub(crate) fn printable(text: &str, most: usize) -> String {
    let shown = |c: char| if c == '\n' || !deceives(c) { c } else { '\u{fffd}' };
    let mut result = String::with_capacity(text.len().min(most));
    for c in text.chars().map(shown) {
        if result.len() + c.len_utf8() > most {
            break;
        }
        result.push(c);
    }
    result
}

/// Whether a character is shown as something else than itself: a control character, or one that
/// is invisible or changes the direction of what stands around it (Unicode's bidirectional formatting and
/// zero-width characters).
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_cannot_drive_a_terminal_and_are_bounded() {
        let error = Error::new("import `\u{1b}[2J\u{202e}x`\nnext");
        assert_eq!(error.to_string(), "import `\u{fffd}[2J\u{fffd}x`\nnext");
        let long = Error::new("\u{e9}".repeat(MAX_MESSAGE));
        assert_eq!(long.to_string().len(), MAX_MESSAGE);
        assert_eq!(error.during("hello").to_string(), "hello: import `\u{fffd}[2J\u{fffd}x`\nnext");
    }
}
