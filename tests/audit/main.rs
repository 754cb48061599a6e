//! `wasmount audit` after the calls of a pod's life: what is requested, granted and used of both
//! plugins, in each of its formats, each held to its schema; and what a vendor writes is text in all.

mod browser;
mod findings;
mod flood;
mod hostile;
mod life;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use wasmount_tests::{Answer, Node, program};

use life::Life;

/// `wasmount audit`, with what is asked for.
fn audit(node: &Node, more: &[&str]) -> Answer {
    let plugins = node.path("plugins").display().to_string();
    node.wasmount(&[&["audit", "--plugin-dir", &plugins], more].concat())
}

/// What it prints as JSON.
fn document(node: &Node) -> Value {
    let answer = audit(node, &["--format", "json"]);
    assert_eq!((answer.exit, answer.stderr.as_str()), (Some(0), ""));
    answer.json()
}

/// One driver of it.
fn review(node: &Node, driver: &str) -> Value {
    let document = document(node);
    let drivers = document["drivers"].as_array().expect("a list");
    drivers.iter().find(|review| review["driver"] == driver).expect("reviewed").clone()
}

/// Fails unless a document is what a schema of ours or of somebody else's says.
fn is_valid(document: &Value, schema: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(schema);
    // SARIF's has a bracket too many in the pattern of languages, which makes it no pattern.
    let schema = fs::read_to_string(path).expect("a schema").replace("{2}]?$\"", "{2}$\"");
    let schema = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
}

/// As in `wasmount audit --fail-on note | head -1`.
#[test]
fn what_is_found_decides_though_nobody_reads_on() {
    let Some(node) = Node::new() else { return };
    node.install("hello", "version = 1\n[mounts.tmpfs]\n");
    for (severity, exit) in [(&["--fail-on", "note"][..], 1), (&[], 0)] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut audit = Command::new(program("wasmount"));
        audit.arg("audit").arg("--plugin-dir").arg(node.path("plugins")).args(severity);
        let status = audit.stdout(writer).stderr(Stdio::null()).status().expect("wasmount runs");
        assert_eq!(status.code(), Some(exit));
    }
}

#[test]
fn what_is_requested_granted_and_used_is_told_side_by_side() {
    let Some(node) = Node::new() else { return };
    let life = Life::of_a_pod(&node);
    let review = review(&node, "example.com/loop-image");
    let rows = review["capabilities"].as_array().expect("a list");
    let row = |name: &str| rows.iter().find(|row| row["capability"] == name).expect(name);
    let format = row("filesystems.format");
    assert_eq!(format["super-privileged"], true);
    assert_eq!(format["granted"]["types"], serde_json::json!(["btrfs", "ext4", "xfs"]));
    assert_eq!(format["used"]["parameters"]["types"], serde_json::json!(["ext4"]));
    assert_eq!(format["used"]["count"], 1);
    assert_eq!(format["used"]["volumes"], serde_json::json!([life.volume]));
    assert_eq!(format["used"]["operations"], serde_json::json!(["mountdevice"]));
    assert_eq!(row("mounts.bind")["super-privileged"], false);
    assert_eq!(row("images.grow")["used"], Value::Null);
    let denials = review["denials"].as_array().expect("a list");
    assert_eq!(denials.len(), 1, "{denials:?}");
    assert_eq!(denials[0]["function"], "images.open");
    assert_eq!(denials[0]["volumes"], serde_json::json!([life.refused]));
}

#[test]
fn each_format_is_what_its_schema_says() {
    let Some(node) = Node::new() else { return };
    Life::of_a_pod(&node);
    is_valid(&document(&node), "../docs/audit.schema.json");
    let sarif = audit(&node, &["--format", "sarif"]).json();
    is_valid(&sarif, "schemas/sarif-2.1.0.json");
    let results = sarif["runs"][0]["results"].as_array().expect("a list");
    assert!(results.iter().any(|result| result["ruleId"] == "use-denied"), "{sarif}");
    // Where nothing can be read any more it is valid, too.
    fs::remove_file(node.path("plugins/example.com~loop-image/current")).expect("a link");
    is_valid(&document(&node), "../docs/audit.schema.json");
    is_valid(&audit(&node, &["--format", "sarif"]).json(), "schemas/sarif-2.1.0.json");
}

#[test]
fn a_terminal_is_shown_the_table_and_what_to_look_at() {
    let Some(node) = Node::new() else { return };
    Life::of_a_pod(&node);
    let text = audit(&node, &["example.com/loop-image"]).stdout;
    for line in [
        "example.com/loop-image: loop-image 0.1.0, Attachable block volumes from image files",
        "CAPABILITY            REQUESTED",
        "filesystems.format !  yes",
        "! reaches further than others, and is never given without being named",
        "warning  images.open was refused once",
        "  signed     by nobody, which was allowed",
        "reviewed 1 driver: 0 errors, ",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
}
