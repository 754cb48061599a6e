//! `uninstall` while kubelet calls the driver: it waits or refuses, and once it is done there is
//! nothing to call and nothing left.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use wasmount_tests::{Driver, EDITION, Edition, Node, UID, component, options, program};

const CALLERS: usize = 16;

/// After so many refusals half of the callers stop mounting. One goes on to the end: by itself, it
/// leaves enough moments in which no volume is mounted.
const CALMS_AFTER: usize = 50;

/// kubelet's calls for one volume while the driver is being uninstalled, again and again. It is
/// mounted only as long as `mounting` is greater than its number.
fn call(driver: &Driver<'_>, number: usize, mounting: &AtomicUsize, done: &AtomicBool) {
    let volume = &format!("pv-{number}");
    let json = options(volume, "rw", &[]);
    let pod_dir = driver.pod_dir(UID, volume);
    let asks = ["isattached", &json, "node-1"];
    let mounts = [&["mount", &pod_dir, &json][..], &["unmount", &pod_dir]];
    while !done.load(Ordering::SeqCst) {
        let mounts = &mounts[..if number < mounting.load(Ordering::SeqCst) { 2 } else { 0 }];
        // Mounted for a short time only, so that there are moments when no volume is.
        for args in mounts.iter().chain(&[&asks[..]; 20]) {
            // As kubelet does: the same again, until it works.
            while !done.load(Ordering::SeqCst) {
                match driver.exec(args) {
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{args:?}"),
                    Ok((_, answer)) if answer.json()["status"] == "Success" => break,
                    Ok((_, answer)) => drop(answer.fails_with("version-removed")),
                }
            }
        }
    }
}

#[test]
fn calls_that_come_meanwhile_find_all_of_it_or_nothing() {
    let Some(node) = Node::new() else { return };
    let driver = Edition { component: 1, setting: 1 }.installed(&node);
    let (mounting, done) = (AtomicUsize::new(CALLERS), AtomicBool::new(false));
    let refused = thread::scope(|scope| {
        for number in 0..CALLERS {
            let (driver, mounting, done) = (&driver, &mounting, &done);
            scope.spawn(move || call(driver, number, mounting, done));
        }
        let uninstall = || -> Result<usize, String> {
            for refused in 0..2000 {
                let answer = node.wasmount(&["uninstall", EDITION]);
                if answer.exit == Some(0) {
                    return Ok(refused);
                }
                // However it goes, it is said why, and the driver is there again.
                let in_use = answer.stderr.contains("in use\n  pv-");
                if !in_use || !driver.executable().exists() {
                    return Err(answer.stderr);
                }
                let halved = CALLERS >> (refused / CALMS_AFTER).min(CALLERS);
                mounting.store(halved.max(1), Ordering::SeqCst);
            }
            Err("it is never done".to_owned())
        };
        let uninstalled = uninstall();
        done.store(true, Ordering::SeqCst);
        uninstalled
    });
    let refused = refused.unwrap_or_else(|told| panic!("{told}"));
    wasmount_tests::notice(&format!("uninstalled after {refused} refusals"));
    assert_eq!(fs::read_dir(node.path("plugins")).expect("plugins").count(), 0);
    node.is_clean();
    let error = driver.exec(&["init"]).expect_err("nothing to execute");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// A `wasmount` that waits for a call.
struct Waiting {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Waiting {
    fn uninstall(node: &Node, driver: &str) -> Self {
        let mut uninstall = Command::new(program("wasmount"));
        Self::start(uninstall.args(["uninstall", driver, "--plugin-dir"]).arg(node.path("plugins")))
    }

    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("wasmount");
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        // `install` says first what it compiles.
        while line.is_empty() || line.starts_with("compiling ") {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("a line"), 0, "it waits for nobody");
        }
        assert!(line.starts_with("waiting for a call that is under way (process "), "{line}");
        Self { child, said }
    }

    /// What else it says, and its exit code.
    fn end(mut self) -> (String, Option<i32>) {
        let mut said = String::new();
        self.said.read_to_string(&mut said).expect("text");
        (said, self.child.wait().expect("it ends").code())
    }
}

