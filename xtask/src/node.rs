//! A node of our own in a scratch directory: plugin directory, kubelet root, state and images,
//! the loop-image driver installed, and a kubelet that calls it.
//!
//! Only mounts, loop devices and processes are the machine's; nothing outside the directory is
//! written.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::cargo::{self, Workspace};
use crate::kubelet::Kubelet;
use crate::scratch::Scratch;

const DRIVER: &str = "example.com/loop-image";
const NODE: &str = "demo-node";

/// Where wasmount keeps its own by default. A node of ours must not touch them.
const DEFAULT_PLACES: &[&str] = &[
    "/var/lib/wasmount",
    "/run/wasmount",
    "/var/log/wasmount",
    "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
    "/etc/kubernetes/kubelet-plugins/volume/exec",
];

/// The node. Dropping it sweeps it away, whatever state it is in.
pub(crate) struct Node {
    /// Calls the installed driver.
    pub(crate) kubelet: Kubelet,
    scratch: Scratch,
    wasmount: PathBuf,
    before: Vec<Vec<PathBuf>>,
}

impl Node {
    /// Makes the directories and installs what `cargo xtask dist` has left.
    pub(crate) fn install(workspace: &Workspace, purpose: &str) -> anyhow::Result<Node> {
        let before = contents_of_default_places()?;
        let scratch = Scratch::new(purpose)?;
        let root = scratch.path();
        for name in ["plugins", "kubelet", "data", "run", "log", "images"] {
            // The driver does not trust what a group may write to, whatever the umask.
            let made = fs::DirBuilder::new().mode(0o755).create(root.join(name));
            made.with_context(|| format!("cannot make {name}"))?;
        }
        let grants = root.join("grants.toml");
        fs::write(&grants, grants_for(workspace, &root.join("images"))?)?;
        let wasmount = workspace.dist().join("wasmount");
        let mut install = Command::new(&wasmount);
        install.arg("install").arg(workspace.dist().join("plugins/loop-image.wasm"));
        install.args(["--driver", DRIVER, "--node-name", NODE]).arg("--grants").arg(&grants);
        for (option, directory) in [
            ("--plugin-dir", "plugins"),
            ("--kubelet-root", "kubelet"),
            ("--data-dir", "data"),
            ("--run-dir", "run"),
            ("--log-dir", "log"),
        ] {
            install.arg(option).arg(root.join(directory));
        }
        cargo::run(&mut install)?;
        let executable = root.join("plugins/example.com~loop-image/loop-image");
        let kubelet = Kubelet::new(root.join("kubelet"), executable, DRIVER, NODE);
        Ok(Node { kubelet, scratch, wasmount, before })
    }

    /// The scratch directory.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Where the image files are.
    pub(crate) fn images(&self) -> PathBuf {
        self.path().join("images")
    }

    /// Fails if a mount, a loop device or a process is left, or a file besides the images.
    pub(crate) fn check_clean(&self, images: &[&str]) -> anyhow::Result<()> {
        let leftovers = self.scratch.leftovers()?;
        ensure!(leftovers.is_empty(), "left behind: {}", leftovers.join(", "));
        let mut names = entries(&self.images())?;
        names.retain(|path| !images.iter().any(|name| path.ends_with(name)));
        names.extend(files(&self.path().join("kubelet"))?);
        ensure!(names.is_empty(), "files left behind: {names:?}");
        Ok(())
    }

    /// Uninstalls the driver, removes the directory and looks whether anything is left.
    pub(crate) fn uninstall(self) -> anyhow::Result<()> {
        let mut uninstall = Command::new(&self.wasmount);
        uninstall.args(["uninstall", DRIVER, "--plugin-dir"]).arg(self.path().join("plugins"));
        cargo::run(&mut uninstall)?;
        let left = entries(&self.path().join("plugins"))?;
        ensure!(left.is_empty(), "uninstall left {left:?}");
        let path = self.path().to_path_buf();
        self.scratch.close()?;
        ensure!(!path.exists(), "{} is still there", path.display());
        let touched = contents_of_default_places()? != self.before;
        ensure!(!touched, "something was written outside {}", path.display());
        Ok(())
    }
}

/// The grants that the plugin comes with, for a directory of ours.
fn grants_for(workspace: &Workspace, images: &Path) -> anyhow::Result<String> {
    let file = workspace.root.join("plugins/loop-image/grants.toml");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("directory = "))
        .with_context(|| format!("{} names no directory", file.display()))?;
    // A TOML string with escapes is written as a JSON string is.
    let directory = serde_json::Value::from(images.to_string_lossy());
    Ok(text.replace(line, &format!("directory = {directory}")))
}

fn contents_of_default_places() -> anyhow::Result<Vec<Vec<PathBuf>>> {
    DEFAULT_PLACES.iter().map(|place| entries(Path::new(place))).collect()
}

/// What is in a directory, sorted; nothing if it is not there.
fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("cannot list {}", directory.display()))?,
    };
    let mut found = read.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

/// Everything below a directory that is not a directory itself.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in entries(directory)? {
        if fs::symlink_metadata(&path)?.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
