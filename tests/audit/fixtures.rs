//! What provokes each finding of `audit`: other grants, other calls, or something done to the node.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use wasmount_core::bundle::receipt;
use wasmount_tests::{Node, component};

pub(crate) const DRIVER: &str = "example.com/secret-files";

/// Grants of which there is nothing to say.
pub(crate) const CLEAN: &str = r#"
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
pub(crate) struct Fixture {
    pub(crate) id: &'static str,
    /// What else there is to say then.
    pub(crate) and: &'static [&'static str],
    pub(crate) severity: &'static str,
    /// What it says, or part of it.
    pub(crate) what: &'static str,
    /// What is changed in the grants.
    pub(crate) grants: &'static [(&'static str, &'static str)],
    pub(crate) calls: &'static [&'static str],
    /// What is done to the node, whose driver's version is the path.
    pub(crate) plant: fn(&Node, &Path),
}

/// The driver as it is without any: nothing is to be said of it.
pub(crate) const NONE: Fixture = Fixture {
    id: "none",
    and: &[],
    severity: "none",
    what: "",
    grants: &[],
    calls: USED,
    plant: |_, _| (),
};

pub(crate) const FIXTURES: &[Fixture] = &[
    Fixture {
        id: "secrets-logged",
        severity: "warning",
        what: "secrets are granted, and [reply] failure-exit-code is 1",
        grants: &[("failure-exit-code = 0", "failure-exit-code = 1")],
        ..NONE
    },
    Fixture {
        id: "pattern-wide",
        severity: "note",
        what: "[[secrets]] key = \"*\" fits every key like it",
        grants: &[("key = \"password\"", "key = \"*\"")],
        ..NONE
    },
    Fixture {
        id: "secret-revealed",
        and: &["grant-unused", "grant-wider-than-request"],
        severity: "note",
        what: "the component is shown the value of the secret's key \"password\"",
        grants: &[("uses = [\"file\"]", "uses = [\"file\", \"reveal\"]")],
        ..NONE
    },
    Fixture {
        id: "grant-wider-than-request",
        severity: "warning",
        what: "[mounts.tmpfs] gives max-files 1000, and the component asks for ",
        grants: &[("max-files = 4", "max-files = 1000")],
        ..NONE
    },
    Fixture {
        id: "grant-beyond-request",
        severity: "warning",
        what: "[state] is granted, and the component has no use for it",
        grants: &[("[reply]", "[state]\n[reply]")],
        ..NONE
    },
    Fixture {
        id: "grant-missing",
        and: &["grant-missing", "grant-missing", "grant-unused", "use-denied"],
        severity: "note",
        what: "mounts-tmpfs.create will be refused in every call",
        grants: &[("[mounts.tmpfs]\nmax-size = \"1Mi\"\nmax-files = 4\n", "")],
        ..NONE
    },
    Fixture {
        id: "grant-unused",
        and: &["grant-unused"],
        severity: "note",
        what: "[mounts.tmpfs] was never used in one call of this version since ",
        calls: &["unmount"],
        ..NONE
    },
    Fixture {
        id: "use-denied",
        and: &["grant-unused"],
        severity: "warning",
        what: "secrets.open was refused once",
        grants: &[("key = \"password\"", "key = \"username\"")],
        ..NONE
    },
    Fixture {
        id: "setting-secretive",
        severity: "warning",
        what: "[config] has a setting called \"api-token\"",
        grants: &[("[reply]", "[config]\napi-token = \"x\"\n[reply]")],
        ..NONE
    },
    Fixture {
        id: "isolation-not-demanded",
        severity: "note",
        what: "the grants do not demand all of the wall",
        grants: &[("isolation = \"full\"\n", "")],
        ..NONE
    },
    Fixture { id: "unsigned", severity: "warning", what: "the component is not signed", ..NONE },
    Fixture {
        id: "component-unvouched",
        severity: "warning",
        what: "",
        plant: |node, _| fs::remove_file(node.path("trust/vendor.pub")).expect("removed"),
        ..NONE
    },
    Fixture {
        id: "component-forbidden",
        severity: "error",
        what: "revoked",
        plant: |node, _| {
            let digest = receipt::digest(&fs::read(component("secret-files")).expect("read"));
            decides(node, &format!("[revoked]\ndigests = [{digest:?}]\n"));
        },
        ..NONE
    },
    Fixture {
        id: "component-forbidden",
        severity: "error",
        what: "",
        plant: |node, _| {
            let digest = receipt::digest(b"another");
            decides(node, &format!("[drivers.{DRIVER:?}]\ndigests = [{digest:?}]\n"));
        },
        ..NONE
    },
    Fixture {
        id: "trust-unusable",
        severity: "error",
        what: "/trust/policy.toml",
        plant: |node, _| decides(node, "[revolked]\n"),
        ..NONE
    },
    Fixture {
        id: "signature-changed",
        and: &["component-unvouched"],
        severity: "error",
        what: "component.wasm.minisig was changed after installation, or is missing",
        plant: |_, version| append(&version.join("component.wasm.minisig"), b"x"),
        ..NONE
    },
    Fixture {
        id: "file-changed",
        severity: "error",
        what: "/grants.toml was changed after installation",
        plant: |_, version| append(&version.join("grants.toml"), b"[state]\n"),
        ..NONE
    },
    Fixture {
        id: "file-changed",
        and: &["component-unvouched"],
        severity: "error",
        what: "/component.wasm was changed after installation",
        plant: |_, version| append(&version.join("component.wasm"), b"\0"),
        ..NONE
    },
    Fixture {
        id: "file-writable",
        severity: "error",
        what: "/component.cwasm can be written to by others than its owner (mode 666)",
        plant: |_, version| mode(&version.join("component.cwasm"), 0o666),
        ..NONE
    },
    Fixture {
        id: "file-missing",
        severity: "error",
        what: "/component.cwasm is missing",
        plant: |_, version| fs::remove_file(version.join("component.cwasm")).expect("removed"),
        ..NONE
    },
    Fixture {
        id: "directory-writable",
        severity: "error",
        what: "the data directory ",
        plant: |node, _| mode(&node.path("data"), 0o777),
        ..NONE
    },
    Fixture {
        id: "plugin-directory-writable",
        and: &["driver-unusable"],
        severity: "error",
        what: "/plugins can be changed by others than root",
        plant: |node, _| mode(&node.path("plugins"), 0o777),
        ..NONE
    },
    Fixture {
        id: "log-broken",
        severity: "error",
        what: "the audit log is not in order: ",
        plant: |node, _| {
            let log = node.path("log/example.com~secret-files.jsonl");
            let text = fs::read_to_string(&log).expect("a log");
            fs::write(&log, text.replacen("mount", "moumt", 1)).expect("written");
        },
        ..NONE
    },
    Fixture {
        id: "driver-unusable",
        severity: "error",
        what: "current is not a link to a version",
        plant: |node, _| {
            fs::remove_file(node.path("plugins/example.com~secret-files/current"))
                .expect("removed");
        },
        ..NONE
    },
    Fixture {
        id: "grant-unused",
        severity: "note",
        what: "[[secrets]] keys other (file) was never used in 2 calls of this version since ",
        grants: &[("[mounts", "[[secrets]]\nkey = \"other\"\nuses = [\"file\"]\n[mounts")],
        ..NONE
    },
    Fixture {
        id: "grant-wider-than-request",
        severity: "warning",
        what: "[limits] gives memory-mib 1024, and the component asks for 64",
        grants: &[("[reply]", "[limits]\nmemory-mib = 1024\n[reply]")],
        ..NONE
    },
    Fixture {
        id: "image-directory",
        and: &["grant-beyond-request"],
        severity: "error",
        what: "the image directory /nowhere cannot be used: ",
        grants: &[("[reply]", "[images]\ndirectory = \"/nowhere\"\nnames = [\"a\"]\n[reply]")],
        ..NONE
    },
    Fixture {
        id: "pattern-wide",
        and: &["grant-beyond-request"],
        severity: "warning",
        what: "[images] names = \"{volume}*\" fits images of volumes with longer names, too",
        grants: &[("[reply]", "[images]\ndirectory = \"/srv\"\nnames = [\"{volume}*\"]\n[reply]")],
        ..NONE
    },
    Fixture {
        id: "file-owner",
        severity: "error",
        what: "/component.cwasm belongs to user 1000 and not to root",
        plant: |_, version| {
            let path = version.join("component.cwasm");
            chown(path, Some(1000), None).expect("its own");
        },
        ..NONE
    },
    Fixture {
        id: "file-mode",
        severity: "warning",
        what: "/receipt.json is not readable by everybody (mode 600)",
        plant: |_, version| mode(&version.join("receipt.json"), 0o600),
        ..NONE
    },
    Fixture {
        id: "receipt-unusable",
        severity: "error",
        what: "/receipt.json cannot be used: ",
        plant: |_, version| fs::write(version.join("receipt.json"), "{}").expect("written"),
        ..NONE
    },
    Fixture {
        id: "grants-unusable",
        and: &["file-changed"],
        severity: "error",
        what: "/grants.toml: line ",
        plant: |_, version| append(&version.join("grants.toml"), b"[sate]\n"),
        ..NONE
    },
    Fixture {
        id: "image-stale",
        and: &["file-changed"],
        severity: "error",
        what: "the image was compiled by wasmtime ",
        plant: |_, version| {
            let path = version.join("wasmount-driver");
            let mut program = fs::read(&path).expect("readable");
            let said = b" wasmtime 48.0.";
            let at = program.windows(said.len()).position(|bytes| bytes == said);
            program[at.expect("the engine's version") + said.len()] = b'0';
            fs::write(&path, program).expect("written");
        },
        ..NONE
    },
    Fixture {
        id: "component-unreadable",
        and: &["component-unvouched", "file-changed"],
        severity: "error",
        what: "/component.wasm: ",
        plant: |_, version| {
            let (path, receipt) = (version.join("component.wasm"), version.join("receipt.json"));
            let before = receipt::digest(&fs::read(&path).expect("a component"));
            fs::write(&path, "no component").expect("written");
            let text = fs::read_to_string(&receipt).expect("a receipt");
            let after = receipt::digest(b"no component");
            fs::write(&receipt, text.replace(&before, &after)).expect("written");
        },
        ..NONE
    },
];

/// What the operator decides about keys and components.
fn decides(node: &Node, policy: &str) {
    let path = node.path("trust/policy.toml");
    fs::write(&path, policy).expect("written");
    mode(&path, 0o644);
}

pub(crate) fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

fn append(path: &Path, bytes: &[u8]) {
    let mut contents = fs::read(path).expect("readable");
    contents.extend_from_slice(bytes);
    fs::write(path, contents).expect("written");
}
