//! Where in grants.toml something is said. The driver's own parser has no use for lines.

use toml::de::{DeTable, DeValue};

/// The file with the places of its keys.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    /// By sections and by the number of an entry of a list of sections.
    path: Vec<String>,
    /// Where it begins and its value ends, in bytes.
    start: usize,
    end: usize,
    /// Its value, if that is a text.
    value: Option<String>,
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
        let Key { start, end, .. } = self.keys.iter().find(|key| key.path == path)?;
        let before = self.text.get(..*start)?;
        let line = 1 + before.matches('\n').count();
        let from = before.rfind('\n').map_or(0, |newline| newline + 1);
        // What is in braces may share its line with others.
        let from = if before[from..].contains(['=', '{', ',']) { *start } else { from };
        // A value may go over several lines.
        let whole = self.text.get(from..*end)?;
        let lines: Vec<&str> = whole.lines().map(str::trim).collect();
        Some((line, lines.join(" ")))
    }

    /// The value of a key, if that is a text.
    pub(super) fn text_of(&self, path: &[&str]) -> Option<&str> {
        self.keys.iter().find(|key| key.path == path)?.value.as_deref()
    }
}

fn walk(table: &DeTable<'_>, path: &mut Vec<String>, keys: &mut Vec<Key>) {
    let add = |path: &[String], start, end, value| Key { path: path.to_vec(), start, end, value };
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => {
                let start = value.span().start.min(key.span().start);
                keys.push(add(path, start, value.span().end.max(key.span().end), None));
                walk(inner, path, keys);
            }
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                for (number, item) in items.iter().enumerate() {
                    path.push(number.to_string());
                    keys.push(add(path, item.span().start, item.span().end, None));
                    if let DeValue::Table(inner) = item.get_ref() {
                        walk(inner, path, keys);
                    }
                    path.pop();
                }
            }
            other => {
                let value_text = other.as_str().map(str::to_owned);
                keys.push(add(path, key.span().start, value.span().end, value_text));
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
        assert_eq!(lines.text_of(&["secrets", "1", "key"]), Some("b"));
        assert_eq!(lines.text_of(&["version"]), None);
        assert_eq!(lines.find(&["images", "grow"]), None);
        assert_eq!(Lines::of("no = toml = at all").find(&["no"]), None);
    }

    #[test]
    fn what_is_in_braces_is_told_from_its_neighbours() {
        let lines = Lines::of(
            "mounts = { tmpfs = { max-size = \"1Mi\" } }\n\
             secrets = [\n  { uses = [\"file\"], key = 'a*' },\n]\nimages.create = true\n",
        );
        for (path, line, shown) in [
            (&["mounts", "tmpfs", "max-size"][..], 1, "max-size = \"1Mi\""),
            (&["secrets", "0", "uses"], 3, "uses = [\"file\"]"),
            (&["secrets", "0", "key"], 3, "key = 'a*'"),
            (&["images", "create"], 5, "images.create = true"),
        ] {
            assert_eq!(lines.find(path), Some((line, shown.to_owned())), "{path:?}");
        }
        assert_eq!(lines.text_of(&["secrets", "0", "key"]), Some("a*"));
    }
}
