//! An upgrade that is killed when all of the new version is there and it is not yet in use, or when
//! an old one is half removed, and what can be gone back to then.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

mod node;

use node::{Node, STATE, component};

const DRIVER: &str = "example.com/disk";

/// A driver program that kills whoever installs it.
const KILLER: &str = "#!/bin/sh\nkill -KILL $PPID\n";

/// The time of a version that has never been in use, since the epoch.
const NEVER: Duration = Duration::from_secs(1_000_000_000);

/// Brings another component, for `install`.
fn bring(node: &Node, version: &str) -> Result<()> {
    Ok(fs::write(node.path("disk.wasm"), component("disk", version, STATE)?)?)
}

fn versions(node: &Node) -> Result<usize> {
    Ok(fs::read_dir(node.path("plugins/example.com~disk/.versions"))?.count())
}

#[test]
fn what_was_never_in_use_is_not_gone_back_to() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    node.install(&["--grants", "grants.toml"])?;
    let first = node.version()?;
    bring(&node, "2.0")?;
    let driver = fs::read(node.path("driver"))?;
    fs::write(node.path("driver"), KILLER)?;
    assert_eq!(node.install(&[])?.2, None, "it was killed");
    assert_eq!((node.version()?, versions(&node)?), (first.clone(), 2));

    let alone = "wasmount: no version of example.com/disk but the present one is kept\n";
    for more in [&[][..], &["--with-grants"]] {
        let (printed, said, code) = node.run(&[&["rollback", DRIVER], more].concat())?;
        assert_eq!((printed.as_str(), said.as_str(), code), ("", alone, Some(1)));
    }
    let (listed, ..) = node.run(&["list"])?;
    assert!(!listed.contains("kept"), "{listed}");

    // The next change of the driver sweeps it up, and is itself gone back from to the first.
    fs::write(node.path("driver"), driver)?;
    bring(&node, "3.0")?;
    assert_eq!(node.install(&[])?.2, Some(0));
    assert_eq!(versions(&node)?, 2);
    let (printed, said, code) = node.run(&["rollback", DRIVER])?;
    assert_eq!((said.as_str(), code), ("", Some(0)));
    assert!(printed.starts_with("rolled back example.com/disk to disk 1.0\n"), "{printed}");
    Ok(())
}

/// A driver that was upgraded twice, and the directory of the version in between.
fn upgraded() -> Result<Option<(Node, PathBuf)>> {
    let Some(node) = Node::new()? else { return Ok(None) };
    node.install(&["--grants", "grants.toml"])?;
    bring(&node, "2.0")?;
    node.install(&[])?;
    let second = fs::canonicalize(node.path("plugins/example.com~disk/current"))?;
    bring(&node, "3.0")?;
    node.install(&[])?;
    Ok(Some((node, second)))
}

/// As in an image of a node that is built reproducibly.
#[test]
fn a_time_that_many_files_have_says_nothing() -> Result<()> {
    let Some((node, second)) = upgraded()? else { return Ok(()) };
    File::open(&second)?.set_modified(SystemTime::UNIX_EPOCH)?;
    let second = second.file_name().and_then(|name| name.to_str()).context("a name")?;
    let (printed, ..) = node.run(&["rollback", DRIVER, "--to", &second[1..]])?;
    assert!(printed.starts_with("rolled back example.com/disk to disk 2.0\n"), "{printed}");
    Ok(())
}

/// By one who was killed just now, which is the time that it has.
#[test]
fn what_is_half_removed_is_not_gone_back_to_nor_kept() -> Result<()> {
    for more in [&[][..], &["--with-grants"]] {
        let Some((node, second)) = upgraded()? else { return Ok(()) };
        fs::remove_file(second.join("receipt.json"))?;
        let (printed, said, code) = node.run(&[&["rollback", DRIVER], more].concat())?;
        assert_eq!((said.as_str(), code), ("", Some(0)), "{printed}");
        assert!(printed.starts_with("rolled back example.com/disk to disk 1.0\n"), "{printed}");
        assert!(!second.exists(), "another is kept in its place");
    }
    Ok(())
}

/// One that was killed right after the new version came into use.
#[test]
fn what_was_in_use_for_a_moment_is() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    node.install(&["--grants", "grants.toml"])?;
    bring(&node, "2.0")?;
    node.install(&[])?;
    let current = node.path("plugins/example.com~disk/current");
    let current = File::open(fs::canonicalize(current)?).context("the version in use")?;
    current.set_modified(SystemTime::UNIX_EPOCH + NEVER)?;
    bring(&node, "3.0")?;
    node.install(&[])?;
    let (printed, ..) = node.run(&["rollback", DRIVER])?;
    assert!(printed.starts_with("rolled back example.com/disk to disk 2.0\n"), "{printed}");
    Ok(())
}
