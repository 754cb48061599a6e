//! Where in grants.toml something is said. The driver's own parser has no use for lines.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The file with the places of its keys.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    /// Every key, by sections and by the number of an entry of a list of sections, and where it begins and
    /// its value ends, in bytes.
    keys: Vec<(Vec<String>, usize, usize)>,
}

impl<'t> Lines<'t> {
    /// Of a text that the driver's parser has accepted; of any other, nothing.
    pub(super) fn of(text: &'t str) -> Self {
        let mut keys = Vec::new();
        if let Ok(table) = DeTable::parse(text) {
            walk(table.get_ref(), &mut Vec::new(), &mut keys);
        }
        Self { text, keys }
    }

    /// The line of a key, from 1, and its text without the space around it.
    pub(super) fn find(&self, path: &[&str]) -> Option<(usize, String)> {
        let (_, start, end) = self.keys.iter().find(|(known, ..)| known == path)?;
        let before = self.text.get(..*start)?;
        let line = 1 + before.matches('\n').count();
        let from = before.rfind('\n').map_or(0, |newline| newline + 1);
        // A value may go over several lines.
        let whole = self.text.get(from..*end)?;
        let lines: Vec<&str> = whole.lines().map(str::trim).collect();
        Some((line, lines.join(" ")))
    }
}

fn walk(table: &DeTable<'_>, path: &mut Vec<String>, keys: &mut Vec<(Vec<String>, usize, usize)>) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        let at = |value: &Spanned<DeValue<'_>>| (key.span().start, value.span().end);
        match value.get_ref() {
            DeValue::Table(inner) => {
                let start = value.span().start.min(key.span().start);
                keys.push((path.clone(), start, value.span().end.max(key.span().end)));
                walk(inner, path, keys);
            }
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                for (number, item) in items.iter().enumerate() {
                    path.push(number.to_string());
                    keys.push((path.clone(), item.span().start, item.span().end));
                    if let DeValue::Table(inner) = item.get_ref() {
                        walk(inner, path, keys);
                    }
                    path.pop();
                }
            }
            _ => {
                let (start, end) = at(value);
                keys.push((path.clone(), start, end));
            }
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_line() {
        let text = "version = 1\n\n[images]\nnames = [\n  \"*.img\",\n]\n\n[mounts.bind]\n\n\
                    [[secrets]]\nkey = \"a\"\n[[secrets]]\nkey = \"b\" # this one\n";
        let lines = Lines::of(text);
        for (path, line, shown) in [
            (&["version"][..], 1, "version = 1"),
            (&["images"], 3, "[images]"),
            (&["images", "names"], 4, "names = [ \"*.img\", ]"),
            (&["mounts", "bind"], 8, "[mounts.bind]"),
            (&["secrets", "0"], 10, "[[secrets]]"),
            (&["secrets", "1"], 12, "[[secrets]]"),
            (&["secrets", "1", "key"], 13, "key = \"b\""),
        ] {
            assert_eq!(lines.find(path), Some((line, shown.to_owned())), "{path:?}");
        }
        assert_eq!(lines.find(&["images", "grow"]), None);
        assert_eq!(Lines::of("no = toml = at all").find(&["no"]), None);
    }
}
