//! No kind of finding without a test that provokes it: the ids are read from the sources of the tool,
//! and looked for in the tables of `doctor` and `audit` and in the tool's own tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenTree;
use syn::visit::{self, Visit};

/// What no machine of ours can be brought to, and why.
const UNPROVOKED: &[(&str, &str)] = &[
    ("kernel-refuses", "each kernel that the tests run on has every call"),
    ("seccomp-missing", "the same of filters, without which no component would run"),
    ("selinux-label", "it takes a kernel that enforces SELinux"),
    ("mount-namespace", "tools_and_storage_are_looked_at leaves it out, since it tests in one"),
    (
        "mount-propagation",
        "every_fault_is_named_with_its_remedy leaves it out: it is the machine's",
    ),
    ("loop-missing", "/dev is everybody's, and loading modules is the machine's"),
    ("little-room", "it would take filling a filesystem"),
    ("leftovers-unknown", "it takes a /proc that cannot be read"),
];

#[test]
fn every_finding_is_provoked_somewhere() {
    let ids = ids();
    let mut provoked = BTreeSet::new();
    for table in ["doctor.rs", "audit/fixtures.rs", "audit/flood.rs"] {
        let mut literals = Literals::default();
        literals.visit_file(&parsed(&Path::new(env!("CARGO_MANIFEST_DIR")).join(table)));
        provoked.append(&mut literals.others);
    }
    for source in sources() {
        let mut tests =
            Literals { in_tests: is_of_tests(&source), only_tests: true, ..Default::default() };
        tests.visit_file(&parsed(&source));
        provoked.append(&mut tests.others);
    }
    let excused: BTreeSet<String> = UNPROVOKED.iter().map(|(id, _)| (*id).to_owned()).collect();
    let holes: Vec<&String> = ids.iter().filter(|id| !provoked.contains(*id)).collect();
    assert_eq!(holes, Vec::from_iter(&excused), "what is provoked nowhere, and is said to be so");
    assert!(excused.is_subset(&ids), "{excused:?} has what is no finding any more");
}

#[test]
fn the_schema_knows_every_finding() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/audit.schema.json");
    let schema = fs::read_to_string(path).expect("a schema");
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    let known = schema["$defs"]["finding"]["properties"]["id"]["enum"].as_array().expect("ids");
    let known: Vec<&str> = known.iter().map(|id| id.as_str().expect("a text")).collect();
    assert_eq!(known, Vec::from_iter(ids().iter().map(String::as_str)));
}

/// All ids that the tool has.
fn ids() -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for source in sources().iter().filter(|source| !is_of_tests(source)) {
        let mut literals = Literals::default();
        literals.visit_file(&parsed(source));
        ids.append(&mut literals.ids);
    }
    assert!(ids.len() > 40, "these are not all: {ids:?}");
    ids
}

/// The files of the tool.
fn sources() -> Vec<PathBuf> {
    let mut found = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/cli/src")];
    let mut files = Vec::new();
    while let Some(path) = found.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => found.extend(entries.map(|entry| entry.expect("an entry").path())),
            Err(_) if path.extension().is_some_and(|extension| extension == "rs") => {
                files.push(path)
            }
            Err(_) => {}
        }
    }
    files
}

fn is_of_tests(path: &Path) -> bool {
    path.ends_with("tests.rs")
}

fn parsed(path: &Path) -> syn::File {
    let text = fs::read_to_string(path).expect("a source");
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The texts of a source.
#[derive(Default)]
struct Literals {
    /// What findings are made with, outside of tests.
    ids: BTreeSet<String>,
    /// All others; of tests only, if that is wanted.
    others: BTreeSet<String>,
    in_tests: bool,
    only_tests: bool,
}

impl Visit<'_> for Literals {
    fn visit_item_mod(&mut self, module: &syn::ItemMod) {
        let before = self.in_tests;
        self.in_tests |= module.ident == "tests";
        visit::visit_item_mod(self, module);
        self.in_tests = before;
    }

    fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
        let is_finding = ["error", "warning", "note"].iter().any(|name| call.method == name);
        let mut arguments = call.args.iter();
        if let (true, 4, Some(syn::Expr::Lit(id))) =
            (is_finding, call.args.len(), call.args.first())
            && let syn::Lit::Str(id) = &id.lit
        {
            arguments.next();
            if !self.in_tests {
                self.ids.insert(id.value());
            }
        }
        self.visit_expr(&call.receiver);
        arguments.for_each(|argument| self.visit_expr(argument));
    }

    /// What stands in a macro is but tokens to syn.
    fn visit_macro(&mut self, call: &syn::Macro) {
        let mut left = vec![call.tokens.clone()];
        while let Some(tokens) = left.pop() {
            for token in tokens {
                match token {
                    TokenTree::Group(group) => left.push(group.stream()),
                    TokenTree::Literal(literal) => {
                        if let syn::Lit::Str(literal) = syn::Lit::new(literal) {
                            self.visit_lit_str(&literal);
                        }
                    }
                    TokenTree::Ident(_) | TokenTree::Punct(_) => {}
                }
            }
        }
    }

    fn visit_lit_str(&mut self, literal: &syn::LitStr) {
        if self.in_tests || !self.only_tests {
            self.others.insert(literal.value());
        }
    }
}
