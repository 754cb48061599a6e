//! The proof that nothing is on a device, without which it is never formatted.
//!
//! A device that cannot be read is an error, and something that nobody recognises is
//! [`Content::Unknown`]; neither is ever blank. What is still possible is data of which not one
//! byte is at any place looked at; so a device that its volume was ever mounted from is never
//! formatted again whatever this says, which is the caller's to see to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;

use super::device::{self, Device, Proof};
use super::filesystems::Filesystem;
use super::superblocks::{self, Found, Source, Superblock};
use super::{failed, images, raw, unfit};
use crate::failure::{Code, Failure};
use crate::rehearsal;

/// No device smaller than this is formatted, in bytes.
pub const MIN_SIZE: u64 = 1024 * 1024;

/// How much of the start and of the end has to be zero, in bytes.
pub const EDGE: u64 = 4 * 1024 * 1024;

/// Besides that, so much at each of these steps has to be zero, in bytes...
pub const SAMPLE: u64 = 64 * 1024;
/// ...as long as there are no more than this many samples. Of a larger device they are spread
/// evenly.
pub const MAX_SAMPLES: u64 = 4096;
const STEP: u64 = 1024 * 1024 * 1024;

/// How much of the start is read at once: where nearly all signatures are, and with ext or xfs
/// all that is looked at.
const START: usize = 20 * 1024;

/// What is on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Proven blank.
    Blank,
    /// A supported filesystem.
    Filesystem(Filesystem),
    /// Something known by name that is not supported.
    Signature(&'static str),
    /// Something that nobody recognises.
    Unknown,
}

impl Content {
    /// What the WIT's `probe` says: none if blank.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Blank => None,
            Self::Filesystem(filesystem) => Some(filesystem.name()),
            Self::Signature(name) => Some(name),
            Self::Unknown => Some("unknown"),
        }
    }
}

/// Finds out what is on a device. `unreadable` if a read fails, `too-small` if the device is
/// smaller than anything that could be used.
pub fn probe(device: &Device) -> Result<Content, Failure> {
    forget_cache(device)?;
    let source = read(device)?;
    let node = device.node().display();
    if source.size < MIN_SIZE {
        let message =
            format!("{node} has {} bytes; a volume needs at least {MIN_SIZE}", source.size);
        return Err(unfit("too-small", message));
    }
    let looked = content(&source).map_err(|error| unreadable(device, &error))?;
    match (looked, &device.proof) {
        // A file's own account of where anything was ever written is better than any sample.
        (Content::Blank, Proof::Loop { image: Some(image), .. }) if images::is_hole(image)? => {
            Ok(Content::Blank)
        }
        // Without the file there is no such account, and samples alone are no proof.
        (Content::Blank, Proof::Loop { .. }) => Ok(Content::Unknown),
        (looked, _) => Ok(looked),
    }
}

/// Whether what is on a device can be what an interrupted format left, see
/// [`superblocks::left_by`]. `unreadable` if a read fails.
pub(super) fn left_by(device: &Device, uuid: &str) -> Result<bool, Failure> {
    forget_cache(device)?;
    superblocks::left_by(&read(device)?, uuid).map_err(|error| unreadable(device, &error))
}

/// The superblock of a device that holds a filesystem that is known well; for anything else, its
/// name.
pub(super) fn superblock(device: &Device) -> Result<Result<Superblock, &'static str>, Failure> {
    match superblocks::identify(&read(device)?).map_err(|error| unreadable(device, &error))? {
        Some(Found::Filesystem(found)) => Ok(Ok(*found)),
        Some(Found::Signature(name)) => Ok(Err(name)),
        None => Ok(Err("nothing that is known")),
    }
}

/// Whether mounting the filesystem, whose superblock this is, would write to the device.
pub(super) fn is_dirty(device: &Device, found: &Superblock) -> Result<bool, Failure> {
    found.is_dirty(&read(device)?).map_err(|error| unreadable(device, &error))
}

