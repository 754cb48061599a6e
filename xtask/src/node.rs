//! A node of our own in a scratch directory: plugin directory, kubelet root, state and images,
//! the loop-image driver installed, and a kubelet that calls it. Another driver can join it. What is
//! installed is signed with a key that was made for this node alone, the only one that it trusts.
//!
//! Only mounts, loop devices and processes are the machine's; nothing outside the directory is
//! written.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::cargo::{self, Workspace};
use crate::kubelet::Kubelet;
use crate::scratch::Scratch;

const DRIVER: &str = "example.com/loop-image";
const NODE: &str = "demo-node";

/// The name of the key pair.
const KEY: &str = "vendor";

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
        Self::install_with(workspace, purpose, &workspace.dist().join("wasmount-driver"))
    }

    /// The same with another driver program.
    pub(crate) fn install_with(
        workspace: &Workspace,
        purpose: &str,
        program: &Path,
    ) -> anyhow::Result<Node> {
        let before = contents_of_default_places()?;
        let scratch = Scratch::new(purpose)?;
        let root = scratch.path();
        for name in ["plugins", "kubelet", "data", "run", "log", "images", "trust", "signed"] {
            // The driver does not trust what a group may write to, whatever the umask.
            let made = fs::DirBuilder::new().mode(0o755).create(root.join(name));
            made.with_context(|| format!("cannot make {name}"))?;
        }
        let wasmount = workspace.dist().join("wasmount");
        make_key(root, &wasmount)?;
        let kubelet = add(workspace, root, &wasmount, DRIVER, program)?;
        Ok(Node { kubelet, scratch, wasmount, before })
    }

    /// Installs another plugin beside it, as it comes. Returns a kubelet that calls it.
    pub(crate) fn add(
        &self,
        workspace: &Workspace,
        driver: &'static str,
    ) -> anyhow::Result<Kubelet> {
        let program = workspace.dist().join("wasmount-driver");
        add(workspace, self.path(), &self.wasmount, driver, &program)
    }

    /// What the audit log of a driver tells, for people.
    pub(crate) fn log(&self, driver: &str) -> anyhow::Result<String> {
        let mut log = Command::new(&self.wasmount);
        log.args(["log", driver, "--plugin-dir"]).arg(self.path().join("plugins"));
        Ok(String::from_utf8(cargo::output(&mut log)?)?)
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

    /// Everything that is a file on the node: what drivers keep and write down, but not what is
    /// mounted.
    pub(crate) fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for name in ["plugins", "data", "run", "log"] {
            found.extend(files(&self.path().join(name))?);
        }
        // Not the links, which lead to others of these.
        found.retain(|path| path.symlink_metadata().is_ok_and(|found| found.is_file()));
        Ok(found)
    }

    /// Uninstalls the drivers, removes the directory and looks whether anything is left.
    pub(crate) fn uninstall(self) -> anyhow::Result<()> {
        let plugins = self.path().join("plugins");
        for directory in entries(&plugins)? {
            let name =
                directory.file_name().unwrap_or_default().to_string_lossy().replace('~', "/");
            let mut uninstall = Command::new(&self.wasmount);
            uninstall.args(["uninstall", &name, "--plugin-dir"]).arg(&plugins);
            cargo::run(&mut uninstall)?;
        }
        let left = entries(&plugins)?;
        ensure!(left.is_empty(), "uninstall left {left:?}");
        let path = self.path().to_path_buf();
        self.scratch.close()?;
        ensure!(!path.exists(), "{} is still there", path.display());
        let touched = contents_of_default_places()? != self.before;
        ensure!(!touched, "something was written outside {}", path.display());
        Ok(())
    }
}

/// Installs a plugin, named as its driver is, on the node of that directory.
fn add(
    workspace: &Workspace,
    root: &Path,
    wasmount: &Path,
    driver: &'static str,
    program: &Path,
) -> anyhow::Result<Kubelet> {
    let (_, name) = driver.split_once('/').context("a driver without a vendor")?;
    let grants = root.join(format!("{name}.grants.toml"));
    fs::write(&grants, grants_for(workspace, name, &root.join("images"))?)?;
    let component = sign(workspace, root, wasmount, name)?;
    let mut install = Command::new(wasmount);
    install.arg("install").arg(component);
    install.args(["--driver", driver, "--node-name", NODE]).arg("--grants").arg(&grants);
    install.arg("--driver-binary").arg(program);
    for (option, directory) in [
        ("--plugin-dir", "plugins"),
        ("--kubelet-root", "kubelet"),
        ("--data-dir", "data"),
        ("--run-dir", "run"),
        ("--log-dir", "log"),
        ("--trust-dir", "trust"),
    ] {
        install.arg(option).arg(root.join(directory));
    }
    cargo::run(&mut install)?;
    let executable = root.join("plugins").join(driver.replace('/', "~")).join(name);
    Ok(Kubelet::new(root.join("kubelet"), executable, driver, NODE))
}

/// Makes the key that vouches for what is installed on the node, and has the node trust it.
fn make_key(root: &Path, wasmount: &Path) -> anyhow::Result<()> {
    cargo::run(Command::new(wasmount).arg("keygen").arg(root.join(KEY)).arg("--no-passphrase"))?;
    let trusted = root.join("trust").join(KEY).with_extension("pub");
    fs::copy(root.join(KEY).with_extension("pub"), &trusted)?;
    fs::set_permissions(&trusted, fs::Permissions::from_mode(0o644))?;
    Ok(())
}

/// A plugin and its signature, apart from what is shipped.
fn sign(
    workspace: &Workspace,
    root: &Path,
    wasmount: &Path,
    name: &str,
) -> anyhow::Result<PathBuf> {
    let component = root.join(format!("signed/{name}.wasm"));
    let shipped = workspace.dist().join(format!("plugins/{name}.wasm"));
    fs::copy(&shipped, &component).with_context(|| format!("cannot copy {}", shipped.display()))?;
    let mut sign = Command::new(wasmount);
    sign.arg("sign").arg(&component).arg("--key").arg(root.join(KEY).with_extension("key"));
    cargo::run(&mut sign)?;
    Ok(component)
}

/// The grants that a plugin comes with, for a directory of ours if it names one.
fn grants_for(workspace: &Workspace, name: &str, images: &Path) -> anyhow::Result<String> {
    let file = workspace.root.join(format!("plugins/{name}/grants.toml"));
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let Some(line) = text.lines().find(|line| line.starts_with("directory = ")) else {
        return Ok(text);
    };
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
