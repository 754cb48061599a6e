//! `wasmount recover` after a crash that kubelet does not come back to.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use wasmount_tests::{
    Driver, LOOP_IMAGE_GRANTS, Node, UID, answer, crash_driver, is_mount_point, killed, options,
    program, until,
};

const NAME: &str = "example.com/loop-image";

#[test]
fn what_a_crash_left_is_settled_and_what_is_in_use_stays() {
    let Some(node) = Node::new() else { return };
    let driver = installed(&node);
    let nothing = "nothing is on record that is not on the node\n";
    assert_eq!(node.wasmount(&["recover", NAME]).stdout, nothing);

    // One that is in use, but for a pod that was killed while it was given it.
    let (device_dir, pod_dir) = (driver.device_dir("pv-1"), driver.pod_dir(UID, "pv-1"));
    driver.call(&["attach", &json("pv-1"), "node-1"]).success();
    driver.call(&["mountdevice", &device_dir, "", &json("pv-1")]).success();
    assert!(killed(&node, &driver, "record-saved", &["mount", &pod_dir, &json("pv-1")]));
    fs::remove_dir(&pod_dir).expect("an empty directory");
    // Another, of which nothing is left but the record.
    let other_dir = driver.device_dir("pv-2");
    driver.call(&["attach", &json("pv-2"), "node-1"]).success();
    assert!(killed(
        &node,
        &driver,
        "record-saved",
        &["mountdevice", &other_dir, "", &json("pv-2")]
    ));

    let shown = |volume: &str, path: &str, operation: &str| {
        format!(
            "volume {volume}\n  on record as mounted at {path}, where it is not\n    settled by \
             {operation} {path}\n"
        )
    };
    let (first, second) =
        (shown("pv-1", &pod_dir, "unmount"), shown("pv-2", &other_dir, "unmountdevice"));
    let unchanged = "nothing was changed; --yes makes these calls\n";
    let answer = node.wasmount(&["recover", NAME]);
    assert_eq!((answer.stdout, answer.exit), (format!("{first}{second}{unchanged}"), Some(0)));
    let only = node.wasmount(&["recover", NAME, "pv-2"]).stdout;
    assert_eq!(only, format!("{second}{unchanged}"));

    // Whoever wants to be rid of the driver is told.
    let refused = node.wasmount(&["uninstall", NAME]);
    let told = format!(
        "; what interrupted calls left of pv-1, pv-2 is settled with `wasmount recover {NAME} --yes`\n"
    );
    assert!(refused.stderr.ends_with(&told), "{}", refused.stderr);

    let answer = node.wasmount(&["recover", NAME, "--yes"]);
    let told = format!(
        "{first}{second}unmount {pod_dir}: Success\nunmountdevice {other_dir}: Success\n\
         nothing remains\n"
    );
    assert_eq!((answer.stdout, answer.stderr.as_str(), answer.exit), (told, "", Some(0)));
    assert!(is_mount_point(&device_dir), "it is in use");
    assert_eq!(node.wasmount(&["recover", NAME]).stdout, nothing);
    driver.call(&["unmountdevice", &device_dir]).success();
    for volume in ["pv-1", "pv-2"] {
        driver.call(&["detach", volume, "node-1"]).success();
    }
    node.is_clean();
}

/// What is on record and not on the node is about to be, if kubelet's call for it comes meanwhile.
#[test]
fn kubelet_cannot_call_while_what_was_left_is_settled() {
    let Some(node) = Node::new() else { return };
    let driver = installed(&node);
    let device_dir = driver.device_dir("pv-1");
    driver.call(&["attach", &json("pv-1"), "node-1"]).success();
    let mount = ["mountdevice", &device_dir, "", &json("pv-1")];
    assert!(killed(&node, &driver, "record-saved", &mount));

    node.is_idle();
    let turn = take_turn(&node);
    let answer = std::thread::scope(|scope| {
        let recovered = scope.spawn(|| node.wasmount(&["recover", NAME, "--yes"]));
        until("recover waits for the volume", || node.runs_a_call().then_some(()));
        assert!(!driver.executable().exists(), "kubelet can mount it now");
        drop(turn);
        recovered.join().expect("an answer")
    });
    assert!(answer.stdout.ends_with("Success\nnothing remains\n"), "{answer:?}");
    driver.call(&mount).success();
    // One that was killed had left the driver closed.
    fs::remove_file(driver.executable()).expect("a link");
    assert_eq!(
        node.wasmount(&["recover", NAME, "--yes"]).stdout,
        "nothing is on record that is not on the node\n"
    );
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", "pv-1", "node-1"]).success();
    node.is_clean();
}

/// In a container that has the node's files and not its mounts, everything seems to be left over.
#[test]
fn what_another_mount_namespace_does_not_see_is_not_settled() {
    let Some(node) = Node::new() else { return };
    let driver = installed(&node);
    let device_dir = driver.device_dir("pv-1");
    driver.call(&["attach", &json("pv-1"), "node-1"]).success();
    driver.call(&["mountdevice", &device_dir, "", &json("pv-1")]).success();
    // It may have processes of its own, too.
    for more in [&[][..], &["--pid", "--fork", "--mount-proc"]] {
        let mut container = Command::new("unshare");
        container.args(["--mount", "--propagation", "private"]).args(more);
        container.args(["sh", "-c", "umount $1; shift; $@", "sh"]).arg(&device_dir);
        container.arg(program("wasmount"));
        container.args(["recover", NAME, "--yes", "--plugin-dir"]).arg(node.path("plugins"));
        let refused = answer(&mut container, "recover in a container".to_owned());
        let told = "this is not the node's own mount namespace";
        assert!(refused.stderr.contains(told), "{more:?}: {}", refused.stderr);
        assert_eq!(refused.exit, Some(1));
    }
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", "pv-1", "node-1"]).success();
    node.is_clean();
}

fn installed(node: &Node) -> Driver<'_> {
    fs::DirBuilder::new().mode(0o700).create(node.path("run")).expect("a directory");
    node.install_with("loop-image", NAME, LOOP_IMAGE_GRANTS, crash_driver())
}

fn json(volume: &str) -> String {
    options(volume, "rw", &[("create", "true"), ("size", "32Mi")])
}

/// Has the turn of every volume that there was a call for.
fn take_turn(node: &Node) -> Vec<File> {
    let files = fs::read_dir(node.path("run/example.com~loop-image")).expect("a directory");
    let files = files.map(|entry| entry.expect("an entry").path());
    let locks = files.filter(|path| path.extension().is_some_and(|end| end == "lock"));
    let take = |path| {
        let file = File::options().write(true).open(path).expect("root may");
        rustix::fs::flock(&file, FlockOperation::LockExclusive).expect("no call runs");
        // As if it had just been taken, however slow the machine is.
        file.set_modified(SystemTime::now() + Duration::from_secs(3600)).expect("it is ours");
        file
    };
    locks.map(take).collect()
}
