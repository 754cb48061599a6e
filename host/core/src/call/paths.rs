//! The mount directory of a call, read as text: it has to be one of the two that kubelet uses
//! for this driver, beneath its root. That it is what it seems on the node is checked when it is
//! opened, by `kernel::target`.

use std::path::{Path, PathBuf};

use super::names::is_plain;
use super::{DriverName, VolumeName, invalid};
use crate::failure::Failure;

/// The longest path, in bytes: the kernel's `PATH_MAX`, without the zero at its end.
const MAX_PATH: usize = 4095;

/// The longest uid of a pod, in bytes. It is a UUID, or a digest for a static pod.
const MAX_UID: usize = 128;

/// A mount directory of this driver's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPath {
    /// The directory.
    pub path: PathBuf,
    /// The same, relative to the kubelet root.
    pub beneath_root: PathBuf,
    /// Whose it is.
    pub dir: MountDir,
    /// Its last part: the volume's name.
    pub name: VolumeName,
}

/// The two kinds of mount directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountDir {
    /// `pods/<uid>/volumes/<vendor>~<driver>/<volume>`: what one pod sees.
    Pod {
        /// The pod's uid.
        uid: String,
    },
    /// `plugins/kubernetes.io/flexvolume/<vendor>/<driver>/mounts/<volume>`: where the device
    /// is mounted once a node.
    Device,
}

/// The kind that an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A pod's.
    Pod,
    /// The device's.
    Device,
    /// Some mount of the volume, as `expandfs` gets it: which one depends on kubelet's version.
    Either,
}

impl TargetPath {
    /// The directory that kubelet names for a volume's device, where it has it mounted.
    pub fn of_device(driver: &DriverName, name: &VolumeName, kubelet_root: &Path) -> Self {
        let beneath_root =
            PathBuf::from(format!("plugins/kubernetes.io/flexvolume/{driver}/mounts/{name}"));
        Self {
            path: kubelet_root.join(&beneath_root),
            beneath_root,
            dir: MountDir::Device,
            name: name.clone(),
        }
    }

    /// Reads a directory. One slash at the end is tolerated, since people's shells add it.
    pub(super) fn parse(
        text: &str,
        wanted: Wanted,
        driver: &DriverName,
        kubelet_root: &Path,
    ) -> Result<Self, Failure> {
        let absolute = text.strip_prefix('/').filter(|_| text.len() <= MAX_PATH);
        let Some(inner) = absolute else {
            return Err(bad("DIRECTORY is not an absolute path of at most 4095 bytes"));
        };
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let parts: Vec<&str> = inner.split('/').collect();
        if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(bad("DIRECTORY has an empty part, `.` or `..` in it"));
        }
        let root: Vec<_> = kubelet_root.iter().skip(1).collect();
        let beneath = (parts.len() > root.len() && root.iter().zip(&parts).all(|(a, b)| a == b))
            .then(|| &parts[root.len()..]);
        let Some(beneath) = beneath else {
            return Err(bad(format!(
                "DIRECTORY is not beneath the kubelet root {}; if kubelet's --root-dir is \
                 another, install the driver with that as --kubelet-root",
                kubelet_root.display()
            )));
        };
        let (dir, name) = recognise(beneath, driver)
            .filter(|(dir, _)| match wanted {
                Wanted::Either => true,
                Wanted::Pod => *dir != MountDir::Device,
                Wanted::Device => *dir == MountDir::Device,
            })
            .ok_or_else(|| bad(shape(wanted, driver)))?;
        let name = name.parse().map_err(|failure: Failure| {
            bad(failure.message).during("the last part of DIRECTORY is not a volume's name")
        })?;
        let beneath_root = PathBuf::from(beneath.join("/"));
        let path = PathBuf::from(format!("/{inner}"));
        Ok(Self { path, beneath_root, dir, name })
    }
}

fn recognise<'a>(parts: &[&'a str], driver: &DriverName) -> Option<(MountDir, &'a str)> {
    match parts {
        ["pods", uid, "volumes", owner, name]
            if is_plain(uid, MAX_UID) && *owner == driver.tilde() =>
        {
            Some((MountDir::Pod { uid: (*uid).to_owned() }, name))
        }
        ["plugins", "kubernetes.io", "flexvolume", vendor, own, "mounts", name]
            if *vendor == driver.vendor() && *own == driver.name() =>
        {
            Some((MountDir::Device, name))
        }
        _ => None,
    }
}

fn shape(wanted: Wanted, driver: &DriverName) -> String {
    let pod = format!("pods/UID/volumes/{}/VOLUME", driver.tilde());
    let device = format!("plugins/kubernetes.io/flexvolume/{driver}/mounts/VOLUME");
    let shape = match wanted {
        Wanted::Pod => pod,
        Wanted::Device => device,
        Wanted::Either => format!("{pod} or {device}"),
    };
    format!("DIRECTORY is not one of this driver's: beneath the kubelet root those are {shape}")
}

fn bad(message: impl Into<String>) -> Failure {
    invalid("path", message)
}
