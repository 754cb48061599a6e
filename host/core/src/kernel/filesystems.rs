//! Making and checking filesystems; growing them is `grow.rs`'s.
//!
//! What reads or writes on-disk structures with any cleverness is a tool of the distribution or
//! the kernel itself; here is which of them, when, and what its answer means. A filesystem is
//! only ever made on a device that is proven blank, and never repaired beyond what its own
//! checker calls safe.

mod grow;
mod mkfs;
mod options;
mod profile;

pub use grow::{Grow, GrowUnmounted, grow, grow_unmounted, needs_growth};
pub use options::BlockOption;
pub(super) use options::attributes;
pub use profile::Profile;

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use self::mkfs::Maker;
use super::blank::{self, Content};
use super::device::{self, Device};
use super::superblocks::Superblock;
use super::tools::Tool;
use super::{invalid, unfit};
use crate::call::Access;
use crate::decide::Granted;
use crate::failure::{Code, Failure};
use crate::rehearsal;

/// A supported filesystem, all of it on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Filesystem {
    /// The fourth extended filesystem.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
}

impl Filesystem {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Ext4, Self::Xfs, Self::Btrfs];

    /// Reads the name as it is in `fsType` and /proc/filesystems.
    pub fn parse(name: &str) -> Result<Self, Failure> {
        Self::ALL.iter().copied().find(|known| known.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|known| known.name()).collect();
            let message =
                format!("filesystem {name:?} is not supported; there are {}", known.join(", "));
            invalid("unknown-filesystem", message)
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// What every mount of it is set to.
    pub(super) fn mount_settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // The other choices go on with a damaged filesystem, or panic the node.
            Self::Ext4 => &[("errors", "remount-ro")],
            Self::Xfs => &[],
            // The top of it, whichever subvolume somebody has made the default.
            Self::Btrfs => &[("subvolid", "5")],
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

/// Makes a filesystem. `not-blank` unless the device is proven blank, or `resume` is set and what
/// is there can be what the interrupted format left, see [`left_by`]. `begin` is called after the proof and
/// before the first write, to make a durable record of it. The tool holds `lock`, too.
pub fn format(
    format: Granted<Format>,
    lock: BorrowedFd<'_>,
    begin: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Format { device, filesystem, profile, resume, uuid } = format.into_inner();
    let node = device.node().display();
    let maker = Maker::of(filesystem);
    let tool = maker.find()?;
    writable(&device)?;
    device::refuse_if_held(&device)?;
    let content = blank::probe(&device)?;
    if content != Content::Blank && !(resume && left_by(&device, &uuid)?) {
        let found = content.name().unwrap_or("data");
        let whose = if resume { " that no format of this volume left there" } else { "" };
        let message = format!(
            "{node} is not blank: it holds {found}{whose}; it is not formatted, so that nothing is \
             lost: give the volume another, or wipe this one by hand if nobody wants what it holds"
        );
        return Err(unfit("not-blank", message));
    }
    let (size, least) = (device::size(&device)?, maker.min_size);
    if size < least {
        let name = filesystem.name();
        let message = format!("{node} has {size} bytes; {name} needs at least {least}");
        return Err(unfit("too-small", message));
    }
    let fixed: Vec<String> = maker.arguments(&uuid).collect();
    let fixed = fixed.iter().map(String::as_str);
    let arguments: Vec<&str> = fixed.chain(profile.arguments()).collect();
    if rehearsal::is_on() {
        rehearsal::formatted(&device.identity, filesystem);
        return Ok(());
    }
    begin()?;
    let ended = tool.run(&arguments, &device, lock)?;
    if ended.code != Some(0) {
        return Err(ended.failure("tool-failed", Code::Internal));
    }
    device::recheck(&device)?;
    match blank::probe(&device)? {
        Content::Filesystem(made)
            if made == filesystem && expect(&device, filesystem)?.uuid() == uuid =>
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
/// that is recognised, or a filesystem with that UUID that was never used. Anything else was put
/// there since: then the record of that format is void.
pub fn left_by(device: &Device, format_uuid: &str) -> Result<bool, Failure> {
    blank::left_by(device, format_uuid)
}

/// Checks a filesystem that is not mounted, and repairs what is safe to repair. True if
/// something was; `fs-errors` if there is more than that. With xfs and btrfs there is nothing to
/// do but to see that it is there: the kernel makes good, as it mounts them, what a crash left,
/// and what their tools do beyond that is not safe unattended. A checker holds `lock`, too, and
/// `meanwhile` is done until it has ended.
pub fn check(
    check: Granted<Check>,
    lock: BorrowedFd<'_>,
    meanwhile: impl FnOnce(),
) -> Result<bool, Failure> {
    let Check { device, filesystem } = check.into_inner();
    writable(&device)?;
    device::refuse_if_held(&device)?;
    if rehearsal::filesystem(&device.identity) != Some(filesystem) {
        // What is repaired is what is on the device, not what was read of it before.
        blank::forget_cache(&device)?;
        expect(&device, filesystem)?;
    }
    match filesystem {
        Filesystem::Ext4 => run_check(&device, &["-p"], lock, meanwhile),
        Filesystem::Xfs | Filesystem::Btrfs => Ok(false),
    }
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
        Access::ReadOnly if rehearsal::is_clean(&device.identity) => Ok(()),
        Access::ReadOnly if blank::is_dirty(device, &found)? => {
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
    let node = device.node().display();
    let wanted = filesystem.name();
    let mismatch = |found: &str| {
        unfit("fs-mismatch", format!("{node} was to hold {wanted}, but holds {found}"))
    };
    let found = blank::superblock(device)?.map_err(mismatch)?;
    if found.name() != wanted {
        return Err(mismatch(match found.name() {
            "ext-journal-elsewhere" => "ext with a journal on another device",
            "xfs-log-elsewhere" => "xfs with its log on another device",
            "xfs-realtime-elsewhere" => "xfs with files on a realtime device",
            "xfs-unfinished" => "an xfs whose making was interrupted",
            "btrfs-several-devices" => "one of several devices of a btrfs",
            "btrfs-seed" => "a btrfs that is the read-only start of others",
            "btrfs-unfinished" => "a btrfs whose making was interrupted",
            other => other,
        }));
    }
    if found.bytes() > device::size(device)? {
        let message = format!(
            "the filesystem on {node} reaches past the device's end: part of it is missing"
        );
        return Err(unfit("past-device", message));
    }
    Ok(found)
}

fn run_check(
    device: &Device,
    arguments: &[&str],
    lock: BorrowedFd<'_>,
    meanwhile: impl FnOnce(),
) -> Result<bool, Failure> {
    let tool = Tool::find("e2fsck", "e2fsprogs")?;
    if rehearsal::is_on() {
        meanwhile();
        rehearsal::checked(&device.identity);
        return Ok(false);
    }
    let ended = tool.run_while(arguments, device, lock, meanwhile)?;
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
        let message = format!("{} is read-only, and would be written to", device.node().display());
        return Err(unfit("device-read-only", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