/// The UUID of the xfs on any device, without further questions; none if there is no such thing.
pub(super) fn xfs_uuid(file: &File) -> io::Result<Option<String>> {
    let source = Reader { file, size: raw::block_size_bytes(file)?, start: Vec::new() };
    Ok(superblocks::xfs::primary(&source)?.map(|found| found.uuid))
}

/// What is there, told from the bytes alone.
pub fn content(source: &impl Source) -> io::Result<Content> {
    match superblocks::identify(source)? {
        Some(Found::Filesystem(found)) => Ok(match Filesystem::parse(found.name()) {
            Ok(filesystem) => Content::Filesystem(filesystem),
            Err(_) => Content::Signature(found.name()),
        }),
        Some(Found::Signature(name)) => Ok(Content::Signature(name)),
        None if is_zero(source)? => Ok(Content::Blank),
        None => Ok(Content::Unknown),
    }
}

/// What is compared with, since comparing slices is what is fastest.
static ZEROES: [u8; SAMPLE as usize] = [0; SAMPLE as usize];

fn is_zero(source: &impl Source) -> io::Result<bool> {
    let size = source.size();
    let step = STEP.max(size / MAX_SAMPLES);
    let samples = (1..).map(|n| n * step).take_while(|&offset| offset < size);
    let ranges = [(0, EDGE), (size.saturating_sub(EDGE), EDGE)];
    let ranges = ranges.into_iter().chain(samples.map(|offset| (offset, SAMPLE)));
    let mut buffer = vec![0; SAMPLE as usize];
    for (start, length) in ranges {
        let end = (start + length).min(size);
        let mut offset = start;
        while offset < end {
            let part = &mut buffer[..SAMPLE.min(end - offset) as usize];
            source.read_at(offset, part)?;
            if *part != ZEROES[..part.len()] {
                return Ok(false);
            }
            offset += part.len() as u64;
        }
    }
    Ok(true)
}

/// Makes the kernel read the device itself again: on shared storage another node may have
/// written since it did so last. Once a call, as nobody else may write while the volume is ours.
pub(super) fn forget_cache(device: &Device) -> Result<(), Failure> {
    if device.fresh.get() {
        return Ok(());
    }
    // It would have whoever holds the device write, and read again.
    if rehearsal::is_on() && (rehearsal::has_unmounted() || device::in_use(device)?) {
        return Ok(());
    }
    match raw::block_flush(&device.file) {
        // It takes a capability; without it the caller can mount nothing either.
        Ok(()) | Err(Errno::ACCESS | Errno::PERM) => {
            device.fresh.set(true);
            Ok(())
        }
        Err(error) => Err(failed(format_args!("flushing {}", device.node().display()))(error)),
    }
}

/// The same although it was done before: the kernel has written to the device past what it keeps
/// of it for others, as xfs does.
pub(super) fn forget_anew(device: &Device) -> Result<(), Failure> {
    device.fresh.set(false);
    forget_cache(device)
}

fn read(device: &Device) -> Result<Reader<'_>, Failure> {
    device::recheck(device)?;
    let size = device::readable(device)?;
    let mut start = vec![0; START.min(usize::try_from(size).unwrap_or(START))];
    let read = device.file.read_exact_at(&mut start, 0);
    read.map_err(|error| unreadable(device, &error))?;
    Ok(Reader { file: &device.file, size, start })
}

fn unreadable(device: &Device, error: &io::Error) -> Failure {
    let message = format!(
        "{} cannot be read ({error}), so nobody knows what is on it",
        device.node().display()
    );
    Failure::new(Code::DataLoss, "unreadable", message)
}

struct Reader<'a> {
    file: &'a File,
    size: u64,
    start: Vec<u8>,
}

impl Source for Reader<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        match self.start.get(from..from.saturating_add(buffer.len())) {
            Some(read) => {
                buffer.copy_from_slice(read);
                Ok(())
            }
            None => self.file.read_exact_at(buffer, offset),
        }
    }
}

#[cfg(test)]
mod tests;
