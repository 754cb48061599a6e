//! A small model of how kubelet execs a FlexVolume driver and what it makes of the answer.
//!
//! It does what Kubernetes' `pkg/volume/flexvolume` does: one exec a call, no stdin, stdout and
//! stderr in one pipe, one JSON document, and around `mount` and `unmount` the directories. It
//! knows no default behaviours: an operation that is "Not supported" is only remembered.

mod exec;
mod volume;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

pub(crate) use exec::{Capabilities, Exec, Reply, Verdict, exec};
pub(crate) use volume::{Pod, Volume};

use crate::scratch;

/// One node's kubelet and the one driver it has found.
pub(crate) struct Kubelet {
    /// `--root-dir`.
    pub(crate) root: PathBuf,
    /// The driver's executable in the plugin directory.
    pub(crate) executable: PathBuf,
    /// `vendor/name`, as a PersistentVolume's `driver` has it.
    pub(crate) driver: &'static str,
    /// The node's name.
    pub(crate) node: &'static str,
    /// Shown every call with its outcome.
    pub(crate) observer: fn(&Exec),
    /// How long the last call took.
    elapsed: Cell<Duration>,
    /// What was answered "Not supported" and is not asked again.
    unsupported: RefCell<BTreeSet<String>>,
}

impl Kubelet {
    /// A kubelet that has found the driver and has not called it yet.
    pub(crate) fn new(
        root: PathBuf,
        executable: PathBuf,
        driver: &'static str,
        node: &'static str,
    ) -> Kubelet {
        Kubelet {
            root,
            executable,
            driver,
            node,
            observer: |_: &Exec| (),
            elapsed: Cell::default(),
            unsupported: RefCell::default(),
        }
    }

    /// How long the last call took, from the exec to the end of its output.
    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    /// `init`. What the driver does not say is on by default; null crashes a real kubelet.
    pub(crate) fn init(&self) -> anyhow::Result<Capabilities> {
        Ok(self.succeed("init", &[])?.capabilities.unwrap_or_default())
    }

    /// `getvolumename`, whose answer kubelet throws away.
    pub(crate) fn get_volume_name(&self, volume: &Volume) -> anyhow::Result<()> {
        if self.unsupported.borrow().contains("getvolumename") {
            return Ok(());
        }
        match self.call("getvolumename", &[&volume.options()])?.verdict {
            Verdict::Success(_) | Verdict::NotSupported => Ok(()),
            Verdict::Failure(reason) => bail!("getvolumename: {reason}"),
        }
    }

    /// `attach`; returns the device that the driver names.
    pub(crate) fn attach(&self, volume: &Volume) -> anyhow::Result<String> {
        let reply = self.succeed("attach", &[&volume.options(), self.node])?;
        Ok(reply.device.unwrap_or_default())
    }

    /// `isattached`.
    pub(crate) fn is_attached(&self, volume: &Volume) -> anyhow::Result<bool> {
        let reply = self.succeed("isattached", &[&volume.options(), self.node])?;
        Ok(reply.attached.unwrap_or(false))
    }

    /// `waitforattach` with attach's device; returns the device for the calls that follow.
    pub(crate) fn wait_for_attach(&self, volume: &Volume, device: &str) -> anyhow::Result<String> {
        let reply = self.succeed("waitforattach", &[device, &volume.options()])?;
        Ok(reply.device.unwrap_or_default())
    }

    /// `mountdevice`, unless something is mounted there already.
    pub(crate) fn mount_device(&self, volume: &Volume, device: &str) -> anyhow::Result<()> {
        let directory = self.device_directory(volume);
        self.prepared(&directory, |path| {
            self.succeed("mountdevice", &[path, device, &volume.options()])
        })
    }

    /// `mount`, unless something is mounted there already.
    pub(crate) fn mount(&self, volume: &Volume, pod: &Pod) -> anyhow::Result<()> {
        let directory = self.pod_directory(volume, pod);
        let options = volume.options_for(pod);
        self.prepared(&directory, |path| self.succeed("mount", &[path, &options]))
    }

