//! The argument list, out of everybody's sight: an argument can hold secrets, and until it is
//! overwritten whoever may read `/proc/<pid>/cmdline` reads them.
//!
//! The copy lies in a mapping of its own, which can be made to be empty in processes forked
//! later, and which is overwritten and unmapped when it is dropped. What the arguments mean is
//! not looked at here.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::ops::Range;

use rustix::mm::{Advice, MapFlags, ProtFlags};
use zeroize::Zeroize as _;

/// A process's arguments, without the program's name.
pub struct Arguments {
    memory: Option<Mapping>,
    places: Vec<Range<usize>>,
}

impl Arguments {
    /// Moves the arguments here and empties the environment: both are overwritten where they
    /// were, but for the program's name, by which an operator finds the process. If the kernel
    /// has no memory for the copy they are overwritten all the same, and there are no arguments.
    ///
    /// # Safety
    ///
    /// `argc`, `argv` and `envp` are what the C runtime passed to `main`, unchanged. Nothing
    /// else reads or writes the texts that they point to during the call, and nobody holds a
    /// reference to them beyond it: afterwards they are empty, and so is the environment.
    #[expect(unsafe_code, reason = "the C runtime passes raw pointers")]
    pub unsafe fn take(argc: c_int, argv: *mut *mut c_char, envp: *mut *mut c_char) -> Self {
        let count = usize::try_from(argc).unwrap_or(0);
        let mut texts: Vec<&mut [u8]> = Vec::with_capacity(count.saturating_sub(1));
        for index in 1..count {
            // SAFETY: C (5.1.2.2.1) has argv[0] to argv[argc - 1] point to strings that the
            // program may modify; the caller vouches that these are they and for who reads them.
            texts.push(unsafe { text(*argv.add(index)) });
        }
        let arguments = Self::copy(&texts).unwrap_or(Self { memory: None, places: Vec::new() });
        texts.iter_mut().for_each(|text| text.zeroize());
        let mut next = envp;
        // SAFETY: environ(7) has the vector end with a null pointer, which ends the loop, and
        // each entry before it point to a string; the caller vouches for who reads them.
        while !next.is_null() && unsafe { !(*next).is_null() } {
            // SAFETY: as above. Ending the vector here makes the C library find no variables
            // where there are only empty texts.
            unsafe {
                text(*next).zeroize();
                *next = std::ptr::null_mut();
                next = next.add(1);
            }
        }
        arguments
    }

    /// A copy of arguments; the originals are left as they are.
    pub fn copy(texts: &[impl AsRef<[u8]>]) -> std::io::Result<Self> {
        let length = texts.iter().map(|text| text.as_ref().len()).sum::<usize>();
        let mut memory = Mapping::new(length)?;
        let mut places = Vec::with_capacity(texts.len());
        let mut end = 0;
        for text in texts {
            let place = end..end + text.as_ref().len();
            end = place.end;
            memory.bytes_mut()[place.clone()].copy_from_slice(text.as_ref());
            places.push(place);
        }
        Ok(Self { memory: Some(memory), places })
    }

    /// The arguments. In a process forked after [`wipe_on_fork`](Self::wipe_on_fork) all their
    /// bytes are zero.
    pub fn args(&self) -> Vec<&[u8]> {
        let bytes = self.memory.as_ref().map_or(&[][..], Mapping::bytes);
        self.places.iter().map(|place| &bytes[place.clone()]).collect()
    }

    /// Has the kernel give processes that are forked from now on zeroes in place of the
    /// arguments (`MADV_WIPEONFORK`, see madvise(2)).
    pub fn wipe_on_fork(&self) -> std::io::Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        Ok(memory.advise(Advice::LinuxWipeOnFork)?)
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arguments({})", self.places.len())
    }
}

/// The bytes of a C string, without the zero at its end.
///
/// # Safety
///
/// `start` points to a string that ends with a zero byte, and nothing but the returned slice is
/// used to get at it for as long as that lives.
#[expect(unsafe_code, reason = "C strings are raw pointers")]
unsafe fn text<'a>(start: *mut c_char) -> &'a mut [u8] {
    // SAFETY: `CStr::from_ptr` demands a string that ends with a zero, which the caller
    // vouches for; the reference made here is gone at the end of the line.
    let length = unsafe { CStr::from_ptr(start) }.count_bytes();
    // SAFETY: `from_raw_parts_mut` demands that many valid bytes that nothing else refers to:
    // they were just counted, and the caller vouches for the rest.
    unsafe { std::slice::from_raw_parts_mut(start.cast(), length) }
}

