//! Rehearsals of calls that follow each other: `wasmount explain` says of each what then comes of it, and
//! leaves the node as it was. Each call is rehearsed and then made, and both are compared: host
//! calls, what the host does by itself, and the reply. Single calls are compared in `hostile` and `replies`.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use serde_json::Value;
use wasmount_tests::{
    Answer, Decided, Driver, FILESYSTEMS, LOOP_IMAGE_GRANTS, Node, State, UID, answer, options,
    options_as, program,
};

/// A driver whose calls are rehearsed before they are made.
struct Rehearsed<'n> {
    node: &'n Node,
    driver: Driver<'n>,
}

impl<'n> Rehearsed<'n> {
    fn new(node: &'n Node) -> Self {
        Self { node, driver: node.install("loop-image", LOOP_IMAGE_GRANTS) }
    }

    /// What is said of a call, which leaves the node as it was.
    fn explained(&self, args: &[&str]) -> Decided {
        let before = State::all_of(self.node);
        let rehearsed = Decided::rehearsed(self.node, &self.driver, args);
        assert_eq!(before.changes(self.node), "", "explaining {args:?} has changed the node");
        rehearsed
    }

    /// Makes the call, which comes out as it was explained.
    fn call(&self, args: &[&str]) -> Answer {
        let rehearsed = self.explained(args);
        let logged = self.driver.log().len();
        let answer = self.driver.call(args);
        let decided = Decided::logged(&self.driver.log()[logged..], &answer.json());
        assert_eq!(rehearsed, decided, "{args:?} is explained otherwise");
        answer
    }

    fn device_dir(&self) -> String {
        self.driver.device_dir("pv-1")
    }

    fn pod_dir(&self) -> String {
        self.driver.pod_dir(UID, "pv-1")
    }

    fn set_up(&self, json: &str) {
        self.call(&["attach", json, "node-1"]).success();
        self.call(&["waitforattach", "", json]).success();
        self.call(&["mountdevice", &self.device_dir(), "", json]).success();
        self.call(&["mount", &self.pod_dir(), json]).success();
    }

    fn take_down(&self) {
        self.call(&["unmount", &self.pod_dir()]).success();
        self.call(&["unmountdevice", &self.device_dir()]).success();
        self.call(&["detach", "pv-1", "node-1"]).success();
        self.node.is_clean();
    }
}

fn create(readwrite: &str) -> String {
    options("pv-1", readwrite, &[("create", "true"), ("size", "64Mi")])
}

#[test]
fn a_volume_that_grows() {
    let Some(node) = Node::new() else { return };
    for (fs_type, size) in FILESYSTEMS {
        let it = Rehearsed::new(&node);
        let user = [("create", "true"), ("size", &*size.to_string())];
        let json = options_as(fs_type, "pv-1", "rw", &user);
        it.set_up(&json);
        let (from, to) = (size.to_string(), (2 * size).to_string());
        it.call(&["expandvolume", &json, "", &to, &from]).success();
        let expand = ["expandfs", &json, "", &it.pod_dir(), &to, &from];
        // Not every kernel lets root grow a mounted ext4, and none says so before it is asked.
        match fs_type {
            "ext4" => assert_eq!(it.explained(&expand).reply["status"], "Success"),
            _ => drop(it.call(&expand).success()),
        }
        it.take_down();
        let (from, to) = (to, (3 * size).to_string());
        it.call(&["expandvolume", &json, "", &to, &from]).success();
        it.set_up(&json);
        it.take_down();
        fs::remove_file(node.path("images/pv-1.img")).expect("an image");
    }
}

/// Read-only it cannot be formatted; then its loop device is made anew.
#[test]
fn a_volume_that_was_read_only() {
    let Some(node) = Node::new() else { return };
    let it = Rehearsed::new(&node);
    node.image("pv-1.img", 64 << 20);
    let (ro, rw) = (create("ro"), create("rw"));
    it.call(&["attach", &ro, "node-1"]).success();
    it.call(&["waitforattach", "", &ro]).success();
    it.call(&["mountdevice", &it.device_dir(), "", &ro]).fails_with("unformatted");
    it.call(&["waitforattach", "", &rw]).success();
    it.call(&["mountdevice", &it.device_dir(), "", &rw]).success();
    it.call(&["unmountdevice", &it.device_dir()]).success();
    it.call(&["detach", "pv-1", "node-1"]).success();
    node.is_clean();
}

