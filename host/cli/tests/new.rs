//! `wasmount new`, and what it makes: a crate that passes its own tests, natively and as a component,
//! for any user. The README begins with it and has to show what it makes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A directory with a clone of this tree in it, as the README has it.
fn desk() -> Result<TempDir> {
    let desk = tempfile::tempdir()?;
    symlink(fs::canonicalize(ROOT)?, desk.path().join("wasmount"))?;
    Ok(desk)
}

/// Runs a program as a user would: without what cargo tells the tests that it runs, which is how
/// they themselves were built.
fn run<S: AsRef<OsStr>>(program: S, directory: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.ends_with("RUSTFLAGS") || (name.starts_with("CARGO_") && name != "CARGO_HOME") {
            command.env_remove(variable);
        }
    }
    // What this tree was built with is here already; nothing newer is to be had.
    command.env("CARGO_NET_OFFLINE", "true");
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("new"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command.output().context("it runs")
}

fn wasmount(directory: &Path, arguments: &[&str]) -> Result<(String, String, Option<i32>)> {
    let output = run(env!("CARGO_BIN_EXE_wasmount"), directory, arguments)?;
    Ok((String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?, output.status.code()))
}

fn cargo_test(directory: &Path) -> Result<(String, bool)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = run(cargo, directory, &["test"])?;
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    Ok((text, output.status.success()))
}

