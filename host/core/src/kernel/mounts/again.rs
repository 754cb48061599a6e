//! A filesystem that was unmounted and lives on, since another mount namespace has it too: mounted
//! once more, as it was. kubelet asks again about what is mounted, and about nothing else.
//!
//! Nothing is looked at or repaired: the kernel has the filesystem already, and shares it.

use std::rc::Rc;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::{Context, PendingMount, is_of};
use crate::call::Access;
use crate::decide::Granted;
use crate::failure::Failure;
use crate::kernel::device::{self, Device};
use crate::kernel::filesystems::Filesystem;
use crate::kernel::target::{self, Target};
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
    if created == Err(Errno::BUSY) {
        // The kernel shares a filesystem only as it is. This one may have failed and be read-only
        // since, or somebody has mounted it anew, for writing.
        match access {
            Access::ReadWrite => settings.push(read_only),
            Access::ReadOnly => settings.retain(|setting| *setting != read_only),
        }
        context = Context::of_device(&device, filesystem, &settings, &what)?;
        created = context.create(false);
    }
    match created {
        Err(Errno::BUSY) => return Ok(None),
        created => created.map_err(|error| context.failure(&what, error))?,
    }
    let pending = context.mount(attributes, access, filesystem.name(), &what)?;
    device::recheck(&device)?;
    match is_of(&pending.mounted, &device, || pending.read())? {
        true => Ok(Some(pending)),
        false => Err(unfit("device-changed", format!("{what}: it is another device by now"))),
    }
}
