//! What is on record of a driver's volumes and not on the node, and the other way round. It only
//! looks; which call of the driver settles it is said with it.
//!
//! A call that is interrupted leaves a record that lists more than there is, never less: what is
//! there and on no record was made by no call that ended well, or its record was removed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result};
use wasmount_core::bundle::Receipt;
use wasmount_core::bundle::receipt::Attaching;
use wasmount_core::grants::Grants;
use wasmount_core::journal::record::{DeviceRef, MountRef, VolumeRecord};
use wasmount_core::kernel::loopdev;
use wasmount_core::kernel::target::{self, MountPoint};

use crate::usage;

/// What was found.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Volumes whose records list what is not there, sorted by name.
    pub volumes: Vec<Remains>,
    /// Records that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, Error)>,
    /// Mounts in the driver's directories that no record lists.
    pub mounts: Vec<PathBuf>,
    /// Loop devices of the driver's images that no record lists.
    pub loops: Vec<loopdev::Kept>,
}

/// A volume, and what its record lists beyond what there is; at least one thing.
#[derive(Debug)]
pub struct Remains {
    /// The volume's name.
    pub volume: String,
    /// In the order in which it is to be settled.
    pub missing: Vec<Missing>,
    /// Whether the record lists nothing else: no mount that is there, and no node.
    pub is_all: bool,
}

/// Something that is on record and not on the node.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    /// A pod's mount on this directory.
    Pod(PathBuf),
    /// The device's mount on this directory.
    Staged(PathBuf),
    /// The loop device of that number, which is mounted nowhere; and the directory that it would
    /// be mounted on.
    Device((u32, u32), PathBuf),
    /// A pod: all that this node has is for none, where the host attaches volumes itself; and the
    /// directory that a pod would have it mounted on. Of that kubelet knows nothing at all.
    AnyPod(PathBuf),
}

impl Missing {
    /// For the operator: what the record says, and what is true.
    pub fn describe(&self) -> String {
        match self {
            Self::Pod(path) | Self::Staged(path) => {
                format!("mounted at {}, where it is not", path.display())
            }
            Self::Device((major, minor), _) => {
                format!("attached as device {major}:{minor}, which is gone")
            }
            Self::AnyPod(_) => "set up on this node for a pod, and no pod has it".to_owned(),
        }
    }

    /// The driver's operation that takes it off the record, and its directory.
    pub fn settled_by(&self) -> (&'static str, &Path) {
        match self {
            Self::Pod(path) | Self::AnyPod(path) => ("unmount", path),
            Self::Staged(path) | Self::Device(_, path) => ("unmountdevice", path),
        }
    }
}

/// In a pod's place, where a call is about no pod: a uid that none has.
const NO_POD: &str = "00000000-0000-0000-0000-000000000000";

/// Whether what is mounted beneath a directory is here what it is on the node: in the node's own
/// mount namespace, or where the two tell each other. In another, such as a container's, everything
/// may seem to be left over.
pub fn sees_the_node(kubelet_root: &Path) -> bool {
    let is_shared = || {
        let root = fs::canonicalize(kubelet_root).ok()?;
        Some(mount_that_holds(&root)?.shared)
    };
    is_nodes_namespace().or_else(is_shared).unwrap_or(false)
}

/// Whether this is the node's own mount namespace. None if it cannot be told: the first process that
/// is seen here is a container's own.
///
/// It is told by what is mounted, since not every root may look at the first process's namespace:
/// of two no mount has the same number.
pub fn is_nodes_namespace() -> Option<bool> {
    /// What the kernel calls the first namespace of processes (`PROC_PID_INIT_INO`).
    const FIRST: &str = "pid:[4026531836]";
    let mounts = |process: &str| -> Option<BTreeSet<String>> {
        let lines = fs::read_to_string(format!("/proc/{process}/mountinfo")).ok()?;
        Some(lines.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect())
    };
    let processes = fs::read_link("/proc/self/ns/pid").ok()?;
    let (own, first) = (mounts("self")?, mounts("1")?);
    match own.is_disjoint(&first) {
        true => Some(false),
        false => (processes == Path::new(FIRST)).then_some(true),
    }
}

/// The mount that a directory is on, whose path has no symbolic link in it.
pub fn mount_that_holds(directory: &Path) -> Option<MountPoint> {
    let points = target::mount_points().unwrap_or_default();
    let holds = points.into_iter().filter(|point| directory.starts_with(&point.path));
    // Of several on one directory the last covers the others.
    holds.max_by_key(|point| point.path.as_os_str().len())
}

