//! `wasmount explain`: calls that are rehearsed, by which lines of grants.toml they go, and that nothing of them
//! lasts. That it decides as the real call does is tried with every case of `hostile` and `replies`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;
use wasmount_tests::{Driver, LOOP_IMAGE_GRANTS, Node, UID, answer, base64, options, program};

/// The line of the grants file that begins so, from 1.
fn line(driver: &Driver<'_>, text: &str) -> usize {
    let grants = fs::read_to_string(driver.version().join("grants.toml")).expect("grants");
    1 + grants.lines().position(|line| line.starts_with(text)).expect("it is granted")
}

fn explained(node: &Node, driver: &Driver<'_>, args: &[&str]) -> String {
    let answer = node.wasmount(&[&["explain", driver.name()], args].concat());
    assert_eq!(answer.exit, Some(0), "{}{}", answer.stdout, answer.stderr);
    answer.stdout
}

fn in_json(node: &Node, driver: &Driver<'_>, args: &[&str]) -> Value {
    let answer = node.wasmount(&[&["explain", "--json", driver.name()], args].concat());
    serde_json::from_str(&answer.stdout).expect("JSON")
}

/// The host calls of all operations, with whether they are allowed.
fn host_calls(told: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let operations = told["operations"].as_array().expect("operations").iter();
    let calls = operations.flat_map(|operation| operation["host_calls"].as_array());
    calls.flatten().map(|call| (text(&call["call"]), text(&call["decision"]))).collect()
}

#[test]
fn a_volume_that_is_not_there_yet() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    let told = explained(&node, &driver, &["attach", &json, "node-1"]);
    for (key, shown) in [
        ("names", "names = [\"*.img\"]"),
        ("create", "create = true"),
        ("directory", "directory = "),
    ] {
        let rule = format!("grants.toml:{} [images] {shown}", line(&driver, key));
        assert!(told.contains(&rule), "{rule} is not in {told}");
    }
    assert!(told.contains("would give the image to the node; assumed to succeed"), "{told}");
    assert!(told.contains("\"status\":\"Success\""), "{told}");
    assert_eq!(fs::read_dir(node.path("images")).expect("a directory").count(), 0);
    assert!(!node.path("log").join("example.com~loop-image.jsonl").exists(), "no line is logged");
    assert!(!node.path("data").exists() && !node.path("run").exists(), "nothing is made");
    node.is_clean();
}

#[test]
fn all_of_a_node_only_mount_and_unmount() {
    let Some(node) = Node::new() else { return };
    let driver =
        node.install_node_only("loop-image", LOOP_IMAGE_GRANTS, program("wasmount-driver"));
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    let pod = driver.pod_dir(UID, "pv-1");
    let rehearsed = in_json(&node, &driver, &["mount", &pod, &json]);
    assert_eq!(rehearsed["reply"]["status"], "Success", "{rehearsed:#}");
    assert_eq!(fs::read_dir(node.path("images")).expect("a directory").count(), 0);
    node.is_clean();
    let decided = |driver: &Driver<'_>| {
        let names = |line: Value| line["decision"].as_str().map(str::to_owned);
        driver
            .log()
            .into_iter()
            .filter(|line| line["kind"] == "host-call")
            .filter_map(names)
            .count()
    };
    driver.call(&["mount", &pod, &json]).success();
    assert_eq!(host_calls(&rehearsed).len(), decided(&driver), "{rehearsed:#}");
    let before = decided(&driver);
    let rehearsed = in_json(&node, &driver, &["unmount", &pod]);
    assert_eq!(rehearsed["reply"]["status"], "Success", "{rehearsed:#}");
    assert_eq!((node.loops().len(), node.mounts().len()), (1, 2), "all is there still");
    driver.call(&["unmount", &pod]).success();
    assert_eq!(host_calls(&rehearsed).len(), decided(&driver) - before, "{rehearsed:#}");
    node.is_clean();
}

#[test]
fn what_is_not_granted_says_what_would_allow_it() {
    let Some(node) = Node::new() else { return };
    let grants = LOOP_IMAGE_GRANTS.replace("create = true\n", "");
    let driver = node.install("loop-image", &grants);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    let told = explained(&node, &driver, &["attach", &json, "node-1"]);
    assert!(told.contains("refused  images.create"), "{told}");
    assert!(
        told.contains("set in grants.toml: [images] create = true [grant:images.create]"),
        "{told}"
    );
    assert!(told.contains("[images] create is not set, and is as usual"), "{told}");
    node.is_clean();
}

#[test]
fn what_is_granted_in_braces_has_its_line() {
    let Some(node) = Node::new() else { return };
    let grants = "version = 1\nsecrets = [\n  { uses = [\"file\"], key = 'pass*' },\n]\n\
                  reply = { failure-exit-code = 0 }\nmounts = { tmpfs = {} }\n";
    let driver = node.install("secret-files", grants);
    let password = base64(b"correct horse");
    let json = options("vol", "ro", &[("kubernetes.io/secret/password", &password)]);
    let pod = driver.pod_dir(UID, "vol");
    let told = explained(&node, &driver, &["mount", &pod, &json]);
    let call =
        told.split("  allowed  ").find(|call| call.starts_with("secrets.open")).expect(&told);
    let rule = "grants.toml:3 [[secrets]] key = 'pass*'\n";
    assert!(call.contains(rule) && !call.contains("no grant is needed"), "{told}");
    let attach = told.split("  allowed  ").find(|call| call.starts_with("mount-target.attach"));
    assert!(attach.expect(&told).contains("no grant is needed"), "{told}");
    node.is_clean();
}

#[test]
fn what_the_host_does_by_itself_and_for_whom() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("staged", "version = 1\n[mounts.tmpfs]\n");
    let pod = driver.pod_dir(UID, "pv-1");
    let json = options("pv-1", "rw", &[]);
    let told = explained(&node, &driver, &["mount", &pod, &json]);
    let bind = "would: mount-bind\n           by itself: no grant is needed\n";
    assert!(told.contains(bind), "{told}");
    // Another user sees another node.
    let own = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(own.path(), fs::Permissions::from_mode(0o755)).expect("its own");
    let wasmount = own.path().join("wasmount");
    fs::copy(program("wasmount"), &wasmount).expect("copied");
    let mut command = Command::new(wasmount);
    command.arg("explain").arg("--plugin-dir").arg(node.path("plugins"));
    command.args([driver.name(), "mount", &pod, &json]).uid(65534).gid(65534);
    let refused = answer(&mut command, "explain".to_owned());
    assert_eq!((refused.exit, refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains("only root can find out what a call"), "{}", refused.stderr);
    node.is_clean();
}
