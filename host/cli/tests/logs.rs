//! The logs of several drivers, one of which is broken, and of one that was never called.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::json;
use wasmount_core::audit::Audit;

mod node;

use node::Node;

/// Of `example.com/disk`, whose receipt is none.
const LEFT_OUT: &str = "warning: example.com/disk is left out: nothing tells where the driver's \
    log is; name the directory with --log-dir (/var/log/wasmount unless it was installed \
    otherwise): $NODE/plugins/example.com~disk/.versions/.$BROKEN/receipt.json cannot be used: ";

/// The receipt of `example.com/disk`; what it was is beside the plugin directory.
const RECEIPT: &str = "plugins/example.com~disk/current/receipt.json";

/// What is said last.
const LEFT: &str = "wasmount: 1 driver was left out, as its log cannot be found or read\n";

/// With `example.com/other`, which is in order, and `example.com/disk`.
fn node() -> Result<Option<Node>> {
    let Some(node) = Node::new()? else { return Ok(None) };
    let at = |name: &str| node.path(name).display().to_string();
    let (logs, data) = (at("log"), at("data"));
    node.install(&["--log-dir", &logs])?;
    let mut other = vec!["install", "disk.wasm", "--driver", "example.com/other", "--no-grants"];
    other.extend(["--allow-unsigned", "--node-name", "node-1", "--driver-binary", "driver"]);
    other.extend(["--log-dir", &logs, "--data-dir", &data]);
    assert_eq!(node.run(&other)?.2, Some(0));
    fs::rename(node.path(RECEIPT), node.path("receipt.json"))?;
    fs::write(node.path(RECEIPT), "{}")?;
    for driver in ["example.com~disk", "example.com~other"] {
        fs::create_dir_all(node.path("data").join(driver))?;
    }
    Ok(Some(node))
}

/// A call of `example.com/other`.
fn call(node: &Node) {
    call_of("example.com~other", node);
}

fn call_of(driver: &str, node: &Node) {
    let mut audit = Audit::new(&node.path("log"), &node.path("data"), driver);
    audit.line("reply", json!({ "status": "Success", "operation": "unmount" }));
    audit.flush_last();
}

#[test]
fn a_broken_driver_keeps_nobody_from_the_others_logs() -> Result<()> {
    let Some(node) = node()? else { return Ok(()) };
    call(&node);
    let left_out = LEFT_OUT.replace("$BROKEN", &node.version()?);
    for (arguments, shown) in [
        (&["log"][..], "  unmount "),
        (&["log", "verify"], "example.com/other: in order\n  entries  0 to 0, "),
        (&["log", "verify", "--json"], "\"left-out\": [\n    \"example.com/disk\"\n  ]"),
        (&["log", "verify", "--json"], "\"ok\": false"),
        (&["log", "head"], "\"driver\": \"example.com/other\""),
    ] {
        let (printed, said, code) = node.run(arguments)?;
        assert!(printed.contains(shown), "{arguments:?}: {printed}");
        assert!(said.starts_with(&left_out) && said.ends_with(LEFT), "{arguments:?}: {said}");
        assert_eq!(code, Some(1), "{arguments:?}");
    }
    // By its name, it is all that there is to say.
    let (printed, said, code) = node.run(&["log", "verify", "example.com/disk"])?;
    assert!(said.starts_with("wasmount: nothing tells where the driver's log is; "), "{said}");
    assert_eq!((printed.as_str(), code), ("", Some(1)));
    // Nor is it taken for one that went away.
    let (document, ..) = node.run(&["log", "head"])?;
    let document = document.replace("example.com/other", "example.com/disk");
    fs::write(node.path("head.json"), document)?;
    let (printed, ..) = node.run(&["log", "verify", "--head", "head.json"])?;
    assert!(!printed.contains("the driver is not there"), "{printed}");
    Ok(())
}

#[test]
fn a_log_that_is_not_there_is_not_in_order() -> Result<()> {
    let Some(node) = node()? else { return Ok(()) };
    let verify = ["log", "verify", "example.com/other"];
    let none = "example.com/other: no log\n  entries  none in $NODE/log/example.com~other.jsonl, and \
                no head: no call was ever logged, or both were removed\n";
    assert_eq!(node.run(&verify)?, (none.to_owned(), String::new(), Some(0)));
    call(&node);
    let (printed, ..) = node.run(&verify)?;
    assert!(printed.starts_with("example.com/other: in order\n"), "{printed}");
    Ok(())
}

/// What is followed is wanted until somebody stops it.
#[test]
fn what_is_left_out_is_followed_as_soon_as_it_can_be_read() -> Result<()> {
    let Some(node) = node()? else { return Ok(()) };
    let log = node.path("log/example.com~other.jsonl");
    let hide = || {
        fs::rename(&log, node.path("aside"))?;
        symlink(&log, &log)
    };
    let show = || fs::rename(node.path("aside"), &log);
    call(&node);
    // Nothing can be read, to begin with.
    hide()?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_wasmount"))
        .args(["log", "--follow", "--plugin-dir"])
        .arg(node.path("plugins"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut told = BufReader::new(child.stdout.take().context("it is piped")?).lines();
    let mut tells = |driver: &str| -> Result<()> {
        let line = told.next().context("a line")??;
        assert!(line.contains(&format!("  {driver} ")), "{line}");
        Ok(())
    };
    let mut said = BufReader::new(child.stderr.take().context("it is piped")?).lines();
    let mut warns = |driver: &str| -> Result<()> {
        let line = said.next().context("a line")??;
        assert!(line.starts_with(&format!("warning: {driver} is left out: ")), "{line}");
        Ok(())
    };
    warns("example.com/disk")?;
    warns("example.com/other")?;
    show()?;
    tells("example.com/other")?;

    // Nor is it later; and what was told is not told again.
    hide()?;
    warns("example.com/other")?;
    call_of("example.com~disk", &node);
    fs::rename(node.path("receipt.json"), node.path(RECEIPT))?;
    tells("example.com/disk")?;
    show()?;
    call(&node);
    tells("example.com/other")?;
    call_of("example.com~disk", &node);
    tells("example.com/disk")?;
    child.kill()?;
    child.wait()?;
    Ok(())
}
