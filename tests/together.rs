//! Calls at the same time. Of those for one volume, one does it, and the others wait for their turn
//! and find it done; those for different volumes have nothing to do with each other.

use std::fs;
use std::path::Path;

use serde_json::Value;
use wasmount_tests::{Driver, LOOP_IMAGE_GRANTS, Node, Running, Storage, UID, options};

const NEW: [(&str, &str); 2] = [("create", "true"), ("size", "32Mi")];

/// How many calls are made at once.
const MANY: usize = 12;

/// Makes the same call many times at once. All succeed, but for those whose turn did not come.
fn at_once(driver: &Driver<'_>, args: &[&str]) {
    let calls: Vec<Running> = (0..MANY).map(|_| driver.start(args)).collect();
    let answers: Vec<_> = calls.into_iter().map(Running::answer_at_last).collect();
    let mut done = 0;
    for answer in answers {
        if answer.json()["status"] == "Success" {
            done += 1;
        } else {
            answer.fails_with("still-running");
        }
    }
    assert!(done > 0, "nobody has done it");
}

/// How often the host has done something for a component.
fn acts(driver: &Driver<'_>, act: &str) -> usize {
    let is_it = |line: &&Value| line["request"]["call"] == act && line["reason"].is_null();
    driver.log().iter().filter(is_it).count()
}

#[test]
fn of_many_calls_for_a_volume_one_does_it() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let json = options("pv-1", "rw", &NEW);
    let (device_dir, pod_dir) = (driver.device_dir("pv-1"), driver.pod_dir(UID, "pv-1"));
    at_once(&driver, &["attach", &json, "node-1"]);
    assert_eq!(acts(&driver, "images.create"), 1);
    at_once(&driver, &["waitforattach", "", &json]);
    assert_eq!(node.loops().len(), 1);
    at_once(&driver, &["mountdevice", &device_dir, "", &json]);
    assert_eq!(acts(&driver, "filesystems.format"), 1);
    assert_eq!(acts(&driver, "mounts-block.mount"), 1);
    at_once(&driver, &["mount", &pod_dir, &json]);
    assert_eq!(acts(&driver, "mounts-bind.staged"), 1);
    assert_eq!((node.mounts().len(), node.loops().len()), (2, 1));
    fs::write(Path::new(&pod_dir).join("file"), "kept").expect("writable");
    at_once(&driver, &["unmount", &pod_dir]);
    at_once(&driver, &["unmountdevice", &device_dir]);
    at_once(&driver, &["detach", "pv-1", "node-1"]);
    fs::remove_dir(&device_dir).expect("an empty directory, as kubelet wants it");
    node.has_given_back(&driver, "pv-1");
}

#[test]
fn where_the_host_attaches_too() {
    let Some(node) = Node::new() else { return };
    let binary = wasmount_tests::program("wasmount-driver");
    let driver = node.install_node_only("loop-image", LOOP_IMAGE_GRANTS, binary);
    let (json, pod_dir) = (options("pv-1", "rw", &NEW), driver.pod_dir(UID, "pv-1"));
    at_once(&driver, &["mount", &pod_dir, &json]);
    assert_eq!(acts(&driver, "filesystems.format"), 1);
    assert_eq!((node.mounts().len(), node.loops().len()), (2, 1));
    at_once(&driver, &["unmount", &pod_dir]);
    node.has_given_back(&driver, "pv-1");
}

/// kubelet gives up on a call before the call does, and makes it again.
#[test]
fn a_retry_waits_for_the_call_that_still_runs() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let held = Held::new(&node, &driver, "pv-1");
    let first = held.start(&driver);
    held.storage.is_waited_for();
    let second = held.start(&driver);
    second.waits_for_its_turn();
    held.storage.go_on();
    first.answer_at_last().success();
    second.answer_at_last().success();
    assert_eq!(acts(&driver, "filesystems.format"), 1);
    assert_eq!(acts(&driver, "mounts-block.mount"), 1);
    held.goes(&driver);
    node.is_clean();
}

/// All of them are in the middle of it at the same time, and one more comes and goes meanwhile.
#[test]
fn volumes_do_not_wait_for_each_other() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let all = ["pv-1", "pv-2", "pv-3", "pv-4"].map(|volume| Held::new(&node, &driver, volume));
    let calls: Vec<_> = all.iter().map(|held| held.start(&driver)).collect();
    all.iter().for_each(|held| held.storage.is_waited_for());
    let json = options("quick", "rw", &NEW);
    let device_dir = driver.device_dir("quick");
    driver.call(&["attach", &json, "node-1"]).success();
    driver.call(&["mountdevice", &device_dir, "", &json]).success();
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", "quick", "node-1"]).success();
    assert!(calls.iter().all(|call| !call.broker().has_ended()), "they were not in the middle");
    all.iter().for_each(|held| held.storage.go_on());
    for call in calls {
        call.answer_at_last().success();
    }
    all.into_iter().for_each(|held| held.goes(&driver));
    node.is_clean();
}

/// An attached volume on storage that does not answer, so that its format does not end.
struct Held {
    volume: &'static str,
    storage: Storage,
    json: String,
    device_dir: String,
}

impl Held {
    fn new(node: &Node, driver: &Driver<'_>, volume: &'static str) -> Self {
        let storage = Storage::over(&node.image(&format!("{volume}.img"), 32 << 20));
        let json = options(volume, "rw", &[]);
        driver.call(&["attach", &json, "node-1"]).success();
        storage.stop_at(|_, _| true);
        Self { volume, storage, json, device_dir: driver.device_dir(volume) }
    }

    /// The call that sets it up.
    fn start(&self, driver: &Driver<'_>) -> Running {
        driver.start(&["mountdevice", &self.device_dir, "", &self.json])
    }

    fn goes(self, driver: &Driver<'_>) {
        driver.call(&["unmountdevice", &self.device_dir]).success();
        driver.call(&["detach", self.volume, "node-1"]).success();
    }
}
