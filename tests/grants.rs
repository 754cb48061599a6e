//! Each import function without its grant: refused, nothing done, and the message says which
//! lines of grants.toml would allow it. And the same function with the grant is not refused.

use std::fs;

use serde_json::Value;
use wasmount_tests::{Driver, Node, UID, options};

/// Function, the operation it is tried in, and what the refusal has to tell the operator to add.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("state.get", "mount", "[state]"),
    ("state.put", "mount", "[state]"),
    ("state.delete", "mount", "[state]"),
    ("secrets.open", "mount", "[[secrets]]"),
    ("target.attach", "mount", "[mounts.tmpfs]"),
    ("devices.find", "mountdevice", "[[devices]]"),
    ("devices.wait", "mountdevice", "[[devices]]"),
    ("images.open", "attach", "[images]"),
    ("images.create", "attach", "[images]"),
    ("image.size", "attach", "[images]"),
    ("image.lease", "attach", "[images]"),
    ("image.holder", "attach", "[images]"),
    ("image.attach", "waitforattach", "[images]"),
    ("filesystems.format", "mountdevice", "[images]"),
    ("filesystems.check", "mountdevice", "[images]"),
    ("mounts-block.mount", "mountdevice", "[images]"),
    ("mounts-bind.staged", "mount", "[mounts.bind]"),
    ("mounts-tmpfs.create", "mount", "[mounts.tmpfs]"),
];

/// With the image granted and given to the node, these are refused for what they do to it.
const ON_AN_IMAGE: &[(&str, &str, &str)] = &[
    ("images.create", "token", "create = true"),
    ("filesystems.format", "token", "[filesystems]"),
    ("filesystems.check", "token", "[filesystems]"),
    ("mounts-block.mount", "token", "[mounts.block]"),
];

fn call(driver: &Driver<'_>, function: &str, operation: &str) -> wasmount_tests::Answer {
    let json = options("vol", "rw", &[("do", "call"), ("call", function)]);
    match operation {
        // The volume is in use with the options that it was attached with.
        "token" => {
            let json = options("vol", "rw", &[("do", "call"), ("call", "image.lease")]);
            let token = driver.call(&["attach", &json, "node-1"]).success()["device"].clone();
            let token =
                token.as_str().expect("a token").replace("token", &format!("call:{function}"));
            driver.call(&["mountdevice", &driver.device_dir("vol"), &token, &json])
        }
        "mount" => driver.call(&["mount", &driver.pod_dir(UID, "vol"), &json]),
        "mountdevice" => driver.call(&["mountdevice", &driver.device_dir("vol"), "", &json]),
        "attach" => driver.call(&["attach", &json, "node-1"]),
        _ => driver.call(&[operation, "", &json]),
    }
}

/// What there is on the node: directories, images, mounts, loop devices.
fn look(node: &Node) -> (Vec<std::path::PathBuf>, Vec<std::path::PathBuf>, Vec<(String, u64)>) {
    let mut images: Vec<_> = fs::read_dir(node.path("images"))
        .expect("images")
        .flatten()
        .map(|entry| {
            let size = entry.metadata().expect("metadata").len();
            (entry.file_name().to_string_lossy().into_owned(), size)
        })
        .collect();
    images.sort();
    (node.mounts(), node.loops(), images)
}

fn refused(node: &Node, driver: &Driver<'_>, table: &[(&str, &str, &str)]) {
    for (function, operation, lines) in table {
        // A directory that kubelet makes is no change of the driver's.
        let _ = driver.pod_dir(UID, "vol") + &driver.device_dir("vol");
        let before = look(node);
        let message = call(driver, function, operation).failure();
        assert!(
            message.contains("grants.toml") && message.contains(lines),
            "{function}: {message}"
        );
        assert!(message.contains("[grant:"), "{function}: {message}");
        assert_eq!(look(node), before, "{function} changed the node");
        let refusals: Vec<Value> =
            driver.log().into_iter().filter(|line| line["decision"] == "refused").collect();
        assert!(!refusals.is_empty(), "{function}: the audit log does not tell");
    }
}

#[test]
fn nothing_is_possible_without_a_grant() {
    let Some(node) = Node::new() else { return };
    node.image("image.img", 64 << 20);
    let driver = node.install("hostile", "version = 1\n");
    refused(&node, &driver, FUNCTIONS);
    node.is_clean();
}

#[test]
fn an_image_is_not_yet_a_filesystem() {
    let Some(node) = Node::new() else { return };
    node.image("image.img", 64 << 20);
    let grants = "version = 1\n[images]\ndirectory = \"{images}\"\nnames = [\"image.img\"]\n";
    let driver = node.install("hostile", grants);
    call(&driver, "image.lease", "attach").success();
    refused(&node, &driver, ON_AN_IMAGE);
    node.is_clean();
}

#[test]
fn everything_granted_is_not_refused() {
    let Some(node) = Node::new() else { return };
    node.image("image.img", 64 << 20);
    let grants = r#"
version = 1
[reply]
failure-exit-code = 1
[state]
[[secrets]]
key = "password"
uses = ["reveal", "file"]
[images]
directory = "{images}"
names = ["image.img"]
create = true
grow = true
[[devices]]
rule = "disk"
path = "/dev/disk/by-id/none-{id}"
id = "vol-*"
verify = { attribute = "device/serial", value = "{id}" }
[filesystems]
types = ["ext4"]
format = true
check = true
grow = true
[mounts.block]
filesystems = ["ext4"]
[mounts.bind]
[mounts.tmpfs]
"#;
    let driver = node.install("hostile", grants);
    call(&driver, "image.lease", "attach").success();
    for (function, operation, _) in FUNCTIONS {
        let answer = call(&driver, function, operation);
        let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(!message.contains("[grant:"), "{function}: {message}");
        let _ = driver.call(&["unmount", &driver.pod_dir(UID, "vol")]);
        let _ = driver.call(&["unmountdevice", &driver.device_dir("vol")]);
    }
}
