//! What `audit` finds, one fixture for each, on a driver that nothing is said of without it; and what
//! `--fail-on` makes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use wasmount_tests::{Node, UID, base64, options};

use super::{audit, review};

/// A driver of which there is nothing to say.
const CLEAN: &str = r#"
version = 1
isolation = "full"
[reply]
failure-exit-code = 0
[[secrets]]
key = "password"
uses = ["file"]
[mounts.tmpfs]
max-size = "1Mi"
max-files = 4
"#;

/// The volume's life that all of its grants are used in.
const USED: &[&str] = &["mount", "unmount"];

/// A finding and what it takes.
struct Fixture {
    id: &'static str,
    severity: &'static str,
    /// What it says, or part of it.
    what: &'static str,
    /// What is changed in the grants.
    grants: &'static [(&'static str, &'static str)],
    calls: &'static [&'static str],
    /// What is done to the node, whose driver's version is the path.
    plant: fn(&Node, &Path),
}

const NOTHING: fn(&Node, &Path) = |_, _| ();

const FIXTURES: &[Fixture] = &[
    Fixture {
        id: "secrets-logged",
        severity: "warning",
        what: "secrets are granted, and [reply] failure-exit-code is 1",
        grants: &[("failure-exit-code = 0", "failure-exit-code = 1")],
        calls: USED,
        plant: NOTHING,
    },
    Fixture {
        id: "pattern-wide",
        severity: "note",
        what: "[[secrets]] key = \"*\" fits every key like it",
        grants: &[("key = \"password\"", "key = \"*\"")],
        calls: USED,
        plant: NOTHING,
    },
    Fixture {
        id: "secret-revealed",
        severity: "note",
        what: "the component is shown the value of the secret's key \"password\"",
        grants: &[("uses = [\"file\"]", "uses = [\"file\", \"reveal\"]")],
        calls: USED,
        plant: NOTHING,
    },
    Fixture {
        id: "grant-wider-than-request",
        severity: "warning",
        what: "[mounts.tmpfs] gives max-files 1000, and the component asks for ",
        grants: &[("max-files = 4", "max-files = 1000")],
        calls: USED,
        plant: NOTHING,
    },
    Fixture {
        id: "grant-beyond-request",
        severity: "warning",
        what: "[state] is granted, and the component has no use for it",
        grants: &[("[reply]", "[state]\n[reply]")],
        calls: USED,
        plant: NOTHING,
    },
    Fixture {
        id: "grant-missing",
        severity: "note",
        what: "mounts-tmpfs.create will be refused in every call",
        grants: &[("[mounts.tmpfs]\nmax-size = \"1Mi\"\nmax-files = 4\n", "")],
        calls: USED,
        plant: NOTHING,
    },
    Fixture {
        id: "grant-unused",
        severity: "note",
        what: "[mounts.tmpfs] was never used in 1 calls since ",
        grants: &[],
        calls: &["unmount"],
        plant: NOTHING,
    },
    Fixture {
        id: "use-denied",
        severity: "warning",
        what: "secrets.open was refused once",
        grants: &[("key = \"password\"", "key = \"username\"")],
        calls: USED,
        plant: NOTHING,
    },
    Fixture {
        id: "setting-secretive",
        severity: "warning",
        what: "[config] has a setting called \"api-token\"",
        grants: &[("[reply]", "[config]\napi-token = \"x\"\n[reply]")],
        calls: USED,
        plant: NOTHING,
    },
    Fixture {
        id: "isolation-not-demanded",
        severity: "note",
        what: "the grants do not demand all of the wall",
        grants: &[("isolation = \"full\"\n", "")],
        calls: USED,
        plant: NOTHING,
    },
    Fixture {
        id: "file-changed",
        severity: "error",
        what: "/grants.toml was changed after installation",
        grants: &[],
        calls: USED,
        plant: |_, version| append(&version.join("grants.toml"), b"[state]\n"),
    },
    Fixture {
        id: "file-changed",
        severity: "error",
        what: "/component.wasm was changed after installation",
        grants: &[],
        calls: USED,
        plant: |_, version| append(&version.join("component.wasm"), b"\0"),
    },
    Fixture {
        id: "file-writable",
        severity: "error",
        what: "/component.cwasm can be written to by others than its owner (mode 666)",
        grants: &[],
        calls: USED,
        plant: |_, version| mode(&version.join("component.cwasm"), 0o666),
    },
    Fixture {
        id: "file-missing",
        severity: "error",
        what: "/component.cwasm is missing",
        grants: &[],
        calls: USED,
        plant: |_, version| fs::remove_file(version.join("component.cwasm")).expect("removed"),
    },
    Fixture {
        id: "directory-writable",
        severity: "error",
        what: "the data directory ",
        grants: &[],
        calls: USED,
        plant: |node, _| mode(&node.path("data"), 0o777),
    },
    Fixture {
        id: "plugin-directory-writable",
        severity: "error",
        what: "/plugins can be changed by others than root",
        grants: &[],
        calls: USED,
        plant: |node, _| mode(&node.path("plugins"), 0o777),
    },
    Fixture {
        id: "log-broken",
        severity: "error",
        what: "the audit log is not in order: ",
        grants: &[],
        calls: USED,
        plant: |node, _| {
            let log = node.path("log/example.com~secret-files.jsonl");
            let text = fs::read_to_string(&log).expect("a log");
            fs::write(&log, text.replacen("mount", "moumt", 1)).expect("written");
        },
    },
    Fixture {
        id: "driver-unusable",
        severity: "error",
        what: "current is not a link to a version",
        grants: &[],
        calls: USED,
        plant: |node, _| {
            fs::remove_file(node.path("plugins/example.com~secret-files/current"))
                .expect("removed");
        },
    },
];

