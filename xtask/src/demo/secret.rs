//! A pod with a secret: its keys are files in memory, and what is in them is nowhere else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::{POD, show, title};
use crate::cargo::Workspace;
use crate::kubelet::Volume;
use crate::node::Node;
use crate::steps::step;

const DRIVER: &str = "example.com/secret-files";
const PASSWORD: &str = "correct horse battery staple";

/// The last lines of a call are written after its reply. They take no time, unless the machine does.
const PATIENCE: Duration = Duration::from_secs(10);

/// Installs the driver beside the other, and plays a pod's start and end.
pub(super) fn play(workspace: &Workspace, node: &Node) -> anyhow::Result<()> {
    println!();
    let mut kubelet = step("installing secret-files beside it", || node.add(workspace, DRIVER))?;
    kubelet.observer = show;
    let volume = volume();

    title("kubelet finds this driver, too");
    let capabilities = kubelet.init()?;
    ensure!(!capabilities.attach, "secret-files has nothing to attach");

    title("A pod with a secret starts");
    kubelet.mount(&volume, &POD)?;
    let file = kubelet.pod_directory(&volume, &POD).join("password");
    let read = fs::read_to_string(&file).context("the secret is not there")?;
    ensure!(read == PASSWORD, "password is another: {read:?}");
    let mode = fs::metadata(&file)?.permissions().mode() & 0o7777;
    println!("  the pod reads password, a file in memory with mode {mode:04o}: {read}");
    ensure!(fs::write(&file, "changed").is_err(), "the file can be changed");

    title("What the node keeps of it");
    let told = log(node)?;
    told.lines().for_each(|line| println!("  {line}"));
    let files = node.files()?;
    for path in &files {
        let bytes = fs::read(path)?;
        let has = |form: &[u8]| bytes.windows(form.len()).any(|window| window == form);
        let leaked = has(PASSWORD.as_bytes()) || has(BASE64_STANDARD.encode(PASSWORD).as_bytes());
        ensure!(!leaked, "{} holds the secret", path.display());
    }
    println!("  none of the {} files of logs, records and drivers holds the secret", files.len());

    title("The pod ends, and the drivers are removed");
    kubelet.unmount(&volume, &POD)?;
    node.check_clean(&["pv-demo.img"])
}

/// The audit log's lines, once the mount has ended there.
fn log(node: &Node) -> anyhow::Result<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let told = node.log(DRIVER)?;
        if told.contains(" mount ") && !told.contains("no reply on record") {
            return Ok(told);
        }
        ensure!(Instant::now() < end, "the audit log does not tell of the mount: {told:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A pod's own volume with a secret.
fn volume() -> Volume {
    Volume {
        name: "credentials",
        fs_type: "",
        writable: false,
        user: Vec::new(),
        secret: vec![("username", "app"), ("password", PASSWORD)],
    }
}
