//! What a program or component was built from: a bill of materials in CycloneDX 1.6, as JSON.
//!
//! It lists the packages that are compiled into that very file, by its features and target: no build
//! scripts, procedural macros or tests, which run on the machine that builds and leave nothing but
//! code in it. The same build gives the same bytes: there is no time, number or path in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cargo::{self, Workspace};

/// A package as cargo names it: name and version.
type Package = (String, String);

/// What cargo says is compiled into something.
struct Tree {
    root: Package,
    /// The licence of each package, and what it depends on directly.
    packages: BTreeMap<Package, (String, BTreeSet<Package>)>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

/// A package in Cargo.lock. One of our own has neither source nor checksum.
#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The document for a file that was built from a package for a target.
pub(crate) fn document(
    workspace: &Workspace,
    package: &str,
    target: &str,
    of: &Path,
) -> anyhow::Result<Vec<u8>> {
    let tree = tree(workspace, package, target)?;
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock"))?;
    let lock: Lock = toml::from_str(&lock).context("Cargo.lock is not what it should be")?;
    let checksums: BTreeMap<Package, Option<String>> = lock
        .package
        .into_iter()
        .map(|Locked { name, version, checksum }| ((name, version), checksum))
        .collect();
    let linked = linked(target)?;
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for (package, (licence, needs)) in &tree.packages {
        let mut needs: Vec<String> = needs.iter().map(reference).collect();
        if *package == tree.root {
            needs.extend(linked.iter().map(|(package, _)| reference(package)));
        } else {
            let checksum = checksums.get(package);
            let checksum = checksum.with_context(|| format!("Cargo.lock lacks {package:?}"))?;
            components.push(component(package, licence, checksum.as_deref()));
        }
        dependencies.push(json!({ "ref": reference(package), "dependsOn": needs }));
    }
    for (package, licence) in &linked {
        components.push(component(package, licence, None));
        dependencies.push(json!({ "ref": reference(package), "dependsOn": [] }));
    }
    let (name, version) = &tree.root;
    let (licence, _) = &tree.packages[&tree.root];
    let bytes = fs::read(of).with_context(|| format!("{} is missing", of.display()))?;
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{ "phase": "build" }],
            "component": {
                "type": "application",
                "bom-ref": reference(&tree.root),
                "name": name,
                "version": version,
                "purl": purl("generic", &tree.root),
                "licenses": [{ "expression": expression(licence) }],
                "hashes": [{ "alg": "SHA-256", "content": hex(&Sha256::digest(&bytes)) }],
                "properties": [{ "name": "wasmount:target", "value": target }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

/// Asks cargo, with the features that the package has when it is built alone, as it is for what is
/// shipped.
fn tree(workspace: &Workspace, package: &str, target: &str) -> anyhow::Result<Tree> {
    let mut tree = cargo::cargo();
    tree.current_dir(&workspace.root);
    tree.args(["tree", "--locked", "--package", package, "--target", target]);
    tree.args(["--edges", "normal,no-proc-macro", "--no-dedupe", "--prefix", "depth"]);
    tree.args(["--format", "|{p}|{l}"]);
    parse(&String::from_utf8(cargo::output(&mut tree)?)?)
}

/// Lines of depth, package and licence; what is deeper is what the line above depends on.
fn parse(text: &str) -> anyhow::Result<Tree> {
    let mut packages = BTreeMap::<Package, (String, BTreeSet<Package>)>::new();
    let mut above = Vec::<Package>::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let read = || {
            let (depth, rest) = line.split_once('|')?;
            let (package, licence) = rest.split_once('|')?;
            // Where our own packages are is nobody else's business.
            let mut words = package.split(' ');
            let name = words.next()?.to_owned();
            let version = words.next()?.strip_prefix('v')?.to_owned();
            Some((depth.parse::<usize>().ok()?, (name, version), licence.to_owned()))
        };
        let (depth, package, licence) =
            read().with_context(|| format!("cargo tree printed {line:?}"))?;
        ensure!(depth <= above.len(), "cargo tree left something out before {line:?}");
        above.truncate(depth);
        if let Some((_, needs)) = above.last().and_then(|parent| packages.get_mut(parent)) {
            needs.insert(package.clone());
        }
        packages.entry(package.clone()).or_insert_with(|| (licence, BTreeSet::new()));
        above.push(package);
    }
    let root = text.lines().next().and_then(|_| above.into_iter().next());
    Ok(Tree { root: root.context("cargo tree printed nothing")?, packages })
}

/// One from a registry has its checksum there; one of our own is published nowhere.
fn component(package: &Package, licence: &str, checksum: Option<&str>) -> Value {
    let (name, version) = package;
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": name,
        "version": version,
        "scope": "required",
        "purl": purl(if checksum.is_some() { "cargo" } else { "generic" }, package),
    });
    if !licence.is_empty() {
        component["licenses"] = json!([{ "expression": expression(licence) }]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// The libraries that are the toolchain's and in no Cargo.lock: Rust's own, and the C library, which is
/// linked statically.
fn linked(target: &str) -> anyhow::Result<Vec<(Package, &'static str)>> {
    let said = |program: &str, argument: &str| {
        anyhow::Ok(String::from_utf8(cargo::output(Command::new(program).arg(argument))?)?)
    };
    let rustc = said("rustc", "-vV")?;
    let release = rustc.lines().find_map(|line| line.strip_prefix("release: "));
    let release = release.context("rustc -vV names no release")?;
    let mut linked = vec![(("rust-std".to_owned(), release.to_owned()), "MIT OR Apache-2.0")];
    if target.ends_with("-linux-gnu") {
        let libc = said("getconf", "GNU_LIBC_VERSION")?;
        let (name, version) = libc.trim().split_once(' ').context("getconf names no C library")?;
        linked.push(((name.to_owned(), version.to_owned()), "LGPL-2.1-or-later"));
    }
    Ok(linked)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn reference((name, version): &Package) -> String {
    format!("{name}@{version}")
}

fn purl(kind: &str, (name, version): &Package) -> String {
    format!("pkg:{kind}/{name}@{}", version.replace('+', "%2B"))
}

/// An SPDX expression, for which a slash was written once.
fn expression(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_with_what_depends_on_what() {
        let text = "0|x v0.1.0 (/somewhere)|Apache-2.0\n1|a v1.0.0+2|MIT/Apache-2.0\n\
                    2|b v2.0.0|MIT\n1|b v2.0.0|MIT\n1|c v3.0.0|\n";
        let tree = parse(text).expect("a tree");
        let package = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let (a, b) = (package("a", "1.0.0+2"), package("b", "2.0.0"));
        assert_eq!(tree.root, package("x", "0.1.0"));
        let needs = |of: &Package| tree.packages[of].1.iter().cloned().collect::<Vec<_>>();
        assert_eq!(needs(&tree.root), [a.clone(), b.clone(), package("c", "3.0.0")]);
        assert_eq!((needs(&a), needs(&b)), (vec![b], Vec::new()));
        assert_eq!(purl("cargo", &a), "pkg:cargo/a@1.0.0%2B2");
        assert_eq!(expression(&tree.packages[&a].0), "MIT OR Apache-2.0");
        for text in ["", "1|a v1.0.0|MIT\n", "0|a|MIT\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
