//! A compiled component in memory: mapped, verified there, and run where it lies.
//!
//! wasmtime would copy it into memory of its own first, which costs as much as to hash it. What is
//! in the image, and whether it fits this machine, is [`engine`](super::engine)'s to find out.

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use sha2::{Digest, Sha256};
use wasmtime::CustomCodeMemory;

use crate::failure::{Code, Failure};

/// The longest image, in bytes.
pub(super) const MAX_IMAGE: u64 = 64 << 20;

/// An image whose digest was verified. It stays where it is until the process ends.
#[derive(Debug)]
pub(super) struct Image(NonNull<[u8]>);

impl Image {
    /// Maps an image whose SHA-256 has to be `digest`, in lower-case hexadecimal digits.
    pub(super) fn open(file: &File, digest: &str) -> Result<Self, Failure> {
        let memory = map(file).map_err(|error| {
            Failure::io("the compiled component cannot be read; install the driver again", &error)
        })?;
        let found = Sha256::digest(memory);
        if found.iter().map(|byte| format!("{byte:02x}")).collect::<String>() != digest {
            let message = "the compiled component is not the one that was installed; install the \
                           driver again, and find out who changed its files";
            return Err(Failure::new(Code::DataLoss, "image-digest", message));
        }
        Ok(Self(NonNull::from(memory)))
    }

    /// Where it is, for the engine.
    pub(super) fn memory(&self) -> NonNull<[u8]> {
        self.0
    }
}

/// How the engine makes the code of an image executable where it lies.
pub(super) fn code_memory() -> Arc<dyn CustomCodeMemory> {
    Arc::new(InPlace)
}

struct InPlace;

impl CustomCodeMemory for InPlace {
    /// The smallest page there is. Where pages are larger, code is aligned to those, or mprotect(2)
    /// refuses.
    fn required_alignment(&self) -> usize {
        4096
    }

    fn publish_executable(&self, code: *const u8, length: usize) -> wasmtime::Result<()> {
        let code = std::ptr::slice_from_raw_parts(code, length);
        Ok(protect(code, MprotectFlags::READ | MprotectFlags::EXEC)?)
    }

    fn unpublish_executable(&self, code: *const u8, length: usize) -> wasmtime::Result<()> {
        Ok(protect(std::ptr::slice_from_raw_parts(code, length), MprotectFlags::READ)?)
    }
}

/// Maps a file. Like the pages of the driver's own program, these are the kernel's cache of it:
/// who could change them could as well change the driver. All of them are about to be hashed, and
/// to fault on each would take longer.
fn map(file: &File) -> io::Result<&'static [u8]> {
    let size = file.metadata()?.len();
    if size == 0 || size > MAX_IMAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty or over 64 MiB"));
    }
    let size = size as usize;
    let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
    #[expect(unsafe_code, reason = "a mapping of a file changes with the file")]
    // SAFETY: mmap(2) with no address asked for replaces no other mapping, and what it returns is
    // as long as asked for and never unmapped. The file is root's alone, and whoever installs
    // drivers never writes to one that has its name already.
    unsafe {
        let null = std::ptr::null_mut();
        let start = rustix::mm::mmap(null, size, ProtFlags::READ, flags, file, 0)?;
        Ok(std::slice::from_raw_parts(start.cast::<u8>(), size))
    }
}

/// Sets what may be done with the pages of an image's code.
fn protect(code: *const [u8], to: MprotectFlags) -> rustix::io::Result<()> {
    #[expect(unsafe_code, reason = "changes what the process may do with its memory")]
    // SAFETY: the pages are the code of an image, which wasmtime hands over for just this, and
    // were never writable; mprotect(2) changes no byte of them.
    unsafe {
        rustix::mm::mprotect(code.cast::<std::ffi::c_void>().cast_mut(), code.len(), to)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(contents: &[u8]) -> File {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(contents).expect("written");
        file.reopen().expect("opened")
    }

    #[test]
    fn only_what_the_digest_is_of_is_an_image() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let image = Image::open(&file(b"abc"), digest).expect("its digest");
        assert_eq!(image.memory().len(), 3);
        for (contents, digest) in [("abd", digest), ("abc", &digest[1..]), ("abc", "")] {
            let failure = Image::open(&file(contents.as_bytes()), digest).expect_err("another");
            assert_eq!(failure.reason, "image-digest");
        }
        let failure = Image::open(&file(b""), digest).expect_err("nothing");
        assert!(failure.message.contains("it is empty or over 64 MiB"), "{}", failure.message);
    }
}
