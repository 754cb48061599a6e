//! How a tool's process begins: with no capabilities but those that it is given, no signal that
//! could end it, and no descriptor that it was not handed.
//!
//! It is spawned and not forked, so what it is to be without is not taken from it between fork
//! and exec: the kernel never gives it to a program that this process executes.

use std::ffi::{CStr, CString, c_uint};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    clear_ambient_capability_set, configure_capability_in_ambient_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

const ENVIRONMENT: [&CStr; 1] = [c"LC_ALL=C"];

/// Starts a program. It has the descriptors `handed` under their numbers, /dev/null to read from
/// and `output` to write to.
pub(super) fn spawn(
    program: &Path,
    argv: &[CString],
    handed: &[BorrowedFd<'_>],
    output: BorrowedFd<'_>,
    kept: CapabilitySet,
) -> io::Result<Pid> {
    let mut files = PosixSpawnFileActions::init()?;
    files.add_open(0, c"/dev/null", OFlag::O_RDONLY, Mode::empty())?;
    for stream in [1, 2] {
        files.add_dup2(output.as_raw_fd(), stream)?;
    }
    for fd in handed {
        // Onto itself, which keeps it open when the program is executed.
        files.add_dup2(fd.as_raw_fd(), fd.as_raw_fd())?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    // A group of its own: a signal for this process's group is not for it. A session of its own
    // would be a new scheduling group, too, which is slow to get a turn.
    attributes.set_pgroup(Pid::from_raw(0))?;
    // If this process dies, the pipe breaks, and who stops the kubelet's processes may stop all of
    // them: neither must end a tool while it writes. Ignored signals would not do: e2fsck handles them.
    attributes.set_sigmask(&SigSet::from_iter([
        Signal::SIGPIPE,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
    ]))?;
    close_on_exec()?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_no_new_privs(true)?;
    with_nothing_but(kept, || Ok(posix_spawn(program, &files, &attributes, argv, &ENVIRONMENT)?))
}

/// Runs `spawn` while a program that is executed gets no other capabilities than these. Root without
/// capabilities owns the device node, and mostly needs no more than that.
fn with_nothing_but(
    kept: CapabilitySet,
    spawn: impl FnOnce() -> io::Result<Pid>,
) -> io::Result<Pid> {
    let (bits, sets) = (capabilities_secure_bits()?, capabilities(None)?);
    // Otherwise whatever root executes gets all capabilities.
    set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_ROOT)?;
    clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { inheritable: kept, ..sets })?;
    for capability in kept.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    let spawned = spawn();
    // What cannot be put back keeps a tool from nothing, and one that runs has to be waited for.
    let _ = clear_ambient_capability_set();
    let _ = set_capabilities(None, sets);
    let _ = set_capabilities_secure_bits(bits);
    spawned
}

/// Whatever is open here is closed there, unless it is handed over: what this process was started
/// with, too.
#[expect(unsafe_code, reason = "neither nix nor rustix has close_range")]
fn close_on_exec() -> io::Result<()> {
    // SAFETY: close_range(2) takes three integers and touches no memory; with CLOEXEC it only
    // marks descriptors, and closes none that is in use.
    let marked =
        unsafe { libc::syscall(libc::SYS_close_range, 3, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