/// Private anonymous memory, outside the allocator's reach and left out of core dumps.
struct Mapping {
    start: *mut c_void,
    length: usize,
}

#[expect(unsafe_code, reason = "mappings are raw memory")]
impl Mapping {
    fn new(length: usize) -> std::io::Result<Self> {
        // The kernel maps whole pages, and not none.
        let length = length.max(1);
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        let anywhere = std::ptr::null_mut();
        // SAFETY: mmap(2) replaces existing mappings only with MAP_FIXED; with a null address
        // the kernel picks a place that is free.
        let start = unsafe { rustix::mm::mmap_anonymous(anywhere, length, access, flags) }?;
        let mapping = Self { start, length };
        mapping.advise(Advice::LinuxDontDump)?;
        Ok(mapping)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `from_raw_parts` demands readable, initialised bytes that nobody changes
        // meanwhile: the mapping is that long, starts as zeroes, and is changed through
        // `&mut self` only.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` is the only way to the mapping.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.length) }
    }

    /// `advice` must be one that leaves this process's own view as it is.
    fn advise(&self, advice: Advice) -> rustix::io::Result<()> {
        // SAFETY: madvise(2) may change memory that others rely on; this range is the mapping
        // that `self` owns, and the two advices given in this file leave its bytes alone here.
        unsafe { rustix::mm::madvise(self.start, self.length, advice) }
    }
}

#[expect(unsafe_code, reason = "mappings are raw memory")]
impl Drop for Mapping {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        // SAFETY: munmap(2) demands that nothing refers to the range any more: all references
        // to it borrow from `self`.
        let _ = unsafe { rustix::mm::munmap(self.start, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::ForkResult;

    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "what is tested is unsafe")]
    fn arguments_and_environment_are_overwritten() {
        let strings = |texts: &[&str]| -> Vec<*mut c_char> {
            let texts = texts.iter().map(|text| CString::new(*text).expect("no zero").into_raw());
            texts.chain([std::ptr::null_mut()]).collect()
        };
        let (mut argv, mut envp) = (strings(&["driver", "mount", "", "{}"]), strings(&["A=1"]));
        let kept: Vec<*mut c_char> = argv[..4].iter().chain(&envp[..1]).copied().collect();
        // SAFETY: `take` demands vectors as main gets them; these have that form and nobody else
        // knows of them.
        let arguments = unsafe { Arguments::take(4, argv.as_mut_ptr(), envp.as_mut_ptr()) };
        assert_eq!(arguments.args(), [&b"mount"[..], b"", b"{}"]);
        assert_eq!(format!("{arguments:?}"), "Arguments(3)");
        assert!(envp[0].is_null());
        for (pointer, (bytes, length)) in
            kept.into_iter().zip([("driver", 6), ("", 5), ("", 0), ("", 2), ("", 3)])
        {
            // SAFETY: `from_raw_parts` demands that many bytes, which is what was allocated, and
            // `Vec::from_raw_parts` that the allocation has this size and is freed once.
            let after =
                unsafe { Vec::from_raw_parts(pointer.cast::<u8>(), length + 1, length + 1) };
            let expected =
                if bytes.is_empty() { vec![0; length + 1] } else { b"driver\0".to_vec() };
            assert_eq!(after, expected);
        }
    }

    #[test]
    #[expect(unsafe_code, reason = "fork has no safe form")]
    fn a_process_forked_later_has_only_zeroes() {
        let arguments = Arguments::copy(&["mount", "{\"a\":\"b\"}"]).expect("memory");
        arguments.wipe_on_fork().expect("Linux 4.14 or later");
        let memory = arguments.memory.as_ref().expect("a mapping");
        // SAFETY: fork(2) demands that the child of a process with several threads restricts
        // itself to async-signal-safe functions: it reads memory and calls _exit.
        match unsafe { nix::unistd::fork() }.expect("a process") {
            ForkResult::Child => {
                let zeroes = memory.bytes().iter().all(|byte| *byte == 0);
                // SAFETY: _exit(2) demands nothing.
                unsafe { libc::_exit(if zeroes { 0 } else { 1 }) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
        assert_eq!(arguments.args()[0], b"mount");
    }

    #[test]
    fn no_arguments_are_none() {
        assert!(Arguments::copy(&[""; 0]).expect("memory").args().is_empty());
    }
}
