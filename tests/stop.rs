//! SIGTERM in every phase of a call: one Failure, soon, and nothing left of the call. kubelet
//! panics if a driver is still there ten seconds later.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use wasmount_tests::{Driver, Node, UID, options};

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

fn start(driver: &Driver<'_>, args: &[&str]) -> Child {
    let mut command = Command::new(driver.executable());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("a driver")
}

/// Sends SIGTERM after a while; the message of the one document that comes.
fn stop(mut call: Child, after: Duration) -> String {
    std::thread::sleep(after);
    let began = Instant::now();
    kill_process(Pid::from_child(&call), Signal::TERM).expect("it runs");
    let mut text = String::new();
    call.stdout.take().expect("a pipe").read_to_string(&mut text).expect("UTF-8");
    let status = call.wait().expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(5), "answered after {:?}", began.elapsed());
    let mut noise = String::new();
    call.stderr.take().expect("a pipe").read_to_string(&mut noise).expect("UTF-8");
    assert_eq!((status.code(), noise.as_str()), (Some(1), ""), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).expect("one document");
    assert_eq!(json["status"], "Failure");
    json["message"].as_str().expect("a message").to_owned()
}

#[test]
fn a_call_stops_wherever_it_is() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let pod = driver.pod_dir(UID, "vol");
    for what in ["sleep", "loop", "log"] {
        let json = options("vol", "rw", &[("do", what)]);
        let call = start(&driver, &["mount", &pod, &json]);
        let message = stop(call, Duration::from_millis(300));
        assert!(
            message.ends_with("[stopped]") || message.contains("[component-"),
            "{what}: {message}"
        );
        node.is_clean();
    }
    // After the mount was made and noted, before it took effect.
    let json = options("vol", "rw", &[("then-do", "sleep")]);
    let message = stop(start(&driver, &["mount", &pod, &json]), Duration::from_millis(300));
    assert!(message.ends_with("[stopped]"), "{message}");
    node.is_clean();
}

#[test]
fn a_call_stops_while_it_waits_for_its_turn() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let pod = driver.pod_dir(UID, "vol");
    let json = options("vol", "rw", &[("do", "sleep")]);
    let first = start(&driver, &["mount", &pod, &json]);
    std::thread::sleep(Duration::from_millis(300));
    let second = start(&driver, &["mount", &pod, &json]);
    let message = stop(second, Duration::from_millis(300));
    assert!(message.ends_with("[stopped]"), "{message}");
    assert!(stop(first, Duration::ZERO).ends_with("[stopped]"));
    driver.call(&["mount", &pod, &options("vol", "rw", &[])]).success();
    driver.call(&["unmount", &pod]).success();
    node.is_clean();
}

#[test]
fn one_volume_does_not_wait_for_another() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let json = options("slow", "rw", &[("do", "sleep")]);
    let slow = start(&driver, &["mount", &driver.pod_dir(UID, "slow"), &json]);
    std::thread::sleep(Duration::from_millis(300));
    let quick = driver.pod_dir(UID, "quick");
    driver.call(&["mount", &quick, &options("quick", "rw", &[])]).success();
    driver.call(&["unmount", &quick]).success();
    assert!(stop(slow, Duration::ZERO).ends_with("[stopped]"));
    node.is_clean();
}

/// Waits until the driver has blocked the signal; before that, the kernel ends any program.
fn armed(call: &Child) {
    for _ in 0..1000 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", call.id()));
        let status = status.unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        // A process that has ended already has no mask to show; it has answered.
        if mask.is_none_or(|mask| mask & 1 << (Signal::TERM.as_raw() - 1) != 0) {
            return;
        }
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// Whatever the call is at: parsing, starting the guest, loading, asking, committing, undoing.
#[test]
fn a_signal_at_any_moment_gets_one_document() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let pod = driver.pod_dir(UID, "vol");
    let json = options("vol", "rw", &[]);
    let (mut done, mut stopped) = (0, 0);
    for moment in 0..50 {
        let mut call = start(&driver, &["mount", &pod, &json]);
        armed(&call);
        std::thread::sleep(Duration::from_micros(60 * moment));
        let _ = kill_process(Pid::from_child(&call), Signal::TERM);
        let mut text = String::new();
        call.stdout.take().expect("a pipe").read_to_string(&mut text).expect("UTF-8");
        let exit = call.wait().expect("it ends").code();
        let reply: serde_json::Value = serde_json::from_str(&text).expect("one document");
        match reply["status"].as_str() {
            Some("Success") => {
                assert_eq!(exit, Some(0));
                done += 1;
                driver.call(&["unmount", &pod]).success();
            }
            Some("Failure") => {
                assert_eq!(exit, Some(1));
                stopped += 1;
            }
            _ => panic!("{text}"),
        }
        node.is_clean();
    }
    assert!(done + stopped == 50 && stopped > 0, "{done} done, {stopped} stopped");
}
