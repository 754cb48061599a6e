//! The audit log's chain where it is rotated: by calls of real processes, many at once, whichever of
//! them finds the file full. Nothing of what they did is lost, and the chain goes on in the next file.

use std::fs;
use std::path::Path;

use serde_json::json;
use wasmount_core::audit::{Audit, rotated};
use wasmount_tests::{LOOP_IMAGE_GRANTS, Node, Running, options};

const NAME: &str = "example.com/loop-image";
const TILDE: &str = "example.com~loop-image";

/// As long as a file of the log gets.
const FULL: u64 = 16 * 1024 * 1024;

/// How much of a line is filling: less than what a line may have.
const FILLING: usize = 30_000;

/// How many calls are made at once, and how often.
const MANY: usize = 8;
const ROUNDS: usize = 4;

/// Fills the file up to the last few lines, as calls of the driver would.
fn fill(node: &Node, log: &Path) {
    let length = || fs::metadata(log).map_or(0, |metadata| metadata.len());
    let add = |length: usize| {
        let mut audit = Audit::new(&node.path("log"), &node.path("data"), TILDE);
        audit.line("filling", json!({ "text": "x".repeat(length) }));
        audit.flush_last();
    };
    while length() + 2 * (FILLING as u64) < FULL {
        add(FILLING);
    }
    while length() + 4000 < FULL {
        add(1000);
    }
}

#[test]
fn calls_at_once_rotate_the_log_and_keep_its_chain() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "32Mi")]);
    driver.call(&["attach", &json, "node-1"]).success();
    node.is_idle();
    let log = node.path("log").join(format!("{TILDE}.jsonl"));
    fill(&node, &log);
    assert!(!rotated(&log, 1).exists());
    for _ in 0..ROUNDS {
        let call = || driver.start(&["isattached", &json, "node-1"]);
        let calls: Vec<Running> = (0..MANY).map(|_| call()).collect();
        calls.into_iter().for_each(|call| drop(call.answer_at_last().success()));
    }
    driver.has_a_whole_log();
    assert!(!rotated(&log, 2).exists(), "it was rotated twice");
    let replies = |path: &Path| {
        let text = fs::read_to_string(path).expect("a file of the log");
        let is_reply = |line: &&str| {
            line.contains(r#""kind":"reply""#) && line.contains(r#""operation":"isattached""#)
        };
        text.lines().filter(is_reply).count()
    };
    let (older, newer) = (replies(&rotated(&log, 1)), replies(&log));
    assert!(older > 0 && newer > 0, "{older} {newer}");
    assert_eq!(older + newer, MANY * ROUNDS);
    // Of all that, one file is taken away.
    fs::remove_file(rotated(&log, 1)).expect("removed");
    let verified = std::process::Command::new(wasmount_tests::program("wasmount"))
        .args(["log", "verify", NAME, "--plugin-dir"])
        .arg(node.path("plugins"))
        .output()
        .expect("wasmount");
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(said.contains("the beginning of the log was removed"), "{said}");
    driver.call(&["detach", "pv-1", "node-1"]).success();
    node.is_clean();
}
