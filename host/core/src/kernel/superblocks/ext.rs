//! The superblock of ext2, ext3 and ext4, as far as deciding about it needs.
//!
//! Fields are those of fs/ext4/ext4.h `struct ext4_super_block`. Checksums are left to the kernel
//! and to e2fsck: a superblock with a wrong one is still somebody's filesystem.

use std::io;

use super::Source;
use crate::kernel::uuid;

/// Where the superblock is, in bytes, whatever the block size is.
pub const OFFSET: u64 = 1024;

const LENGTH: usize = 1024;

/// Incompatible features. Those of ext3 are the ones that ext4 shares with it.
const JOURNAL_DEVICE: u32 = 0x8;
const RECOVER: u32 = 0x4;
const EXT3_INCOMPATIBLE: u32 = 0x2 | RECOVER | 0x10;
const BITS64: u32 = 0x80;
/// Features that an old kernel may read with, but not write: those of ext2 and ext3.
const EXT2_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
const ORPHANS: u32 = 0x1_0000;
/// Compatible features.
const HAS_JOURNAL: u32 = 0x4;

/// The groups that have a backup wherever there are backups, as far as is looked.
const BACKUP_GROUPS: [u64; 10] = [1, 3, 5, 7, 9, 25, 27, 49, 81, 125];

/// A superblock that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Which of the family it is.
    pub kind: Kind,
    /// How many blocks the filesystem has.
    pub blocks: u64,
    /// How large they are, in bytes.
    pub block_size: u64,
    /// Whether mounting it writes to it, read-only or not: its journal is to be replayed, or
    /// files that were deleted while open are to be removed.
    pub dirty: bool,
    /// What tells it from all others, as text.
    pub uuid: String,
    /// Whether a kernel ever mounted it writable, as far as it says itself. A backup is not kept
    /// up to date: it can say less than is true.
    pub mounted: bool,
    first_block: u64,
    blocks_per_group: u64,
    /// The most blocks that a group spends on itself.
    group_overhead: u64,
}

/// The members of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With a feature that ext3 does not have.
    Ext4,
    /// ext2 with a journal.
    Ext3,
    /// Neither.
    Ext2,
    /// Not all of it is on this device: its journal is on another, or it is such a journal.
    ElsewhereJournal,
}

impl Superblock {
    /// The filesystem's length in bytes.
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size)
    }

    /// How many blocks it can have on a device of that many bytes. As resize2fs does it: whole
    /// pages only, and no last group that would have little room besides its own tables.
    pub fn blocks_on(&self, device: u64) -> u64 {
        let blocks = device / 4096 * 4096 / self.block_size;
        let last = blocks.saturating_sub(self.first_block) % self.blocks_per_group;
        if last < self.group_overhead + 50 { blocks - last } else { blocks }
    }

    fn parse(bytes: &[u8; LENGTH]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        if u16_at(56) != 0xef53 {
            return None;
        }
        let (compatible, incompatible, read_only) = match u32_at(76) {
            // The first revision has no features.
            0 => (0, 0, 0),
            _ => (u32_at(92), u32_at(96), u32_at(100)),
        };
        let log_block_size = u32_at(24);
        let blocks_per_group = u64::from(u32_at(32));
        let high = if incompatible & BITS64 != 0 { u32_at(336) } else { 0 };
        let blocks = u64::from(u32_at(4)) | u64::from(high) << 32;
        if log_block_size > 6 || blocks_per_group == 0 || blocks == 0 {
            return None;
        }
        let block_size = 1024 << log_block_size;
        let journal_inode = u32_at(224);
        let journal = compatible & HAS_JOURNAL != 0;
        let kind = if incompatible & JOURNAL_DEVICE != 0 || (journal && journal_inode == 0) {
            Kind::ElsewhereJournal
        } else if incompatible & !EXT3_INCOMPATIBLE != 0 || read_only & !EXT2_READ_ONLY != 0 {
            Kind::Ext4
        } else if journal {
            Kind::Ext3
        } else {
            Kind::Ext2
        };
        let inode_size = if u32_at(76) == 0 { 128 } else { u64::from(u16_at(88)) };
        let inode_blocks = (u64::from(u32_at(40)) * inode_size).div_ceil(block_size);
        let descriptor_size =
            if incompatible & BITS64 != 0 { u64::from(u16_at(254)).max(32) } else { 32 };
        let groups = blocks.div_ceil(blocks_per_group);
        let descriptors = groups.saturating_mul(descriptor_size).div_ceil(block_size);
        Some(Self {
            kind,
            blocks,
            block_size,
            dirty: incompatible & RECOVER != 0 || read_only & ORPHANS != 0 || u32_at(232) != 0,
            uuid: uuid::text(std::array::from_fn(|at| bytes[104 + at])),
            mounted: u32_at(44) != 0 || u16_at(52) != 0,
            first_block: u32_at(20).into(),
            blocks_per_group,
            group_overhead: 4 + inode_blocks + descriptors + u64::from(u16_at(206)),
        })
    }
}

/// The superblock in its usual place; none if there is no such thing.
pub fn primary(source: &impl Source) -> io::Result<Option<Superblock>> {
    Ok(read(source, OFFSET)?.and_then(|bytes| Superblock::parse(&bytes)))
}

/// Whether a backup of a superblock, and a wanted one, is found in one of the groups that have
/// one, for any block size. Each backup says which group it is in, so that a file's contents are not taken for one.
pub fn has_backup(source: &impl Source, wanted: impl Fn(&Superblock) -> bool) -> io::Result<bool> {
    for log in [0, 1, 2, 6] {
        let block_size = 1024 << log;
        // mke2fs makes groups as large as one block of bitmap can describe.
        let group_bytes = block_size * 8 * block_size;
        // With blocks of 1 KiB, block 0 is the boot block and groups start at block 1.
        let first = if log == 0 { block_size } else { 0 };
        for group in BACKUP_GROUPS {
            let Some(bytes) = read(source, group * group_bytes + first)? else { break };
            let number = u64::from(u16::from_le_bytes([bytes[90], bytes[91]]));
            if number == group && Superblock::parse(&bytes).is_some_and(|found| wanted(&found)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn read(source: &impl Source, offset: u64) -> io::Result<Option<[u8; LENGTH]>> {
    if offset + LENGTH as u64 > source.size() {
        return Ok(None);
    }
    let mut bytes = [0; LENGTH];
    source.read_at(offset, &mut bytes)?;
    Ok(Some(bytes))
}
