//! kubelet's whole sequence on real volumes, of each filesystem, through the installed executable, every call
//! twice in a row, both successful.

use std::fs;
use std::path::Path;

use wasmount_tests::{
    Driver, FILESYSTEMS, LOOP_IMAGE_GRANTS, Node, UID, is_mount_point, options, options_as,
};

/// Makes a call twice and returns the second answer.
fn twice(driver: &Driver<'_>, args: &[&str]) -> serde_json::Value {
    driver.call(args).success();
    driver.call(args).success()
}

struct Up {
    device_dir: String,
    pod_dir: String,
}

/// attach … mount.
fn set_up(driver: &Driver<'_>, volume: &str, json: &str) -> Up {
    let attached = twice(driver, &["attach", json, "node-1"]);
    let token = attached["device"].as_str().expect("a device").to_owned();
    assert_eq!(twice(driver, &["isattached", json, "node-1"])["attached"], true);
    let device = twice(driver, &["waitforattach", &token, json]);
    let device = device["device"].as_str().expect("a device").to_owned();
    let up = Up { device_dir: driver.device_dir(volume), pod_dir: driver.pod_dir(UID, volume) };
    twice(driver, &["mountdevice", &up.device_dir, &device, json]);
    assert!(is_mount_point(&up.device_dir));
    twice(driver, &["mount", &up.pod_dir, json]);
    assert!(is_mount_point(&up.pod_dir));
    up
}

/// unmount … detach.
fn tear_down(driver: &Driver<'_>, volume: &str, up: &Up) {
    twice(driver, &["unmount", &up.pod_dir]);
    fs::remove_dir(&up.pod_dir).expect("an empty directory, as kubelet wants it");
    twice(driver, &["unmountdevice", &up.device_dir]);
    fs::remove_dir(&up.device_dir).expect("an empty directory, as kubelet wants it");
    twice(driver, &["detach", volume, "node-1"]);
}

/// How much the filesystem at a path has room for, in bytes, its own tables included.
fn room(path: &str) -> u64 {
    let found = rustix::fs::statvfs(path).expect("a mount");
    found.f_blocks * found.f_frsize
}

#[test]
fn read_write_and_then_read_only() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let init = twice(&driver, &["init"]);
    assert_eq!(init["capabilities"]["attach"], true);
    assert_eq!(init["capabilities"]["requiresFSResize"], true);

    for (fs_type, size) in FILESYSTEMS {
        let (volume, bytes, twofold) = (format!("pv-{fs_type}"), size.to_string(), size * 2);
        let user = [("create", "true"), ("size", bytes.as_str()), ("mount-options", "noatime")];
        let rw = options_as(fs_type, &volume, "rw", &user);
        let ro = options_as(fs_type, &volume, "ro", &user);
        let up = set_up(&driver, &volume, &rw);
        fs::write(Path::new(&up.pod_dir).join("file"), "kept").expect("a writable volume");
        assert_eq!(driver.call(&["isattached", &rw, "node-2"]).success()["attached"], false);

        let grown = twofold.to_string();
        twice(&driver, &["expandvolume", &rw, "", &grown, &bytes]);
        let image = node.path(&format!("images/{volume}.img"));
        assert_eq!(fs::metadata(image).expect("an image").len(), twofold);
        let expand = ["expandfs", &rw, "", &up.pod_dir, &grown, &bytes];
        // A kernel that lets root grow a mounted ext4 does so; one that does not says so, and the
        // next mountdevice grows it.
        let expanded = driver.call(&expand);
        if fs_type == "ext4" && expanded.json()["status"] != "Success" {
            expanded.fails_with("kernel-refused");
        } else {
            expanded.success();
            twice(&driver, &expand);
            assert!(room(&up.pod_dir) > size * 3 / 2, "{fs_type} has grown");
        }
        tear_down(&driver, &volume, &up);
        node.is_clean();

        let up = set_up(&driver, &volume, &rw);
        assert!(room(&up.pod_dir) > size * 3 / 2, "{fs_type} has grown");
        tear_down(&driver, &volume, &up);

        let up = set_up(&driver, &volume, &ro);
        let file = Path::new(&up.pod_dir).join("file");
        assert_eq!(fs::read_to_string(file).expect("readable"), "kept");
        for dir in [&up.device_dir, &up.pod_dir] {
            let refused = fs::write(Path::new(dir).join("file"), "changed").expect_err("read-only");
            assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        }
        twice(&driver, &["expandfs", &ro, "", &up.pod_dir, &grown, &bytes]);
        driver
            .call(&["mount", &driver.pod_dir("another-pod", &volume), &rw])
            .fails_with("staged-read-only");
        tear_down(&driver, &volume, &up);
        node.is_clean();
    }
}

