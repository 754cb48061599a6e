//! What is removed, and what keeps a driver where it is.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use wasmount_cli::usage::{InUse, Left};

use crate::{Node, directory_of, expect_error, nobody};

#[test]
fn uninstalling_removes_all_that_was_installed() -> Result<()> {
    let node = Node::new()?;
    node.install("one")?;
    node.install("two")?;
    node.uninstall(&nobody)?;
    assert_eq!(node.tree()?, BTreeMap::new());
    Ok(())
}

#[test]
fn a_driver_in_use_stays() -> Result<()> {
    let node = Node::new()?;
    node.install("one")?;
    let before = node.tree()?;
    let volume = |name: &str, how: &[&str]| InUse {
        volume: name.to_owned(),
        how: how.iter().map(|how| (*how).to_owned()).collect(),
        left: Left::Nothing,
    };
    let one = || Ok(vec![volume("pv-1", &["mounted at /a", "attached as device 7:3"])]);
    expect_error(
        node.uninstall(&one),
        "a volume of example.com/disk is in use\n  pv-1: mounted at /a, attached as device 7:3\n\
         remove the pods and volumes that use the driver, or take them down with `wasmount \
         call`, then try again",
    )?;
    assert_eq!(node.tree()?, before);

    // What interrupted calls left is for another command.
    let left = |name: &str, left| InUse { left, ..volume(name, &["mounted at /a"]) };
    expect_error(
        node.uninstall(&|| Ok(vec![left("pv-1", Left::All)])),
        "a volume of example.com/disk is in use\n  pv-1: mounted at /a\nthat is on record only, \
         left by calls that were interrupted; settle it with `wasmount recover example.com/disk \
         --yes`, then try again",
    )?;
    expect_error(
        node.uninstall(&|| Ok(vec![left("pv-1", Left::All), left("pv-2", Left::Nothing)])),
        "2 volumes of example.com/disk are in use\n  pv-1: mounted at /a\n  pv-2: mounted at /a\n\
         remove the pods and volumes that use the driver, or take them down with `wasmount \
         call`, then try again; what interrupted calls left of pv-1 is settled with `wasmount \
         recover example.com/disk --yes`",
    )?;
    assert_eq!(node.tree()?, before);

    // One that came into use while the driver was being closed.
    let asked = std::cell::Cell::new(0);
    let later = || {
        asked.set(asked.get() + 1);
        if asked.get() == 1 {
            return Ok(Vec::new());
        }
        assert!(!node.at("example.com~disk/disk").exists(), "nobody can call it any more");
        Ok(vec![volume("pv-1", &["mounted at /a"]), volume("pv-2", &["given to node n"])])
    };
    expect_error(
        node.uninstall(&later),
        "2 volumes of example.com/disk are in use\n  pv-1: mounted at /a\n  pv-2: given to node n\n\
         remove the pods and volumes that use the driver, or take them down with `wasmount \
         call`, then try again",
    )?;
    assert_eq!(node.tree()?, before);
    Ok(())
}

#[test]
fn a_driver_that_is_running_stays() -> Result<()> {
    let node = Node::new()?;
    node.install("one")?;
    let program = node.at("example.com~disk/current/wasmount-driver");
    fs::copy("/bin/sleep", &program)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let before = node.tree()?;
    let mut call = Command::new(node.at("example.com~disk/disk"))
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .context("running a copy of /bin/sleep")?;
    let refused = node.uninstall(&nobody);
    call.kill()?;
    call.wait()?;
    expect_error(
        refused,
        &format!(
            "a call of the driver is still running (process {}) after 0 s; find out what it \
             waits for, then try again",
            call.id()
        ),
    )?;
    assert_eq!(node.tree()?, before);
    node.uninstall(&nobody)
}

/// A call that has locked its version is in it, though nothing is seen of what it runs.
#[test]
fn a_version_that_is_held_stays() -> Result<()> {
    let node = Node::new()?;
    for (is_older, held) in [(false, ".lock"), (true, "")] {
        node.install("one")?;
        if is_older {
            node.make_older("one")?;
        }
        let before = node.tree()?;
        let call = node.hold("one", held)?;
        expect_error(
            node.uninstall(&nobody),
            "a call of the driver is still running after 0 s; find out what it waits for, then try \
             again",
        )?;
        assert_eq!(node.tree()?, before);
        drop(call);
        node.uninstall(&nobody)?;
    }
    // Whoever holds the directory of one that has the file is in no call.
    node.install("one")?;
    let _stranger = node.hold("one", "")?;
    node.uninstall(&nobody)
}

#[test]
fn what_is_unknown_is_never_removed() -> Result<()> {
    let node = Node::new()?;
    let version = format!("example.com~disk/.versions/{}", directory_of("one"));
    for (unknown, makes_directory) in [
        ("example.com~disk/notes".to_owned(), false),
        ("example.com~disk/.versions/notes".to_owned(), true),
        (format!("{version}/notes"), false),
    ] {
        node.install("one")?;
        let path = node.at(&unknown);
        if makes_directory {
            fs::create_dir(&path)?;
        } else {
            fs::write(&path, "mine")?;
        }
        let before = node.tree()?;
        expect_error(
            node.uninstall(&nobody),
            &format!("{} is not of wasmount's making; move it away", path.display()),
        )?;
        assert_eq!(node.tree()?, before);
        if makes_directory {
            fs::remove_dir(&path)?
        } else {
            fs::remove_file(&path)?
        }
        node.uninstall(&nobody)?;
    }
    Ok(())
}

#[test]
fn an_uninstallation_that_was_cut_short_is_finished() -> Result<()> {
    let node = Node::new()?;
    node.install("one")?;
    fs::remove_file(node.at("example.com~disk/disk"))?;
    fs::remove_file(node.at("example.com~disk/current"))?;
    fs::remove_file(
        node.at("example.com~disk/.versions").join(directory_of("one")).join("receipt.json"),
    )?;
    node.uninstall(&nobody)?;
    assert_eq!(node.tree()?, BTreeMap::new());
    Ok(())
}
