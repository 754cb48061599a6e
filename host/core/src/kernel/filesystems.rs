//! Making, checking and growing filesystems.
//!
//! What reads or writes on-disk structures with any cleverness is a tool of the distribution or
//! the kernel itself; here is which of them, when, and what its answer means. A filesystem is
//! only ever made on a device that is proven blank, and never repaired beyond what its own
//! checker calls safe.

mod profile;

pub(super) use profile::attributes;
pub use profile::{BlockOption, Profile};

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::blank::{self, Content};
use super::device::{self, Device};
use super::mounts;
use super::superblocks::ext::{Kind, Superblock};
use super::target::{self, Target};
use super::tools::Tool;
use super::{failed, invalid, raw, unfit};
use crate::call::Access;
use crate::decide::Granted;
use crate::failure::{Code, Failure};

/// A supported filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Filesystem {
    /// The fourth extended filesystem, journal inside.
    Ext4,
}

impl Filesystem {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Ext4];

    /// Reads the name as it is in `fsType` and /proc/filesystems.
    pub fn parse(name: &str) -> Result<Self, Failure> {
        Self::ALL.iter().copied().find(|known| known.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|known| known.name()).collect();
            let message =
                format!("filesystem {name:?} is not supported; there is {}", known.join(", "));
            invalid("unknown-filesystem", message)
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
        }
    }

    /// What every mount of it is set to.
    pub(super) fn mount_settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // The other choices go on with a damaged filesystem, or panic the node.
            Self::Ext4 => &[("errors", "remount-ro")],
        }
    }
}

/// A filesystem that is to be made.
#[derive(Debug)]
pub struct Format {
    /// Where.
    pub device: Rc<Device>,
    /// Which.
    pub filesystem: Filesystem,
    /// How.
    pub profile: Profile,
    /// A durable record says that this volume's own format of this very device, by identity,
    /// was begun and not seen to end: then an unfinished filesystem may be there.
    pub resume: bool,
    /// The UUID that it gets, as text; of a format that is resumed, the recorded one: it tells
    /// what that format left from what anybody else has made there since.
    pub uuid: String,
}

/// A filesystem that is to be checked.
#[derive(Debug)]
pub struct Check {
    /// Where it is.
    pub device: Rc<Device>,
    /// Which it is.
    pub filesystem: Filesystem,
}

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

