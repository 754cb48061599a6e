//! Other grants for an installed driver, and the way back to an earlier program, by the program
//! itself and as root.

use std::fs;

use anyhow::{Context as _, Result};
use wasmount_core::guest::compiler::Cpu;

mod node;

use node::{Node, STATE, component};

const DRIVER: &str = "example.com/disk";

/// As a pod of a DaemonSet does each time it starts.
#[test]
fn what_is_installed_already_is_left_as_it_is() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    let grants = ["--grants", "grants.toml"];
    node.install(&grants)?;
    let first = node.version()?;
    fs::copy(node.path("grants.toml"), node.path("elsewhere.toml"))?;
    let again = node.install(&["--grants", "elsewhere.toml"])?;
    let told = "example.com/disk is installed already, as it is to be: disk 1.0\n";
    let compiling = "compiling disk 1.0 for this machine\n";
    assert_eq!(again, (told.to_owned(), compiling.to_owned(), Some(0)));
    assert_eq!(node.version()?, first);
    // What differs in anything, or was tampered with, is installed.
    node.install(&["--grants", "grants.toml", "--log-dir", "/elsewhere"])?;
    let second = node.version()?;
    assert_ne!(second, first);
    let image = node.path("plugins/example.com~disk/current/component.cwasm");
    fs::write(&image, "tampered with")?;
    let (printed, ..) = node.install(&["--grants", "grants.toml", "--log-dir", "/elsewhere"])?;
    assert!(printed.starts_with("upgraded example.com/disk to disk 1.0\n"), "{printed}");
    assert_ne!(fs::read(&image)?, b"tampered with");
    Ok(())
}

#[test]
fn grants_are_changed_and_nothing_else() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    node.install(&[])?;
    let first = node.version()?;
    let receipt = |version: &str| -> Result<serde_json::Value> {
        let path = format!("plugins/example.com~disk/.versions/.{version}/receipt.json");
        Ok(serde_json::from_slice(&fs::read(node.path(&path))?)?)
    };
    let apply = ["grants", "apply", DRIVER, "grants.toml"];

    let dry = node.run(&[&apply[..], &["--dry-run"]].concat())?;
    let told = "this would change what example.com/disk is granted:\n  + [state]\n";
    assert_eq!(dry, (told.to_owned(), String::new(), Some(0)));
    assert_eq!(node.version()?, first);

    let applied = node.run(&apply)?;
    let second = node.version()?;
    let told = format!(
        "changed what example.com/disk is granted\n  + [state]\n  at       \
         $NODE/plugins/example.com~disk\n  version  {second}\n  before   {first} (kept)\n  \
         exports  volume\n         REQUESTED  GRANTED\n  state  yes        yes\n"
    );
    assert_eq!(applied, (told, String::new(), Some(0)));
    let (before, after) = (receipt(&first)?, receipt(&second)?);
    let changed = [
        "digests",
        "grants_from",
        "grants_origin",
        "grants_source",
        "installed_at",
        "installed_by",
    ];
    for (key, value) in before.as_object().context("an object")? {
        assert!(changed.contains(&key.as_str()) || after[key] == *value, "{key}");
    }
    assert_eq!(before["digests"]["component"], after["digests"]["component"]);

    let again = "example.com/disk is granted this already\n".to_owned();
    assert_eq!(node.run(&apply)?, (again, String::new(), Some(0)));
    assert_eq!(node.version()?, second);

    fs::write(node.path("none.toml"), "version = 1\n")?;
    let (printed, said, code) = node.run(&["grants", "apply", DRIVER, "none.toml"])?;
    assert!(printed.starts_with("changed what example.com/disk is granted\n  - [state]\n"));
    assert!(said.starts_with("warning: ") && said.contains("\n    [state]\n"), "{said}");
    assert_eq!(code, Some(0));
    Ok(())
}

#[test]
fn what_cannot_be_applied_changes_nothing() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    fs::write(node.path("bad.toml"), "version = 2\n")?;
    let none = "example.com/disk is not installed in $NODE/plugins: `wasmount list` shows what is";
    let told = |arguments: &[&str]| -> Result<(String, Option<i32>)> {
        let (printed, said, code) = node.run(arguments)?;
        assert_eq!(printed, "", "{arguments:?}");
        Ok((said, code))
    };
    let failure = |told: &str| (format!("wasmount: {told}\n"), Some(1));
    assert_eq!(told(&["grants", "apply", DRIVER, "grants.toml"])?, failure(none));
    assert_eq!(told(&["rollback", DRIVER])?, failure(none));
    node.install(&[])?;
    let version = node.version()?;
    let bad = "bad.toml: line 1: version 2 is not known here; valid: 1";
    assert_eq!(told(&["grants", "apply", DRIVER, "bad.toml"])?, failure(bad));
    let alone = "no version of example.com/disk but the present one is kept";
    assert_eq!(told(&["rollback", DRIVER])?, failure(alone));
    assert_eq!(told(&["rollback", DRIVER, "--with-grants"])?, failure(alone));
    assert_eq!(node.version()?, version);
    // What was tampered with is not made good by a new receipt.
    let image = node.path("plugins/example.com~disk/current/component.cwasm");
    fs::write(&image, "tampered with")?;
    let changed = format!(
        "$NODE/plugins/example.com~disk/.versions/.{version}/component.cwasm was changed after \
         installation; install the driver again"
    );
    assert_eq!(told(&["grants", "apply", DRIVER, "grants.toml"])?, failure(&changed));
    assert_eq!(node.version()?, version);
    Ok(())
}

