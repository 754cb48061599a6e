//! `wasmount call --trace` and `wasmount log` on what a real driver writes.

use wasmount_tests::{LOOP_IMAGE_GRANTS, Node, options};

const NAME: &str = "example.com/loop-image";

#[test]
fn a_call_that_is_traced_replies_on_standard_output_alone() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "32Mi")]);
    driver.call(&["attach", &json, "node-1"]).success();
    let device_dir = driver.device_dir("pv-1");
    let trace = |args: &[&str]| node.wasmount(&[&["call", "--trace", NAME], args].concat());
    let traced = trace(&["mountdevice", &device_dir, "", &json]);
    assert_eq!((traced.stdout.as_str(), traced.exit), ("{\"status\":\"Success\"}\n", Some(0)));
    for part in
        ["  operation  mountdevice\n", "filesystems.format ", ": allowed, ", " ms  Success\n"]
    {
        assert!(traced.stderr.contains(part), "{part} is not in {}", traced.stderr);
    }
    let failed = trace(&["mount", "/elsewhere", &json]);
    assert_eq!((failed.stdout.lines().count(), failed.exit), (1, Some(1)));
    assert!(failed.stderr.contains("Failure [path]"), "{}", failed.stderr);
    // Nothing is waited for that is never written.
    let init = trace(&["init"]);
    assert!(init.stdout.starts_with("{\"status\":\"Success\""), "{}", init.stdout);
    assert_eq!(init.stderr, "`init` is answered without the audit log: there is nothing to tell\n");
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", "pv-1", "node-1"]).success();
    driver.log();

    let log = node.wasmount(&["log", NAME]).stdout;
    let operations: Vec<_> =
        log.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(operations, ["attach", "mountdevice", "mount", "unmountdevice", "detach"], "{log}");
    let failed = node.wasmount(&["log", NAME, "--failed"]).stdout;
    assert!(failed.ends_with("Failure [path]\n") && failed.lines().count() == 1, "{failed}");
    node.is_clean();
}
