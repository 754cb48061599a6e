//! `wasmount audit` after the calls of a pod's life: what is requested, granted and used of both
//! plugins, in each of its formats, each held to its schema; and what a vendor writes is text in all.

mod browser;
mod findings;
mod fixtures;
mod flood;
mod hostile;
mod ids;
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

/// What is no document of ours, by where in it: another word, or one too many.
const WRONG: &[(&str, &str)] = &[
    ("/version", "2"),
    ("/made-at", "\"yesterday\""),
    ("/drivers/0/findings/0/id", "\"heard-of-by-nobody\""),
    ("/drivers/0/findings/0/severity", "\"fatal\""),
    ("/drivers/0/capabilities/0/capability", "\"images.delete\""),
    ("/drivers/0/capabilities/0/used/operations/0", "\"reboot\""),
    ("/drivers/0/capabilities/0/requested/functions/0", "\"rm -rf\""),
    ("/drivers/0/capabilities/0/granted/origin", "\"heaven\""),
    ("/drivers/0/capabilities/0/granted/origins/names", "\"heaven\""),
    ("/drivers/0/capabilities/0/granted/parameters", "{\"shell\": [\"sh\"]}"),
    ("/drivers/0/denials/0/function", "\"\""),
    ("/drivers/0/installed/grants-origin", "null"),
    ("/drivers/0/known", "{}"),
    ("/drivers/0/settings/0/value", "1"),
];

#[test]
fn the_schema_refuses_what_is_no_such_document() {
    let Some(node) = Node::new() else { return };
    Life::of_a_pod(&node);
    let document = document(&node);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/audit.schema.json");
    let schema = serde_json::from_slice(&fs::read(path).expect("a schema")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    assert!(validator.is_valid(&document));
    for (place, wrong) in WRONG {
        let mut document = document.clone();
        let value = document.pointer_mut(place).expect(place);
        *value = serde_json::from_str(wrong).expect("JSON");
        assert!(!validator.is_valid(&document), "{place} can be {wrong}");
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
    let types = serde_json::json!(["btrfs", "ext4", "xfs"]);
    assert_eq!(format["granted"]["parameters"]["types"], types);
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
    let denied = results.iter().find(|result| result["ruleId"] == "use-denied").expect("denied");
    let location = &denied["locations"][0];
    let file = &location["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(file, "example.com~loop-image/current/receipt.json");
    assert_eq!(location["logicalLocations"][0]["fullyQualifiedName"], "example.com/loop-image");
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
        "  settings   isolation available (default)",
        "             [limits] memory-mib 64 (default)",
        ", in mountdevice, for pv-1",
        "reviewed 1 driver: 0 errors, ",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
}

#[test]
fn each_grant_says_where_it_is_from() {
    let Some(node) = Node::new() else { return };
    let accept = ["--accept-requested", "--with", "reply.failure-exit-code=0"];
    let plugin = wasmount_tests::component("secret-files");
    let installed = node.installs_file(&plugin, "example.com/accepted", &accept);
    assert_eq!(installed.exit, Some(0), "{}", installed.stderr);
    // An upgrade keeps them, and what they are.
    let upgraded = node.installs_file(&plugin, "example.com/accepted", &["--node-only"]);
    assert_eq!(upgraded.exit, Some(0), "{}", upgraded.stderr);
    node.install_as(
        "secret-files",
        "example.com/written",
        "version = 1\n[mounts.tmpfs]\nmax-files = 4\n[limits]\ncpu-seconds = 5\n",
    );
    let origins = |driver: &str| {
        let review = review(&node, driver);
        let rows = review["capabilities"].as_array().expect("a list");
        let tmpfs = rows.iter().find(|row| row["capability"] == "mounts.tmpfs").expect("granted");
        let settings = review["settings"].as_array().expect("a list").iter();
        let settings: Vec<String> = settings
            .map(|one| format!("{}: {}", one["key"].as_str().expect("a key"), one["origin"]))
            .collect();
        (review["installed"]["grants-origin"].clone(), tmpfs["granted"].clone(), settings)
    };
    let (text, tmpfs, settings) = origins("example.com/accepted");
    assert_eq!(text, "accepted");
    assert_eq!(tmpfs["origin"], "accepted");
    assert_eq!(
        tmpfs["origins"],
        serde_json::json!({"max-size": "accepted", "max-files": "accepted"})
    );
    assert!(
        settings.contains(&"[reply] failure-exit-code: \"operator\"".to_owned()),
        "{settings:?}"
    );
    let (text, tmpfs, settings) = origins("example.com/written");
    assert_eq!(text, "file");
    assert_eq!(tmpfs["origin"], "file");
    assert_eq!(tmpfs["origins"], serde_json::json!({"max-size": "default", "max-files": "file"}));
    for origin in [
        "isolation: \"default\"",
        "[limits] memory-mib: \"default\"",
        "[limits] cpu-seconds: \"file\"",
    ] {
        assert!(settings.iter().any(|setting| setting == origin), "{origin}: {settings:?}");
    }
    let text = audit(&node, &["example.com/written"]).stdout;
    assert!(text.contains("1Mi (default)"), "{text}");
    let text = audit(&node, &["example.com/accepted"]).stdout;
    assert!(text.contains("yes (as asked)"), "{text}");
    assert!(text.contains("  grants     what was granted before, as its manifest asked"), "{text}");
}

#[test]
fn what_ought_to_be_a_secret_is_in_no_format() {
    let Some(node) = Node::new() else { return };
    node.install("secret-files", "version = 1\n[config]\napi-token = \"hunter2\"\n");
    for format in ["text", "json", "sarif", "html"] {
        let shown = audit(&node, &["--format", format]).stdout;
        assert!(shown.contains("api-token"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

/// What cannot be read is neither granted nor not.
#[test]
fn what_cannot_be_read_is_not_known() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("secret-files", &life::shipped("secret-files"));
    let path = driver.version().join("grants.toml");
    let grants = fs::read_to_string(&path).expect("grants");
    fs::write(&path, format!("{grants}[state]\n")).expect("written");
    let review = review(&node, "example.com/secret-files");
    let known = serde_json::json!({"requested": true, "granted": false, "used": true});
    assert_eq!(review["known"], known);
    let text = audit(&node, &[]).stdout;
    assert!(text.contains("secrets       yes        not known  never"), "{text}");
    let page = audit(&node, &["--format", "html"]).stdout;
    assert!(page.contains("<td>not known</td>"), "{page}");
    assert!(!page.contains("<svg"), "{page}");
}
