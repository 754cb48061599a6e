//! SIGTERM in every phase of a call: one Failure, soon, and nothing left of the call. kubelet
//! panics if a driver is still there ten seconds later.

use std::time::Duration;

use wasmount_tests::{Node, Running, UID, options};

/// How much of a processor's time a component has used once it does what it was told to, in
/// hundredths of a second: many times what it takes to start one.
const BUSY: u64 = 20;

const GRANTS: &str = r#"
version = 1
[limits]
cpu-seconds = 60
[mounts.tmpfs]
[[devices]]
rule = "disk"
path = "/dev/disk/by-id/none-{id}"
id = "vol-*"
verify = { attribute = "device/serial", value = "{id}" }
"#;

#[test]
fn a_call_stops_wherever_it_is() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let pod = driver.pod_dir(UID, "vol");
    for what in ["sleep", "loop", "log", "wait"] {
        let json = options("vol", "rw", &[("do", what)]);
        let call = driver.start(&["mount", &pod, &json]);
        match what {
            "sleep" => sleeps(&call),
            "wait" => {
                call.broker().sleeps_in(libc::SYS_ppoll);
                call.guest().sleeps_in(libc::SYS_recvfrom);
            }
            _ => call.guest().has_worked(BUSY),
        }
        let message = call.stop();
        assert!(message.ends_with("[stopped]"), "{what}: {message}");
        node.is_clean();
    }
    // After the mount was made and noted, before it took effect.
    let json = options("vol", "rw", &[("then-do", "sleep")]);
    let call = driver.start(&["mount", &pod, &json]);
    sleeps(&call);
    let message = call.stop();
    assert!(message.ends_with("[stopped]"), "{message}");
    node.is_clean();
}

#[test]
fn a_call_stops_while_it_waits_for_its_turn() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let pod = driver.pod_dir(UID, "vol");
    let json = options("vol", "rw", &[("do", "sleep")]);
    let first = driver.start(&["mount", &pod, &json]);
    sleeps(&first);
    first.lock().stays_new();
    let second = driver.start(&["mount", &pod, &json]);
    second.waits_for_its_turn();
    let message = second.stop();
    assert!(message.ends_with("waiting for its turn [stopped]"), "{message}");
    assert!(first.stop().ends_with("[stopped]"));
    driver.call(&["mount", &pod, &options("vol", "rw", &[])]).success();
    driver.call(&["unmount", &pod]).success();
    node.is_clean();
}

#[test]
fn one_volume_does_not_wait_for_another() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let json = options("slow", "rw", &[("do", "sleep")]);
    let slow = driver.start(&["mount", &driver.pod_dir(UID, "slow"), &json]);
    sleeps(&slow);
    let quick = driver.pod_dir(UID, "quick");
    driver.call(&["mount", &quick, &options("quick", "rw", &[])]).success();
    driver.call(&["unmount", &quick]).success();
    assert!(slow.stop().ends_with("[stopped]"));
    node.is_clean();
}

/// Whatever the call is at: parsing, starting the guest, loading, asking, committing, undoing.
#[test]
fn a_signal_at_any_moment_gets_one_document() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let pod = driver.pod_dir(UID, "vol");
    let json = options("vol", "rw", &[]);
    let mut stopped = 0;
    for moment in 0..50 {
        let call = driver.start(&["mount", &pod, &json]);
        call.listens();
        std::thread::sleep(Duration::from_micros(60 * moment));
        call.terminate();
        let answer = call.answer();
        if answer.json()["status"] == "Success" {
            answer.success();
            driver.call(&["unmount", &pod]).success();
        } else {
            answer.failure();
            stopped += 1;
        }
        node.is_clean();
    }
    assert!(stopped > 0, "every call was over before its signal came");
}

/// Waits until the component sleeps, as it was told to.
fn sleeps(call: &Running) {
    call.guest().sleeps_in(libc::SYS_clock_nanosleep);
}