impl Leftovers {
    /// Looks at the records of a driver, at the mounts and at the loop devices.
    pub fn find(receipt: &Receipt, grants: &Grants) -> Result<Self> {
        let mut found = Self::default();
        let mut records = Vec::new();
        let directory = receipt.data_dir.join(receipt.driver.tilde()).join(usage::VOLUMES);
        for path in record_files(&directory)? {
            match read(&path) {
                Ok(record) => records.extend(record),
                Err(error) => found.unreadable.push((path, error)),
            }
        }
        let boot = usage::boot_id()?;
        for record in &mut records {
            record.outlive(&boot);
        }
        records.sort_by(|a, b| a.volume.cmp(&b.volume));
        for record in &records {
            let missing = missing(receipt, record)?;
            if !missing.is_empty() {
                let mounts = record.published.iter().chain(&record.staged).count();
                let gone = missing
                    .iter()
                    .filter(|missing| matches!(missing, Missing::Pod(_) | Missing::Staged(_)))
                    .count();
                let is_all = gone == mounts && record.attached_node.is_none();
                let volume = record.volume.clone();
                found.volumes.push(Remains { volume, missing, is_all });
            }
        }
        // A record that cannot be read may be of any of them.
        if found.unreadable.is_empty() {
            found.mounts = unrecorded_mounts(receipt, &records)?;
            found.loops = unrecorded_loops(grants, &records)?;
        }
        Ok(found)
    }
}

fn record_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(reading)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(reading)?.path();
        files.extend(Some(path).filter(|path| path.extension().is_some_and(|end| end == "json")));
    }
    files.sort();
    Ok(files)
}

/// None if it was removed while we were looking.
fn read(path: &Path) -> Result<Option<VolumeRecord>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    Ok(Some(VolumeRecord::parse(&text)?))
}

fn missing(receipt: &Receipt, record: &VolumeRecord) -> Result<Vec<Missing>> {
    let root = &receipt.kubelet_root;
    let mut missing = Vec::new();
    for mount in &record.published {
        if !is_there(root, mount)? {
            missing.push(Missing::Pod(root.join(&mount.beneath_root)));
        }
    }
    let pods = record.published.len() - missing.len();
    if receipt.attaching() == Attaching::Node {
        // The unmount that leaves no pod with it takes all of it down, whether a pod had it or not.
        if record.in_use() && record.published.is_empty() {
            let directory = pod_mounts(receipt, NO_POD).join(&record.volume);
            missing.push(Missing::AnyPod(root.join(directory)));
        }
        return Ok(missing);
    }
    if let Some(mount) = &record.staged {
        if !is_there(root, mount)? {
            missing.push(Missing::Staged(root.join(&mount.beneath_root)));
        }
    } else if let Some(device) = record.device.as_ref().filter(|device| device.is_loop)
        && pods == 0
        && !is_attached(device, record)?
    {
        let directory = device_mounts(receipt).join(&record.volume);
        missing.push(Missing::Device(device.number, root.join(directory)));
    }
    Ok(missing)
}

fn is_attached(device: &DeviceRef, record: &VolumeRecord) -> Result<bool> {
    let image = record.image.as_ref().map(|image| image.directory.join(&image.name));
    Ok(loopdev::open(device.number, &device.identity, image.as_deref())?.is_some())
}

/// Whether anything is mounted there. If it is not what was recorded, it is for the driver to
/// refuse, or to take down.
fn is_there(root: &Path, mount: &MountRef) -> Result<bool> {
    let target = target::open(root, &mount.beneath_root)?;
    Ok(target::mounted(&target)?.is_some())
}

fn unrecorded_mounts(receipt: &Receipt, records: &[VolumeRecord]) -> Result<Vec<PathBuf>> {
    let root = fs::canonicalize(&receipt.kubelet_root);
    let Ok(root) = root else { return Ok(Vec::new()) };
    let (pods, device) = (receipt.driver.tilde(), device_mounts(receipt));
    let is_ours = |path: &Path| {
        let parts: Vec<_> = path.iter().collect();
        let of_pod = matches!(parts[..], [first, _, volumes, driver, _]
            if first == "pods" && volumes == "volumes" && driver == pods.as_str());
        of_pod || path.parent() == Some(&device)
    };
    let mut mounts: Vec<PathBuf> = target::mount_points()?
        .into_iter()
        .filter_map(|point| point.path.strip_prefix(&root).ok().map(Path::to_owned))
        .filter(|path| is_ours(path))
        .filter(|path| records.iter().all(|record| record.mount_at(path).is_none()))
        .map(|path| receipt.kubelet_root.join(path))
        .collect();
    mounts.sort();
    mounts.dedup();
    Ok(mounts)
}

/// Whose a loop device is, is known by where its image is: installations on one node need not
/// know of each other.
fn unrecorded_loops(grants: &Grants, records: &[VolumeRecord]) -> Result<Vec<loopdev::Kept>> {
    let Some(images) = &grants.images else { return Ok(Vec::new()) };
    let granted = images.directory.path();
    let directory = fs::canonicalize(granted).unwrap_or_else(|_| granted.to_owned());
    let mut loops = loopdev::kept()?;
    loops.retain(|device| {
        let listed = |record: &VolumeRecord| {
            record.device.as_ref().is_some_and(|listed| listed.number == device.number)
        };
        device.image.parent() == Some(&directory) && !records.iter().any(listed)
    });
    Ok(loops)
}

/// Where kubelet has a pod's volumes of a driver, beneath its root.
fn pod_mounts(receipt: &Receipt, uid: &str) -> PathBuf {
    Path::new("pods").join(uid).join("volumes").join(receipt.driver.tilde())
}

/// Where kubelet has a driver's device mounts, beneath its root.
fn device_mounts(receipt: &Receipt) -> PathBuf {
    Path::new("plugins/kubernetes.io/flexvolume").join(receipt.driver.slash()).join("mounts")
}
