//! `mount` and `unmount` of a cluster that attaches nothing, cut short and not made again: killed,
//! stopped, without a component that runs, over a reboot. What was set up for nobody goes, what
//! was written stays. (`crash` has what follows each crash of each call.)

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Instant;

use wasmount_core::crash::{NODE_ONLY_POINTS, POINTS};
use wasmount_tests::{
    Driver, LOOP_IMAGE_GRANTS, Node, Storage, UID, crash_driver, is_mount_point, killed, options,
    program, until,
};

const OTHER: &str = "0b7d1a52-6c1e-4e0b-8d2a-3f4e5d6c7b8a";

const NEW: [(&str, &str); 2] = [("create", "true"), ("size", "32Mi")];

fn install(node: &Node) -> Driver<'_> {
    node.install_node_only("loop-image", LOOP_IMAGE_GRANTS, program("wasmount-driver"))
}

fn install_mortal(node: &Node) -> Driver<'_> {
    fs::DirBuilder::new().mode(0o700).create(node.path("run")).expect("a directory");
    node.install_node_only("loop-image", LOOP_IMAGE_GRANTS, crash_driver())
}

fn twice(driver: &Driver<'_>, args: &[&str]) {
    driver.call(args).success();
    driver.call(args).success();
}

fn points() -> impl Iterator<Item = &'static str> {
    POINTS.iter().chain(NODE_ONLY_POINTS).copied()
}

fn write(dir: &str, text: &str) {
    fs::write(Path::new(dir).join("file"), text).expect("a writable volume");
}

fn read(dir: &str) -> String {
    fs::read_to_string(Path::new(dir).join("file")).expect("a readable volume")
}

/// The pod is deleted while its mount is retried, or comes back while it is taken down.
#[test]
fn the_opposite_call_goes_on_where_a_crash_left_it() {
    let Some(node) = Node::new() else { return };
    let driver = install_mortal(&node);
    for point in points() {
        let volume = format!("pv-{point}");
        let (json, pod) = (options(&volume, "rw", &NEW), driver.pod_dir(UID, &volume));
        killed(&node, &driver, point, &["mount", &pod, &json]);
        twice(&driver, &["unmount", &pod]);
        node.has_given_back(&driver, &volume);
        twice(&driver, &["mount", &pod, &json]);
        write(&pod, point);
        killed(&node, &driver, point, &["unmount", &pod]);
        twice(&driver, &["mount", &pod, &json]);
        assert_eq!(read(&pod), point, "data was lost");
        twice(&driver, &["unmount", &pod]);
        node.has_given_back(&driver, &volume);
        assert_eq!(node.claims(), 0, "{point}: a claim is left");
        fs::remove_file(node.path("images").join(format!("{volume}.img"))).expect("removed");
    }
}

/// kubelet removes the directory of a mount that failed and never unmounts it. The next pod may
/// give its own volume the same name, or want to write to what was set up to be read.
#[test]
fn what_a_crash_left_for_nobody_is_in_nobodys_way() {
    let Some(node) = Node::new() else { return };
    let driver = install_mortal(&node);
    fn options_of(image: &str, access: &str) -> String {
        options("data", access, &[("image", image), NEW[0], NEW[1]])
    }
    let (pod, other) = (driver.pod_dir(UID, "data"), driver.pod_dir(OTHER, "data"));
    for point in points() {
        let (mine, yours) = (format!("mine-{point}.img"), format!("yours-{point}.img"));
        killed(&node, &driver, point, &["mount", &pod, &options_of(&mine, "rw")]);
        if is_mount_point(&pod) {
            driver.call(&["unmount", &pod]).success();
        }
        twice(&driver, &["mount", &other, &options_of(&yours, "rw")]);
        write(&other, point);
        twice(&driver, &["unmount", &other]);
        node.has_given_back(&driver, "data");
        killed(&node, &driver, point, &["mount", &pod, &options_of(&yours, "ro")]);
        if is_mount_point(&pod) {
            driver.call(&["unmount", &pod]).success();
        }
        twice(&driver, &["mount", &other, &options_of(&yours, "rw")]);
        assert_eq!(read(&other), point);
        write(&other, "still writable");
        twice(&driver, &["unmount", &other]);
        node.has_given_back(&driver, "data");
    }
}

