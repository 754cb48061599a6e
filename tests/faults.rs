//! A disk that fails while it is looked at, made a filesystem, checked, mounted or grown: the
//! call says so, and what is on the disk is what it was, or what an interrupted format leaves.
//!
//! These run in the virtual machine of `cargo xtask test --vm`, whose disk is theirs.

use std::fs;
use std::path::Path;

use wasmount_tests::machine::{Faulty, MIB, Part};
use wasmount_tests::{Driver, Node, UID, is_mount_point, options};

const GRANTS: &str = r#"
version = 1

[[devices]]
rule = "disk"
path = "/dev/mapper/{id}"
id = "faulty"
verify = { attribute = "dm/name", value = "{id}" }

[filesystems]
types = ["ext4"]
format = true
check = true
grow = true

[mounts.block]
filesystems = ["ext4"]

[mounts.bind]
"#;

/// A node whose driver is to use the disk.
struct Bench {
    node: Node,
    disk: Faulty,
}

impl Bench {
    /// With a disk of that many MiB, blank.
    fn new(size: u64) -> Option<Self> {
        let disk = Faulty::blank(size * MIB)?;
        Some(Self { node: Node::new()?, disk })
    }

    fn driver(&self) -> Driver<'_> {
        self.node.install("disk", GRANTS)
    }
}

fn json(access: &str) -> String {
    options("pv-1", access, &[("id", "faulty")])
}

fn mount_device(driver: &Driver<'_>) -> wasmount_tests::Answer {
    driver.call(&["mountdevice", &driver.device_dir("pv-1"), "", &json("rw")])
}

fn unmount_device(driver: &Driver<'_>) {
    driver.call(&["unmountdevice", &driver.device_dir("pv-1")]).success();
}

/// Has the driver make a filesystem and put a file there, and takes all down again.
fn with_a_file(driver: &Driver<'_>) {
    mount_device(driver).success();
    fs::write(Path::new(&driver.device_dir("pv-1")).join("file"), "kept").expect("a file");
    unmount_device(driver);
}

fn the_file_is_there(driver: &Driver<'_>) {
    mount_device(driver).success();
    let file = fs::read_to_string(Path::new(&driver.device_dir("pv-1")).join("file"));
    assert_eq!(file.expect("the file"), "kept");
    unmount_device(driver);
}

#[test]
fn what_cannot_be_read_is_never_blank() {
    let Some(bench) = Bench::new(64) else { return };
    let driver = bench.driver();
    for place in [0, 2 * MIB, 62 * MIB, 64 * MIB - 4096] {
        bench.disk.becomes(&[Part::Broken { at: place, length: 4096 }]);
        let message = mount_device(&driver).fails_with("unreadable");
        assert!(message.contains("nobody knows what is on it"), "{message}");
        bench.disk.becomes(&[]);
        assert!(bench.disk.is_zero(), "unreadable at {place}");
    }
    bench.node.is_clean();
    mount_device(&driver).success();
    unmount_device(&driver);
}

#[test]
fn a_format_that_fails_is_repeated_under_its_record() {
    let Some(bench) = Bench::new(64) else { return };
    let driver = bench.driver();
    bench.disk.becomes(&[Part::WritesFail]);
    let message = mount_device(&driver).fails_with("tool-failed");
    assert!(message.contains("mkfs.ext4"), "{message}");
    bench.node.is_clean();
    let key = fs::read_dir(bench.node.path("data/example.com~disk/volumes")).expect("records");
    let record = key.flatten().next().expect("a record");
    let record = fs::read_to_string(record.path()).expect("readable");
    assert!(record.contains("\"formatting\""), "{record}");
    bench.disk.becomes(&[]);
    with_a_file(&driver);
    the_file_is_there(&driver);
}

#[test]
fn a_check_that_fails_changes_nothing() {
    let Some(bench) = Bench::new(64) else { return };
    let driver = bench.driver();
    with_a_file(&driver);
    // As a power cut leaves it: the check has a journal to replay, and cannot.
    mount_device(&driver).success();
    fs::write(Path::new(&driver.device_dir("pv-1")).join("more"), "of it").expect("a file");
    bench.disk.sync();
    bench.disk.becomes(&[Part::Broken { at: 0, length: 64 * MIB }]);
    unmount_device(&driver);
    bench.disk.becomes(&[Part::WritesFail]);
    let before = bench.disk.contents();
    let message = mount_device(&driver).failure();
    assert!(message.contains("e2fsck"), "{message}");
    assert!(!is_mount_point(&driver.device_dir("pv-1")));
    bench.disk.becomes(&[]);
    assert!(bench.disk.contents() == before, "the disk has changed");
    the_file_is_there(&driver);
}

#[test]
fn a_mount_that_fails_says_what_the_kernel_says() {
    let Some(bench) = Bench::new(64) else { return };
    let driver = bench.driver();
    with_a_file(&driver);
    let journal = bench.disk.journal();
    bench.disk.becomes(&[Part::Broken { at: journal, length: 4096 }]);
    bench.disk.read_only(true);
    let device = driver.device_dir("pv-1");
    let message = driver.call(&["mountdevice", &device, "", &json("ro")]).failure();
    assert!(message.contains("mounting /dev/"), "{message}");
    assert!(!is_mount_point(&device));
    bench.disk.read_only(false);
    bench.disk.becomes(&[]);
    the_file_is_there(&driver);
}

#[test]
fn growth_that_fails_leaves_a_sound_filesystem() {
    let Some(bench) = Bench::new(64) else { return };
    let driver = bench.driver();
    with_a_file(&driver);
    mount_device(&driver).success();
    let pod = driver.pod_dir(UID, "pv-1");
    driver.call(&["mount", &pod, &json("rw")]).success();
    bench.disk.resize(256 * MIB, &[Part::WritesFail]);
    let device = driver.device_dir("pv-1");
    let size = (256 * MIB).to_string();
    let args = ["expandfs", &json("rw"), "", &device, &size, &size];
    let message = driver.call(&args).failure();
    assert!(message.contains("growing the filesystem"), "{message}");
    bench.disk.becomes(&[]);
    driver.call(&["unmount", &pod]).success();
    unmount_device(&driver);
    // Set up again it is checked, and grown at last.
    the_file_is_there(&driver);
    assert_eq!(bench.disk.filesystem_size(), 256 * MIB);
    assert!(bench.disk.is_sound());
}

/// Where the kernel grows what is mounted, kubelet's call is enough.
#[test]
fn a_mounted_filesystem_grows_with_its_disk() {
    let Some(bench) = Bench::new(64) else { return };
    let driver = bench.driver();
    with_a_file(&driver);
    mount_device(&driver).success();
    bench.disk.resize(128 * MIB, &[]);
    let device = driver.device_dir("pv-1");
    let size = (128 * MIB).to_string();
    for _ in 0..2 {
        driver.call(&["expandfs", &json("rw"), "", &device, &size, &size]).success();
    }
    unmount_device(&driver);
    assert_eq!(bench.disk.filesystem_size(), 128 * MIB);
    the_file_is_there(&driver);
    assert!(bench.disk.is_sound());
}
