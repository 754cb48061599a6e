//! The sources of what is shipped: every module that a shipped crate's root leads to.
//!
//! Which crates those are is said by the workspace; that of the tests and `xtask` never reach a
//! node. A file that no module leads to is none of rustc's, and none of ours.

use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens as _;
use syn::Item;

/// A file of the sources.
pub(crate) struct Source {
    /// From the workspace's root.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) file: syn::File,
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are in the workspace").to_owned()
}

/// All of them, a crate after the other, each module before those in it.
pub(crate) fn shipped() -> Vec<Source> {
    let manifest = read(&root().join("Cargo.toml"));
    let manifest: toml::Table = manifest.parse().expect("the workspace's manifest");
    let members = manifest["workspace"]["members"].as_array().expect("members");
    let mut sources = Vec::new();
    for member in members.iter().map(|member| member.as_str().expect("a path")) {
        if member == "xtask" || Path::new(member).starts_with("tests") {
            continue;
        }
        let roots = ["lib.rs", "main.rs"].map(|name| Path::new(member).join("src").join(name));
        let roots: Vec<_> = roots.into_iter().filter(|path| root().join(path).exists()).collect();
        assert!(!roots.is_empty(), "{member} has no source where it is looked for");
        for path in roots {
            let below = path.parent().expect("src").to_owned();
            module(&mut sources, path, &below);
        }
    }
    sources
}

/// A feature of what only tests run, which no shipped program has.
const OF_TESTS: &str = "breakout";

/// Whether an item is there only in tests.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes
        .iter()
        .any(|attribute| is_test_condition(&attribute.meta.to_token_stream().to_string()))
}

/// Whether an attribute leaves what it is on to tests.
pub(crate) fn is_test_condition(attribute: &str) -> bool {
    let mut words = attribute.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    match words.next() {
        Some("cfg") => {
            words.any(|word| matches!(word, "test" | OF_TESTS)) && !attribute.contains("not")
        }
        name => name == Some("test"),
    }
}

/// A module's file, and those of the modules in it, which are `below`.
fn module(sources: &mut Vec<Source>, path: PathBuf, below: &Path) {
    let text = read(&root().join(&path));
    let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let inner: Vec<String> = file.items.iter().filter_map(declared).collect();
    sources.push(Source { path, file });
    for name in inner {
        let flat = below.join(format!("{name}.rs"));
        let path =
            if root().join(&flat).exists() { flat } else { below.join(&name).join("mod.rs") };
        module(sources, path, &below.join(&name));
    }
}

/// The name of a module with a file of its own that is not only for tests.
fn declared(item: &Item) -> Option<String> {
    match item {
        Item::Mod(item) if item.content.is_none() && !is_test(&item.attrs) => {
            let elsewhere = item.attrs.iter().any(|attribute| attribute.path().is_ident("path"));
            assert!(!elsewhere, "the module {} is not looked for where its path is", item.ident);
            Some(item.ident.to_string())
        }
        _ => None,
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
