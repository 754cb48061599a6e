//! What the program prints and how it exits, by its arguments. Nothing here needs root or a
//! component that runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::Result;
use tempfile::TempDir;
use wasmount_core::guest::compiler::Cpu;

/// Runs `wasmount` in a directory.
fn wasmount(directory: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmount"));
    Ok(command.args(arguments).current_dir(directory).stdin(Stdio::null()).output()?)
}

/// A directory with grants files, a text that is no component, and an empty plugin directory.
fn desk() -> Result<TempDir> {
    let desk = tempfile::tempdir()?;
    let write = |name: &str, text: &[u8]| fs::write(desk.path().join(name), text);
    write(
        "wrong.toml",
        b"version = 1\n\n[images]\ndirectory = \"/i\"\nnames = [\"*\"]\nformat = true\n",
    )?;
    write("latin.toml", b"version = 1\n# Tsch\xfcss\n")?;
    write(
        "good.toml",
        b"version = 1\n[images]\ndirectory = \"/i\"\nnames = [\"*\"]\ngrow = true\n",
    )?;
    write("text.wasm", b"(component)")?;
    write("nul", b"a\0b")?;
    fs::create_dir(desk.path().join("plugins"))?;
    Ok(desk)
}

#[test]
fn what_is_said_of_wrong_usage() -> Result<()> {
    let desk = desk()?;
    let driver = "'--driver <VENDOR/NAME>'";
    for (arguments, first_line) in [
        (&["frobnicate"][..], "wasmount: unrecognized subcommand 'frobnicate'".to_owned()),
        (
            &["install", "x", "--driver", "Example.com/x"],
            format!(
                "wasmount: invalid value 'Example.com/x' for {driver}: a driver's name is \
                 VENDOR/NAME: the vendor a domain name in lower case, the name at most 63 letters, \
                 digits, dots, underscores and hyphens between letters or digits"
            ),
        ),
        (
            &["install", "x", "--driver", "example.com/current"],
            format!(
                "wasmount: invalid value 'example.com/current' for {driver}: a driver's directory \
                 has another use for that name"
            ),
        ),
        (
            &["install", "x", "--driver", "a/b", "--data-dir", "data"],
            "wasmount: invalid value 'data' for '--data-dir <DIR>': an absolute path without `..` \
             is needed"
                .to_owned(),
        ),
        (
            &["install", "x", "--driver", "a/b", "--target-cpu", "i386"],
            format!(
                "wasmount: invalid value 'i386' for '--target-cpu <LEVEL>': this architecture has {}",
                [&["native"], Cpu::LEVELS].concat().join(", ")
            ),
        ),
        (
            &["install", "x", "--driver", "a/b", "--log-dir", "/a/../b"],
            "wasmount: invalid value '/a/../b' for '--log-dir <DIR>': an absolute path without \
             `..` is needed"
                .to_owned(),
        ),
    ] {
        let output = wasmount(desk.path(), arguments)?;
        let told = String::from_utf8(output.stderr)?;
        assert_eq!(told.lines().next(), Some(first_line.as_str()));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
    }
    // Without any arguments there is no mistake to name.
    let output = wasmount(desk.path(), &[])?;
    assert!(output.stderr.starts_with(b"Builds, installs and examines wasmount drivers\n"));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    let output = wasmount(desk.path(), &["--help"])?;
    assert!(output.stdout.starts_with(b"Builds, installs and examines wasmount drivers\n"));
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    Ok(())
}

