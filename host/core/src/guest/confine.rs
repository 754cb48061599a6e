//! What the guest process gives up before it touches anything of the vendor's.
//!
//! It is done by the process to itself, and read back where the kernel can tell, since what is
//! missing here is missed by nobody. Nothing here knows about components.

use std::ffi::c_uint;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::unistd::{Gid, Pid, Uid};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::failure::{Code, Failure};

/// User and group ids from here on are those of guest processes, one a process: it is added to
/// the process id, which is below 2^22. Nobody else is given any: it is above what user
/// namespaces and systemd's dynamic users are usually given (uid_t's upper half is not used, and
/// systemd's range for containers ends at 0x6FFF_FFFF).
const FIRST_ID: u32 = 0x7000_0000;

/// What the process may allocate besides the component's linear memory, in bytes: what the engine
/// makes of an image of at most 64 MiB, and what it itself needs.
const HOST_MEMORY: u64 = 128 << 20;

/// Gives up every descriptor but those in `keep`, every privilege, and the chance to outlive
/// `parent`.
pub(super) fn confine(keep: &[BorrowedFd<'_>], parent: Pid) -> Result<(), Failure> {
    close_all_but(keep).map_err(|error| refused("close its descriptors", error))?;
    reset_signals().map_err(|error| refused("reset its signals", error))?;
    drop_privileges().map_err(|error| refused("give up its privileges", error))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    // It is a user of its own, which has this one process already.
    limit(Resource::Nproc, 0)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o777));
    // These two are undone by a change of the user id, so they come after it (prctl(2)).
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| refused("refuse to be dumped", error))?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| refused("end with the call", error))?;
    if nix::unistd::getppid() != parent {
        return Err(refused("end with the call", "that has ended already"));
    }
    Ok(())
}

/// Gives up the chance to open anything. What is open stays open.
pub(super) fn seal() -> Result<(), Failure> {
    limit(Resource::Nofile, 0)
}

/// Bounds CPU time and memory for the component that is about to run. At the end of its time
/// SIGXCPU ends the process, and SIGKILL a second later if that did not.
pub(super) fn bound(cpu_seconds: u64, memory_bytes: u64) -> Result<(), Failure> {
    let cpu = Rlimit { current: Some(cpu_seconds), maximum: Some(cpu_seconds.saturating_add(1)) };
    rustix::process::setrlimit(Resource::Cpu, cpu)
        .map_err(|error| refused("limit its processor time", error))?;
    // A memory that has to move while it grows exists twice for that moment.
    limit(Resource::Data, memory_bytes.saturating_mul(2).saturating_add(HOST_MEMORY))
}

fn close_all_but(keep: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let mut keep: Vec<_> = keep.iter().map(|fd| fd.as_raw_fd() as c_uint).collect();
    keep.sort_unstable();
    let mut first = 0;
    for kept in keep {
        if first < kept {
            close_range(first, kept - 1)?;
        }
        first = kept + 1;
    }
    close_range(first, c_uint::MAX)
}

fn close_range(first: c_uint, last: c_uint) -> nix::Result<()> {
    #[expect(unsafe_code, reason = "neither nix nor rustix has close_range")]
    // SAFETY: close_range(2) touches no memory. The descriptors it closes belong to values of the
    // forking process that are never used or dropped in this one, which ends in `_exit`.
    let result = unsafe { libc::close_range(first, last, 0) };
    nix::errno::Errno::result(result).map(drop)
}

fn reset_signals() -> nix::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        #[expect(unsafe_code, reason = "a handler could be any function")]
        // SAFETY: `sigaction` demands a sound handler; this installs none.
        unsafe { nix::sys::signal::sigaction(signal, &default) }?;
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

fn drop_privileges() -> nix::Result<()> {
    // Only an exec'd file could use the bounding set, and no_new_privs sees to that as well; a
    // process that may not change the set has no use of it either.
    for capability in CapabilitySet::all() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    if nix::unistd::geteuid().is_root() {
        become_nobody()?;
    }
    // Without root there is no other user to become, but there may be capabilities to lose.
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).map_err(errno)?;
    let left = rustix::thread::capabilities(None).map_err(errno)?;
    if !(left.effective | left.permitted | left.inheritable).is_empty() {
        return Err(nix::Error::EPERM);
    }
    rustix::thread::set_no_new_privs(true).map_err(errno)
}

fn become_nobody() -> nix::Result<()> {
    let id = FIRST_ID + nix::unistd::getpid().as_raw().unsigned_abs();
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(group, group, group)?;
    nix::unistd::setresuid(user, user, user)?;
    let users = nix::unistd::getresuid()?;
    let groups = nix::unistd::getresgid()?;
    let is_nobody = [users.real, users.effective, users.saved] == [user; 3]
        && [groups.real, groups.effective, groups.saved] == [group; 3]
        && rustix::process::getgroups().map_err(errno)?.is_empty();
    if is_nobody { Ok(()) } else { Err(nix::Error::EPERM) }
}

fn limit(resource: Resource, most: u64) -> Result<(), Failure> {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    let limited = rustix::process::setrlimit(resource, limit);
    limited.map_err(|error| refused("limit what it may use", error))
}

fn errno(error: rustix::io::Errno) -> nix::Error {
    nix::Error::from_raw(error.raw_os_error())
}

fn refused(what: &str, error: impl std::fmt::Display) -> Failure {
    let message = format!(
        "the process that would run the component cannot {what}: {error}; nothing of the \
         component was run"
    );
    Failure::new(Code::FailedPrecondition, "confinement", message)
}
