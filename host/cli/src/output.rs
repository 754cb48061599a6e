//! Where commands write: the result, which a program may read, apart from remarks to a person.

use std::io::{self, Write};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::layout::PluginDir;

/// The two streams.
pub struct Output<'a> {
    /// Standard output: the result.
    pub out: &'a mut dyn Write,
    /// Standard error: progress and warnings.
    pub err: &'a mut dyn Write,
}

impl Output<'_> {
    /// Prints one JSON document, for a program and still for a person's eyes.
    pub fn json(&mut self, document: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string_pretty(document).context("writing JSON")?;
        text.push('\n');
        self.out.write_all(text.as_bytes()).context("writing to standard output")
    }

    /// Prints lines. Without a final newline one is added.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        write!(self.out, "{text}{newline}").context("writing to standard output")
    }

    /// Warns. A standard error that nobody reads is no reason to fail.
    pub fn warn(&mut self, warning: &str) {
        let _: io::Result<()> = writeln!(self.err, "warning: {warning}");
    }

    /// Says why nothing happens for now.
    pub fn waiting(&mut self, plugins: &PluginDir) {
        let path = plugins.path().display();
        self.progress(&format!("waiting for another wasmount that is changing {path}"));
    }

    /// The same of a call that has to end first.
    pub fn waiting_for_call(&mut self, process: u32) {
        self.progress(&format!("waiting for a call that is under way (process {process})"));
    }

    /// Says what is being done, before something that takes time.
    pub fn progress(&mut self, what: &str) {
        let _: io::Result<()> = writeln!(self.err, "{what}");
    }
}

/// Text that somebody else wrote, with what would move a terminal's cursor, colour its text or
/// turn its direction written as `\u{1b}` is.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if wasmount_pack::deceives(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Lays out rows in columns, as wide as their widest cell and two spaces apart.
pub fn columns<const N: usize>(rows: &[[&str; N]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How long lines of text get.
const WIDTH: usize = 96;

/// Lays out items after a heading, indented and over as many lines as they need.
pub fn wrap<'a>(
    heading: &str,
    items: impl IntoIterator<Item = &'a str>,
    separator: &str,
) -> String {
    let mut text = format!("      {heading:<4}");
    let mut column = text.len();
    let mut first = true;
    for item in items {
        if !first {
            text.push_str(separator.trim_end());
            if column + separator.len() + item.len() > WIDTH {
                text.push_str("\n          ");
                column = 10;
            } else {
                text.push_str(&separator[separator.trim_end().len()..]);
                column += separator.len();
            }
        }
        text.push_str(item);
        column += item.len();
        first = false;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printable_stays() {
        for (text, shown) in [
            ("pv-1, größer", "pv-1, größer"),
            ("a\u{1b}[2Jb\r\nc\u{9b}d\u{7f}", "a\\u{1b}[2Jb\\r\\nc\\u{9b}d\\u{7f}"),
            ("a\u{202e}b\u{200b}", "a\\u{202e}b\\u{200b}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
