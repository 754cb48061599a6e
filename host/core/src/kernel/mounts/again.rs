//! A filesystem that was unmounted and lives on, since another mount namespace has it too: mounted
//! once more, as it was. kubelet asks again about what is mounted, and about nothing else.
//!
//! Nothing is looked at or repaired: the kernel has the filesystem already, and shares it.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, StatVfsMountFlags, StatxFlags, statvfs, statx};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::{Context, PendingMount, is_of};
use crate::call::Access;
use crate::decide::Granted;
use crate::failure::Failure;
use crate::kernel::device::{self, Device};
use crate::kernel::filesystems::Filesystem;
use crate::kernel::target::{self, Mounted, Target};
use crate::kernel::unfit;
use crate::rehearsal;

/// What is to be mounted again.
#[derive(Debug)]
pub struct Again {
    /// The device.
    pub device: Rc<Device>,
    /// The filesystem that is on it.
    pub filesystem: Filesystem,
    /// As it was mounted before.
    pub access: Access,
    /// The mount's own attributes, as they were.
    pub attributes: MountAttrFlags,
}

/// The attributes of what is mounted on a target; the strictest if they cannot be told. None if
/// nothing is mounted there.
pub fn attributes(target: &Target) -> Option<MountAttrFlags> {
    if let Ok(None) = target::mounted(target) {
        return None;
    }
    let safe = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let found = target.path_by_descriptor().and_then(|path| statvfs(path).ok());
    let Some(flags) = found.map(|found| found.f_flag) else {
        return Some(safe | MountAttrFlags::MOUNT_ATTR_NOEXEC);
    };
    let mut attributes = safe;
    for (flag, attribute) in [
        (StatVfsMountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (StatVfsMountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ] {
        attributes.set(attribute, flags.contains(flag));
    }
    let relaxed = StatVfsMountFlags::RELATIME | StatVfsMountFlags::NOATIME;
    attributes.set(MountAttrFlags::MOUNT_ATTR_STRICTATIME, !flags.intersects(relaxed));
    Some(attributes)
}

/// Whether a mount's filesystem has failed so that it tells nothing of itself any more, as xfs does.
fn is_failed(mount: &OwnedFd) -> bool {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(mount, c"", flags, StatxFlags::MNT_ID).is_err_and(target::is_broken)
}

/// Mounts it again. None if it is not the filesystem that holds the device: then nothing of it
/// lives on.
pub fn again(again: Granted<Again>) -> Result<Option<PendingMount>, Failure> {
    let Again { device, filesystem, access, mut attributes } = again.into_inner();
    if rehearsal::is_on() {
        return Ok(None);
    }
    let what = format!("mounting {} again", device.node().display());
    let settings = filesystem.mount_settings().iter().map(|&(key, value)| (key, Some(value)));
    let mut settings: Vec<_> = settings.collect();
    let read_only = ("ro", None);
    if access == Access::ReadOnly {
        settings.push(read_only);
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let mut context = Context::of_device(&device, filesystem, &settings, &what)?;
    let mut created = context.create(false);
    // The kernel shares a filesystem as it is, and one that has failed is read-only since: each
    // refuses in its own way to be made writable. The other way round would not be safe: of a disk
    // that is only read, what is not alive any more would be written to.
    let differs = [Errno::BUSY, Errno::INVAL, Errno::ACCESS, Errno::ROFS];
    if access == Access::ReadWrite && created.is_err_and(|error| differs.contains(&error)) {
        settings.push(read_only);
        context = Context::of_device(&device, filesystem, &settings, &what)?;
        created = context.create(false);
    }
    match created {
        Err(Errno::BUSY) => return Ok(None),
        created => created.map_err(|error| context.failure(&what, error))?,
    }
    let mount = context.detached(attributes, &what)?;
    device::recheck(&device)?;
    if is_failed(&mount) {
        let mounted = Mounted {
            // No mount has that one, and nobody asks for it.
            mount_id: 0,
            device: device.number,
            access,
            fs_type: filesystem.name().to_owned(),
        };
        return Ok(Some(PendingMount::as_told(mount, mounted)));
    }
    let pending = PendingMount::new(mount, access, filesystem.name())?;
    match is_of(&pending.mounted, &device, || pending.read())? {
        true => Ok(Some(pending)),
        false => Err(unfit("device-changed", format!("{what}: it is another device by now"))),
    }
}
