//! How a tool's process begins: with no capabilities but those that it is given, no signal that
//! could end it, no descriptor that it was not handed, and no way to the rest of the node.
//!
//! It is not forked, which would copy this process's memory: it borrows the memory until it
//! executes the tool, and this process waits for that. What the tool is to be without, the new
//! process takes from itself.

use std::convert::Infallible;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::null;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities_secure_bits,
    clear_ambient_capability_set, configure_capability_in_ambient_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

use super::files::{self, Files};
use super::filter;

/// What the new process runs on until it executes the tool, in units of 16 bytes.
const STACK: usize = 64 * 1024 / size_of::<u128>();

/// What a tool is limited to beside what it is refused altogether. None of these can end it or make it
/// give up between two writes. There is no limit to memory and time: a repair that runs into one
/// leaves a filesystem that is neither what it was nor repaired.
const LIMITS: [(Resource, u64); 3] = [
    (Resource::Core, 0),
    // Of files; a device or a pipe can be written to. The signal for it is blocked.
    (Resource::Fsize, 0),
    (Resource::Nofile, 64),
];

/// If this process dies, the pipe breaks, and who stops the kubelet's processes may stop all of
/// them: neither must end a tool while it writes. Ignored signals would not do: e2fsck handles them.
const BLOCKED: [Signal; 5] =
    [Signal::SIGPIPE, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGXFSZ];

/// What a process is made with.
pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    pub(super) argv: &'a [CString],
    /// Descriptors that it has under their numbers.
    pub(super) handed: &'a [BorrowedFd<'a>],
    /// What it writes to. It reads from /dev/null.
    pub(super) output: BorrowedFd<'a>,
    pub(super) capabilities: CapabilitySet,
    /// What it can open; everything if there is none.
    pub(super) files: Option<&'a Files>,
}

/// The same as the system call takes it, and what came of it.
struct Birth<'a> {
    start: &'a Start<'a>,
    program: CString,
    argv: Vec<*const c_char>,
    environment: [*const c_char; 2],
    signals: SigSet,
    failed: Option<Errno>,
}

/// Starts a program.
pub(super) fn spawn(start: &Start<'_>) -> io::Result<Pid> {
    let mut birth = Birth {
        start,
        program: CString::new(start.program.as_os_str().as_bytes())?,
        argv: start.argv.iter().map(|word| word.as_ptr()).chain([null()]).collect(),
        environment: [c"LC_ALL=C".as_ptr(), null()],
        signals: SigSet::from_iter(BLOCKED),
        failed: None,
    };
    let mut stack = Vec::<u128>::with_capacity(STACK);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    #[expect(unsafe_code, reason = "only clone(2) makes a process that borrows memory")]
    // SAFETY: the stack is large enough for what `begin` does, aligned, and nobody else's. It and
    // `birth` outlive their use, since with CLONE_VFORK this returns when the new process has
    // executed a program or has ended. `begin` makes system calls and changes nothing but
    // `birth.failed`, which nobody reads meanwhile.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(STACK);
        libc::clone(begin, top.cast(), flags, (&raw mut birth).cast())
    };
    let pid = nix::errno::Errno::result(pid).map(Pid::from_raw)?;
    match birth.failed {
        None => Ok(pid),
        Some(error) => {
            let _ = nix::sys::wait::waitpid(pid, None);
            Err(error.into())
        }
    }
}

/// The new process's life until it is the tool's.
extern "C" fn begin(birth: *mut c_void) -> c_int {
    #[expect(unsafe_code, reason = "clone(2) passes a pointer")]
    // SAFETY: it is the `Birth` that `spawn` passes, and `spawn` waits.
    let birth = unsafe { &mut *birth.cast::<Birth<'_>>() };
    let Err(error) = become_the_tool(birth);
    birth.failed = Some(error);
    127
}

fn become_the_tool(birth: &Birth<'_>) -> Result<Infallible, Errno> {
    let Start { handed, output, capabilities, files, .. } = *birth.start;
    // A group of its own: a signal for this process's group is not for it. A session of its own
    // would be a new scheduling group, too, which is slow to get a turn.
    rustix::process::setpgid(None, None)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&birth.signals), None)
        .map_err(|error| Errno::from_raw_os_error(error as i32))?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(output)?;
    close_on_exec()?;
    for fd in handed {
        rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
    }
    for (resource, most) in LIMITS {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    keep_only(capabilities)?;
    set_no_new_privs(true)?;
    if let Some(files) = files {
        files::restrict(files.as_fd())?;
    }
    filter::install()?;
    #[expect(unsafe_code, reason = "execve takes pointers")]
    // SAFETY: a path and two arrays of strings, all of them ended by a zero (execve(2)).
    unsafe {
        libc::execve(birth.program.as_ptr(), birth.argv.as_ptr(), birth.environment.as_ptr())
    };
    Err(last_error())
}

/// Gives up all capabilities but these, which what is executed has, too. Root without capabilities owns
/// the device node, and mostly needs no more than that.
fn keep_only(kept: CapabilitySet) -> Result<(), Errno> {
    let bits = capabilities_secure_bits()?;
    if !bits.contains(CapabilitiesSecureBits::NO_ROOT) {
        // Otherwise whatever root executes gets all capabilities.
        set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_ROOT)?;
    }
    clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    set_capabilities(None, sets)?;
    for capability in kept.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Whatever is open is closed in the tool, unless it is handed over: what this process was started
/// with, too.
fn close_on_exec() -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "neither nix nor rustix has close_range")]
    // SAFETY: close_range(2) takes three integers and touches no memory; with CLOEXEC it only
    // marks descriptors, and closes none that is in use.
    let marked =
        unsafe { libc::syscall(libc::SYS_close_range, 3, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 { Ok(()) } else { Err(last_error()) }
}

/// How the last system call of libc's failed.
pub(super) fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
