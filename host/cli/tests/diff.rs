//! `wasmount diff` by the program itself: the pairs of diff.toml, grants files, and what is installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

mod node;

use node::{Node, STATE, component, component_asking};

#[derive(Deserialize)]
struct Table {
    component: Component,
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Component {
    exports: Vec<String>,
    imports: Vec<String>,
    manifest: String,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    exports: Option<Vec<String>>,
    imports: Option<Vec<String>>,
    #[serde(default)]
    replace: Vec<(String, String)>,
    exit: i32,
    text: String,
    json: Vec<String>,
}

/// The functions of an interface that can be exported.
fn exported(interface: &str) -> &'static str {
    match interface {
        "volume" => "mount: func(); unmount: func();",
        _ => "expand-volume: func(); expand-fs: func();",
    }
}

/// A component with these functions and no others. Their types are not looked at.
fn packed(exports: &[String], imports: &[String], manifest: &str) -> Result<Vec<u8>> {
    let mut interfaces = String::new();
    let mut world = String::new();
    for name in exports {
        interfaces.push_str(&format!("interface {name} {{ {} }}\n", exported(name)));
        world.push_str(&format!("export {name}; "));
    }
    let names: std::collections::BTreeSet<&str> =
        imports.iter().filter_map(|import| Some(import.split_once('.')?.0)).collect();
    for name in names {
        let functions = imports.iter().filter_map(|import| import.strip_prefix(name));
        let functions = functions.filter_map(|rest| rest.strip_prefix('.'));
        let functions: String = functions.map(|name| format!("{name}: func(); ")).collect();
        interfaces.push_str(&format!("interface {name} {{ {functions} }}\n"));
        world.push_str(&format!("import {name}; "));
    }
    let text = format!("package wasmount:driver@0.1.0;\n{interfaces}world test {{ {world} }}");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", &text)?;
    let world = resolve.packages[package].worlds["test"];
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    Ok(wasmount_pack::pack(&module, &wasmount_pack::Manifest::parse(manifest)?)?)
}

fn diff(directory: &Path, arguments: &[&str]) -> Result<(String, String, Option<i32>)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmount"));
    let output = command.arg("diff").args(arguments).current_dir(directory).output()?;
    Ok((String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?, output.status.code()))
}

#[test]
fn pairs_of_components() -> Result<()> {
    let desk = tempfile::tempdir()?;
    let table: Table = toml::from_str(include_str!("diff.toml"))?;
    let Component { exports, imports, manifest } = &table.component;
    fs::write(desk.path().join("old.wasm"), packed(exports, imports, manifest)?)?;
    for case in &table.case {
        let mut changed = manifest.clone();
        for (from, to) in &case.replace {
            assert!(changed.contains(from.as_str()), "{}: {from}", case.name);
            changed = changed.replace(from, to);
        }
        let exports = case.exports.as_ref().unwrap_or(exports);
        let imports = case.imports.as_ref().unwrap_or(imports);
        fs::write(desk.path().join("new.wasm"), packed(exports, imports, &changed)?)?;
        let (text, said, code) = diff(desk.path(), &["old.wasm", "new.wasm"])?;
        let expected = (case.text.as_str(), "", Some(case.exit));
        assert_eq!((text.as_str(), said.as_str(), code), expected, "{}", case.name);

        let (json, said, code) = diff(desk.path(), &["old.wasm", "new.wasm", "--json"])?;
        assert_eq!((said.as_str(), code), ("", Some(case.exit)), "{}", case.name);
        let json: serde_json::Value = serde_json::from_str(&json)?;
        let changes = json["changes"].as_array().context("a list")?;
        let word = |change: &serde_json::Value, key: &str| {
            change[key].as_str().unwrap_or_default().to_owned()
        };
        let shown: Vec<String> = changes
            .iter()
            .map(|change| {
                let more = if change["more"] == true { " !" } else { "" };
                let [about, how, name] = ["about", "how", "name"].map(|key| word(change, key));
                format!("{about} {how} {name}{more}")
            })
            .collect();
        assert_eq!(shown, case.json, "{}", case.name);
        assert_eq!(json["identical"], case.exit == 0, "{}", case.name);
        assert_eq!(json["more"], shown.iter().any(|line| line.ends_with('!')), "{}", case.name);
    }
    Ok(())
}

