//! What `wasmount explain` says of a call and what then comes of it, in a way to be compared: the same
//! decisions for the same reasons, the same that the host does by itself, and the same end.

use serde_json::Value;

use crate::{Driver, Node};

/// The host calls of a call, what the host does besides and how it ends, with what differs from
/// one call to the next taken out.
#[derive(Debug, PartialEq, Eq)]
pub struct Decided {
    /// What each asks, whether it is allowed, and why not.
    pub host_calls: Vec<[String; 4]>,
    /// What the host does by itself.
    pub host: Vec<String>,
    /// What kubelet is answered.
    pub reply: Value,
}

impl Decided {
    /// As it is rehearsed.
    pub fn rehearsed(node: &Node, driver: &Driver<'_>, args: &[&str]) -> Self {
        let answer = node.wasmount(&[&["explain", "--json", driver.name()], args].concat());
        assert_eq!(answer.exit, Some(0), "{}: {}", answer.call, answer.stderr);
        let told: Value = serde_json::from_str(&answer.stdout).expect("JSON");
        let (mut host_calls, mut host) = (Vec::new(), Vec::new());
        for operation in told["operations"].as_array().into_iter().flatten() {
            host_calls
                .extend(operation["host_calls"].as_array().into_iter().flatten().map(told_of));
            let acts = operation["host"].as_array().into_iter().flatten();
            host.extend(acts.filter_map(act));
        }
        Self { host_calls, host, reply: without_device(&told["reply"]) }
    }

    /// As it was decided, by the lines of the log.
    pub fn logged(lines: &[Value], reply: &Value) -> Self {
        let of = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
        Self {
            host_calls: of("host-call").map(told_of).collect(),
            host: of("host-act").filter_map(act).collect(),
            reply: without_device(reply),
        }
    }
}

fn act(told: &Value) -> Option<String> {
    told["act"].as_str().map(str::to_owned)
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
