//! `log`: lines for the broker to write, cut to their bounds before they are sent.
//!
//! The broker cuts them again, since it cannot know what sends to it; it also replaces control
//! characters and blots out secrets.

use wasmtime::{Result, bail};

use super::Imports;
use crate::guest::bindings::imported::log::{Host, Level as WitLevel};
use crate::wire::{Level, Request, Response};

/// The longest line, in bytes.
const LINE: usize = 4 * 1024;

/// All lines of a call, in bytes.
const CALL: usize = 64 * 1024;

/// What each line counts at least, in bytes: what is around it in the log. Without this, empty
/// lines would be unlimited.
const OVERHEAD: usize = 32;

/// What may still be logged in this call.
#[derive(Debug)]
pub(super) struct Budget {
    /// In bytes; `None` once the broker was told that there was more.
    left: Option<usize>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: Some(CALL) }
    }
}

impl Budget {
    /// As much of a line as may be logged. The first line that is over the call's bound becomes
    /// one that says so.
    fn take(&mut self, mut line: String) -> Option<String> {
        let left = self.left?;
        if line.len() > LINE {
            line.truncate(line.floor_char_boundary(LINE - "…".len()));
            line.push('…');
        }
        self.left = left.checked_sub(line.len() + OVERHEAD);
        if self.left.is_none() {
            line = format!("logged more than {} KiB; the rest is not kept", CALL / 1024);
        }
        Some(line)
    }
}

impl Host for Imports {
    fn write(&mut self, level: WitLevel, message: String) -> Result<()> {
        let Some(message) = self.log.take(message) else { return Ok(()) };
        match self.ask(Request::Log { level: level.into(), message })? {
            Response::Done => Ok(()),
            _ => bail!("a bug in wasmount: a response of the wrong kind"),
        }
    }
}

impl From<WitLevel> for Level {
    fn from(level: WitLevel) -> Self {
        match level {
            WitLevel::Error => Self::Error,
            WitLevel::Warn => Self::Warn,
            WitLevel::Info => Self::Info,
            WitLevel::Debug => Self::Debug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_between_characters() {
        let mut budget = Budget::default();
        for (line, kept) in [
            ("x".repeat(LINE), "x".repeat(LINE)),
            ("x".repeat(LINE + 1), "x".repeat(LINE - 3) + "…"),
            ("é".repeat(LINE), "é".repeat(LINE / 2 - 2) + "…"),
        ] {
            assert_eq!(budget.take(line), Some(kept));
        }
    }

    #[test]
    fn a_flood_ends_in_one_line_that_says_so() {
        for line in ["", "x", &"x".repeat(LINE * 2)] {
            let mut budget = Budget::default();
            let kept: Vec<_> = std::iter::from_fn(|| budget.take(line.to_owned())).collect();
            assert!(kept.iter().map(String::len).sum::<usize>() <= CALL + LINE);
            assert!(kept.len() <= CALL / OVERHEAD + 1);
            assert!(kept.last().is_some_and(|last| last.contains("the rest is not kept")));
        }
    }
}
