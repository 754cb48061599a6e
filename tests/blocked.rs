//! SIGTERM while the kernel keeps a call: its storage has stopped answering, and a filesystem
//! tool, or the broker itself, sits in a system call that no signal ends. kubelet is answered all
//! the same, the volume stays locked until the storage goes on or dies, and what was set up is
//! discarded then. No other volume waits for it. No time is measured but that of the answer.
//!
//! The deadline leads to the same answer and is not waited for here: the supervisor's own tests
//! have it.

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use wasmount_tests::{
    Driver, LOOP_IMAGE_GRANTS, Node, Process, Storage, is_mount_point, options, until,
};

const SIZE: u64 = 32 << 20;

#[test]
fn mkfs_is_left_to_finish() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let volume = Volume::attached(&node, &driver);
    volume.storage.stop_at(any);
    let mkfs = |broker| tool(broker, "mkfs.ext4");
    volume.stop_in_mountdevice(&node, "filesystems.format", mkfs);
    volume.gets_data();
    volume.ends_intact();
    node.is_clean();
}

#[test]
fn e2fsck_is_left_to_finish() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let volume = Volume::attached(&node, &driver);
    volume.gets_data();
    // What a power cut leaves: a filesystem whose journal has to be replayed.
    let mut left = tempfile::tempfile().expect("a file");
    volume.mount_device();
    let copied = File::open(&volume.image).and_then(|mut image| io::copy(&mut image, &mut left));
    assert_eq!(copied.expect("a copy"), SIZE);
    volume.unmount_device();
    let mut image = File::options().write(true).open(&volume.image).expect("the image");
    left.rewind().and_then(|()| io::copy(&mut left, &mut image)).expect("the power is cut");
    drop(image);
    volume.storage.stop_at(any);
    let e2fsck = |broker| tool(broker, "e2fsck");
    volume.stop_in_mountdevice(&node, "filesystems.check", e2fsck);
    volume.ends_intact();
    node.is_clean();
}

#[test]
fn a_mount_that_comes_too_late_is_discarded() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let volume = Volume::attached(&node, &driver);
    volume.gets_data();
    volume.storage.stop_at(marks_as_mounted);
    let itself = |broker| in_call(broker, libc::SYS_fsconfig);
    volume.stop_in_mountdevice(&node, "mounts-block.mount", itself);
    volume.ends_intact();
    node.is_clean();
}

#[test]
fn an_unmount_that_comes_too_late_stays() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let volume = Volume::attached(&node, &driver);
    volume.gets_data();
    volume.mount_device();
    volume.storage.stop_at(any);
    let itself = |broker| in_call(broker, libc::SYS_umount2);
    let message =
        volume.stop(&["unmountdevice", &volume.device_dir], "mount-target.unmount", itself);
    assert!(message.contains("has done stays"), "{message}");
    assert!(!is_mount_point(&volume.device_dir));
    volume.unmount_device();
    volume.ends_intact();
    node.is_clean();
}

#[test]
fn a_mount_whose_storage_dies_is_made_again() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let volume = Volume::attached(&node, &driver);
    volume.gets_data();
    volume.storage.stop_at(marks_as_mounted);
    let args = ["mountdevice", &volume.device_dir, "", &volume.json];
    let (_, broker) = volume.leave_stuck(&args, |it| in_call(it, libc::SYS_fsconfig));
    volume.storage.dies();
    broker.ends();
    assert!(!is_mount_point(&volume.device_dir));
    until("its loop device is gone", || node.loops().is_empty().then_some(()));
    volume.storage.is_replaced();
    volume.ends_intact();
    node.is_clean();
}

#[test]
fn an_unmount_whose_storage_dies_comes_to_its_end() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let volume = Volume::attached(&node, &driver);
    volume.gets_data();
    volume.mount_device();
    volume.storage.stop_at(any);
    let args = ["unmountdevice", &volume.device_dir];
    let (_, broker) = volume.leave_stuck(&args, |it| in_call(it, libc::SYS_umount2));
    volume.storage.dies();
    broker.ends();
    volume.unmount_device();
    assert!(!is_mount_point(&volume.device_dir));
    volume.storage.is_replaced();
    volume.ends_intact();
    node.is_clean();
}

/// Not even what its image is like is told: asked about that loop device, the kernel waits.
#[test]
fn what_answers_nothing_holds_no_other_volume_up() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let other = node.install_as("loop-image", "example.com/other", LOOP_IMAGE_GRANTS);
    let volume = Volume::attached(&node, &driver);
    volume.gets_data();
    volume.mount_device();
    volume.storage.falls_silent();
    serves(&driver, "pv-2");
    serves(&other, "pv-3");
    volume.storage.go_on();
    volume.unmount_device();
    volume.ends_intact();
    node.is_clean();
}

/// A volume of `loop-image` that is attached to the node, on storage of its own.
struct Volume<'a> {
    driver: &'a Driver<'a>,
    image: PathBuf,
    storage: Storage,
    json: String,
    device_dir: String,
}

impl<'a> Volume<'a> {
    fn attached(node: &Node, driver: &'a Driver<'a>) -> Self {
        let image = node.image("pv-1.img", SIZE);
        let storage = Storage::over(&image);
        let json = options("pv-1", "rw", &[]);
        driver.call(&["attach", &json, "node-1"]).success();
        Self { driver, image, storage, json, device_dir: driver.device_dir("pv-1") }
    }

    fn mount_device(&self) {
        self.driver.call(&["mountdevice", &self.device_dir, "", &self.json]).success();
    }

