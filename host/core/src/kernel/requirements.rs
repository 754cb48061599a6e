//! What the acts need of a node beyond the oldest kernel: looked for ahead of any call, so that an
//! operator is told before a pod waits for it. Nothing is left behind, and nothing decided.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::filesystems::Filesystem;
use super::{failed, raw, tools::Tool};
use crate::failure::Failure;
use crate::grants::FilesystemsGrant;

/// The system calls that this kernel, or a filter on them, refuses.
pub fn missing_calls() -> Vec<Failure> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat2(CWD, "/", flags, Mode::empty(), resolve).map(drop);
    let opened = opened.map_err(failed("opening a directory by openat2(2)"));
    [opened, detached_mount()].into_iter().filter_map(Result::err).collect()
}

/// Makes a mount that is attached nowhere, as every mount of a volume is at first.
fn detached_mount() -> Result<(), Failure> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(failed("preparing a mount by fsopen(2)"))?;
    fsconfig_create(&context).map_err(failed("making a filesystem by fsconfig(2)"))?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mount = fsmount(&context, flags, MountAttrFlags::empty())
        .map_err(failed("making a mount by fsmount(2)"))?;
    let nosuid = MountAttrFlags::MOUNT_ATTR_NOSUID.bits().into();
    raw::mount_set(&mount, nosuid).map_err(failed("changing a mount by mount_setattr(2)"))
}

/// The tools that what is granted can need, and that cannot be run here.
pub fn missing_tools(granted: &FilesystemsGrant) -> Vec<Failure> {
    let mut needed = Vec::new();
    for filesystem in &granted.types {
        // The kernel checks and grows the other two by itself.
        match filesystem {
            Filesystem::Ext4 => needed.extend([
                (granted.format, "mkfs.ext4", "e2fsprogs"),
                (granted.check || granted.grow, "e2fsck", "e2fsprogs"),
                (granted.grow, "resize2fs", "e2fsprogs"),
            ]),
            Filesystem::Xfs => needed.push((granted.format, "mkfs.xfs", "xfsprogs")),
            Filesystem::Btrfs => needed.push((granted.format, "mkfs.btrfs", "btrfs-progs")),
        }
    }
    let needed = needed.into_iter().filter(|(is_needed, ..)| *is_needed);
    needed.filter_map(|(_, tool, package)| Tool::find(tool, package).err()).collect()
}