#[test]
fn what_it_makes_passes_its_tests() -> Result<()> {
    let desk = desk()?;
    let made = "greeter: a crate with a driver in it, and its tests\nnext: (cd greeter && cargo \
                test), then wasmount build greeter -o greeter.wasm\n";
    let told = wasmount(desk.path(), &["new", "greeter", "--sdk", "wasmount/guest-sdk"])?;
    assert_eq!(told, (made.to_owned(), String::new(), Some(0)));
    let greeter = desk.path().join("greeter");
    fs::copy(Path::new(ROOT).join("Cargo.lock"), greeter.join("Cargo.lock"))?;

    let (text, passed) = cargo_test(&greeter)?;
    assert!(passed && text.contains("test tests::every_call_goes_as_recorded ... ok"), "{text}");

    // A recording that the driver does not keep to fails the same test.
    let calls = greeter.join("tests/calls.toml");
    let right = fs::read_to_string(&calls)?;
    fs::write(&calls, right.replace("mode = 0o444", "mode = 0o400"))?;
    let instead = "\
a pod gets a greeting
  host call 2
    recorded  { call = \"mounts-tmpfs.write-file\", pending = \"tmpfs\", name = \"greeting\", contents = \"welcome, hi\\n\", mode = 0o400 }
    asked     { call = \"mounts-tmpfs.write-file\", pending = \"tmpfs\", name = \"greeting\", contents = \"welcome, hi\\n\", mode = 0o444 }
";
    let (text, passed) = cargo_test(&greeter)?;
    let failed = "tests/calls.toml: 2 of 4 calls did not go as recorded";
    assert!(!passed && text.contains(failed) && text.contains(instead), "{text}");

    let (_, told, code) = wasmount(desk.path(), &["build", "greeter", "-o", "greeter.wasm"])?;
    if told.contains("no Rust toolchain here") {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{told}");
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("skipped: {told}");
        }
        return Ok(());
    }
    assert_eq!(code, Some(0), "{told}");
    let test = ["test", "greeter.wasm", "greeter/tests/calls.toml"];
    let (text, told, code) = wasmount(desk.path(), &test)?;
    let instead = instead.replace("\n  ", "\n          ").trim_end().to_owned();
    assert!(text.contains(&format!("  FAILED  {instead}")), "{text}");
    let failed = "compiling greeter 0.1.0 for this machine\n\
                  wasmount: 2 of 4 calls did not go as recorded\n";
    assert_eq!((told.as_str(), code), (failed, Some(1)));

    fs::write(&calls, right)?;
    let (text, _, code) = wasmount(desk.path(), &test)?;
    assert_eq!(
        (text.as_str(), code),
        (
            "greeter/tests/calls.toml:\n  ok      a pod gets a greeting\n  ok      without a setting \
             it says hello, and the pod's group owns the file\n  ok      what the operator does not \
             grant fails the mount\n  ok      a pod is gone\n4 calls went as recorded\n",
            Some(0)
        )
    );
    let check = ["grants", "check", "greeter/grants.toml", "--component", "greeter.wasm"];
    let (text, _, code) = wasmount(desk.path(), &check)?;
    assert!(text.starts_with("greeter/grants.toml: ok\n") && code == Some(0), "{text}");
    Ok(())
}

#[test]
fn what_cannot_be_made_is_refused_and_nothing_is_written() -> Result<()> {
    let desk = desk()?;
    fs::create_dir(desk.path().join("taken"))?;
    let rule = "a name is 1 to 63 of a-z, 0-9 and -, and neither begins nor ends with -";
    let reserved = "that word means something else in Rust, and cannot be the name of a crate";
    let sdk = "wasmount/guest-sdk";
    for (name, sdk, told, code) in [
        ("Greeter", sdk, format!("invalid value 'Greeter' for '<NAME>': {rule}"), 2),
        ("a/b", sdk, format!("invalid value 'a/b' for '<NAME>': {rule}"), 2),
        ("", sdk, format!("invalid value '' for '<NAME>': {rule}"), 2),
        ("match", sdk, format!("invalid value 'match' for '<NAME>': {reserved}"), 2),
        (
            "3d",
            sdk,
            "invalid value '3d' for '<NAME>': the name of a crate does not begin with a digit"
                .to_owned(),
            2,
        ),
        (
            "taken",
            sdk,
            "taken is there already; choose another name, or another directory to be in".to_owned(),
            1,
        ),
        (
            "greeter",
            "wasmount",
            "wasmount/Cargo.toml is not the Cargo.toml of wasmount-guest-sdk; --sdk names the \
             directory `guest-sdk` of a clone of wasmount"
                .to_owned(),
            1,
        ),
    ] {
        let (printed, said, exit) = wasmount(desk.path(), &["new", name, "--sdk", sdk])?;
        assert_eq!(said.lines().next(), Some(format!("wasmount: {told}").as_str()));
        assert_eq!((printed.as_str(), exit), ("", Some(code)), "{name}");
    }
    let mut left: Vec<_> =
        fs::read_dir(desk.path())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    left.sort();
    assert_eq!(left, ["taken", "wasmount"]);
    assert_eq!(fs::read_dir(desk.path().join("taken"))?.count(), 0);
    Ok(())
}

/// Every block of Rust and TOML in the README's first steps and in the vendors' guide stands in a
/// file that is made, or in a driver of this tree.
#[test]
fn the_documents_show_what_is_made() -> Result<()> {
    let desk = desk()?;
    wasmount(desk.path(), &["new", "greeter", "--sdk", "wasmount/guest-sdk"])?;
    let mut files = Vec::new();
    for file in ["wasmount.toml", "tests/calls.toml"] {
        files.push(fs::read_to_string(Path::new(ROOT).join("plugins/loop-image").join(file))?);
    }
    for file in ["Cargo.toml", "src/lib.rs", "wasmount.toml", "grants.toml", "tests/calls.toml"] {
        files.push(fs::read_to_string(desk.path().join("greeter").join(file))?);
    }
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md"))?;
    let (_, steps) = readme.split_once("## A backend of your own").context("the section")?;
    let (steps, _) = steps.split_once("\n## ").context("the next section")?;
    let guide = fs::read_to_string(Path::new(ROOT).join("docs/vendor-guide.md"))?;
    for (text, least) in [(steps, 4), (&guide, 3)] {
        let blocks = text.split("```").skip(1).step_by(2);
        let code = |block: &'_ str| {
            let stripped = block.strip_prefix("rust\n").or_else(|| block.strip_prefix("toml\n"));
            stripped.map(str::to_owned)
        };
        let blocks: Vec<String> = blocks.filter_map(code).collect();
        assert!(blocks.len() >= least, "{}", blocks.len());
        for block in blocks {
            assert!(files.iter().any(|file| file.contains(&block)), "none has this:\n{block}");
        }
    }
    Ok(())
}
