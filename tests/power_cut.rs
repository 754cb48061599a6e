//! A node that loses power at any moment, seen from inside: it takes a volume up and down for
//! ever, and tells the outside what was written for good. Each time it boots, what the last boot
//! left is found to converge and to have all that was acknowledged, and its audit log in order.
//!
//! Not a test by itself: `cargo xtask test --vm` boots it, cuts it off and boots it again.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;
use wasmount_tests::{FILESYSTEMS, LOOP_IMAGE_GRANTS, component, machine, program};

/// Where the machine's disk is mounted: all that a node keeps.
const NODE: &str = "/node";
const UID: &str = "4c9a6c2e-0d5b-4f0e-9a1b-1f2e3d4c5b6a";

/// The volume, which is called what its filesystem is.
#[derive(Clone, Copy)]
struct Volume {
    name: &'static str,
    size: u64,
}

fn main() -> ExitCode {
    // Cargo runs every test target; outside the machine there is nothing to run.
    if !machine::is_here() {
        return ExitCode::SUCCESS;
    }
    let mut arguments = std::env::args().skip(1);
    let mut next =
        || arguments.next().expect("which filesystem, what is acknowledged, and whether to end");
    let fs_type = next();
    let mut number = || next().parse().expect("a number");
    let (acknowledged, is_last): (u64, u64) = (number(), number());
    let (name, size) =
        *FILESYSTEMS.iter().find(|(name, _)| *name == fs_type).expect("a filesystem");
    match work(Volume { name, size }, acknowledged, is_last == 1) {
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

fn work(volume: Volume, acknowledged: u64, is_last: bool) -> Result<(), String> {
    fs::create_dir_all(NODE).expect("a directory");
    run(Command::new("mount").args(["-t", "ext4", "/dev/vda", NODE]))?;
    let node = Path::new(NODE);
    match node.join("installed").exists() {
        // As the cut has left it, and no call has gone on with it yet.
        true => run(Command::new(program("wasmount")).args([
            "log",
            "verify",
            "--plugin-dir",
            "/node/plugins",
        ]))?,
        false => install(node)?,
    }
    say("began");
    let mut number = acknowledged;
    loop {
        volume.up()?;
        volume.check(acknowledged)?;
        for _ in 0..3 {
            number += 1;
            volume.write(number)?;
            say(&format!("ack {number}"));
        }
        volume.down()?;
        if is_last {
            return volume.formatted_once();
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
    run(install.args(["--node-name", "node-1", "--allow-unsigned"]))?;
    File::create(node.join("installed")).and_then(|file| file.sync_all()).expect("written");
    rustix::fs::sync();
    Ok(())
}

fn made(path: PathBuf) -> String {
    fs::create_dir_all(&path).expect("a directory");
    path.display().to_string()
}

impl Volume {
    fn options(self) -> String {
        let size = self.size.to_string();
        wasmount_tests::options_as(
            self.name,
            self.name,
            "rw",
            &[("create", "true"), ("size", &size)],
        )
    }

    fn device_directory(self) -> String {
        let below = "kubelet/plugins/kubernetes.io/flexvolume/example.com/loop-image/mounts";
        made(Path::new(NODE).join(below).join(self.name))
    }

    fn pod_directory(self) -> String {
        let below = format!("kubelet/pods/{UID}/volumes/example.com~loop-image/{}", self.name);
        made(Path::new(NODE).join(below))
    }

    /// kubelet's calls up to the pod's mount.
    fn up(self) -> Result<(), String> {
        let options = self.options();
        let token = call(&["attach", &options, "node-1"])?["device"].clone();
        let token = token.as_str().ok_or("attach names no device")?.to_owned();
        let device = call(&["waitforattach", &token, &options])?["device"].clone();
        let device = device.as_str().ok_or("waitforattach names no device")?.to_owned();
        call(&["mountdevice", &self.device_directory(), &device, &options])?;
        call(&["mount", &self.pod_directory(), &options])?;
        Ok(())
    }

    /// And all the way back.
    fn down(self) -> Result<(), String> {
        call(&["unmount", &self.pod_directory()])?;
        call(&["unmountdevice", &self.device_directory()])?;
        call(&["detach", self.name, "node-1"])?;
        Ok(())
    }

    /// One write, on disk when this returns.
    fn write(self, number: u64) -> Result<(), String> {
        let pod = self.pod_directory();
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
    fn check(self, acknowledged: u64) -> Result<(), String> {
        let pod = self.pod_directory();
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
    fn formatted_once(self) -> Result<(), String> {
        let log = fs::read_to_string(Path::new(NODE).join("log/example.com~loop-image.jsonl"));
        let log = log.map_err(|error| format!("no audit log: {error}"))?;
        let lines: Vec<Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
        let calls = lines.iter().filter(|line| line["volume"] == self.name);
        let calls: Vec<&Value> = calls.map(|line| &line["call"]).collect();
        let formats = lines.iter().filter(|line| {
            calls.contains(&&line["call"])
                && line["request"]["call"] == "filesystems.format"
                && line["decision"] == "allowed"
                && line["reason"].is_null()
        });
        match formats.count() {
            // The line of a format may itself be lost with the power.
            0 | 1 => Ok(()),
            more => Err(format!("the volume was formatted {more} times")),
        }
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
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    output.status.success().then_some(()).ok_or(format!("{command:?}: {said}"))
}
