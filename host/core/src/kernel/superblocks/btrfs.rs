//! The superblock of btrfs, as far as deciding about it needs.
//!
//! Fields are those of include/uapi/linux/btrfs_tree.h `struct btrfs_super_block`. Checksums are
//! left to the kernel: a superblock with a wrong one is still somebody's filesystem.

use std::io;

use super::Source;
use crate::kernel::uuid;

/// Where the superblock and its mirrors are, in bytes.
const PLACES: [u64; 3] = [64 * 1024, 64 * 1024 * 1024, 256 * 1024 * 1024 * 1024];

const LENGTH: usize = 4096;

/// What mkfs.btrfs writes in place of the magic number until all else is on the device.
const MAGIC: &[u8] = b"_BHRfS_M";
const UNFINISHED: &[u8] = b"!BHRfS_M";

/// `BTRFS_SUPER_FLAG_SEEDING`.
const SEED: u64 = 1 << 32;

/// The first MiB holds nothing but the superblock, whatever the sizes are.
const RESERVED: u64 = 1024 * 1024;

/// The kernel grows none to less, in bytes.
pub const MIN_GROWN: u64 = 256 * 1024 * 1024;

/// A superblock that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// What it is of.
    pub kind: Kind,
    /// What tells it from all others, as text: the fsid.
    pub uuid: String,
    /// How much of this device it uses, in bytes.
    pub bytes: u64,
    /// The number that the filesystem gives the device.
    pub device_id: u64,
    /// Whether mounting it writes to it, read-only or not: there is a log tree to replay.
    pub dirty: bool,
    sector_size: u64,
}

/// The sorts that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All of it is here.
    Whole,
    /// It has other devices besides this one.
    SeveralDevices,
    /// It can only be read, and be the start of another filesystem.
    Seed,
    /// mkfs.btrfs has not come to its end.
    Unfinished,
}

impl Superblock {
    /// How much of a device of that many bytes it can use, growing if need be.
    pub fn bytes_on(&self, device: u64) -> u64 {
        match self.whole_sectors(device) {
            ..MIN_GROWN => self.bytes,
            bytes => bytes,
        }
    }

    /// Whether a device of that many bytes has more room, but is too small for the kernel to grow
    /// the filesystem to it.
    pub fn is_stuck_on(&self, device: u64) -> bool {
        (self.bytes.saturating_add(1)..MIN_GROWN).contains(&self.whole_sectors(device))
    }

    fn whole_sectors(&self, bytes: u64) -> u64 {
        bytes / self.sector_size * self.sector_size
    }

    /// Where the filesystem keeps what is its own, with nothing else's in between, and whether a
    /// place there is not the superblock.
    pub(super) fn is_own(offset: u64) -> bool {
        offset < RESERVED && !(PLACES[0]..PLACES[0] + LENGTH as u64).contains(&offset)
    }

    fn parse(bytes: &[u8; LENGTH], place: u64) -> Option<Self> {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let sector_size = u64::from(u32_at(144));
        let is_size = sector_size.is_power_of_two() && (4096..=64 * 1024).contains(&sector_size);
        let length = u64_at(209);
        if u64_at(48) != place || !is_size || length == 0 {
            return None;
        }
        let kind = if &bytes[64..72] == UNFINISHED {
            Kind::Unfinished
        } else if u64_at(136) != 1 {
            Kind::SeveralDevices
        } else if u64_at(56) & SEED != 0 {
            Kind::Seed
        } else {
            Kind::Whole
        };
        Some(Self {
            kind,
            uuid: uuid::text(std::array::from_fn(|at| bytes[32 + at])),
            bytes: length,
            device_id: u64_at(201),
            dirty: u64_at(96) != 0,
            sector_size,
        })
    }
}

/// The superblock in its usual place; none if there is no such thing.
pub fn primary(source: &impl Source) -> io::Result<Option<Superblock>> {
    Ok(read(source, PLACES[0])?.flatten())
}

/// Whether a superblock, and a wanted one, is found in one of the places. One that makes no sense
/// is shown as none.
pub fn has_copy(
    source: &impl Source,
    wanted: impl Fn(Option<&Superblock>) -> bool,
) -> io::Result<bool> {
    for place in PLACES {
        if read(source, place)?.is_some_and(|found| wanted(found.as_ref())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// None without a magic number.
fn read(source: &impl Source, place: u64) -> io::Result<Option<Option<Superblock>>> {
    if place + LENGTH as u64 > source.size() {
        return Ok(None);
    }
    let mut bytes = [0; LENGTH];
    source.read_at(place, &mut bytes)?;
    let is_one = [MAGIC, UNFINISHED].contains(&&bytes[64..72]);
    Ok(is_one.then(|| Superblock::parse(&bytes, place)))
}
