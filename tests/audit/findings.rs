//! What `audit` finds, one fixture for each, on a driver that nothing is said of without it; and what
//! `--fail-on` makes of it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use wasmount_tests::{Node, UID, base64, component, options};

use super::audit;
use super::fixtures::{CLEAN, DRIVER, FIXTURES, Fixture, NONE, mode};

#[test]
fn each_finding_is_provoked_by_its_fixture_and_by_nothing_else() {
    if Node::new().is_none() {
        return;
    }
    assert_eq!(NONE.found(), (Vec::new(), [Some(0); 3]), "nothing is to be said of it");
    let wrong: Vec<String> = FIXTURES.iter().filter_map(Fixture::goes_wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Fixture {
    /// What is not as it should be of what is found, if anything: there is exactly what it says.
    fn goes_wrong(&self) -> Option<String> {
        let (found, exits) = self.found();
        let of = |finding: &Value, key: &str| finding[key].as_str().expect("a text").to_owned();
        let is_told = found.iter().any(|finding| {
            of(finding, "id") == self.id
                && of(finding, "severity") == self.severity
                && of(finding, "what").contains(self.what)
        });
        let mut ids: Vec<String> = found.iter().map(|finding| of(finding, "id")).collect();
        ids.sort_unstable();
        let mut expected = [&[self.id], self.and].concat();
        expected.sort_unstable();
        let has = |severity: &str| found.iter().any(|finding| finding["severity"] == severity);
        let (error, warning, note) = (has("error"), has("warning"), has("note"));
        let fails = [error, error || warning, error || warning || note];
        let is_right =
            is_told && ids == expected && exits == fails.map(|fails| Some(i32::from(fails)));
        (!is_right).then(|| format!("{} ({}): {exits:?} {found:#?}", self.id, self.what))
    }

    /// Installs the driver so, and returns what is found and the exit codes with `--fail-on` error,
    /// warning and note.
    fn found(&self) -> (Vec<Value>, [Option<i32>; 3]) {
        let node = Node::new().expect("there was one");
        let grants = self.grants.iter().fold(CLEAN.to_owned(), |grants, (from, to)| {
            assert!(grants.contains(from), "{from}");
            grants.replacen(from, to, 1)
        });
        let trust = trusts(&node);
        let component = signed(&node, self.id != "unsigned");
        let file = node.path("grants.toml");
        fs::write(&file, grants).expect("written");
        let more = ["--grants", &file.display().to_string(), "--trust-dir", &trust];
        let installed = node.installs_file(&component, DRIVER, &more);
        assert_eq!(installed.exit, Some(0), "{}{}", installed.stdout, installed.stderr);
        let driver = node.installed(DRIVER);
        let mut json: Value = serde_json::from_str(&options("vol", "ro", &[])).expect("JSON");
        json["kubernetes.io/secret/password"] = base64(b"correct horse").into();
        let dir = driver.pod_dir(UID, "vol");
        for call in self.calls {
            match *call {
                "mount" => driver.call(&["mount", &dir, &json.to_string()]),
                call => driver.call(&[call, &dir]),
            };
        }
        node.is_idle();
        let version = driver.version();
        (self.plant)(&node, &version);
        let document = audit(&node, &["--format", "json", "--trust-dir", &trust]).json();
        let of_node = document["findings"].as_array().expect("a list");
        let of_driver = document["drivers"][0]["findings"].as_array().expect("a list");
        let found = of_node.iter().chain(of_driver).cloned().collect();
        let exits = ["error", "warning", "note"]
            .map(|severity| audit(&node, &["--fail-on", severity, "--trust-dir", &trust]).exit);
        mode(&node.path("plugins"), 0o755);
        (found, exits)
    }
}

/// The directory of whom the node trusts, with one key. Returns where it is.
fn trusts(node: &Node) -> String {
    let (dir, key) = (node.path("trust"), node.path("vendor"));
    let made = node.wasmount(&["keygen", &key.display().to_string(), "--no-passphrase"]);
    assert_eq!(made.exit, Some(0), "{}", made.stderr);
    fs::create_dir(&dir).expect("made");
    mode(&dir, 0o755);
    fs::copy(key.with_extension("pub"), dir.join("vendor.pub")).expect("copied");
    mode(&dir.join("vendor.pub"), 0o644);
    dir.display().to_string()
}

/// The component, signed by that key or not at all.
fn signed(node: &Node, is: bool) -> PathBuf {
    let file = node.path("secret-files.wasm");
    fs::copy(component("secret-files"), &file).expect("copied");
    if is {
        let key = node.path("vendor.key").display().to_string();
        let signed = node.wasmount(&["sign", &file.display().to_string(), "--key", &key]);
        assert_eq!(signed.exit, Some(0), "{}", signed.stderr);
    }
    file
}