/// Whatever the call is at: attaching, waiting, formatting, staging, binding, undoing.
#[test]
fn a_signal_at_any_moment_leaves_all_or_nothing() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let (json, pod) = (options("pv-1", "rw", &NEW), driver.pod_dir(UID, "pv-1"));
    let began = Instant::now();
    driver.call(&["mount", &pod, &json]).success();
    let whole = began.elapsed();
    driver.call(&["unmount", &pod]).success();
    let (mut stopped, mut done) = (0, 0);
    for moment in 0..60 {
        // An image that is made anew, every other time.
        if moment % 2 == 0 {
            fs::remove_file(node.path("images/pv-1.img")).or_else(absent).expect("removed");
        }
        let call = driver.start(&["mount", &pod, &json]);
        call.listens();
        std::thread::sleep(whole * moment / 40);
        call.terminate();
        let answer = call.answer();
        if answer.json()["status"] == "Success" {
            done += 1;
            assert!(is_mount_point(&pod));
            driver.call(&["unmount", &pod]).success();
        } else {
            stopped += 1;
            let message = answer.failure();
            assert!(!message.ends_with("[still-running]"), "{message}");
            assert!(!is_mount_point(&pod), "{message}");
        }
        node.has_given_back(&driver, "pv-1");
    }
    assert!(stopped > 0 && done > 0, "{stopped} calls were stopped, {done} were not");
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[test]
fn what_a_stopped_mount_had_set_up_goes_once_its_storage_answers() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let storage = Storage::over(&node.image("pv-1.img", 32 << 20));
    let (json, pod) = (options("pv-1", "rw", &[]), driver.pod_dir(UID, "pv-1"));
    storage.stop_at(|_, _| true);
    let call = driver.start(&["mount", &pod, &json]);
    let broker = call.broker();
    storage.is_waited_for();
    assert!(call.stop().ends_with("[still-running]"));
    assert!(!broker.has_ended(), "mkfs is never killed");
    storage.go_on();
    broker.ends();
    assert!(!is_mount_point(&pod), "it was told to stop, and took effect");
    until("its loop device is gone", || node.loops().is_empty().then_some(()));
    assert!(driver.record("pv-1").is_none_or(|record| record["attached_node"].is_null()));
    twice(&driver, &["mount", &pod, &json]);
    write(&pod, "data");
    twice(&driver, &["unmount", &pod]);
    drop(storage);
    node.has_given_back(&driver, "pv-1");
}

#[test]
fn the_last_unmount_needs_no_component() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let json = options("pv-1", "rw", &NEW);
    let pods = [driver.pod_dir(UID, "pv-1"), driver.pod_dir(OTHER, "pv-1")];
    for pod in &pods {
        driver.call(&["mount", pod, &json]).success();
    }
    let image = driver.version().join("component.cwasm");
    let whole = fs::read(&image).expect("readable");
    fs::write(&image, "no image").expect("writable for root");
    twice(&driver, &["unmount", &pods[0]]);
    assert!(is_mount_point(&pods[1]));
    // A mount that cannot be made takes nothing from a pod that has the volume.
    driver.call(&["mount", &pods[0], &json]).failure();
    assert!(is_mount_point(&pods[1]));
    twice(&driver, &["unmount", &pods[1]]);
    node.has_given_back(&driver, "pv-1");
    // Nor does it leave anything that only a component could take down.
    driver.call(&["mount", &pods[0], &json]).failure();
    node.has_given_back(&driver, "pv-1");
    fs::write(&image, whole).expect("writable for root");
    driver.call(&["mount", &pods[0], &json]).success();
    driver.call(&["unmount", &pods[0]]).success();
}

