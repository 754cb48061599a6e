//! What another grants file changes, key by key, whatever the order and the comments are. It is
//! for people; what a key allows is for the driver to say.

use serde_json::{Map, Value};

use crate::output::printable;

/// The lines that go, each after `-`, and those that come, after `+`. Both texts are valid grants.
/// Keys of `[config]` are whatever the file's author liked: all of a line can be printed.
pub fn between(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (keys(before), keys(after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

/// Every section and every key of a file, each with its section before it.
fn keys(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if let Ok(file) = toml::from_str::<Map<String, Value>>(text) {
        section("", &file, &mut lines);
    }
    lines.iter().map(|line| printable(line)).collect()
}

fn section(name: &str, keys: &Map<String, Value>, lines: &mut Vec<String>) {
    // `[mounts]` alone is no section: it only holds some.
    if !name.is_empty() && (keys.is_empty() || keys.values().any(|value| !value.is_object())) {
        lines.push(format!("[{name}]"));
    }
    for (key, value) in keys {
        let inner = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        match value {
            Value::Object(keys) => section(&inner, keys, lines),
            Value::Array(entries) if entries.iter().any(Value::is_object) => {
                lines.extend(entries.iter().map(|entry| format!("[[{inner}]] {}", inline(entry))));
            }
            value if name.is_empty() => lines.push(format!("{key} = {}", inline(value))),
            value => lines.push(format!("[{name}] {key} = {}", inline(value))),
        }
    }
}

fn inline(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Value::Array(items) => format!("[{}]", list(items.iter().map(inline).collect())),
        Value::Object(keys) => {
            let keys = keys.iter().map(|(key, value)| format!("{key} = {}", inline(value)));
            format!("{{ {} }}", list(keys.collect()))
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "version = 1\n[images]\ndirectory = \"/i\"\nnames = [\"a\", \"b\"]\n\
                          [[secrets]]\nkey = \"k\"\nuses = [\"file\"]\n[mounts.bind]\n";

    #[test]
    fn what_changes() {
        for (from, to, lines) in [
            ("", "", &[][..]),
            ("version", "# why\nversion", &[]),
            (
                "names = [\"a\", \"b\"]",
                "names = [\"a\"]\ncreate = true",
                &[
                    "- [images] names = [\"a\", \"b\"]",
                    "+ [images] create = true",
                    "+ [images] names = [\"a\"]",
                ],
            ),
            ("[mounts.bind]\n", "", &["- [mounts.bind]"]),
            (
                "[mounts.bind]",
                "[mounts.tmpfs]\nmax-files = 1",
                &["- [mounts.bind]", "+ [mounts.tmpfs]", "+ [mounts.tmpfs] max-files = 1"],
            ),
            (
                "uses = [\"file\"]",
                "uses = [\"reveal\"]",
                &[
                    "- [[secrets]] { key = \"k\", uses = [\"file\"] }",
                    "+ [[secrets]] { key = \"k\", uses = [\"reveal\"] }",
                ],
            ),
            (
                "[mounts.bind]",
                "[config]\n\"\\u001b[8m\" = \"1\"\n[mounts.bind]",
                &["+ [config]", "+ [config] \\u{1b}[8m = \"1\""],
            ),
            (
                "[mounts.bind]",
                "[config]\ntext = \"\\u001b\u{9b}\"\n[mounts.bind]",
                &["+ [config]", "+ [config] text = \"\\u001b\\u{9b}\""],
            ),
        ] {
            assert_eq!(between(BEFORE, &BEFORE.replacen(from, to, 1)), lines, "{to}");
        }
    }
}