const SLEEPS: [(&str, &str); 1] = [("do", "sleep")];

#[test]
fn a_call_that_is_under_way_is_waited_for() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", "version = 1\n");
    let json = options("pv-1", "rw", &SLEEPS);
    let call = driver.start(&["isattached", &json, "node-1"]);
    call.guest();
    let uninstall = Waiting::uninstall(&node, "example.com/hostile");
    let error = driver.exec(&["isattached", &json, "node-1"]).expect_err("it is closed");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(call.stop().ends_with("[stopped]"));
    assert_eq!(uninstall.end(), (String::new(), Some(0)));
    assert_eq!(fs::read_dir(node.path("plugins")).expect("plugins").count(), 0);
}

/// Whoever does not want to wait is not to leave a driver that kubelet cannot call.
#[test]
fn an_interrupt_leaves_the_driver_as_it_was() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", "version = 1\n");
    let json = options("pv-1", "rw", &SLEEPS);
    let call = driver.start(&["isattached", &json, "node-1"]);
    call.guest();
    for signal in [Signal::INT, Signal::TERM] {
        let uninstall = Waiting::uninstall(&node, "example.com/hostile");
        kill_process(Pid::from_child(&uninstall.child), signal).expect("it waits");
        let said = "wasmount: interrupted while a call was under way; the driver is as it was\n";
        assert_eq!(uninstall.end(), (said.to_owned(), Some(1)));
        driver.call(&["init"]).success();
    }
    call.stop();
    driver.call(&["isattached", &options("pv-1", "rw", &[]), "node-1"]).success();
}

/// An upgrade that changes what calls rely on, here who attaches volumes, is no different.
#[test]
fn a_change_that_could_strand_a_volume_waits_for_calls_too() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", "version = 1\n");
    let json = options("pv-1", "rw", &SLEEPS);
    let call = driver.start(&["isattached", &json, "node-1"]);
    call.guest();
    let before = driver.version();
    let binary = program("wasmount-driver").display().to_string();
    let node_only = ["--driver-binary", &binary, "--node-only"];
    let mut install = node.install_command(&component("hostile"), driver.name(), &node_only);
    let change = Waiting::start(&mut install);
    assert!(!driver.executable().exists(), "the driver is closed");
    assert_eq!(driver.version(), before, "and not changed yet");
    assert!(call.stop().ends_with("[stopped]"));
    let (said, exit) = change.end();
    assert_eq!(exit, Some(0), "{said}");
    assert_eq!(driver.call(&["init"]).success()["capabilities"]["attach"], false);

    // A volume that is in use stands in the way, and nothing is closed for it.
    let pod_dir = driver.pod_dir(UID, "pv-1");
    let more = ["--driver-binary", &binary];
    let back = node.installs_file(&component("hostile"), driver.name(), &more);
    assert_eq!(back.exit, Some(0), "{}", back.stderr);
    let warned = "warning: volumes are attached by the cluster now, and before this on the node, within \
                  mount: see --node-only\n";
    assert!(back.stderr.contains(warned), "{}", back.stderr);
    let grants = node.path("tmpfs.toml");
    fs::write(&grants, "version = 1\n[mounts.tmpfs]\n").expect("written");
    let (grants, plugins) =
        (grants.display().to_string(), node.path("plugins").display().to_string());
    let apply = ["grants", "apply", driver.name(), &grants, "--plugin-dir", &plugins];
    assert_eq!(node.wasmount(&apply).exit, Some(0));
    driver.call(&["mount", &pod_dir, &options("pv-1", "rw", &[])]).success();
    let refused = node.installs_file(&component("hostile"), driver.name(), &node_only);
    let told = "and they were attached by the cluster, and nothing else takes them down again; until \
                they are gone, install it without --node-only\n";
    assert!(refused.stderr.ends_with(told), "{}", refused.stderr);
    assert_eq!(refused.exit, Some(1));
    driver.call(&["unmount", &pod_dir]).success();
    node.is_clean();
}