    /// `expandvolume`, as the controller calls it: the directory is relative there. Sizes are
    /// in bytes.
    pub(crate) fn expand_volume(&self, volume: &Volume, new: u64, old: u64) -> anyhow::Result<()> {
        let directory = format!("{}/mounts/{}", self.driver, volume.name);
        let arguments = [&volume.options(), &directory, &new.to_string(), &old.to_string()];
        self.succeed("expandvolume", &arguments.map(String::as_str)).map(drop)
    }

    /// `expandfs`, with the pod's directory. Sizes are in bytes.
    pub(crate) fn expand_fs(
        &self,
        (volume, pod): (&Volume, &Pod),
        device: &str,
        new: u64,
        old: u64,
    ) -> anyhow::Result<Verdict> {
        let directory = text(&self.pod_directory(volume, pod))?;
        let (new, old) = (new.to_string(), old.to_string());
        Ok(self.call("expandfs", &[&volume.options(), device, &directory, &new, &old])?.verdict)
    }

    /// `unmount` if the directory exists, mounted or not; then the directory must be empty.
    pub(crate) fn unmount(&self, volume: &Volume, pod: &Pod) -> anyhow::Result<()> {
        let directory = self.pod_directory(volume, pod);
        if !directory.exists() {
            return Ok(());
        }
        self.succeed("unmount", &[&text(&directory)?])?;
        remove(&directory)
    }

    /// `unmountdevice` if something is mounted there; then the directory must be empty.
    pub(crate) fn unmount_device(&self, volume: &Volume) -> anyhow::Result<()> {
        let directory = self.device_directory(volume);
        if is_mount_point(&directory)? {
            self.succeed("unmountdevice", &[&text(&directory)?])?;
        }
        remove(&directory)
    }

    /// `detach`, which gets no options.
    pub(crate) fn detach(&self, volume: &Volume) -> anyhow::Result<()> {
        self.succeed("detach", &[volume.name, self.node]).map(drop)
    }

    /// Where a device is mounted for the node.
    pub(crate) fn device_directory(&self, volume: &Volume) -> PathBuf {
        let below = format!("plugins/kubernetes.io/flexvolume/{}/mounts", self.driver);
        self.root.join(below).join(volume.name)
    }

    /// Where a pod finds its volume.
    pub(crate) fn pod_directory(&self, volume: &Volume, pod: &Pod) -> PathBuf {
        let below = format!("pods/{}/volumes/{}", pod.uid, self.driver.replace('/', "~"));
        self.root.join(below).join(volume.name)
    }

    /// kubelet's `prepareForMount`: the directory is made, and a mount point is taken for done.
    fn prepared(
        &self,
        directory: &Path,
        call: impl FnOnce(&str) -> anyhow::Result<Reply>,
    ) -> anyhow::Result<()> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o750).create(directory);
        made.with_context(|| format!("cannot make {}", directory.display()))?;
        if is_mount_point(directory)? {
            return Ok(());
        }
        let called = call(&text(directory)?);
        if called.is_err() {
            // As kubelet does: best effort, and only an empty directory goes.
            let _ = fs::remove_dir(directory);
        }
        called.map(drop)
    }

    fn succeed(&self, operation: &str, arguments: &[&str]) -> anyhow::Result<Reply> {
        match self.call(operation, arguments)?.verdict {
            Verdict::Success(reply) => Ok(reply),
            Verdict::Failure(reason) => bail!("{operation}: {reason}"),
            Verdict::NotSupported => bail!("{operation} is not supported"),
        }
    }

    fn call(&self, operation: &str, arguments: &[&str]) -> anyhow::Result<Exec> {
        let arguments: Vec<&str> = [operation].iter().chain(arguments).copied().collect();
        let called = exec(&self.executable, &arguments)?;
        self.elapsed.set(called.elapsed);
        if let Verdict::NotSupported = called.verdict {
            self.unsupported.borrow_mut().insert(operation.to_string());
        }
        (self.observer)(&called);
        Ok(called)
    }
}

/// Whether something is mounted on the directory.
fn is_mount_point(directory: &Path) -> anyhow::Result<bool> {
    Ok(scratch::mounts(directory)?.iter().any(|point| point == directory))
}

/// Removes a mount directory as kubelet does: only an empty one can go.
fn remove(directory: &Path) -> anyhow::Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("kubelet cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_string())
}
