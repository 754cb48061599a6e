//! What the program prints and how it exits, by its arguments. Nothing here needs root or a
//! component that runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::Result;
use serde::Deserialize;
use tempfile::TempDir;
use wasmount_core::guest::compiler::Cpu;

/// Runs `wasmount` in a directory.
fn wasmount(directory: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmount"));
    Ok(command.args(arguments).current_dir(directory).stdin(Stdio::null()).output()?)
}

/// A directory with grants files, what is no component, and an empty plugin directory.
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
    write("core.wasm", b"\0asm\x01\0\0\0")?;
    write("nul", b"a\0b")?;
    write("long", &[b'x'; 128 * 1024])?;
    fs::create_dir(desk.path().join("plugins"))?;
    Ok(desk)
}

/// What `tests/mistakes.toml` has: arguments, and what the terminal shows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistakes {
    case: Vec<Mistake>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistake {
    arguments: Vec<String>,
    stderr: String,
    exit: i32,
}

#[test]
fn mistakes_are_answered_as_written() -> Result<()> {
    let desk = desk()?;
    fs::create_dir(desk.path().join("plugins/example.com~y"))?;
    symlink("/bin/true", desk.path().join("plugins/example.com~y/y"))?;
    let root = fs::canonicalize(desk.path())?.display().to_string();
    let levels = [&["native"], Cpu::LEVELS].concat().join(", ");
    let mut wrong = String::new();
    for Mistake { arguments, stderr, exit } in
        toml::from_str::<Mistakes>(include_str!("mistakes.toml"))?.case
    {
        let given: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = wasmount(desk.path(), &given)?;
        let told = String::from_utf8(output.stderr)?.replace(&root, "{desk}");
        let told = told.replace(&levels, "{levels}");
        let code = output.status.code();
        if (told.as_str(), code, output.stdout.len()) != (stderr.as_str(), Some(exit), 0) {
            let code = code.unwrap_or_default();
            wrong += &format!(
                "\n[[case]]\narguments = {arguments:?}\nstderr = \"\"\"\n{told}\"\"\"\nexit = {code}\n"
            );
        }
    }
    assert!(wrong.is_empty(), "mistakes that are not answered as written:\n{wrong}");
    Ok(())
}

#[test]
fn help_is_no_mistake() -> Result<()> {
    let desk = desk()?;
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
        for word in [
            "new",
            "--sdk",
            "test",
            "install",
            "rollback",
            "doctor",
            "recover",
            "verify",
            "--plugin-dir",
        ] {
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
