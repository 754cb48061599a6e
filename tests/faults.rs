//! A disk that fails while it is looked at, made a filesystem, checked, mounted or grown: the
//! call says so, and what is on the disk is what it was, or what an interrupted format leaves.
//! Whatever the filesystem is, as soon as the disk works again everything is there.
//!
//! These run in the virtual machine of `cargo xtask test --vm`, whose disk is theirs.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use wasmount_tests::host::CopiedMounts;
use wasmount_tests::machine::{self, Faulty, MIB, Part};
use wasmount_tests::{
    Answer, Driver, FILESYSTEMS, Node, UID, is_mount_point, options_as, program, until,
};

const GRANTS: &str = r#"
version = 1

[[devices]]
rule = "disk"
path = "/dev/mapper/{id}"
id = "faulty"
verify = { attribute = "dm/name", value = "{id}" }

[filesystems]
types = ["ext4", "xfs", "btrfs"]
format = true
check = true
grow = true

[mounts.block]
filesystems = ["ext4", "xfs", "btrfs"]

[mounts.bind]
"#;

/// What holds nothing but the filesystem's own at both ends, so that all in between can be broken
/// and it is still seen what is there.
const EDGE: u64 = 2 * MIB;

/// A volume on a disk that can fail, with a filesystem of one type.
struct Volume<'a> {
    driver: &'a Driver<'a>,
    disk: Faulty,
    fs_type: &'static str,
    /// The disk's size, in bytes.
    size: u64,
}

