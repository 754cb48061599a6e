//! What the documents point to: every file that one names is there, and so is every test.
//!
//! A path is what is between backquotes and looks like one: it ends as files here do, or begins with a
//! directory of this tree. It is looked for from the root, from the document, from `host/core/src`, and
//! last as the end of some path, for a document that calls a file by its name alone. `FILE::TEST`
//! is a function of that file. Paths of nodes (`/srv/images`, `plugins/…/VOLUME`) and of the README's
//! example are not of this tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::root;

/// How files of this tree end.
const ENDINGS: [&str; 7] = [".rs", ".toml", ".md", ".wit", ".yaml", ".txt", ".xml"];

/// What is in the root directory and not of the tree.
const OTHERS: [&str; 2] = ["target", ".git"];

/// What the README has its reader make.
const EXAMPLE: &str = "greeter/";

#[test]
fn every_path_in_a_document_leads_somewhere() {
    let mut tree = BTreeSet::new();
    collect(&root(), &mut tree);
    let mut named = 0;
    let mut lost = Vec::new();
    for document in tree.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(root().join(document)).expect("readable");
        for place in places(&text, &tree) {
            named += 1;
            if !place.is_in(&tree, document) {
                lost.push(format!("{}: {place:?}", document.display()));
            }
        }
    }
    assert!(named > 100, "only {named} paths were found at all");
    assert!(lost.is_empty(), "nothing is where these lead to:\n{}", lost.join("\n"));
}

/// What is written is found, and only what is there is believed.
#[test]
fn no_path_is_overlooked() {
    let tree: BTreeSet<PathBuf> = ["a", "a/b.rs", "a/x", "docs/one.md"].map(PathBuf::from).into();
    let found =
        places("see `a/b.rs::test`, [two](../a/x#part), `b.rs`, `a/x/DISK` and `/a/c.rs`\n", &tree);
    let found: Vec<_> = found.iter().map(|place| (place.path.as_str(), place.linked)).collect();
    assert_eq!(found, [("a/b.rs", false), ("b.rs", false), ("../a/x", true)]);
    for (path, linked, is_there) in [
        ("a/b.rs", false, true),
        ("b.rs", false, true),
        ("b.rs", true, false),
        ("a/c.rs", false, false),
        ("../a/x", true, true),
        ("one.md", true, true),
    ] {
        let place = Place { path: path.to_owned(), test: None, linked };
        assert_eq!(place.is_in(&tree, Path::new("docs/one.md")), is_there, "{path}");
    }
}

/// What a document names.
#[derive(Debug)]
struct Place {
    path: String,
    /// A function of that file.
    test: Option<String>,
    /// A link is followed from the document, by everybody who reads it.
    linked: bool,
}

impl Place {
    fn is_in(&self, tree: &BTreeSet<PathBuf>, document: &Path) -> bool {
        let beside = document.parent().unwrap_or(Path::new(""));
        let from = |start: &Path| normal(&start.join(&self.path));
        let there = |path: PathBuf| tree.contains(&path).then_some(path);
        let found = there(from(beside)).or_else(|| {
            let elsewhere = [Path::new(""), Path::new("host/core/src")];
            let named = || tree.iter().find(|path| path.ends_with(&self.path)).cloned();
            let found = elsewhere.into_iter().find_map(|start| there(from(start))).or_else(named);
            found.filter(|_| !self.linked)
        });
        match (found, &self.test) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(path), Some(test)) => {
                let text = fs::read_to_string(root().join(path)).unwrap_or_default();
                text.contains(&format!("fn {test}("))
            }
        }
    }
}

fn places(text: &str, tree: &BTreeSet<PathBuf>) -> Vec<Place> {
    let text = without_blocks(text);
    let spans = text.split('`').skip(1).step_by(2).filter_map(|span| {
        let (path, test) = match span.split_once("::") {
            Some((path, test)) => (path, Some(test.to_owned())),
            None => (span, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
        let first = path.split('/').next().unwrap_or_default();
        let ours = ENDINGS.iter().any(|end| path.ends_with(end))
            || (path.contains('/') && tree.contains(Path::new(first)));
        let any = |part: &str| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase());
        let ours = ours && path.chars().all(plain) && !path.starts_with(['/', '.']);
        (ours && !path.starts_with(EXAMPLE) && !path.split('/').any(any)).then(|| Place {
            path: path.trim_end_matches('/').to_owned(),
            test,
            linked: false,
        })
    });
    let links = text.split("](").skip(1).filter_map(|rest| {
        let path = rest.split([')', '#']).next().filter(|path| !path.is_empty())?;
        let elsewhere = path.contains("://");
        (!elsewhere).then(|| Place {
            path: path.trim_end_matches('/').to_owned(),
            test: None,
            linked: true,
        })
    });
    spans.chain(links).collect()
}

/// Without what is shown as it would be on a terminal or in a file.
fn without_blocks(text: &str) -> String {
    let mut shown = false;
    let mut kept = String::new();
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        shown ^= fence;
        if !shown && !fence && !line.starts_with("    ") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part.as_os_str().to_str() {
            Some("..") => {
                path.pop();
            }
            Some(".") => {}
            _ => path.push(part),
        }
        path
    })
}

fn collect(directory: &Path, tree: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).expect("readable").flatten() {
        let path = entry.path().strip_prefix(root()).expect("below").to_owned();
        if OTHERS.iter().any(|other| path == Path::new(other)) {
            continue;
        }
        if entry.path().is_dir() {
            collect(&entry.path(), tree);
        }
        tree.insert(path);
    }
}
