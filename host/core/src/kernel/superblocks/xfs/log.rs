//! The log of XFS, as far as telling whether there is anything in it: whether the last record is
//! the one that a clean unmount leaves, and whether there ever was another.
//!
//! Structures are those of fs/xfs/libxfs/xfs_log_format.h, big-endian, in blocks of 512 bytes.
//! Nothing is replayed or believed but that; of anything that is not quite as a clean unmount
//! leaves it, the answer is that it is not clean.

use std::io;
use std::ops::Range;

use super::Source;

const BLOCK: u64 = 512;

/// `XLOG_HEADER_MAGIC_NUM`, with which each record begins.
const HEADER: u32 = 0xfeed_babe;

/// `XLOG_UNMOUNT_TRANS`, of an operation that says that the filesystem was unmounted.
const UNMOUNT: u8 = 0x20;

/// A header tells of so many bytes of its record; a longer record has more of them.
const HEADER_COVERS: u64 = 32 * 1024;

/// The longest record, in blocks: 256 KiB and the headers of that.
const MAX_RECORD: u64 = (256 * 1024 / BLOCK) + 8;

/// How much the kernel writes into the log before any of it has to be there, in bytes: eight
/// records.
const IN_FLIGHT: u64 = 8 * MAX_RECORD * BLOCK;

/// Whether the log ends with a clean unmount. `at` is where it is.
pub(super) fn is_clean(source: &impl Source, at: &Range<u64>) -> io::Result<bool> {
    let Some(log) = Log::new(source, at) else { return Ok(false) };
    let head = log.head()?;
    for back in 1..=MAX_RECORD.min(log.blocks) {
        let start = (head + log.blocks - back) % log.blocks;
        if log.words(start)?[0] == HEADER {
            return Ok(log.unmount_record(start)? == Some(back));
        }
    }
    Ok(false)
}

/// Whether the log is as mkfs.xfs leaves it: zeroes, or the record of an unmount and then zeroes.
pub(super) fn is_new(source: &impl Source, at: &Range<u64>) -> io::Result<bool> {
    let Some(log) = Log::new(source, at) else { return Ok(false) };
    let used = match log.words(0)? {
        [0, 0] => 0,
        [HEADER, 1] => match log.unmount_record(0)? {
            Some(length) => length,
            None => return Ok(false),
        },
        _ => return Ok(false),
    };
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = at.start + used * BLOCK;
    let end = at.end.min(offset.saturating_add(IN_FLIGHT));
    while offset < end {
        let part = &mut buffer[..(end - offset).min(64 * 1024) as usize];
        source.read_at(offset, part)?;
        if part.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        offset += part.len() as u64;
    }
    Ok(true)
}

struct Log<'a, S> {
    source: &'a S,
    start: u64,
    blocks: u64,
}

impl<'a, S: Source> Log<'a, S> {
    /// None if it is not on the device.
    fn new(source: &'a S, at: &Range<u64>) -> Option<Self> {
        let blocks = at.end.checked_sub(at.start)? / BLOCK;
        (blocks > 1 && at.end <= source.size()).then_some(Self { source, start: at.start, blocks })
    }

    /// The block in which the next record would begin: each time the log has been written
    /// through, a cycle, whose number stands in each block, is over.
    fn head(&self) -> io::Result<u64> {
        let first = self.cycle(0)?;
        if self.cycle(self.blocks - 1)? == first {
            return Ok(0);
        }
        // Of this cycle, and not of it.
        let (mut old, mut new) = (0, self.blocks - 1);
        while new - old > 1 {
            let middle = old + (new - old) / 2;
            match self.cycle(middle)? == first {
                true => old = middle,
                false => new = middle,
            }
        }
        Ok(new)
    }

    fn cycle(&self, block: u64) -> io::Result<u32> {
        Ok(match self.words(block)? {
            [HEADER, cycle] => cycle,
            [cycle, _] => cycle,
        })
    }

    /// How many blocks the record has that begins there, if it is that of an unmount.
    fn unmount_record(&self, start: u64) -> io::Result<Option<u64>> {
        let header: [u8; 324] = self.read(start)?;
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (version, length, operations, size) = (word(8), word(12), word(40), word(320));
        let headers = match version & 2 {
            0 => 1,
            _ => u64::from(size).div_ceil(HEADER_COVERS).max(1),
        };
        let record = headers.saturating_add(u64::from(length).div_ceil(BLOCK));
        if operations != 1 || length == 0 || record > MAX_RECORD.min(self.blocks) {
            return Ok(None);
        }
        let operation: [u8; 12] = self.read((start + headers) % self.blocks)?;
        Ok((operation[9] & UNMOUNT != 0).then_some(record))
    }

    fn words(&self, block: u64) -> io::Result<[u32; 2]> {
        let bytes: [u8; 8] = self.read(block)?;
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Ok([word(0), word(4)])
    }

    fn read<const LENGTH: usize>(&self, block: u64) -> io::Result<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        self.source.read_at(self.start + block * BLOCK, &mut bytes)?;
        Ok(bytes)
    }
}
