//! A component that asks for so much that the log has no room for what it does then: that it did so is
//! told, and nothing that it may need is said to be of no use.

use serde_json::{Value, json};
use wasmount_tests::{Node, UID, base64, options};

use super::{document, is_valid, review};

const GRANTS: &str = r#"
version = 1
[reply]
failure-exit-code = 0
[state]
[[secrets]]
key = "password"
uses = ["file", "reveal"]
[mounts.tmpfs]
"#;

#[test]
fn what_a_component_does_after_much_noise_is_told() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let mount = |volume: &str, user: &[(&str, &str)]| {
        driver.call(&["mount", &driver.pod_dir(UID, volume), &options(volume, "rw", user)])
    };
    let password = base64(b"correct horse");
    mount("noisy", &[("do", "flood"), ("kubernetes.io/secret/password", &password)]).success();
    // A volume without a secret is no want of a grant.
    let plain = mount("plain", &[("do", "call"), ("call", "secrets.open")]);
    assert!(plain.stdout.contains("[no-secret]"), "{}", plain.stdout);
    for volume in ["noisy", "plain"] {
        driver.call(&["unmount", &driver.pod_dir(UID, volume)]).success();
    }
    node.is_idle();

    is_valid(&document(&node), "../docs/audit.schema.json");
    let review = review(&node, driver.name());
    let row = |name: &str| -> &Value {
        let rows = review["capabilities"].as_array().expect("a list");
        rows.iter().find(|row| row["capability"] == name).expect(name)
    };
    // Each key was opened and read three times, and the log has the first of each.
    assert_eq!(row("secrets")["used"]["count"], 6);
    assert_eq!(row("secrets")["used"]["omitted"], 4);
    assert_eq!(row("secrets")["used"]["parameters"], json!({ "keys": ["password (reveal)"] }));
    let findings: Vec<(&str, &str, &str)> = review["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|found| {
            let text = |key: &str| found[key].as_str().expect("a text");
            (text("id"), text("severity"), text("what"))
        })
        .collect();
    let says = |id: &str, severity: &str, what: &str| {
        findings.iter().any(|found| found.0 == id && found.1 == severity && found.2.contains(what))
    };
    assert!(says("log-incomplete", "warning", "secret.reveal 2"), "{findings:#?}");
    assert!(says("use-denied", "warning", "images.open was refused"), "{findings:#?}");
    assert!(says("use-not-possible", "note", "secrets.open was refused once"), "{findings:#?}");
    assert!(says("grant-unused", "note", "[state]"), "{findings:#?}");
    assert!(!says("grant-unused", "note", "[[secrets]]"), "{findings:#?}");

    let log = driver.log();
    let reply = log.iter().find(|line| line.get("omitted").is_some()).expect("it is counted");
    let id = reply["call"].as_str().expect("an id");
    let told = node.wasmount(&["log", driver.name(), "--call", id]);
    assert!(told.stdout.contains("secret.reveal 2 (allowed)"), "{}{}", told.stdout, told.stderr);
    let plugins = node.path("plugins").display().to_string();
    let suggests = ["grants", "suggest", driver.name(), "--toml", "--plugin-dir", &plugins];
    let suggested = node.wasmount(&suggests);
    let secrets = "[[secrets]]\nkey = \"password\"\nuses = [\"reveal\"]\n";
    assert!(suggested.stdout.contains(secrets), "{}{}", suggested.stdout, suggested.stderr);
    node.is_clean();
}
