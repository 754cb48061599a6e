//! Growing filesystems to the size of their devices: mounted, by an ioctl, since the kernel survives
//! a power cut while it grows; or before they are mounted for a volume, by a mount that nobody
//! sees. Nothing is ever made smaller.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::{Filesystem, expect, run_check, writable};
use crate::call::Access;
use crate::decide::Granted;
use crate::failure::{Code, Failure};
use crate::kernel::device::{self, Device};
use crate::kernel::superblocks::{Superblock, btrfs};
use crate::kernel::target::{self, Target};
use crate::kernel::tools::Tool;
use crate::kernel::{blank, failed, mounts, raw, unfit};
use crate::rehearsal;

/// A mounted filesystem that is to be grown to its device's size.
#[derive(Debug)]
pub struct Grow {
    /// Where it is mounted.
    pub target: Rc<Target>,
    /// What it is on.
    pub device: Rc<Device>,
}

/// A filesystem that is not mounted and is to be grown to its device's size.
#[derive(Debug)]
pub struct GrowUnmounted {
    /// Where it is.
    pub device: Rc<Device>,
    /// Which it is.
    pub filesystem: Filesystem,
}

/// Grows a mounted filesystem to the size of its device, which is returned, in bytes. On a
/// read-only mount nothing is done. Where the kernel refuses it (`kernel-refused`), the next
/// mountdevice does it. The lock is for filesystems that need a tool for it; none does yet.
pub fn grow(grow: Granted<Grow>, _lock: BorrowedFd<'_>) -> Result<u64, Failure> {
    let Grow { target, device } = grow.into_inner();
    let shown = target.path.display();
    device::recheck(&device)?;
    let size = device::size(&device)?;
    let mounted = match target::mounted(&target)? {
        Some(mounted) if mounts::is_of(&mounted, &device, || target.read())? => mounted,
        Some(_) => {
            return Err(unfit(
                "wrong-mount",
                format!("what is mounted on {shown} is not the volume's device"),
            ));
        }
        None => return Err(unfit("not-mounted", format!("the volume is not mounted on {shown}"))),
    };
    let filesystem = Filesystem::parse(&mounted.fs_type)?;
    if mounted.access == Access::ReadOnly {
        return Ok(size);
    }
    let found = expect(&device, filesystem)?;
    if matches!(&found, Superblock::Btrfs(btrfs) if btrfs.is_stuck_on(size)) {
        let least = btrfs::MIN_GROWN;
        let message = format!(
            "{} has {size} bytes; no btrfs grows to fewer than {least}",
            device.node().display()
        );
        return Err(unfit("too-small", message));
    }
    if found.bytes_on(size) <= found.bytes() {
        return Ok(size);
    }
    if rehearsal::is_on() {
        return Ok(size);
    }
    let directory = target.read()?;
    if !grow_online(&device, filesystem, &directory)? {
        let message = format!(
            "the kernel refuses to grow the filesystem on {shown} while it is mounted (it takes CAP_SYS_RESOURCE or CAP_SYS_ADMIN); the next mountdevice grows it"
        );
        return Err(unfit("kernel-refused", message));
    }
    Ok(size)
}

/// Whether the device has room for a larger filesystem than it holds.
pub fn needs_growth(device: &Device, filesystem: Filesystem) -> Result<bool, Failure> {
    if rehearsal::filesystem(&device.identity) == Some(filesystem) {
        return Ok(false);
    }
    let found = expect(device, filesystem)?;
    Ok(found.bytes_on(device::size(device)?) > found.bytes())
}

/// Grows a filesystem that is not mounted, and was checked, to the size of its device: by a
/// mount that nobody sees; or else, if it is ext4, by resize2fs, after the full check that it
/// demands.
pub fn grow_unmounted(grow: Granted<GrowUnmounted>, lock: BorrowedFd<'_>) -> Result<(), Failure> {
    let GrowUnmounted { device, filesystem } = grow.into_inner();
    let device = &*device;
    if !needs_growth(device, filesystem)? {
        return Ok(());
    }
    writable(device)?;
    device::refuse_if_held(device)?;
    if rehearsal::is_on() {
        return Ok(());
    }
    let before = expect(device, filesystem)?.bytes();
    let nodev = MountAttrFlags::MOUNT_ATTR_NODEV;
    let pending = mounts::mount_device(device, filesystem, Access::ReadWrite, nodev, &[])?;
    let grown = grow_online(device, filesystem, &pending.read()?)?;
    drop(pending);
    device::refuse_if_held(device)?;
    if !grown && filesystem == Filesystem::Ext4 {
        run_check(device, &["-f", "-p"], lock, || ())?;
        let ended = Tool::find("resize2fs", "e2fsprogs")?.run(&[], device, lock)?;
        if ended.code != Some(0) {
            return Err(ended.failure("tool-failed", Code::Internal));
        }
        device::recheck(device)?;
    }
    blank::forget_anew(device)?;
    if expect(device, filesystem)?.bytes() <= before {
        let node = device.node().display();
        let message = format!("the filesystem on {node} is no larger after growing it");
        return Err(Failure::new(Code::Internal, "tool-failed", message));
    }
    Ok(())
}

/// Grows a filesystem through an open directory of a mount of it. False if the kernel does not
/// let this process do it, or cannot do it with this filesystem.
fn grow_online(
    device: &Device,
    filesystem: Filesystem,
    directory: &OwnedFd,
) -> Result<bool, Failure> {
    let what = format!("growing the filesystem on {}", device.node().display());
    let found = expect(device, filesystem)?;
    let size = device::size(device)?;
    let grown = match &found {
        Superblock::Ext(ext) => raw::ext4_resize(directory, ext.blocks_on(size)),
        Superblock::Xfs(xfs) => raw::xfs_grow(directory, xfs.blocks_on(size), xfs.inode_percent),
        Superblock::Btrfs(btrfs) => match raw::btrfs_grow(directory, btrfs.device_id) {
            Ok(0) => Ok(()),
            Ok(_) => {
                let message = format!(
                    "{what}: it is being balanced, or its devices are being changed; it grows once that is over"
                );
                return Err(Failure::new(Code::Unavailable, "again", message));
            }
            Err(error) => Err(error),
        },
    };
    match grown {
        Ok(()) => {}
        Err(Errno::PERM | Errno::OPNOTSUPP) => return Ok(false),
        Err(error) => return Err(failed(what)(error)),
    }
    rustix::fs::syncfs(directory).map_err(failed(what))?;
    Ok(true)
}
