//! What a `mountdevice` does while the component starts: the check of a filesystem that was mounted
//! before, and the record of the mount that follows. Nothing of it is to be seen where it
//! did not come true.

use std::fs;
use std::process::Command;

use serde_json::Value;
use wasmount_tests::{Driver, LOOP_IMAGE_GRANTS, Node, Storage, is_mount_point, options, until};

const SIZE: u64 = 32 << 20;

#[test]
fn what_was_mounted_before_is_checked_before_the_component_asks() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let volume = Volume::attached(&node, &driver);
    assert_eq!(volume.checks("first"), ["asked"], "nobody knows yet what is there");
    assert_eq!(volume.checks("again"), ["ahead", "asked"]);
    volume.goes();
}

#[test]
fn without_the_grant_nothing_is_checked_ahead() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let volume = Volume::attached(&node, &driver);
    volume.checks("first");
    let less = LOOP_IMAGE_GRANTS.replace("check = true\n", "");
    let driver = node.install("loop-image", &less);
    let volume = Volume { driver: &driver, ..volume };
    volume.wait_for_attach();
    let refused = volume.mount_device().failure();
    assert!(refused.contains("[grant:filesystems.check]"), "{refused}");
    assert!(!driver.log().iter().any(|line| line["kind"] == "host-act" && line["act"] == "check"));
    assert!(volume.is_not_staged());
    volume.goes();
}

/// A filesystem with errors that nobody but a person should repair: the component is told so when it
/// asks, and nothing is left of a mount that was taken for granted.
#[test]
fn a_check_that_fails_ahead_fails_where_it_is_asked_for() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let volume = Volume::attached(&node, &driver);
    volume.checks("first");
    for command in ["set_inode_field <2> mode 0100644", "set_super_value state 2"] {
        let mut debugfs = Command::new("/usr/sbin/debugfs");
        debugfs.args(["-w", "-R", command]).arg(node.path("images/pv-1.img"));
        assert!(debugfs.output().expect("e2fsprogs").status.success());
    }
    volume.wait_for_attach();
    for _ in 0..2 {
        let failed = volume.mount_device().failure();
        assert!(failed.contains("RUN fsck MANUALLY"), "{failed}");
        assert!(failed.ends_with("[fs-errors]"), "{failed}");
        assert!(volume.is_not_staged());
    }
    let log = driver.log();
    let ahead = log.iter().rfind(|line| line["act"] == "check").expect("in the log");
    assert!(ahead["message"].as_str().expect("a text").contains("RUN fsck MANUALLY"), "{ahead}");
    volume.goes();
}

/// kubelet's time is up while the storage does not answer the checker.
#[test]
fn a_stopped_call_takes_back_what_it_recorded_ahead() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let storage = Storage::over(&node.image("pv-1.img", SIZE));
    let volume = Volume::attached(&node, &driver);
    volume.checks("first");
    volume.wait_for_attach();
    storage.stop_at(|_, _| true);
    let call = driver.start(&["mountdevice", &volume.device_dir, "", &volume.json]);
    let broker = call.broker();
    storage.is_waited_for();
    let checker = until("the checker runs", || {
        broker.children().into_iter().find(|child| child.called() == "e2fsck")
    });
    // What may run on for long keeps nobody's directory in use.
    for process in [&broker, &checker] {
        assert_eq!(process.directory().as_deref(), Some("/".as_ref()));
    }
    let told = call.stop();
    assert!(told.ends_with("[still-running]"), "{told}");
    storage.go_on();
    broker.ends();
    assert!(volume.is_not_staged());
    assert_eq!(volume.checks("again"), ["ahead", "asked"]);
    volume.goes();
}

/// A volume of `loop-image` that is attached to the node.
struct Volume<'a> {
    driver: &'a Driver<'a>,
    json: String,
    device_dir: String,
}

impl<'a> Volume<'a> {
    fn attached(node: &Node, driver: &'a Driver<'a>) -> Self {
        if !node.path("images/pv-1.img").exists() {
            node.image("pv-1.img", SIZE);
        }
        let json = options("pv-1", "rw", &[]);
        driver.call(&["attach", &json, "node-1"]).success();
        Self { driver, json, device_dir: driver.device_dir("pv-1") }
    }

    fn wait_for_attach(&self) {
        self.driver.call(&["waitforattach", "", &self.json]).success();
    }

    fn mount_device(&self) -> wasmount_tests::Answer {
        fs::create_dir_all(&self.device_dir).expect("as kubelet makes it");
        self.driver.call(&["mountdevice", &self.device_dir, "", &self.json])
    }

    /// Mounts the device and takes it down again. Returns who had it checked.
    fn checks(&self, what: &str) -> Vec<&'static str> {
        self.wait_for_attach();
        let before = self.driver.log().len();
        self.mount_device().success();
        assert!(is_mount_point(&self.device_dir), "{what}");
        let log = self.driver.log();
        let who = |line: &Value| match (line["kind"].as_str()?, &line["request"]["call"]) {
            ("host-act", _) if line["act"] == "check" => Some("ahead"),
            ("host-call", call) if call == "filesystems.check" => Some("asked"),
            ("host-call", call) if call == "filesystems.format" => Some("asked"),
            _ => None,
        };
        let checks = log[before..].iter().filter_map(who).collect();
        self.driver.call(&["unmountdevice", &self.device_dir]).success();
        checks
    }

    fn is_not_staged(&self) -> bool {
        let record = self.driver.record("pv-1").expect("a record");
        record["staged"].is_null() && !is_mount_point(&self.device_dir)
    }

    /// Takes it from the node.
    fn goes(self) {
        self.driver.call(&["unmountdevice", &self.device_dir]).success();
        self.driver.call(&["detach", "pv-1", "node-1"]).success();
    }
}
