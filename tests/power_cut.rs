//! A node that loses power at any moment, seen from inside: it takes a volume up and down for
//! ever, and tells the outside what was written for good. Each time it boots, what the last boot
//! left is found to converge and to have all that was acknowledged.
//!
//! Not a test by itself: `cargo xtask test --vm` boots it, cuts it off and boots it again.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::Value;
use wasmount_tests::{LOOP_IMAGE_GRANTS, component, machine, program};

/// Where the machine's disk is mounted: all that a node keeps.
const NODE: &str = "/node";
const UID: &str = "4c9a6c2e-0d5b-4f0e-9a1b-1f2e3d4c5b6a";
const VOLUME: &str = "pv-1";

fn main() -> ExitCode {
    // Cargo runs every test target; outside the machine there is nothing to run.
    if !machine::is_here() {
        return ExitCode::SUCCESS;
    }
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let mut next = || arguments.next().expect("what is acknowledged, and whether to end");
    let (acknowledged, is_last): (u64, u64) = (next(), next());
    match work(acknowledged, is_last == 1) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            say(&format!("failed: {what}"));
            ExitCode::FAILURE
        }
    }
}

/// What the outside hears, line by line.
fn say(line: &str) {
    let mut port = OpenOptions::new().write(true).open("/dev/ttyS1").expect("a serial port");
    port.write_all(format!("{line}\n").as_bytes()).expect("said");
}

fn work(acknowledged: u64, is_last: bool) -> Result<(), String> {
    fs::create_dir_all(NODE).expect("a directory");
    run(Command::new("mount").args(["-t", "ext4", "/dev/vda", NODE]))?;
    let node = Path::new(NODE);
    if !node.join("installed").exists() {
        install(node)?;
    }
    say("began");
    let mut number = acknowledged;
    loop {
        up(node)?;
        check(node, acknowledged)?;
        for _ in 0..3 {
            number += 1;
            write(node, number)?;
            say(&format!("ack {number}"));
        }
        down(node)?;
        if is_last {
            return formatted_once(node);
        }
    }
}

fn install(node: &Path) -> Result<(), String> {
    for name in ["plugins", "kubelet", "images"] {
        fs::create_dir_all(node.join(name)).expect("a directory");
    }
    let grants = LOOP_IMAGE_GRANTS.replace("{images}", "/node/images");
    fs::write(node.join("grants.toml"), grants).expect("written");
    let mut install = Command::new(program("wasmount"));
    install.arg("install").arg(component("loop-image"));
    install.args(["--driver", "example.com/loop-image", "--grants", "/node/grants.toml"]);
    install.args(["--plugin-dir", "/node/plugins", "--kubelet-root", "/node/kubelet"]);
    install.args(["--data-dir", "/node/data", "--log-dir", "/node/log", "--run-dir", "/run/wm"]);
    run(install.args(["--node-name", "node-1"]))?;
    File::create(node.join("installed")).and_then(|file| file.sync_all()).expect("written");
    rustix::fs::sync();
    Ok(())
}

fn options() -> String {
    let user = [("create", "true"), ("size", "64Mi")];
    wasmount_tests::options(VOLUME, "rw", &user)
}

fn device_directory(node: &Path) -> String {
    let below = "kubelet/plugins/kubernetes.io/flexvolume/example.com/loop-image/mounts";
    made(node.join(below).join(VOLUME))
}

fn pod_directory(node: &Path) -> String {
    made(node.join(format!("kubelet/pods/{UID}/volumes/example.com~loop-image/{VOLUME}")))
}

fn made(path: std::path::PathBuf) -> String {
    fs::create_dir_all(&path).expect("a directory");
    path.display().to_string()
}

/// kubelet's calls up to the pod's mount.
fn up(node: &Path) -> Result<(), String> {
    let token = call(&["attach", &options(), "node-1"])?["device"].clone();
    let token = token.as_str().ok_or("attach names no device")?.to_owned();
    let device = call(&["waitforattach", &token, &options()])?["device"].clone();
    let device = device.as_str().ok_or("waitforattach names no device")?.to_owned();
    call(&["mountdevice", &device_directory(node), &device, &options()])?;
    call(&["mount", &pod_directory(node), &options()])?;
    Ok(())
}

/// And all the way back.
fn down(node: &Path) -> Result<(), String> {
    call(&["unmount", &pod_directory(node)])?;
    call(&["unmountdevice", &device_directory(node)])?;
    call(&["detach", VOLUME, "node-1"])?;
    Ok(())
}

/// One write, on disk when this returns.
fn write(node: &Path, number: u64) -> Result<(), String> {
    let pod = pod_directory(node);
    let path = Path::new(&pod).join(number.to_string());
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(number.to_string().as_bytes())?;
        file.sync_all()
    });
    written
        .and_then(|()| File::open(&pod)?.sync_all())
        .map_err(|error| format!("{number}: {error}"))
}

/// Every write that the outside knows of is there.
fn check(node: &Path, acknowledged: u64) -> Result<(), String> {
    let pod = pod_directory(node);
    for number in 1..=acknowledged {
        let path = Path::new(&pod).join(number.to_string());
        let found = fs::read_to_string(&path).unwrap_or_default();
        if found != number.to_string() {
            return Err(format!("write {number} was acknowledged and is lost ({found:?})"));
        }
    }
    Ok(())
}

/// The audit log knows of formats by what they did, however often one was begun.
fn formatted_once(node: &Path) -> Result<(), String> {
    let log = fs::read_to_string(node.join("log/example.com~loop-image.jsonl"));
    let log = log.map_err(|error| format!("no audit log: {error}"))?;
    let formats = log.lines().filter(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        line["request"]["call"] == "filesystems.format"
            && line["decision"] == "allowed"
            && line["reason"].is_null()
    });
    match formats.count() {
        // The line of a format may itself be lost with the power.
        0 | 1 => Ok(()),
        more => Err(format!("the volume was formatted {more} times")),
    }
}

fn call(arguments: &[&str]) -> Result<Value, String> {
    let executable = Path::new(NODE).join("plugins/example.com~loop-image/loop-image");
    let output = Command::new(executable).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", arguments[0]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let reply: Value = serde_json::from_str(&text).map_err(|_| format!("not a reply: {text}"))?;
    match reply["status"].as_str() {
        Some("Success") => Ok(reply),
        _ => Err(format!("{}: {text}", arguments[0])),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or(format!("{command:?}: {said}"))
}