/// Where the host attaches volumes itself, what is set up for nobody is taken down and made anew.
#[test]
fn a_volume_that_is_wanted_otherwise() {
    let Some(node) = Node::new() else { return };
    let binary = program("wasmount-driver");
    let driver = node.install_node_only("loop-image", LOOP_IMAGE_GRANTS, binary);
    let it = Rehearsed { node: &node, driver };
    // One that a call creates has another identity each time.
    node.image("pv-1.img", 64 << 20);
    it.call(&["mount", &it.pod_dir(), &create("rw")]).success();
    it.call(&["unmount", &it.pod_dir()]).success();
    for readwrite in ["ro", "rw", "ro"] {
        it.call(&["mount", &it.pod_dir(), &create(readwrite)]).success();
        unmount(it.pod_dir(), UnmountFlags::empty()).expect("mounted");
    }
    let noatime = [("create", "true"), ("size", "64Mi"), ("mount-options", "noatime")];
    it.call(&["mount", &it.pod_dir(), &options("pv-1", "ro", &noatime)]).success();
    it.call(&["unmount", &it.pod_dir()]).success();
    node.is_clean();
}

/// A claim that a crash has left, of a volume that does not know of it.
#[test]
fn a_volume_whose_image_was_claimed() {
    let Some(node) = Node::new() else { return };
    let it = Rehearsed::new(&node);
    it.set_up(&create("rw"));
    let claims = node.path("data/claims");
    let claim = fs::read_dir(&claims).expect("claims").next().expect("one").expect("readable");
    it.take_down();
    symlink("example.com/loop-image pv-2", claim.path()).expect("no claim any more");
    it.set_up(&create("rw"));
    it.take_down();
}

/// What only the checker can tell is assumed to be well, and the checker is not run.
#[test]
fn a_filesystem_to_repair() {
    let Some(node) = Node::new() else { return };
    let it = Rehearsed::new(&node);
    it.set_up(&create("rw"));
    it.take_down();
    let mut debugfs = Command::new("/usr/sbin/debugfs");
    debugfs.args(["-w", "-R", "set_super_value state 0"]).arg(node.path("images/pv-1.img"));
    assert!(debugfs.output().expect("e2fsprogs").status.success());
    it.call(&["attach", &create("rw"), "node-1"]).success();
    it.call(&["waitforattach", "", &create("rw")]).success();
    let explained = it.explained(&["mountdevice", &it.device_dir(), "", &create("rw")]);
    assert_eq!(explained.reply["status"], "Success");
    assert_eq!(explained.host, ["check"]);
    it.call(&["detach", "pv-1", "node-1"]).success();
}

#[test]
fn no_checker() {
    let Some(node) = Node::new() else { return };
    let it = Rehearsed::new(&node);
    it.set_up(&create("rw"));
    it.take_down();
    it.call(&["attach", &create("rw"), "node-1"]).success();
    it.call(&["waitforattach", "", &create("rw")]).success();
    let tool = fs::canonicalize("/usr/sbin/e2fsck").expect("the tests need it");
    let script = format!("mount --bind /dev/null {} && exec \"$@\"", tool.display());
    let without = |program: &Path, args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "/bin/sh", "-c", &script, "sh"]).arg(program).args(args);
        answer(&mut command, args.join(" "))
    };
    let (device, json) = (it.device_dir(), create("rw"));
    let call = ["mountdevice", &device, "", &json];
    let plugins = node.path("plugins").display().to_string();
    let explain = ["explain", "--json", "--plugin-dir", &plugins, it.driver.name()];
    let told = without(&program("wasmount"), &[&explain[..], &call].concat()).stdout;
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let real = without(&it.driver.executable(), &call);
    assert!(real.failure().contains("e2fsck"), "{}", real.stdout);
    assert_eq!(told["reply"], real.json());
    it.call(&["detach", "pv-1", "node-1"]).success();
}

#[test]
fn images_that_cannot_be_written() {
    let Some(node) = Node::new() else { return };
    let it = Rehearsed::new(&node);
    let images = node.path("images");
    File::create(images.join("pv-1.img")).and_then(|it| it.set_len(64 << 20)).expect("an image");
    let read_only = || {
        mount_bind(&images, &images).expect("bound");
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        mount_remount(&images, flags, "").expect("read-only");
    };
    read_only();
    it.call(&["attach", &create("rw"), "node-1"]).failure();
    unmount(&images, UnmountFlags::empty()).expect("mounted");
    it.call(&["attach", &create("rw"), "node-1"]).success();
    read_only();
    it.call(&["waitforattach", "", &create("rw")]).failure();
    unmount(&images, UnmountFlags::empty()).expect("mounted");
}

#[test]
fn a_data_directory_that_cannot_be_made() {
    let Some(node) = Node::new() else { return };
    let it = Rehearsed::new(&node);
    let data = node.path("data");
    fs::create_dir(&data).expect("a directory");
    mount("none", &data, "tmpfs", MountFlags::RDONLY, None).expect("mounted");
    it.call(&["waitforattach", "", &create("rw")]).fails_with("no-directory");
    unmount(&data, UnmountFlags::empty()).expect("mounted");
}