#[test]
fn grants_files_and_what_is_none() -> Result<()> {
    let desk = tempfile::tempdir()?;
    let at = |name: &str| desk.path().join(name);
    fs::write(at("a.toml"), "version = 1\n[mounts.tmpfs]\nmax-files = 1\n")?;
    fs::write(at("b.toml"), "# Nothing new.\nversion = 1\n[mounts.tmpfs]\nmax-files = 1\n")?;
    fs::write(at("c.toml"), "version = 1\n[state]\n[mounts.tmpfs]\nmax-files = 2\n")?;
    fs::write(at("bad.toml"), "version = 1\n[stat]\n")?;
    let table: Table = toml::from_str(include_str!("diff.toml"))?;
    let Component { exports, imports, manifest } = &table.component;
    fs::write(at("disk.wasm"), packed(exports, imports, manifest)?)?;
    let same = "a.toml and b.toml are the same\n".to_owned();
    assert_eq!(diff(desk.path(), &["a.toml", "b.toml"])?, (same, String::new(), Some(0)));
    let told = "from a.toml to c.toml:\n  grants    - [mounts.tmpfs] max-files = 1\n  grants    + \
                [mounts.tmpfs] max-files = 2\n  grants    + [state]\n";
    assert_eq!(
        diff(desk.path(), &["a.toml", "c.toml"])?,
        (told.to_owned(), String::new(), Some(3))
    );
    for (old, new, told) in [
        ("a.toml", "bad.toml", "wasmount: bad.toml: line 2: unknown key `stat`; valid: "),
        ("a.toml", "disk.wasm", "wasmount: a.toml and disk.wasm cannot be compared: "),
        ("a.toml", "nowhere", "wasmount: nowhere is neither a file nor an installed driver, "),
    ] {
        let (text, said, code) = diff(desk.path(), &[old, new])?;
        assert!(said.starts_with(told), "{said}");
        assert_eq!((text.as_str(), code), ("", Some(1)));
    }
    Ok(())
}

#[test]
fn what_is_installed() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    node.install(&["--grants", "grants.toml"])?;
    let first = node.version()?;
    fs::write(node.path("same.wasm"), component("disk", "1.0", STATE)?)?;
    let told = "example.com/disk and same.wasm are the same\n".to_owned();
    let told = (told, String::new(), Some(0));
    assert_eq!(node.run(&["diff", "example.com/disk", "same.wasm"])?, told);

    let same =
        ("example.com/disk and grants.toml are the same\n".to_owned(), String::new(), Some(0));
    assert_eq!(node.run(&["diff", "example.com/disk", "grants.toml"])?, same);
    let more = "import wasmount:driver/state@0.1.0; import wasmount:driver/mounts-bind@0.1.0;";
    fs::write(node.path("more.wasm"), component("disk", "2.0", more)?)?;
    let (text, said, code) = node.run(&["diff", "example.com/disk", "more.wasm"])?;
    let expected = "from example.com/disk to more.wasm:\n  component ~ version: 1.0 -> 2.0\n\
                    ! imports   + mounts-bind.staged\n  grants    + [mounts.bind]\n\
                    it asks for more than before, by what is marked with `!`\n";
    assert_eq!((text.as_str(), said.as_str(), code), (expected, "", Some(3)));

    fs::write(node.path("disk.wasm"), component("disk", "2.0", STATE)?)?;
    node.install(&["--no-grants"])?;
    let before = format!("example.com/disk@{}", &first[..6]);
    let (text, said, code) = node.run(&["diff", &before, "example.com/disk"])?;
    let expected = format!(
        "from {before} to example.com/disk:\n  component ~ version: 1.0 -> 2.0\n  grants    - \
         [state]\n"
    );
    assert_eq!((text, said.as_str(), code), (expected, "", Some(3)));
    let (_, said, code) = node.run(&["diff", "example.com/disk@none", "example.com/disk"])?;
    let told = "wasmount: there is no version none of example.com/disk: see `wasmount list`\n";
    assert_eq!((said.as_str(), code), (told, Some(1)));
    Ok(())
}

