//! What `wasmount explain` says of a case before it is tried: the same decisions for the same reasons as
//! then, and the node as before.

use serde_json::Value;
use wasmount_tests::{Driver, Node};

/// The host calls of a call and how it ends, with what differs from one call to the next taken out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    host_calls: Vec<[String; 4]>,
    reply: Value,
}

impl Decided {
    /// As it is rehearsed.
    pub(crate) fn rehearsed(node: &Node, driver: &Driver<'_>, args: &[String]) -> Self {
        let own: Vec<&str> = args.iter().map(String::as_str).collect();
        let answer = node.wasmount(&[&["explain", "--json", driver.name()], &own[..]].concat());
        assert_eq!(answer.exit, Some(0), "{}: {}", answer.call, answer.stderr);
        let told: Value = serde_json::from_str(&answer.stdout).expect("JSON");
        let operations = told["operations"].as_array().into_iter().flatten();
        let host_calls = operations.flat_map(|operation| operation["host_calls"].as_array());
        Self {
            host_calls: host_calls.flatten().map(told_of).collect(),
            reply: without_device(&told["reply"]),
        }
    }

    /// As it was decided.
    pub(crate) fn logged(lines: &[Value], reply: &Value) -> Self {
        let host_calls = lines.iter().filter(|line| line["kind"] == "host-call");
        Self { host_calls: host_calls.map(told_of).collect(), reply: without_device(reply) }
    }
}

fn told_of(host_call: &Value) -> [String; 4] {
    ["request", "decision", "reason", "message"].map(|key| match &host_call[key] {
        Value::String(text) => numbered(text),
        other => numbered(&other.to_string()),
    })
}

fn without_device(reply: &Value) -> Value {
    serde_json::from_str(&numbered(&reply.to_string())).expect("JSON")
}

/// Which loop device it is does not matter.
fn numbered(text: &str) -> String {
    let mut parts = text.split("/dev/loop");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest.fold(first, |text, part| text + "/dev/loop{n}" + part)
}