#[test]
fn what_is_said_of_failures() -> Result<()> {
    let desk = desk()?;
    let root = fs::canonicalize(desk.path())?.join("plugins");
    let root = root.display();
    let not_installed =
        format!("example.com/x is not installed in {root}: `wasmount list` shows what is");
    fs::write(desk.path().join("long"), "x".repeat(128 * 1024))?;
    fs::create_dir(desk.path().join("plugins/example.com~y"))?;
    symlink("/bin/true", desk.path().join("plugins/example.com~y/y"))?;
    for (arguments, told) in [
        (
            &["grants", "check", "wrong.toml"][..],
            "wrong.toml: line 6: unknown key `format`; valid: directory, names, create, grow, \
             max-size"
                .to_owned(),
        ),
        (&["grants", "check", "latin.toml"], "latin.toml: line 2: this is not UTF-8".to_owned()),
        (
            &["grants", "check", "no.toml"],
            "reading no.toml: No such file or directory (os error 2)".to_owned(),
        ),
        (
            &["grants", "check", "good.toml", "--component", "text.wasm"],
            "reading the component: text.wasm: not a WebAssembly component".to_owned(),
        ),
        (&["inspect", "text.wasm"], "text.wasm: not a WebAssembly component".to_owned()),
        (
            &["inspect", "no.wasm", "--json"],
            "reading no.wasm: No such file or directory (os error 2)".to_owned(),
        ),
        (
            &["test", "no.wasm", "calls.toml"],
            "reading no.wasm: No such file or directory (os error 2)".to_owned(),
        ),
        (
            &["list", "--plugin-dir", "no"],
            "plugin directory no cannot be used: No such file or directory (os error 2)".to_owned(),
        ),
        (
            &["list", "--plugin-dir", "good.toml"],
            format!(
                "plugin directory {} is not a directory",
                fs::canonicalize(desk.path())?.join("good.toml").display()
            ),
        ),
        (&["call", "--plugin-dir", "plugins", "example.com/x", "init"], not_installed),
        (
            &["call", "--plugin-dir", "plugins", "example.com/x", "mount", "/m", "@no.json"],
            "reading no.json: No such file or directory (os error 2)".to_owned(),
        ),
        (
            &["call", "--plugin-dir", "plugins", "example.com/x", "mount", "@nul"],
            "nul holds a NUL byte, which no argument can".to_owned(),
        ),
        (
            &["call", "--plugin-dir", "plugins", "example.com/y", "mount", "@long"],
            "an argument is longer than the 128 KiB that Linux allows; kubelet could not make \
             this call either"
                .to_owned(),
        ),
    ] {
        let output = wasmount(desk.path(), arguments)?;
        assert_eq!(String::from_utf8(output.stderr)?, format!("wasmount: {told}\n"));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn grants_are_checked_for_people_and_for_programs() -> Result<()> {
    let desk = desk()?;
    let check = |arguments: &[&str]| -> Result<(String, Option<i32>)> {
        let output = wasmount(desk.path(), &[&["grants", "check"], arguments].concat())?;
        Ok((String::from_utf8(output.stdout)?, output.status.code()))
    };
    let text = "good.toml: ok\n  gives    [images] grow\n".to_owned();
    assert_eq!(check(&["good.toml"])?, (text, Some(0)));
    let json = "{\n  \"ok\": true,\n  \"error\": null,\n  \"given\": [\n    \"[images]\",\n    \
                \"[images] grow = true\"\n  ]\n}\n";
    assert_eq!(check(&["good.toml", "--json"])?, (json.to_owned(), Some(0)));
    let json = "{\n  \"ok\": false,\n  \"error\": {\n    \"line\": 2,\n    \
                \"mistake\": \"this is not UTF-8\"\n  },\n  \"given\": []\n}\n";
    assert_eq!(check(&["latin.toml", "--json"])?, (json.to_owned(), Some(1)));
    Ok(())
}

#[test]
fn an_empty_plugin_directory_is_listed() -> Result<()> {
    let desk = desk()?;
    let root = fs::canonicalize(desk.path())?.join("plugins");
    // A driver of another make is none of ours.
    fs::create_dir(root.join("example.com~bash"))?;
    fs::write(root.join("example.com~bash/bash"), "#!/bin/sh\n")?;
    for (arguments, printed) in [
        (
            &["list", "--plugin-dir", "plugins"][..],
            format!("no driver in {} was installed by wasmount\n", root.display()),
        ),
        (
            &["list", "--plugin-dir", "plugins", "--json"],
            format!("{{\n  \"plugin-dir\": \"{}\",\n  \"drivers\": []\n}}\n", root.display()),
        ),
    ] {
        let output = wasmount(desk.path(), arguments)?;
        assert_eq!(String::from_utf8(output.stdout)?, printed);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    }
    Ok(())
}

#[test]
fn a_call_is_the_drivers_own() -> Result<()> {
    let desk = desk()?;
    // A script of our own could still be open for writing in a child of another test, and then
    // cannot be executed; the shell takes it as an argument.
    let driver = desk.path().join("plugins/example.com~x");
    fs::create_dir(&driver)?;
    symlink("/bin/sh", driver.join("x"))?;
    let script = ["-c", "for a; do printf '<%s>' \"$a\"; done; cat; exit 7", "x"];
    fs::write(desk.path().join("options.json"), "{\"a\": \"b\"}\n")?;
    for (arguments, printed) in [
        (&[][..], ""),
        (&["init"], "<init>"),
        (&["mount", "/m", "@options.json"], "<mount></m><{\"a\": \"b\"}>"),
        (&["attach", "{\"a\":\"@b\"}", "--help", "-1"], "<attach><{\"a\":\"@b\"}><--help><-1>"),
    ] {
        let call = ["call", "--plugin-dir", "plugins", "example.com/x"];
        let output = wasmount(desk.path(), &[&call[..], &script, arguments].concat())?;
        assert_eq!(String::from_utf8(output.stdout)?, printed);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(7), 0));
    }
    Ok(())
}

#[test]
fn shells_are_told_every_command() -> Result<()> {
    let desk = desk()?;
    for shell in ["bash", "zsh", "fish"] {
        let output = wasmount(desk.path(), &["completions", shell])?;
        let script = String::from_utf8(output.stdout)?;
        for word in
            ["new", "--sdk", "test", "install", "rollback", "doctor", "recover", "--plugin-dir"]
        {
            // fish leaves the hyphens of long options out.
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    }
    let output = wasmount(desk.path(), &["completions", "csh"])?;
    let told = String::from_utf8(output.stderr)?;
    assert!(told.starts_with("wasmount: invalid value 'csh' for '<SHELL>'"), "{told}");
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}