/// A component that traps or refuses in any part of the teardown.
#[test]
fn what_only_the_component_can_give_back_stays_on_record() {
    let Some(node) = Node::new() else { return };
    let grants = "version = 1\n[mounts.tmpfs]\n";
    let driver = node.install_node_only("hostile", grants, program("wasmount-driver"));
    let pod = driver.pod_dir(UID, "pv-1");
    twice(&driver, &["mount", &pod, &options("pv-1", "rw", &[("unmount-do", "trap")])]);
    twice(&driver, &["unmount", &pod]);
    assert!(driver.record("pv-1").is_none());
    node.is_clean();
    twice(&driver, &["mount", &pod, &options("pv-1", "rw", &[("detach-do", "unavailable")])]);
    for _ in 0..2 {
        driver.call(&["unmount", &pod]).fails_with("told");
        node.is_clean();
        assert_eq!(driver.record("pv-1").expect("a record")["attached_node"], "node-1");
    }
}

/// No pod may ever come back to it, and kubelet knows nothing of it: then it is the operator who has
/// it taken down.
#[test]
fn what_a_crash_left_for_nobody_is_settled() {
    let Some(node) = Node::new() else { return };
    let driver = install_mortal(&node);
    let recover = || {
        node.is_idle();
        let answer = node.wasmount(&["recover", "example.com/loop-image", "--yes"]);
        assert_eq!((answer.exit, answer.stderr.as_str()), (Some(0), ""), "{}", answer.stdout);
        answer.stdout
    };
    let nothing = "nothing is on record that is not on the node\n";
    for point in points() {
        let volume = format!("pv-{point}");
        let (json, pod) = (options(&volume, "rw", &NEW), driver.pod_dir(UID, &volume));
        killed(&node, &driver, point, &["mount", &pod, &json]);
        if is_mount_point(&pod) {
            assert_eq!(recover(), nothing, "{point}: a pod has it");
            driver.call(&["unmount", &pod]).success();
        }
        fs::remove_dir(&pod).expect("an empty directory");
        let told = recover();
        if point == "staged" {
            let none = pod.replace(UID, "00000000-0000-0000-0000-000000000000");
            let settled = format!(
                "volume {volume}\n  on record as set up on this node for a pod, and no pod has it\n    \
                 settled by unmount {none}\nunmount {none}: Success\nnothing remains\n"
            );
            assert_eq!(told, settled);
        }
        node.has_given_back(&driver, &volume);
        assert_eq!(node.claims(), 0, "{point}: a claim is left");
    }

    // The lease outlives the boot, and no other node may have the volume.
    let (json, pod) = (options("pv-1", "rw", &NEW), driver.pod_dir(UID, "pv-1"));
    driver.call(&["mount", &pod, &json]).success();
    write(&pod, "kept");
    assert_eq!(recover(), nothing);
    node.reboots();
    fs::remove_dir(&pod).expect("an empty directory");
    assert!(recover().ends_with(": Success\nnothing remains\n"));
    node.has_given_back(&driver, "pv-1");
    assert_eq!(node.wasmount(&["uninstall", "example.com/loop-image"]).exit, Some(0));
}

#[test]
fn a_reboot_takes_mounts_and_devices_and_leaves_the_data() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let (json, pod) = (options("pv-1", "rw", &NEW), driver.pod_dir(UID, "pv-1"));
    driver.call(&["mount", &pod, &json]).success();
    write(&pod, "kept");
    node.reboots();
    twice(&driver, &["mount", &pod, &json]);
    assert_eq!(read(&pod), "kept");
    // The pod is gone when its node is up again: kubelet unmounts what it finds a directory of.
    node.reboots();
    twice(&driver, &["unmount", &pod]);
    node.has_given_back(&driver, "pv-1");
    twice(&driver, &["mount", &pod, &json]);
    assert_eq!(read(&pod), "kept");
    twice(&driver, &["unmount", &pod]);
    node.has_given_back(&driver, "pv-1");
}
