//! `wasmount recover` after a crash that kubelet does not come back to.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;

use wasmount_tests::{LOOP_IMAGE_GRANTS, Node, UID, crash_driver, is_mount_point, killed, options};

const NAME: &str = "example.com/loop-image";

#[test]
fn what_a_crash_left_is_settled_and_what_is_in_use_stays() {
    let Some(node) = Node::new() else { return };
    fs::DirBuilder::new().mode(0o700).create(node.path("run")).expect("a directory");
    let driver = node.install_with("loop-image", NAME, LOOP_IMAGE_GRANTS, crash_driver());
    let json = |volume: &str| options(volume, "rw", &[("create", "true"), ("size", "32Mi")]);
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
