//! A device, as far as its bytes tell what is on it: its size, a place where it cannot be read (none
//! if zero), and pieces with their places and lengths; all else is zeroes.
//!
//! What is told is told after reading so much and no more. A device that could not be read where it
//! was looked at is an error, and one with a byte at its edges is never blank.

use std::cell::Cell;
use std::io;

use wasmount_core::kernel::blank::{Content, EDGE, MIN_SIZE, content};
use wasmount_core::kernel::superblocks::{Found, Source, Superblock, identify, left_by};

use crate::Target;

pub(super) const TARGET: Target = Target { name: "superblocks", holds, seeds: Vec::new };

/// No device is larger: it would only take longer.
const MOST: u64 = 64 << 30;

/// What is read at most: four labels of ZFS, and superblocks.
const MOST_READ: u64 = 2 << 20;

/// A filesystem's.
const UUID: &str = "00000000-1111-2222-3333-444444444444";

fn holds(data: &[u8]) {
    let Some(disk) = Disk::of(data) else { return };
    let found = identify(&disk);
    let read = disk.read.take();
    assert!(read <= MOST_READ, "{read} bytes read");
    assert_eq!(disk.failed.take(), found.is_err(), "an error is told, and nothing else is one");
    match found {
        Err(_) => {}
        Ok(Some(Found::Signature(_))) => {}
        Ok(Some(Found::Filesystem(found))) => is_of_use(&disk, &found),
        // It takes long to make sure, so not of every disk.
        Ok(None) if data.len().is_multiple_of(8) => is_blank_or_not(&disk),
        Ok(None) => {}
    }
}

/// What else is told of a filesystem.
fn is_of_use(disk: &Disk<'_>, found: &Superblock) {
    assert_eq!(found.uuid().len(), UUID.len());
    found.bytes();
    // The kernel has no larger devices.
    for size in [MIN_SIZE, disk.size, i64::MAX as u64] {
        found.bytes_on(size);
    }
    let dirty = found.is_dirty(disk);
    assert_eq!(dirty.is_err(), disk.failed.take());
    let left = left_by(disk, UUID);
    assert_eq!(left.is_err(), disk.failed.take());
    assert!(found.uuid() == UUID || left.is_err() || left.is_ok_and(|left| !left));
}

/// A disk on which nothing is recognised.
fn is_blank_or_not(disk: &Disk<'_>) {
    let found = content(disk);
    assert_eq!(found.is_err(), disk.failed.take());
    if found.is_ok_and(|found| found == Content::Blank) {
        for (at, bytes) in disk.pieces() {
            let places = (at..disk.size).zip(bytes).filter(|(_, byte)| **byte != 0);
            let end = disk.size.saturating_sub(EDGE);
            let edges = places.filter(|(place, _)| *place < EDGE || *place >= end);
            // A later piece may lie over it.
            assert!(edges.map(|(place, _)| disk.byte(place)).all(|byte| byte == 0));
        }
    }
}

struct Disk<'a> {
    size: u64,
    bad: u64,
    pieces: &'a [u8],
    /// How much was read.
    read: Cell<u64>,
    /// Whether it was looked at where it cannot be read.
    failed: Cell<bool>,
}

impl<'a> Disk<'a> {
    fn of(data: &'a [u8]) -> Option<Self> {
        let (size, rest) = data.split_first_chunk()?;
        let (bad, pieces) = rest.split_first_chunk()?;
        let size = u64::from_le_bytes(*size);
        let bad = u64::from_le_bytes(*bad);
        (MIN_SIZE..=MOST).contains(&size).then_some(Self {
            size,
            bad,
            pieces,
            read: Cell::new(0),
            failed: Cell::new(false),
        })
    }

    /// What is in one place.
    fn byte(&self, place: u64) -> u8 {
        let mut byte = [0];
        self.read_at(place, &mut byte).expect("it was read before");
        byte[0]
    }

    /// The pieces, of which the later ones lie over the earlier.
    fn pieces(&self) -> impl Iterator<Item = (u64, &'a [u8])> {
        let mut rest = self.pieces;
        let size = self.size;
        std::iter::from_fn(move || {
            let (at, after) = rest.split_first_chunk()?;
            let (length, after) = after.split_first_chunk()?;
            let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
            let bytes;
            (bytes, rest) = after.split_at(length);
            Some((u64::from_le_bytes(*at) % size, bytes))
        })
    }
}

impl Source for Disk<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).expect("no device is as large");
        assert!(end <= self.size, "{end} is past the end at {}", self.size);
        self.read.set(self.read.get() + buffer.len() as u64);
        if self.bad != 0 && (offset..end).contains(&self.bad) {
            self.failed.set(true);
            return Err(io::Error::other("it cannot be read there"));
        }
        buffer.fill(0);
        for (at, bytes) in self.pieces() {
            let (from, to) = (offset.max(at), end.min(at + bytes.len() as u64));
            if from < to {
                let part = &bytes[(from - at) as usize..(to - at) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
            }
        }
        Ok(())
    }
}