/// Makes a filesystem. `not-blank` unless the device is proven blank, or `resume` is set and what
/// is there can be what the interrupted format left, see [`left_by`]. `begin` is called after the proof and
/// before the first write, to make a durable record of it. The tool holds `lock`, too.
pub fn format(
    format: Granted<Format>,
    lock: BorrowedFd<'_>,
    begin: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Format { device, filesystem, profile, resume, uuid } = format.into_inner();
    let Filesystem::Ext4 = filesystem;
    let node = device.node().display();
    let tool = Tool::find("mkfs.ext4", "e2fsprogs")?;
    writable(&device)?;
    device::refuse_if_held(&device)?;
    let content = blank::probe(&device)?;
    if content != Content::Blank && !(resume && left_by(&device, &uuid)?) {
        let found = content.name().unwrap_or("data");
        let whose = if resume { " that no format of this volume left there" } else { "" };
        let message = format!(
            "{node} is not blank: it holds {found}{whose}; it is not formatted, so that nothing is lost"
        );
        return Err(unfit("not-blank", message));
    }
    // `nodiscard`, since a blank device has nothing to discard and large ones take minutes to
    // do it. The journal is zeroed now, not while mounted: what was not sampled may not be zero.
    let fixed = ["-q", "-t", "ext4", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=0"];
    let named = ["-U", uuid.as_str()];
    let arguments: Vec<&str> = fixed.into_iter().chain(named).chain(profile.arguments()).collect();
    begin()?;
    let ended = tool.run(&arguments, &device, lock)?;
    if ended.code != Some(0) {
        return Err(ended.failure("tool-failed", Code::Internal));
    }
    device::recheck(&device)?;
    match blank::probe(&device)? {
        Content::Filesystem(made)
            if made == filesystem && expect(&device, filesystem)?.uuid == uuid =>
        {
            Ok(())
        }
        _ => Err(unfit(
            "fs-mismatch",
            format!("{node} does not hold {} after it was made", filesystem.name()),
        )),
    }
}

/// Whether what is on a device can be what an interrupted format with that UUID left: nothing
/// that is recognised, or an ext filesystem with that UUID that was never mounted. Anything else
/// was put there since, by somebody else: then the record of that format is void.
pub fn left_by(device: &Device, format_uuid: &str) -> Result<bool, Failure> {
    blank::left_by(device, format_uuid)
}

/// Checks a filesystem that is not mounted, and repairs what is safe to repair. True if
/// something was; `fs-errors` if there is more than that.
pub fn check(check: Granted<Check>, lock: BorrowedFd<'_>) -> Result<bool, Failure> {
    let Check { device, filesystem } = check.into_inner();
    writable(&device)?;
    device::refuse_if_held(&device)?;
    expect(&device, filesystem)?;
    run_check(&device, &["-p"], lock)
}

/// Grows a mounted filesystem to the size of its device, which is returned, in bytes. On a
/// read-only mount nothing is done. Where the kernel refuses it (`kernel-refused`), the next
/// mountdevice does it. The lock is for filesystems that need a tool for it; ext4 needs none.
pub fn grow(grow: Granted<Grow>, _lock: BorrowedFd<'_>) -> Result<u64, Failure> {
    let Grow { target, device } = grow.into_inner();
    let shown = target.path.display();
    device::recheck(&device)?;
    let size = device::size(&device)?;
    let mounted = match target::mounted(&target)? {
        Some(mounted) if mounted.device == device.number => mounted,
        Some(_) => {
            return Err(unfit(
                "wrong-mount",
                format!("what is mounted on {shown} is not the volume's device"),
            ));
        }
        None => return Err(unfit("not-mounted", format!("the volume is not mounted on {shown}"))),
    };
    let filesystem = Filesystem::parse(&mounted.fs_type)?;
    if mounted.access == Access::ReadOnly || !needs_growth(&device, filesystem)? {
        return Ok(size);
    }
    let directory = target.read()?;
    if !grow_online(&device, filesystem, &directory)? {
        let message = format!(
            "the kernel refuses to grow the filesystem on {shown} while it is mounted (it takes CAP_SYS_RESOURCE); the next mountdevice grows it"
        );
        return Err(unfit("kernel-refused", message));
    }
    Ok(size)
}

/// Whether the device has room for a larger filesystem than it holds.
pub fn needs_growth(device: &Device, filesystem: Filesystem) -> Result<bool, Failure> {
    let found = expect(device, filesystem)?;
    Ok(found.blocks_on(device::size(device)?) > found.blocks)
}

/// Grows a filesystem that is not mounted, and was checked, to the size of its device: by a
/// mount that nobody sees, since the kernel survives a power cut while it grows; or else by
/// resize2fs, after the full check that it demands.
pub fn grow_unmounted(grow: Granted<GrowUnmounted>, lock: BorrowedFd<'_>) -> Result<(), Failure> {
    let GrowUnmounted { device, filesystem } = grow.into_inner();
    let device = &*device;
    if !needs_growth(device, filesystem)? {
        return Ok(());
    }
    writable(device)?;
    device::refuse_if_held(device)?;
    let before = expect(device, filesystem)?.blocks;
    let nodev = MountAttrFlags::MOUNT_ATTR_NODEV;
    let pending = mounts::mount_device(device, filesystem, Access::ReadWrite, nodev, &[])?;
    let grown = grow_online(device, filesystem, &pending.read()?)?;
    drop(pending);
    if !grown {
        run_check(device, &["-f", "-p"], lock)?;
        let ended = Tool::find("resize2fs", "e2fsprogs")?.run(&[], device, lock)?;
        if ended.code != Some(0) {
            return Err(ended.failure("tool-failed", Code::Internal));
        }
        device::recheck(device)?;
    }
    if expect(device, filesystem)?.blocks <= before {
        let node = device.node().display();
        let message = format!("the filesystem on {node} is no larger after growing it");
        return Err(Failure::new(Code::Internal, "tool-failed", message));
    }
    Ok(())
}

/// Whether the kernel could mount it as asked: it is that filesystem, whole, and on a read-only
/// volume nothing has to be written first.
pub(super) fn ready_to_mount(
    device: &Device,
    filesystem: Filesystem,
    access: Access,
) -> Result<(), Failure> {
    let node = device.node().display();
    let found = expect(device, filesystem)?;
    match access {
        Access::ReadWrite => writable(device),
        Access::ReadOnly if found.dirty => {
            let message = format!(
                "the filesystem on {node} was not unmounted cleanly, and mounting it would write to a read-only volume; mount it writable once"
            );
            Err(unfit("dirty-log", message))
        }
        Access::ReadOnly => Ok(()),
    }
}

/// The superblock of the filesystem that has to be on the device.
fn expect(device: &Device, filesystem: Filesystem) -> Result<Superblock, Failure> {
    let Filesystem::Ext4 = filesystem;
    let node = device.node().display();
    let wanted = filesystem.name();
    let mismatch = |found: &str| {
        unfit("fs-mismatch", format!("{node} was to hold {wanted}, but holds {found}"))
    };
    let found = blank::superblock(device)?.map_err(mismatch)?;
    match found.kind {
        Kind::Ext4 => {}
        Kind::Ext3 => return Err(mismatch("ext3")),
        Kind::Ext2 => return Err(mismatch("ext2")),
        Kind::ElsewhereJournal => return Err(mismatch("ext with a journal on another device")),
    }
    if found.bytes() > device::size(device)? {
        let message = format!(
            "the filesystem on {node} reaches past the device's end: part of it is missing"
        );
        return Err(unfit("past-device", message));
    }
    Ok(found)
}

/// Grows a filesystem through an open directory of a mount of it. False if the kernel does not
/// let this process do it, or cannot do it with this filesystem.
fn grow_online(
    device: &Device,
    filesystem: Filesystem,
    directory: &std::os::fd::OwnedFd,
) -> Result<bool, Failure> {
    let what = format!("growing the filesystem on {}", device.node().display());
    let found = expect(device, filesystem)?;
    match raw::ext4_resize(directory, found.blocks_on(device::size(device)?)) {
        Ok(()) => {}
        Err(Errno::PERM | Errno::OPNOTSUPP) => return Ok(false),
        Err(error) => return Err(failed(what)(error)),
    }
    rustix::fs::syncfs(directory).map_err(failed(what))?;
    Ok(true)
}

fn run_check(device: &Device, arguments: &[&str], lock: BorrowedFd<'_>) -> Result<bool, Failure> {
    let ended = Tool::find("e2fsck", "e2fsprogs")?.run(arguments, device, lock)?;
    device::recheck(device)?;
    // e2fsck(8): 1 repaired something, 2 wants a reboot as well, 4 left errors; the rest is trouble
    // with the tool or the device.
    match ended.code {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(code) if code & 6 != 0 => Err(ended.failure("fs-errors", Code::DataLoss)),
        _ => Err(ended.failure("tool-failed", Code::Internal)),
    }
}

fn writable(device: &Device) -> Result<(), Failure> {
    device::recheck(device)?;
    if device::is_read_only(device)? {
        let message = format!("{} is read-only", device.node().display());
        return Err(unfit("device-read-only", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