#[test]
fn each_finding_is_provoked_by_its_fixture_and_by_nothing_else() {
    if Node::new().is_none() {
        return;
    }
    let clean = Fixture {
        id: "none",
        severity: "none",
        what: "",
        grants: &[],
        calls: USED,
        plant: NOTHING,
    };
    assert_eq!(clean.found(), (Vec::new(), [Some(0); 3]), "nothing is to be said of it");
    for fixture in FIXTURES {
        let (found, exits) = fixture.found();
        let is = |finding: &&Value| {
            finding["id"] == fixture.id
                && finding["what"].as_str().is_some_and(|what| what.contains(fixture.what))
        };
        let finding = found
            .iter()
            .find(is)
            .unwrap_or_else(|| panic!("{} ({}) is not among {found:#?}", fixture.id, fixture.what));
        assert_eq!(finding["severity"], fixture.severity, "{}", fixture.id);
        let has = |severity: &str| found.iter().any(|finding| finding["severity"] == severity);
        let (error, warning, note) = (has("error"), has("warning"), has("note"));
        let fails = [error, error || warning, error || warning || note];
        assert_eq!(exits, fails.map(|fails| Some(i32::from(fails))), "{}", fixture.id);
    }
}

impl Fixture {
    /// Installs the driver so, and returns what is found and the exit codes with `--fail-on` error,
    /// warning and note.
    fn found(&self) -> (Vec<Value>, [Option<i32>; 3]) {
        let node = Node::new().expect("there was one");
        let grants = self.grants.iter().fold(CLEAN.to_owned(), |grants, (from, to)| {
            assert!(grants.contains(from), "{from}");
            grants.replacen(from, to, 1)
        });
        let driver = node.install("secret-files", &grants);
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
        let review = review(&node, "example.com/secret-files");
        let found = review["findings"].as_array().expect("a list").clone();
        let exits = ["error", "warning", "note"]
            .map(|severity| audit(&node, &["--fail-on", severity, "--format", "json"]).exit);
        mode(&node.path("plugins"), 0o755);
        (found, exits)
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

fn append(path: &Path, bytes: &[u8]) {
    let mut contents = fs::read(path).expect("readable");
    contents.extend_from_slice(bytes);
    fs::write(path, contents).expect("written");
}
