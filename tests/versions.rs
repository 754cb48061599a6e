//! A volume that one version of the driver has set up is used and taken down by another, newer or
//! older: every call of kubelet's sequence is served by another version than the call before it.

use std::fs;
use std::path::Path;

use wasmount_tests::{
    Driver, LOOP_IMAGE_GRANTS, Node, UID, component, is_mount_point, options, program,
};

const NAME: &str = "example.com/loop-image";
const SIZE: u64 = 64 << 20;

/// A driver of two versions, the second of which has been installed over the first.
struct Two<'n> {
    node: &'n Node,
    driver: Driver<'n>,
}

impl<'n> Two<'n> {
    fn install(node: &'n Node, node_only: bool) -> Self {
        let driver = match node_only {
            true => {
                let binary = program("wasmount-driver");
                node.install_node_only("loop-image", LOOP_IMAGE_GRANTS, binary)
            }
            false => node.install("loop-image", LOOP_IMAGE_GRANTS),
        };
        // The same with a section more, which nobody reads: another component.
        let mut newer = fs::read(component("loop-image")).expect("a component");
        newer.extend(b"\x00\x06\x05newer");
        let file = node.path("newer.wasm");
        fs::write(&file, newer).expect("written");
        let more = if node_only { &["--node-only"][..] } else { &[] };
        let answer = node.installs_file(&file, NAME, more);
        assert_eq!(answer.exit, Some(0), "{}", answer.stderr);
        Self { node, driver }
    }

    /// Goes to the other version.
    fn turn(&self) {
        let component = || fs::read(self.driver.version().join("component.wasm")).expect("there");
        let before = component();
        let answer = self.node.wasmount(&["rollback", NAME]);
        assert_eq!(answer.exit, Some(0), "{}", answer.stderr);
        assert!(component() != before, "another version");
    }

    /// Makes a call twice, each time by another version; then it is the other's turn.
    fn call(&self, args: &[&str]) -> serde_json::Value {
        self.driver.call(args).success();
        self.turn();
        self.driver.call(args).success()
    }
}

#[test]
fn every_call_of_the_sequence_may_be_another_versions() {
    let Some(node) = Node::new() else { return };
    let two = Two::install(&node, false);
    let (bytes, twofold) = (SIZE.to_string(), (2 * SIZE).to_string());
    let json = options("pv-1", "rw", &[("create", "true"), ("size", &bytes)]);
    let pod_dir = two.driver.pod_dir(UID, "pv-1");
    // Once as it comes and once the other way round.
    for _ in 0..2 {
        let device_dir = two.driver.device_dir("pv-1");
        let attached = two.call(&["attach", &json, "node-1"]);
        let token = attached["device"].as_str().expect("a device").to_owned();
        assert_eq!(two.call(&["isattached", &json, "node-1"])["attached"], true);
        two.call(&["waitforattach", &token, &json]);
        two.call(&["mountdevice", &device_dir, &token, &json]);
        two.call(&["mount", &pod_dir, &json]);
        fs::write(Path::new(&pod_dir).join("file"), "kept").expect("writable");
        two.call(&["expandvolume", &json, "", &twofold, &bytes]);
        two.call(&["unmount", &pod_dir]);
        assert!(!is_mount_point(&pod_dir));
        two.call(&["mount", &pod_dir, &json]);
        let kept = fs::read_to_string(Path::new(&pod_dir).join("file"));
        assert_eq!(kept.expect("readable"), "kept");
        two.call(&["unmount", &pod_dir]);
        two.call(&["unmountdevice", &device_dir]);
        fs::remove_dir(&device_dir).expect("an empty directory, as kubelet wants it");
        two.call(&["detach", "pv-1", "node-1"]);
        node.has_given_back(&two.driver, "pv-1");
        two.turn();
    }
}

/// A failure in between is another version's to repair, too.
#[test]
fn a_volume_of_which_a_version_knew_too_little_comes_down() {
    let Some(node) = Node::new() else { return };
    let two = Two::install(&node, false);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    let device_dir = two.driver.device_dir("pv-1");
    two.call(&["attach", &json, "node-1"]);
    two.call(&["mountdevice", &device_dir, "", &json]);
    // As a newer wasmount would write it: this one says so, and changes nothing.
    let path = node.path("data/example.com~loop-image/volumes/pv-1.json");
    let record = fs::read_to_string(&path).expect("a record");
    let newer = record.replacen("{\"v\":1,", "{\"v\":2,\"snapshots\":[],", 1);
    fs::write(&path, &newer).expect("written");
    let told = two.driver.call(&["unmountdevice", &device_dir]).fails_with("record-version");
    assert!(
        told.contains("it is of version 2, and this wasmount reads version 1: a newer"),
        "{told}"
    );
    assert_eq!(fs::read_to_string(&path).expect("there"), newer);
    assert!(is_mount_point(&device_dir), "nothing was done");
    let refused = node.wasmount(&["uninstall", NAME]);
    assert!(
        refused.stderr.contains("so its volume may be in use: it is of version 2"),
        "{}",
        refused.stderr
    );
    // The newer one is installed again.
    fs::write(&path, record).expect("written");
    two.turn();
    two.call(&["unmountdevice", &device_dir]);
    fs::remove_dir(&device_dir).expect("an empty directory, as kubelet wants it");
    two.call(&["detach", "pv-1", "node-1"]);
    node.has_given_back(&two.driver, "pv-1");
}

#[test]
fn node_only_too() {
    let Some(node) = Node::new() else { return };
    let two = Two::install(&node, true);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    let pods = [UID, "second-pod"].map(|pod| two.driver.pod_dir(pod, "pv-1"));
    for _ in 0..2 {
        for pod_dir in &pods {
            two.call(&["mount", pod_dir, &json]);
            assert!(is_mount_point(pod_dir));
        }
        for pod_dir in &pods {
            two.call(&["unmount", pod_dir]);
        }
        node.has_given_back(&two.driver, "pv-1");
        two.turn();
    }
}
