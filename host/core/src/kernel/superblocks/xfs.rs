//! The superblock of XFS, as far as deciding about it needs.
//!
//! Fields are those of fs/xfs/libxfs/xfs_format.h `struct xfs_dsb`, big-endian. Checksums are left
//! to the kernel: a superblock with a wrong one is still somebody's filesystem. What the log says
//! is `log.rs`'s.

mod log;

use std::io;

use super::Source;
use crate::kernel::uuid;

const LENGTH: usize = 512;

/// What of the first sector the superblock's fields take up, in bytes.
const FIELDS: u64 = 264;

/// mkfs.xfs leaves the rest of a device out if a last group of it would be smaller than this, in
/// bytes; the kernel would make groups of 64 blocks, which are of no use.
const MIN_LAST_GROUP: u64 = 16 * 1024 * 1024;

/// Of how many groups backups are looked for. Without a superblock that says how large groups
/// are, each way is tried in which mkfs.xfs divides a device into at most so many.
const MAX_GROUPS: u64 = 32;

/// A superblock that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// What it is of.
    pub kind: Kind,
    /// How many blocks the filesystem has.
    pub blocks: u64,
    /// How large they are, in bytes.
    pub block_size: u64,
    /// What tells it from all others, as text.
    pub uuid: String,
    /// How much of the space inodes may take, in percent. The kernel wants to be told again when
    /// a filesystem grows.
    pub inode_percent: u8,
    /// Of the last transaction that changed the superblock; mkfs.xfs makes none.
    lsn: u64,
    sector_size: u64,
    blocks_per_group: u64,
    groups: u64,
    /// Where the log is, in bytes.
    log: std::ops::Range<u64>,
}

/// The sorts that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All of it is here.
    Whole,
    /// Its log is on another device.
    ElsewhereLog,
    /// It has a realtime section, whose files' data is on another device.
    Realtime,
    /// mkfs.xfs has not come to its end.
    Unfinished,
}

impl Superblock {
    /// The filesystem's length in bytes.
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size)
    }

    /// How many blocks it can have on a device of that many bytes.
    pub fn blocks_on(&self, device: u64) -> u64 {
        let blocks = device / self.block_size;
        let last = blocks % self.blocks_per_group;
        if last < MIN_LAST_GROUP / self.block_size { blocks - last } else { blocks }
    }

    /// Where the filesystem keeps what is its own, with nothing else's in between: the headers of
    /// the first group, without the superblock itself.
    pub(super) fn own(&self) -> std::ops::Range<u64> {
        FIELDS..self.block_size.max(4 * self.sector_size)
    }

    /// Whether the kernel would have to write to it when mounting it, read-only or not: it was
    /// not unmounted cleanly.
    pub fn is_dirty(&self, source: &impl Source) -> io::Result<bool> {
        log::is_clean(source, &self.log).map(|clean| !clean)
    }

    /// Whether it can hold anything: a transaction was logged. Before that, no file's data was
    /// ever safe on the device.
    pub(super) fn was_used(&self, source: &impl Source) -> io::Result<bool> {
        match self.kind {
            // The kernel does not mount it.
            Kind::Unfinished => Ok(false),
            _ if self.lsn != 0 => Ok(true),
            _ => log::is_new(source, &self.log).map(|new| !new),
        }
    }

    fn parse(bytes: &[u8; LENGTH]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
        let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
        if !bytes.starts_with(b"XFSB") {
            return None;
        }
        let (block_size, sector_size) = (u64::from(u32_at(4)), u64::from(u16_at(102)));
        let (blocks, groups) = (u64_at(8), u64::from(u32_at(88)));
        let blocks_per_group = u64::from(u32_at(84));
        let is_size = |size: u64| size.is_power_of_two() && (512..=64 * 1024).contains(&size);
        if !is_size(block_size) || !is_size(sector_size) || blocks == 0 || blocks_per_group == 0 {
            return None;
        }
        // A block's address is its group's number and, in so many bits, its place in the group.
        let (log_start, group_bits) = (u64_at(48), u32::from(bytes[124]));
        let group = log_start.checked_shr(group_bits)?;
        let place = log_start & (1_u64.checked_shl(group_bits)? - 1);
        let log_start_block = group.checked_mul(blocks_per_group)?.checked_add(place)?;
        let log_at = log_start_block.checked_mul(block_size)?;
        let log_end = log_at.checked_add(u64::from(u32_at(96)) * block_size)?;
        let kind = if bytes[126] != 0 {
            Kind::Unfinished
        } else if log_start == 0 {
            Kind::ElsewhereLog
        } else if u64_at(16) != 0 {
            Kind::Realtime
        } else {
            Kind::Whole
        };
        Some(Self {
            kind,
            blocks,
            block_size,
            uuid: uuid::text(std::array::from_fn(|at| bytes[32 + at])),
            inode_percent: bytes[127],
            lsn: u64_at(240),
            sector_size,
            blocks_per_group,
            groups,
            log: log_at..log_end,
        })
    }
}

/// The superblock in its usual place; none if there is no such thing.
pub fn primary(source: &impl Source) -> io::Result<Option<Superblock>> {
    read(source, 0)
}

/// Whether a copy of a superblock, and a wanted one, is found at the start of one of the groups.
/// Each says how large groups are, so that a file's contents are not taken for one.
pub fn has_copy(source: &impl Source, wanted: impl Fn(&Superblock) -> bool) -> io::Result<bool> {
    let known = primary(source)?.into_iter().flat_map(|found| {
        let group = found.blocks_per_group.saturating_mul(found.block_size);
        (0..found.groups.min(MAX_GROUPS)).map(move |number| number.saturating_mul(group))
    });
    let size = source.size();
    let tried = [512, 1024, 2048, 4096].into_iter().flat_map(|block| {
        (2..=MAX_GROUPS).map(move |groups| (size / block).div_ceil(groups) * block)
    });
    // The largest groups there are, which very large devices have.
    let largest = [512, 1024, 2048, 4096].into_iter().map(|block| (1 << 40) - block);
    let mut places: Vec<u64> = known.chain(tried).chain(largest).collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        let Some(found) = read(source, place)? else { continue };
        let group = found.blocks_per_group.saturating_mul(found.block_size);
        if place % group == 0 && wanted(&found) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read(source: &impl Source, offset: u64) -> io::Result<Option<Superblock>> {
    if offset.checked_add(LENGTH as u64).is_none_or(|end| end > source.size()) {
        return Ok(None);
    }
    let mut bytes = [0; LENGTH];
    source.read_at(offset, &mut bytes)?;
    Ok(Superblock::parse(&bytes))
}