/// An image that grew while its volume was nowhere has its filesystem grown as it is mounted.
#[test]
fn a_filesystem_grows_with_its_device_before_it_is_mounted() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    for (fs_type, size) in FILESYSTEMS {
        let (volume, bytes) = (format!("pv-{fs_type}"), size.to_string());
        let user = [("create", "true"), ("size", bytes.as_str())];
        let rw = options_as(fs_type, &volume, "rw", &user);
        let up = set_up(&driver, &volume, &rw);
        fs::write(Path::new(&up.pod_dir).join("file"), "kept").expect("a writable volume");
        assert!(room(&up.pod_dir) <= size);
        tear_down(&driver, &volume, &up);
        twice(&driver, &["expandvolume", &rw, "", &(2 * size).to_string(), &bytes]);
        let up = set_up(&driver, &volume, &rw);
        assert!(room(&up.pod_dir) > size * 3 / 2, "{fs_type} has grown");
        let kept = fs::read_to_string(Path::new(&up.pod_dir).join("file"));
        assert_eq!(kept.expect("readable"), "kept");
        tear_down(&driver, &volume, &up);
        node.is_clean();
    }
}

#[test]
fn nothing_to_take_down_is_success() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    twice(&driver, &["unmount", &driver.pod_dir(UID, "pv-1")]);
    twice(&driver, &["unmountdevice", &driver.device_dir("pv-1")]);
    let absent = node.path("kubelet/pods/gone/volumes/example.com~loop-image/pv-1");
    twice(&driver, &["unmount", &absent.display().to_string()]);
    twice(&driver, &["detach", "pv-1", "node-1"]);
}

#[test]
fn a_volume_comes_down_without_its_component() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    let up = set_up(&driver, "pv-1", &json);
    fs::write(driver.version().join("component.cwasm"), "no image").expect("writable for root");
    driver.call(&["mount", &driver.pod_dir("another-pod", "pv-1"), &json]).failure();
    twice(&driver, &["unmount", &up.pod_dir]);
    twice(&driver, &["unmountdevice", &up.device_dir]);
    node.is_clean();
}

#[test]
fn two_pods_of_one_volume() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    let up = set_up(&driver, "pv-1", &json);
    let second = driver.pod_dir("second-pod", "pv-1");
    twice(&driver, &["mount", &second, &json]);
    fs::write(Path::new(&up.pod_dir).join("file"), "shared").expect("writable");
    assert_eq!(fs::read_to_string(Path::new(&second).join("file")).expect("readable"), "shared");
    driver.call(&["unmountdevice", &up.device_dir]).fails_with("busy");
    twice(&driver, &["unmount", &second]);
    tear_down(&driver, "pv-1", &up);
    node.is_clean();
}

#[test]
fn a_driver_with_device_alone_has_its_mounts_composed() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("staged", "version = 1\n[mounts.tmpfs]\n");
    assert_eq!(driver.call(&["init"]).success()["capabilities"]["attach"], false);
    let json = options("pv-1", "rw", &[]);
    let (device_dir, pod_dir) = (driver.device_dir("pv-1"), driver.pod_dir(UID, "pv-1"));
    // kubelet mounts the devices of attachable drivers only: the host does it within mount.
    let refused = driver.call(&["mountdevice", &device_dir, "", &json]).json();
    assert_eq!(refused["status"], "Not supported");
    twice(&driver, &["mount", &pod_dir, &json]);
    fs::write(Path::new(&pod_dir).join("file"), "x").expect("writable");
    assert!(Path::new(&device_dir).join("file").exists(), "a bind of the staged mount");
    twice(&driver, &["unmount", &pod_dir]);
    node.is_clean();
}

/// A component may make a volume read-only that is not: asked for again in the same way, it is there.
#[test]
fn what_a_component_has_sealed_is_mounted_twice() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hello", "version = 1\n[mounts.tmpfs]\n");
    let pod_dir = driver.pod_dir(UID, "vol");
    twice(&driver, &["mount", &pod_dir, &options("vol", "rw", &[])]);
    driver.call(&["mount", &pod_dir, &options("vol", "ro", &[])]).fails_with("mounted-otherwise");
    twice(&driver, &["unmount", &pod_dir]);
    node.is_clean();
}

/// kubelet calls `unmountdevice` only for what is mounted: what `waitforattach` set up has to go
/// without it.
#[test]
fn a_volume_that_was_never_mounted_is_detached() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let user = [("create", "true"), ("size", "64Mi")];
    let (rw, ro) = (options("pv-1", "rw", &user), options("pv-1", "ro", &user));
    twice(&driver, &["attach", &rw, "node-1"]);
    twice(&driver, &["waitforattach", "", &rw]);
    // The next pod reads only; nothing is mounted, so the device is made anew.
    twice(&driver, &["waitforattach", "", &ro]);
    twice(&driver, &["waitforattach", "", &rw]);
    assert_eq!(node.loops().len(), 1);
    twice(&driver, &["detach", "pv-1", "node-1"]);
    node.is_clean();
}

#[test]
fn a_pod_that_reads_starts_beside_one_that_writes() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let user = [("create", "true"), ("size", "64Mi")];
    let up = set_up(&driver, "pv-1", &options("pv-1", "rw", &user));
    let ro = options("pv-1", "ro", &user);
    twice(&driver, &["waitforattach", "", &ro]);
    let reader = driver.pod_dir("reading-pod", "pv-1");
    twice(&driver, &["mount", &reader, &ro]);
    fs::write(Path::new(&up.pod_dir).join("file"), "shared").expect("writable");
    let refused = fs::write(Path::new(&reader).join("file"), "changed").expect_err("read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    driver.call(&["detach", "pv-1", "node-1"]).fails_with("busy");
    twice(&driver, &["unmount", &reader]);
    tear_down(&driver, "pv-1", &up);
    node.is_clean();
}
