//! What `audit` finds, one fixture for each, on a driver that nothing is said of without it; and what
//! `--fail-on` makes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wasmount_core::bundle::receipt;
use wasmount_tests::{Node, UID, base64, component, options};

use super::audit;

const DRIVER: &str = "example.com/secret-files";

/// Grants of which there is nothing to say.
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
        what: "[mounts.tmpfs] was never used in 1 calls of this version since ",
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
        id: "unsigned",
        severity: "warning",
        what: "the component is not signed",
        grants: &[],
        calls: USED,
        plant: NOTHING,
    },
    Fixture {
        id: "component-unvouched",
        severity: "warning",
        what: "",
        grants: &[],
        calls: USED,
        plant: |node, _| fs::remove_file(node.path("trust/vendor.pub")).expect("removed"),
    },
    Fixture {
        id: "component-forbidden",
        severity: "error",
        what: "revoked",
        grants: &[],
        calls: USED,
        plant: |node, _| {
            let digest = receipt::digest(&fs::read(component("secret-files")).expect("read"));
            decides(node, &format!("[revoked]\ndigests = [{digest:?}]\n"));
        },
    },
    Fixture {
        id: "component-forbidden",
        severity: "error",
        what: "",
        grants: &[],
        calls: USED,
        plant: |node, _| {
            let digest = receipt::digest(b"another");
            decides(node, &format!("[drivers.{DRIVER:?}]\ndigests = [{digest:?}]\n"));
        },
    },
    Fixture {
        id: "trust-unusable",
        severity: "error",
        what: "/trust/policy.toml",
        grants: &[],
        calls: USED,
        plant: |node, _| decides(node, "[revolked]\n"),
    },
    Fixture {
        id: "signature-changed",
        severity: "error",
        what: "component.wasm.minisig was changed after installation, or is missing",
        grants: &[],
        calls: USED,
        plant: |_, version| append(&version.join("component.wasm.minisig"), b"x"),
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

/// What the operator decides about keys and components.
fn decides(node: &Node, policy: &str) {
    let path = node.path("trust/policy.toml");
    fs::write(&path, policy).expect("written");
    mode(&path, 0o644);
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

fn append(path: &Path, bytes: &[u8]) {
    let mut contents = fs::read(path).expect("readable");
    contents.extend_from_slice(bytes);
    fs::write(path, contents).expect("written");
}
