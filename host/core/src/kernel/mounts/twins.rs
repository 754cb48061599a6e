//! Clones, which have the UUID of what they are a clone of: the kernel refuses them beside it or,
//! worse, takes one for the other. So here is found out what a UUID is in use by, and which device
//! a mount is really of.
//!
//! No UUID is ever changed: a volume has to remain what its backups and its records call it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::OFlags;

use crate::failure::Failure;
use crate::kernel::device::{self, Device};
use crate::kernel::filesystems::Filesystem;
use crate::kernel::target::{self, Mounted};
use crate::kernel::{blank, bystanders, failed, raw, unfit, uuid};
use crate::rehearsal;

/// Whether a mount is of the device. With btrfs the kernel shows a number of its own for it, so
/// it is asked through the root of the mount, which `read` opens.
pub(in crate::kernel) fn is_of(
    mounted: &Mounted,
    device: &Device,
    read: impl FnOnce() -> Result<OwnedFd, Failure>,
) -> Result<bool, Failure> {
    if mounted.fs_type != Filesystem::Btrfs.name() {
        return Ok(mounted.device == device.number);
    }
    let fsid = raw::btrfs_fsid(read()?).map_err(failed("asking btrfs for its fsid"))?;
    Ok(btrfs_devices(&uuid::text(fsid))? == [device.number])
}

/// Refuses (`uuid-in-use`) a btrfs whose fsid is mounted already, by whichever device: not every
/// kernel keeps two of one fsid apart.
pub(super) fn refuse_btrfs(device: &Device) -> Result<(), Failure> {
    let Ok(found) = blank::superblock(device)? else { return Ok(()) };
    // What a rehearsal has unmounted is mounted still.
    if rehearsal::has_unmounted() || btrfs_devices(found.uuid())?.is_empty() {
        return Ok(());
    }
    let message = format!(
        "a btrfs with the fsid {} is mounted on this node already, of which {} is a clone; unmount \
         it, or give the clone another fsid with btrfstune -u",
        found.uuid(),
        device.node().display()
    );
    Err(unfit("uuid-in-use", message))
}

/// Whether another device's xfs with this one's UUID is mounted. Then this one is a clone, which
/// the kernel mounts if it is told that it may; `in-use` if it is the same storage by another
/// path, which two mounts would destroy.
pub(super) fn is_xfs_clone(device: &Device) -> Result<bool, Failure> {
    let Ok(found) = blank::superblock(device)? else { return Ok(false) };
    let mounted = target::devices_of(Filesystem::Xfs.name())?;
    let has_uuid = |at: usize| {
        let other = device::open_number(mounted[at], OFlags::RDONLY);
        let uuid = other.ok().flatten().and_then(|(_, other)| blank::xfs_uuid(&other).ok()?);
        [u8::from(uuid.as_deref() == Some(found.uuid()))]
    };
    // What is gone, cannot be read or does not answer is none that could be told to be the same.
    let answers = bystanders::ask(mounted.len(), has_uuid, |_, _| false)?;
    let mut clone = false;
    for (number, _) in mounted.into_iter().zip(answers).filter(|(_, has)| *has == Some([1])) {
        if number == device.number || device::is_another_path(device, number)? {
            let Some((node, _)) = device::open_number(number, OFlags::PATH)? else { continue };
            let message = format!(
                "{} is in use: {}, which is mounted, is the same storage",
                device.node().display(),
                node.display()
            );
            return Err(unfit("in-use", message));
        }
        clone = true;
    }
    Ok(clone)
}

/// The devices of the btrfs that is mounted with that fsid; none if there is none.
fn btrfs_devices(fsid: &str) -> Result<Vec<(u32, u32)>, Failure> {
    let directory = PathBuf::from(format!("/sys/fs/btrfs/{fsid}/devices"));
    let what = || format!("reading {}", directory.display());
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io(what(), &error)),
    };
    let number = |entry: io::Result<std::fs::DirEntry>| -> io::Result<(u32, u32)> {
        let text = std::fs::read_to_string(entry?.path().join("dev"))?;
        Ok(device::parse_number(&text).ok_or(io::ErrorKind::InvalidData)?)
    };
    let devices: io::Result<Vec<_>> = entries.map(number).collect();
    devices.map_err(|error| Failure::io(what(), &error))
}
