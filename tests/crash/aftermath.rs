//! Crashes of which another than the next call has to know: another node, or another volume.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use wasmount_tests::{
    FILESYSTEMS, LOOP_IMAGE_GRANTS, Node, UID, crash_driver, killed, options, options_as,
};

/// A record of an interrupted format is one node's, and the volume may have been elsewhere since:
/// what another node made and wrote is never formatted away.
#[test]
fn an_interrupted_format_is_forgotten_once_another_node_had_the_volume() {
    let Some(first) = Node::new() else { return };
    let second = first.beside("node-2");
    fs::DirBuilder::new().mode(0o700).create(first.path("run")).expect("a directory");
    let points = ["format-recorded", "formatted"];
    for ((fs_type, size), point) in
        FILESYSTEMS.into_iter().flat_map(|filesystem| points.map(|point| (filesystem, point)))
    {
        let volume = format!("pv-{fs_type}-{point}");
        let bytes = size.to_string();
        let user = [("create", "true"), ("size", bytes.as_str())];
        let json = options_as(fs_type, &volume, "rw", &user);
        let mine =
            first.install_with("loop-image", "example.com/a", LOOP_IMAGE_GRANTS, crash_driver());
        mine.call(&["attach", &json, "node-1"]).success();
        let device_dir = mine.device_dir(&volume);
        assert!(killed(&first, &mine, point, &["mountdevice", &device_dir, "", &json]));
        // The node is gone; the cluster takes the volume from it.
        mine.call(&["unmountdevice", &device_dir]).success();
        mine.call(&["detach", &volume, "node-1"]).success();

        let other = second.install_as("loop-image", "example.com/a", LOOP_IMAGE_GRANTS);
        let other_dir = other.device_dir(&volume);
        other.call(&["attach", &json, "node-2"]).success();
        let mounted = other.call(&["mountdevice", &other_dir, "", &json]);
        if mounted.json()["status"] == "Success" {
            fs::write(Path::new(&other_dir).join("file"), "precious").expect("writable");
        }
        other.call(&["unmountdevice", &other_dir]).success();
        other.call(&["detach", &volume, "node-2"]).success();

        mine.call(&["attach", &json, "node-1"]).success();
        let back = mine.call(&["mountdevice", &device_dir, "", &json]);
        assert_eq!(back.json()["status"], mounted.json()["status"], "{}", back.stdout);
        if back.json()["status"] == "Success" {
            let kept = fs::read_to_string(Path::new(&device_dir).join("file"));
            assert_eq!(kept.expect("readable"), "precious", "{point}");
        }
        mine.call(&["unmountdevice", &device_dir]).success();
        mine.call(&["detach", &volume, "node-1"]).success();
        first.is_clean();
    }
}

/// kubelet removes the directory of a mount that failed and never unmounts it.
#[test]
fn a_mount_that_died_does_not_keep_its_volume_in_use() {
    let Some(node) = Node::new() else { return };
    fs::DirBuilder::new().mode(0o700).create(node.path("run")).expect("a directory");
    let driver = node.install_with(
        "loop-image",
        "example.com/loop-image",
        LOOP_IMAGE_GRANTS,
        crash_driver(),
    );
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "32Mi")]);
    let (device_dir, pod_dir) = (driver.device_dir("pv-1"), driver.pod_dir(UID, "pv-1"));
    driver.call(&["attach", &json, "node-1"]).success();
    driver.call(&["mountdevice", &device_dir, "", &json]).success();
    assert!(killed(&node, &driver, "record-saved", &["mount", &pod_dir, &json]));
    fs::remove_dir(&pod_dir).expect("an empty directory");
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", "pv-1", "node-1"]).success();
    let other = options("pv-1", "rw", &[("create", "true"), ("size", "48Mi")]);
    driver.call(&["attach", &other, "node-1"]).success();
    driver.call(&["detach", "pv-1", "node-1"]).success();
    node.is_clean();
}
