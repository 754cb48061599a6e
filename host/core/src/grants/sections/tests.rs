//! The table of sections against the parser that it describes, key by key, default by default and bound by
//! bound; and docs/grants.md against the table.

use super::{Key, SECTIONS, Section};
use crate::grants::{Grants, Size};

/// What a key that is required is given where another one is looked at.
const REQUIRED: &[(&str, &str, &str)] = &[
    ("[[secrets]]", "key", "\"k\""),
    ("[[secrets]]", "uses", "[\"file\"]"),
    ("[images]", "directory", "\"/srv\""),
    ("[images]", "names", "[\"a\"]"),
    ("[[devices]]", "rule", "\"r\""),
    ("[[devices]]", "path", "\"/dev/disk/by-id/r-{id}\""),
    ("[[devices]]", "id", "\"vol-*\""),
    ("[[devices]]", "verify", "{ attribute = \"device/serial\", value = \"{id}\" }"),
    ("[filesystems]", "types", "[\"ext4\"]"),
    ("[mounts.block]", "filesystems", "[\"ext4\", \"xfs\", \"btrfs\"]"),
];

/// The parser names a section's keys when it meets one that it does not know: they have to be
/// those of the table that the documentation is made from.
#[test]
fn the_table_of_sections_is_the_parsers() {
    for section in SECTIONS.iter().filter(|section| section.header != "[config]") {
        let text = match section.header {
            "" => "unknown-key = 1".to_owned(),
            header => format!("version = 1\n{header}\nunknown-key = 1"),
        };
        let error = Grants::parse(&text).expect_err(section.header).mistake;
        let valid = error.strip_prefix("unknown key `unknown-key`; valid: ").expect(&error);
        let mut keys: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
        if section.header.is_empty() {
            let tables = ["reply", "config", "limits", "state", "secrets", "images", "devices"];
            keys.extend(tables.iter().chain(&["filesystems", "mounts"]));
        }
        let keys = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
        assert_eq!(valid, keys, "{}", section.header);
    }
}

/// A section as `docs/grants.md` has it.
fn documented(section: &Section) -> String {
    let title = match section.header {
        "" => "The top of the file".to_owned(),
        header => format!("`{header}`"),
    };
    let mut text = format!("### {title}\n\n{}\n", section.doc);
    if !section.functions.is_empty() {
        text += &format!("\nFor: `{}`.\n", section.functions.join("`, `"));
    }
    if !section.keys.is_empty() {
        text += "\n| key | where absent | valid | meaning |\n|---|---|---|---|\n";
    }
    for Key { name, default, bounds, doc } in section.keys {
        text += &format!("| `{name}` | {default} | {bounds} | {doc} |\n");
    }
    text
}

#[test]
fn the_documentation_is_the_table_of_sections() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grants.md");
    let docs = std::fs::read_to_string(path).expect("docs/grants.md");
    let missing: Vec<String> =
        SECTIONS.iter().map(documented).filter(|text| !docs.contains(text)).collect();
    assert!(missing.is_empty(), "docs/grants.md lacks:\n{}", missing.join("\n"));

    let mut rows = String::new();
    for (function, operations) in crate::decide::PHASES {
        let operations: Vec<&str> = operations.iter().map(|operation| operation.name()).collect();
        rows += &format!("| `{function}` | {} |\n", operations.join(", "));
    }
    assert!(docs.contains(&rows), "docs/grants.md lacks:\n{rows}");

    let examples: Vec<&str> = docs.split("```toml\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let (example, _) = example.split_once("```").expect("it ends");
        assert!(Grants::parse(example).is_ok(), "{:?}\n{example}", Grants::parse(example));
    }
}

/// A file with a section, and in it what is required and the one key, if it has a value.
fn file(section: &Section, key: &Key, value: Option<&str>) -> String {
    let mut text = String::new();
    if key.name != "version" {
        text += "version = 1\n";
    }
    if section.header == "[[secrets]]" {
        text += "[reply]\nfailure-exit-code = 0\n";
    }
    text += &format!("{}\n", section.header);
    let others = REQUIRED.iter().filter(|(of, name, _)| *of == section.header && *name != key.name);
    text.extend(others.map(|(_, name, value)| format!("{name} = {value}\n")));
    text + &value.map(|value| format!("{} = {value}\n", key.name)).unwrap_or_default()
}

/// What is between backquotes.
fn literals(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What is below the least of a bound, and above the most.
fn beyond(least: &str, most: &str) -> [String; 2] {
    match (least.parse::<u64>(), most.parse::<u64>()) {
        (Ok(least), Ok(most)) => [(least - 1).to_string(), (most + 1).to_string()],
        _ => {
            let bytes = |text: &str| {
                Size::try_from(text.trim_matches('"').to_owned()).expect("a size").bytes()
            };
            [bytes(least) - 1, bytes(most) + 1].map(|bytes| format!("\"{bytes}\""))
        }
    }
}

#[test]
fn what_the_table_says_holds_where_a_key_is_absent_does() {
    for section in SECTIONS {
        for key in section.keys {
            // Whoever asks for the exit code is told what holds.
            let stated = |grants: Grants| Grants {
                failure_exit_code: Some(grants.failure_exit_code()),
                ..grants
            };
            let absent = Grants::parse(&file(section, key, None)).map(stated);
            let shown = format!("{} {}", section.header, key.name);
            match literals(key.default)[..] {
                [default, ..] => {
                    let written = Grants::parse(&file(section, key, Some(default))).map(stated);
                    assert!(
                        written.is_ok() && absent == written,
                        "{shown}: {absent:?} {written:?}"
                    );
                }
                [] if key.default == "required" => {
                    let told = absent.expect_err(&shown).to_string();
                    assert!(
                        told.contains(&format!("`{}` is missing", key.name)),
                        "{shown}: {told}"
                    );
                }
                [] => assert_eq!((section.header, key.default), ("[config]", "absent")),
            }
        }
    }
}

/// What the bounds are of a key whose value is a text with a form is in the tests of the parser.
#[test]
fn what_the_table_says_is_valid_is_and_nothing_beyond() {
    let mut looked_at = 0;
    for section in SECTIONS {
        for key in section.keys {
            let parses = |value: &str| Grants::parse(&file(section, key, Some(value))).is_ok();
            let shown = |value: &str| format!("{} {} = {value}", section.header, key.name);
            let named = literals(key.bounds);
            if let Some(list) = key.bounds.strip_prefix("of ") {
                assert!(
                    literals(list).iter().all(|one| parses(&format!("[{one}]"))),
                    "{}",
                    key.bounds
                );
                assert!(!parses("[\"another\"]"), "{}", shown("another"));
            } else if let ([least, most], true) = (&named[..], key.bounds.contains("` to `")) {
                for value in [least, most] {
                    assert!(parses(value), "{}", shown(value));
                }
                for value in beyond(least, most) {
                    assert!(!parses(&value), "{}", shown(&value));
                }
            } else if key.bounds.split('`').step_by(2).all(|between| ["", ", "].contains(&between))
                && !key.bounds.contains('…')
            {
                assert!(named.iter().all(|value| parses(value)), "{}", key.bounds);
                assert!(!parses("2") && !parses("\"another\""), "{}", shown("another"));
            } else {
                continue;
            }
            looked_at += 1;
        }
    }
    assert_eq!(looked_at, 17, "how many keys have bounds that can be tried");
}
