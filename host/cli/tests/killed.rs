//! An upgrade that is killed when all of the new version is there and it is not yet in use, and what
//! can be gone back to then.

use std::fs::{self, File};
use std::time::SystemTime;

use anyhow::{Context as _, Result};

mod node;

use node::{Node, STATE, component};

const DRIVER: &str = "example.com/disk";

/// A driver program that kills whoever installs it.
const KILLER: &str = "#!/bin/sh\nkill -KILL $PPID\n";

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

/// One that was killed right after the new version came into use.
#[test]
fn what_was_in_use_for_a_moment_is() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    node.install(&["--grants", "grants.toml"])?;
    bring(&node, "2.0")?;
    node.install(&[])?;
    let current = node.path("plugins/example.com~disk/current");
    let current = File::open(fs::canonicalize(current)?).context("the version in use")?;
    current.set_modified(SystemTime::UNIX_EPOCH)?;
    bring(&node, "3.0")?;
    node.install(&[])?;
    let (printed, ..) = node.run(&["rollback", DRIVER])?;
    assert!(printed.starts_with("rolled back example.com/disk to disk 2.0\n"), "{printed}");
    Ok(())
}