/// What the operator has not given of what was asked for already is no difference; what is asked for
/// besides is. And where only the installation differs, that is one.
#[test]
fn what_is_given_and_how_it_was_installed() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    let asking = |names: &str, memory: &str| {
        let manifest = format!(
            "name = \"disk\"\nversion = \"1.0\"\ndescription = \"a disk\"\n[limits]\nmemory-mib = {memory}\n\
             [[asks]]\ncapability = \"images\"\nreason = \"for data\"\nnames = [{names}]\n"
        );
        component_asking(&manifest, "import wasmount:driver/images@0.1.0;")
    };
    fs::write(node.path("disk.wasm"), asking("\"*.img\"", "128")?)?;
    let narrow = "version = 1\n[images]\ndirectory = \"/srv\"\nnames = [\"{volume}.img\"]\n\
                  create = true\ngrow = true\n";
    fs::write(node.path("grants.toml"), narrow)?;
    let (_, said, code) = node.install(&["--grants", "grants.toml"])?;
    assert_eq!(code, Some(0), "{said}");
    let first = node.version()?;
    let (text, _, code) = node.run(&["diff", "example.com/disk", "disk.wasm"])?;
    assert_eq!((text.as_str(), code), ("example.com/disk and disk.wasm are the same\n", Some(0)));
    fs::write(node.path("more.wasm"), asking("\"*.img\", \"*.raw\"", "256")?)?;
    let (text, _, _) = node.run(&["diff", "example.com/disk", "more.wasm"])?;
    assert_eq!(
        text,
        "from example.com/disk to more.wasm:
! asks      > images names: *.img -> *.img, *.raw  (super-privileged)
! limits    > memory-mib: 128 -> 256
  grants    > [images] names: {volume}.img -> *.img, *.raw
  grants    > [limits] memory-mib: 64 -> 256
it asks for more than before, by what is marked with `!`
"
    );

    let other = node.path("other");
    let other = other.to_str().context("UTF-8")?;
    let (_, said, code) = node.install(&["--grants", "grants.toml", "--data-dir", other])?;
    assert_eq!(code, Some(0), "{said}");
    let before = format!("example.com/disk@{}", &first[..6]);
    let (text, said, code) = node.run(&["diff", &before, "example.com/disk"])?;
    let told = format!(
        "from {before} to example.com/disk:\n  installed ~ data-dir: $NODE/data -> $NODE/other\n"
    );
    assert_eq!((text, said.as_str(), code), (told, "", Some(3)));
    Ok(())
}

/// Who has signed it is a difference, as is that nobody has.
#[test]
fn signed_by_another() -> Result<()> {
    let desk = tempfile::tempdir()?;
    let at = |name: &str| desk.path().join(name);
    let run = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmount"));
        let output = command.args(arguments).current_dir(desk.path()).output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let key = |name: &str| -> Result<String> {
        let public = fs::read_to_string(at(&format!("{name}.pub")))?;
        let first = public.lines().next().context("a comment")?;
        Ok(first.split(' ').next_back().context("the key's id")?.to_owned())
    };
    for name in ["one", "two"] {
        run(&["keygen", name, "--no-passphrase"])?;
        fs::write(at(&format!("{name}.wasm")), component("disk", "1.0", STATE)?)?;
    }
    fs::copy(at("one.wasm"), at("none.wasm"))?;
    run(&["sign", "one.wasm", "--key", "one.key"])?;
    run(&["sign", "two.wasm", "--key", "two.key"])?;
    let (one, two) = (key("one")?, key("two")?);
    for (new, what) in [
        ("two.wasm", format!("by {one} -> by {two}")),
        ("none.wasm", format!("by {one} -> by nobody")),
    ] {
        let told = format!("from one.wasm to {new}:\n  component ~ signed: {what}\n");
        assert_eq!(diff(desk.path(), &["one.wasm", new])?, (told, String::new(), Some(3)));
        let (json, _, _) = diff(desk.path(), &["one.wasm", new, "--json"])?;
        let json: serde_json::Value = serde_json::from_str(&json)?;
        let change = &json["changes"][0];
        assert_eq!((&json["identical"], &json["more"]), (&false.into(), &false.into()));
        assert_eq!((&change["about"], &change["name"]), (&"component".into(), &"signed".into()));
    }
    fs::write(at("two.wasm.minisig"), "none")?;
    let (_, said, code) = diff(desk.path(), &["one.wasm", "two.wasm"])?;
    let told =
        "wasmount: two.wasm.minisig is not a minisign signature; remove it, or get the right one\n";
    assert_eq!((said.as_str(), code), (told, Some(1)));
    Ok(())
}