    fn unmount_device(&self) {
        self.driver.call(&["unmountdevice", &self.device_dir]).success();
    }

    fn file(&self) -> PathBuf {
        Path::new(&self.device_dir).join("file")
    }

    fn gets_data(&self) {
        self.mount_device();
        fs::write(self.file(), "data").expect("writable");
        self.unmount_device();
    }

    /// The call that was stopped succeeds now, and nothing was lost.
    fn ends_intact(self) {
        self.mount_device();
        assert_eq!(fs::read_to_string(self.file()).expect("readable"), "data");
        self.unmount_device();
        self.driver.call(&["detach", "pv-1", "node-1"]).success();
    }

    /// Stops a `mountdevice`, which leaves nothing, the loop device that it made included.
    fn stop_in_mountdevice(&self, node: &Node, act: &str, stuck: impl FnOnce(Process) -> Process) {
        let args = ["mountdevice", &self.device_dir, "", &self.json];
        let message = self.stop(&args, act, stuck);
        assert!(message.contains("will be discarded"), "{message}");
        assert!(!is_mount_point(&self.device_dir), "it was told to stop, and took effect");
        until("its loop device is gone", || node.loops().is_empty().then_some(()));
    }

    /// Stops a call that the storage does not answer, and then lets the storage go on. `stuck`
    /// finds the process of it that is stuck, in this act. Returns what kubelet was told.
    fn stop(&self, args: &[&str], act: &str, stuck: impl FnOnce(Process) -> Process) -> String {
        let (told, broker) = self.leave_stuck(args, stuck);
        self.storage.go_on();
        broker.ends();
        // What was stuck has come to a good end, and was the last that the call did. Of calls that
        // were stopped only this one did anything; others may be in the log after it.
        let log = self.driver.log();
        let is_stopped = |line: &&Value| line["kind"] == "reply" && line["reason"] == "stopped";
        let stopped: Vec<_> = log.iter().filter(is_stopped).map(|line| &line["call"]).collect();
        let done = |line: &&Value| line["kind"] == "host-call" && stopped.contains(&&line["call"]);
        let last = log.iter().rfind(done).expect("the call is in the log");
        assert_eq!((&last["request"]["call"], &last["reason"]), (&act.into(), &Value::Null));
        told
    }

    /// A call that has had its turn for long is not waited for.
    fn tells_at_once_who_is_running(&self, args: &[&str], broker: &Process) {
        let message = self.driver.start(args).answer().failure();
        let who = format!("{} (process {}) for the same volume", args[0], broker.number());
        let (_, since) = message.split_once(&who).expect(&message);
        let since = since.strip_prefix(" is still running, since ").expect(&message);
        let seconds = since.split_once(" s;").and_then(|(seconds, _)| seconds.parse::<u64>().ok());
        assert!(seconds >= Some(75), "{message}");
    }

    /// Stops a call that the storage does not answer: kubelet is told, nothing else is held up, and
    /// the process that is stuck is not ended. Returns what kubelet was told, and the broker.
    fn leave_stuck(
        &self,
        args: &[&str],
        stuck: impl FnOnce(Process) -> Process,
    ) -> (String, Process) {
        let call = self.driver.start(args);
        let broker = call.broker();
        self.storage.is_waited_for();
        let stuck = stuck(call.broker());
        let lock = call.lock();
        let told = call.stop();
        assert!(told.ends_with("[still-running]"), "{told}");
        assert!(told.contains("told to stop by a signal"), "{told}");
        assert!(told.contains("holds the volume's lock"), "{told}");

        lock.is_old(75);
        self.tells_at_once_who_is_running(args, &broker);
        lock.stays_new();
        let retry = self.driver.start(args);
        let retrying = retry.broker();
        retry.waits_for_its_turn();
        let message = retry.stop();
        assert!(message.ends_with("waiting for its turn [stopped]"), "{message}");
        retrying.ends();
        serves(self.driver, "pv-2");

        assert!(!stuck.has_ended() && !broker.has_ended(), "it was killed, or was not stuck");
        (told, broker)
    }
}

/// What one volume's storage does is nothing to another's, of the same driver or of another.
fn serves(driver: &Driver<'_>, volume: &str) {
    let json = options(volume, "rw", &[("create", "true"), ("size", "32Mi")]);
    let device_dir = driver.device_dir(volume);
    driver.call(&["attach", &json, "node-1"]).success();
    driver.call(&["mountdevice", &device_dir, "", &json]).success();
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", volume, "node-1"]).success();
}

/// The tool that the broker runs.
fn tool(broker: Process, name: &str) -> Process {
    let called = |child: &Process| child.called() == name;
    until("the tool runs", || broker.children().into_iter().find(called))
}

/// The broker, once it is in a system call.
fn in_call(broker: Process, number: libc::c_long) -> Process {
    broker.sleeps_in(number);
    broker
}

/// Every write.
fn any(_: u64, _: &[u8]) -> bool {
    true
}

/// The write by which the kernel says that the journal has to be replayed from now on: a part of
/// every writable mount of ext4. (A checker that finds nothing writes, too.)
fn marks_as_mounted(offset: u64, data: &[u8]) -> bool {
    // `s_feature_incompat` of the superblock, which is 1024 bytes from the start, and in it
    // EXT4_FEATURE_INCOMPAT_RECOVER.
    let at = (1024 + 0x60_u64).checked_sub(offset).map(|at| at as usize);
    at.and_then(|at| data.get(at)).is_some_and(|flags| flags & 4 != 0)
}