/// Does the same with each filesystem, each time on a blank disk of the size that it needs.
fn with_each(test: impl Fn(&Volume<'_>)) {
    with(|_| true, test);
}

/// The same with some.
fn with(chosen: impl Fn(&str) -> bool, test: impl Fn(&Volume<'_>)) {
    if !machine::is_here() {
        return;
    }
    let Some(node) = Node::new() else { return };
    let driver = node.install("disk", GRANTS);
    for (fs_type, size) in FILESYSTEMS.into_iter().filter(|(fs_type, _)| chosen(fs_type)) {
        test(&Volume { driver: &driver, disk: Faulty::blank(size), fs_type, size });
        node.is_clean();
    }
}

impl Volume<'_> {
    fn json(&self, access: &str) -> String {
        options_as(self.fs_type, self.name(), access, &[("id", "faulty")])
    }

    fn name(&self) -> &str {
        self.fs_type
    }

    fn directory(&self) -> String {
        self.driver.device_dir(self.name())
    }

    fn file(&self) -> PathBuf {
        Path::new(&self.directory()).join("file")
    }

    fn mount(&self, access: &str) -> Answer {
        self.driver.call(&["mountdevice", &self.directory(), "", &self.json(access)])
    }

    /// Asserts that it cannot be mounted, and why.
    fn is_not_mounted(&self, access: &str, why: &[&str]) {
        let message = self.mount(access).failure();
        assert!(why.iter().any(|why| message.contains(why)), "{}: {message}", self.fs_type);
        assert!(!is_mount_point(&self.directory()), "{}", self.fs_type);
    }

    /// The same, and nothing on the disk changes.
    fn is_left_alone(&self, access: &str, why: &[&str]) {
        let before = self.disk.digest();
        self.is_not_mounted(access, why);
        assert_eq!(self.disk.digest(), before, "{}: the disk has changed", self.fs_type);
    }

    fn unmount(&self) {
        self.driver.call(&["unmountdevice", &self.directory()]).success();
    }

    /// Asserts that it is not given back: kubelet asks again about what is mounted, and about
    /// nothing else.
    fn stays_mounted(&self) {
        self.driver.call(&["unmountdevice", &self.directory()]).fails_with("busy");
        assert!(is_mount_point(&self.directory()), "{}", self.fs_type);
        assert_eq!(fs::read_to_string(self.file()).expect("the file"), "kept");
    }

    /// Unmounts it once the kernel has taken a namespace down that had it too, in its own time.
    fn is_given_back(&self) {
        until("the disk is given back", || {
            let answer = self.driver.call(&["unmountdevice", &self.directory()]);
            (answer.exit == Some(0)).then_some(())
        });
        assert!(!is_mount_point(&self.directory()), "{}", self.fs_type);
        self.has_the_file();
    }

    /// Has the driver make a filesystem and puts a file there, safely; it stays mounted.
    fn with_a_file(&self) {
        self.mount("rw").success();
        fs::write(self.file(), "kept").expect("a file");
        for path in [self.file(), self.directory().into()] {
            File::open(path).and_then(|file| file.sync_all()).expect("synced");
        }
    }

    /// Asserts that it can be mounted and has the file. How large the filesystem is, in bytes.
    fn has_the_file(&self) -> u64 {
        self.mount("rw").success();
        assert_eq!(fs::read_to_string(self.file()).expect("the file"), "kept", "{}", self.fs_type);
        let room = rustix::fs::statvfs(self.directory()).expect("a filesystem");
        self.unmount();
        assert!(self.disk.is_sound(self.fs_type), "{}", self.fs_type);
        room.f_blocks * room.f_frsize
    }

    /// kubelet's call after the disk has become larger.
    fn expand(&self, size: u64) -> Answer {
        let size = size.to_string();
        let args = ["expandfs", &self.json("rw"), "", &self.directory(), &size, &size];
        self.driver.call(&args)
    }
}

/// Of a disk there is no account of what was ever written: the host has to find it.
#[test]
fn one_byte_is_enough_not_to_be_blank() {
    with_each(|volume| {
        let user = [("id", "faulty"), ("blindly", "true")];
        let json = options_as(volume.fs_type, volume.name(), "rw", &user);
        for place in [0, 4 * MIB - 1, volume.size - 4 * MIB, volume.size - 1] {
            volume.disk.write(1, place);
            let before = volume.disk.digest();
            let mounted = volume.driver.call(&["mountdevice", &volume.directory(), "", &json]);
            mounted.fails_with("not-blank");
            assert_eq!(volume.disk.digest(), before, "{}: the disk has changed", volume.fs_type);
            volume.disk.write(0, place);
        }
        volume.driver.call(&["mountdevice", &volume.directory(), "", &json]).success();
        volume.unmount();
    });
}

#[test]
fn what_cannot_be_read_is_never_blank() {
    with_each(|volume| {
        // Also the middle of a large disk is looked at.
        for (size, place) in [
            (volume.size, 0),
            (volume.size, EDGE),
            (volume.size, volume.size - EDGE),
            (volume.size, volume.size - 4096),
            (3 * 1024 * MIB, 1024 * MIB),
        ] {
            volume.disk.resize(size, &[Part::Broken { at: place, length: 4096 }]);
            let message = volume.mount("rw").fails_with("unreadable");
            assert!(message.contains("nobody knows what is on it"), "{message}");
            volume.disk.resize(volume.size, &[]);
            assert!(volume.disk.is_zero(), "unreadable at {place}");
        }
        volume.mount("rw").success();
        volume.unmount();
    });
}

/// A format that comes upon this part of the disk, which cannot be written, from a share of its
/// size to another, in percent.
fn is_repeated_after_failing(from: u64, to: u64) {
    with_each(|volume| {
        let (disk, part) = (&volume.disk, volume.size / 100 / 4096 * 4096);
        disk.becomes(&[Part::WritesFail { at: from * part, length: (to - from) * part }]);
        let message = volume.mount("rw").fails_with("tool-failed");
        assert!(message.contains(&format!("mkfs.{}", volume.fs_type)), "{message}");
        assert!(!is_mount_point(&volume.directory()));
        let record = volume.driver.record(volume.name()).expect("a record");
        assert!(!record["formatting"].is_null(), "{record}");
        assert_eq!(disk.is_zero(), from == 0, "{}: from {from} % on", volume.fs_type);
        disk.becomes(&[]);
        volume.with_a_file();
        volume.unmount();
        volume.has_the_file();
    });
}

#[test]
fn a_format_that_writes_nothing_is_repeated_under_its_record() {
    is_repeated_after_failing(0, 100);
}

#[test]
fn a_format_that_leaves_half_a_filesystem_is_repeated_under_its_record() {
    is_repeated_after_failing(25, 75);
}

/// What a power cut leaves is to be made good by the check or by the mount, and neither can write.
#[test]
fn what_cannot_be_repaired_stays_as_it_was() {
    with_each(|volume| {
        volume.with_a_file();
        volume.disk.becomes(&[Part::Broken { at: 0, length: volume.size }]);
        volume.unmount();
        volume.disk.becomes(&[Part::WritesFail { at: 0, length: volume.size }]);
        volume.is_left_alone("rw", &["e2fsck", "mounting /dev/"]);
        volume.disk.becomes(&[]);
        volume.has_the_file();
    });
}

#[test]
fn a_mount_that_fails_says_what_the_kernel_says() {
    with_each(|volume| {
        volume.with_a_file();
        volume.unmount();
        // The superblock.
        volume.disk.becomes(&[Part::Broken { at: 0, length: 128 * 1024 }]);
        volume.is_left_alone("rw", &["nobody knows what is on it"]);
        // All but the superblock; the log that a read-only mount must not replay is looked at first.
        volume.disk.becomes(&[Part::Broken { at: EDGE, length: volume.size - 2 * EDGE }]);
        volume.disk.read_only(true);
        volume.is_left_alone("ro", &["mounting /dev/", "nobody knows what is on it"]);
        volume.disk.read_only(false);
        // ext4's own note of the trouble, in its superblock, is all that may be written.
        volume.is_not_mounted("rw", &["e2fsck", "mounting /dev/"]);
        volume.disk.becomes(&[]);
        volume.has_the_file();
    });
}

#[test]
fn growth_that_fails_leaves_a_sound_filesystem() {
    with_each(|volume| {
        volume.with_a_file();
        let pod = volume.driver.pod_dir(UID, volume.name());
        volume.driver.call(&["mount", &pod, &volume.json("rw")]).success();
        let size = volume.size * 3 / 2;
        volume.disk.resize(size, &[Part::WritesFail { at: 0, length: size }]);
        let message = volume.expand(size).failure();
        assert!(message.contains("growing the filesystem"), "{}: {message}", volume.fs_type);
        volume.disk.becomes(&[]);
        volume.driver.call(&["unmount", &pod]).success();
        volume.unmount();
        // Set up again it is made good, and grown at last.
        let room = volume.has_the_file();
        assert!(room > volume.size, "{}: {room} of {size}", volume.fs_type);
    });
}

/// Where the kernel grows what is mounted, kubelet's call is enough.
#[test]
fn a_mounted_filesystem_grows_with_its_disk() {
    with_each(|volume| {
        volume.with_a_file();
        let size = volume.size * 3 / 2;
        volume.disk.resize(size, &[]);
        for _ in 0..2 {
            volume.expand(size).success();
        }
        let room = rustix::fs::statvfs(volume.directory()).expect("a filesystem");
        let room = room.f_blocks * room.f_frsize;
        assert!(room > volume.size, "{}: {room} of {size}", volume.fs_type);
        volume.unmount();
        assert!(volume.has_the_file() > volume.size, "{}", volume.fs_type);
    });
}

/// kubelet gives a disk away once it is unmounted. As long as a process that has a copy of all mounts
/// keeps its filesystem alive, what was written may not be on the disk yet, and may never be.
#[test]
fn a_disk_is_not_given_away_while_another_namespace_has_it() {
    with_each(|volume| {
        volume.with_a_file();
        let copied = CopiedMounts::take();
        for _ in 0..2 {
            volume.stays_mounted();
        }
        // As root does, or a filesystem that fails.
        mount_remount(volume.directory(), MountFlags::RDONLY, "").expect("read-only");
        volume.stays_mounted();
        // Whoever has unmounted it knows that it is: it is not mounted for nobody.
        unmount(volume.directory(), UnmountFlags::empty()).expect("it is mounted");
        volume.driver.call(&["unmountdevice", &volume.directory()]).fails_with("busy");
        assert!(!is_mount_point(&volume.directory()), "{}", volume.fs_type);
        drop(copied);
        volume.is_given_back();
    });
}

/// A filesystem that has failed is no exception: each tells so in another way.
#[test]
fn a_disk_that_broke_is_not_given_away_while_another_namespace_has_it() {
    with_each(|volume| {
        volume.with_a_file();
        let directory = volume.directory();
        let copied = CopiedMounts::take();
        volume.disk.becomes(&[Part::Broken { at: 0, length: volume.size }]);
        let other = Path::new(&directory).join("other");
        let written = File::create(other).and_then(|file| file.sync_all());
        written.expect_err("nothing can be written");
        for _ in 0..2 {
            volume.driver.call(&["unmountdevice", &directory]).fails_with("busy");
            // It may not answer statx any more.
            let mounts = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
            assert!(mounts.contains(&format!(" {directory} ")), "{}", volume.fs_type);
        }
        drop(copied);
        until("the disk is given back", || {
            let answer = volume.driver.call(&["unmountdevice", &directory]);
            (answer.exit == Some(0)).then_some(())
        });
        volume.disk.becomes(&[]);
        volume.has_the_file();
    });
}

/// A filesystem that is put back shows what it did, whichever subvolume somebody has made the
/// default.
#[test]
fn what_is_put_back_is_the_top_of_a_filesystem() {
    with(
        |fs_type| fs_type == "btrfs",
        |volume| {
            volume.with_a_file();
            let below = format!("{}/below", volume.directory());
            for arguments in [["create", &below].as_slice(), &["set-default", &below]] {
                let made = Command::new("btrfs").arg("subvolume").args(arguments).output();
                assert!(made.expect("btrfs").status.success(), "{arguments:?}");
            }
            let copied = CopiedMounts::take();
            volume.stays_mounted();
            drop(copied);
            volume.is_given_back();
        },
    );
}

/// What has the disk was never mounted here, and goes on having it: that keeps nobody from taking
/// back what was attached for this volume.
#[test]
fn a_disk_that_somebody_else_holds_is_given_back() {
    if !machine::is_here() {
        return;
    }
    let Some(node) = Node::new() else { return };
    let driver = node.install_node_only("disk", GRANTS, program("wasmount-driver"));
    let disk = Faulty::blank(64 * MIB);
    let holder =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(machine::MAPPING);
    let holder = holder.expect("nobody has it");
    let json = options_as("ext4", "pv-1", "rw", &[("id", "faulty")]);
    driver.call(&["mount", &driver.pod_dir(UID, "pv-1"), &json]).fails_with("in-use");
    assert!(driver.record("pv-1").is_none_or(|record| record["attached_node"].is_null()));
    assert!(disk.is_zero());
    drop(holder);
    driver.call(&["mount", &driver.pod_dir(UID, "pv-1"), &json]).success();
    driver.call(&["unmount", &driver.pod_dir(UID, "pv-1")]).success();
    node.is_clean();
}
