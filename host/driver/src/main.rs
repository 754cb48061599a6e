//! The FlexVolume driver that kubelet execs. Everything is in `wasmount_core`, from the
//! supervisor on; this file only takes the arguments from the C runtime before anybody can have
//! copied them.

#![no_main]

use std::ffi::{c_char, c_int};

use wasmount_core::call::arguments::Arguments;

/// The entry point that the C runtime calls. Rust's own would do: but arguments can hold
/// secrets, which anybody may read in `/proc/<pid>/cmdline` until they are overwritten, and
/// here that is the first thing to happen.
#[expect(unsafe_code, reason = "the C runtime calls main by this name, with raw pointers")]
#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *mut *mut c_char, envp: *mut *mut c_char) -> c_int {
    // SAFETY: `take` demands the vectors as the C runtime passes them to main, unchanged and with
    // nothing else reading them; this is main, and there is one thread.
    let arguments = unsafe { Arguments::take(argc, argv, envp) };
    wasmount_core::supervisor::run(arguments)
}