#[test]
fn the_program_goes_back_and_the_grants_stay() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    let component_in_use = || -> Result<String> {
        let receipt = fs::read(node.path("plugins/example.com~disk/current/receipt.json"))?;
        let receipt: serde_json::Value = serde_json::from_slice(&receipt)?;
        Ok(receipt["component"]["version"].as_str().context("a version")?.to_owned())
    };
    let grants = || fs::read_to_string(node.path("plugins/example.com~disk/current/grants.toml"));
    node.install(&[])?;
    let first = node.version()?;
    fs::write(node.path("disk.wasm"), component("disk", "2.0", STATE)?)?;
    fs::create_dir(node.path("trust"))?;
    node.install(&["--log-dir", "/elsewhere", "--trust-dir", "trust"])?;
    // Changes of the grants do not push out what an upgrade is rolled back to.
    for limit in 1..4 {
        let text = format!("version = 1\n[state]\n[limits]\nmemory-mib = {limit}\n");
        fs::write(node.path("more.toml"), text)?;
        let (_, said, code) = node.run(&["grants", "apply", DRIVER, "more.toml"])?;
        assert_eq!((said.as_str(), code), ("", Some(0)));
    }
    let present = node.version()?;
    let rolled_back = node.run(&["rollback", DRIVER])?;
    let told = format!(
        "rolled back example.com/disk to disk 1.0\n  at       $NODE/plugins/example.com~disk\n  \
         version  {}\n  before   {present} (kept)\n  exports  volume\n                 REQUESTED  GRANTED\n  \
         state          yes        yes\n  limits\n    memory-mib              3\n    \
         cpu-seconds             10\n",
        node.version()?
    );
    assert_eq!(rolled_back, (told, String::new(), Some(0)));
    assert_eq!((component_in_use()?.as_str(), grants()?.contains("memory-mib = 3")), ("1.0", true));
    let receipt = fs::read_to_string(node.path("plugins/example.com~disk/current/receipt.json"))?;
    assert!(receipt.contains("\"log_dir\": \"/elsewhere\""), "directories are the node's");
    assert!(receipt.contains("/trust\""), "and so is whom it trusts: {receipt}");

    // And forth again, with the grants or to a version by name.
    let (printed, ..) = node.run(&["rollback", DRIVER])?;
    assert!(printed.starts_with("rolled back example.com/disk to disk 2.0\n  at"), "{printed}");
    // The program that is back is not kept twice.
    let gone = format!(
        "wasmount: no version {first} of example.com/disk is kept: `wasmount list` shows which are\n"
    );
    let to_first = node.run(&["rollback", DRIVER, "--to", &first])?;
    assert_eq!(to_first, (String::new(), gone, Some(1)));
    node.run(&["grants", "apply", DRIVER, "grants.toml"])?;
    let (printed, ..) = node.run(&["rollback", DRIVER, "--with-grants"])?;
    let told =
        "rolled back example.com/disk to disk 2.0\n  + [limits]\n  + [limits] memory-mib = 3\n";
    assert!(printed.starts_with(told), "{printed}");
    assert_eq!((component_in_use()?.as_str(), grants()?.contains("memory-mib = 3")), ("2.0", true));
    Ok(())
}

/// Where there is a level to name, it is the node image's and stays the driver's.
#[test]
fn an_image_for_other_machines_says_so() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    for level in Cpu::LEVELS {
        let (_, said, code) = node.install(&["--target-cpu", level, "--grants", "grants.toml"])?;
        assert_eq!((said, code), (format!("compiling disk 1.0 for {level}\n"), Some(0)));
        fs::write(node.path("other.toml"), format!("version = 1\n[state]\n# {level}\n"))?;
        let (printed, ..) = node.run(&["grants", "apply", DRIVER, "other.toml"])?;
        assert!(printed.contains("(another text, which grants the same)"), "{printed}");
        let receipt =
            fs::read_to_string(node.path("plugins/example.com~disk/current/receipt.json"))?;
        assert!(receipt.contains(&format!("\"target_cpu\": \"{level}\"")), "{receipt}");
    }
    Ok(())
}
