//! What the guest process gives up before it touches anything of the vendor's: most layers of the
//! [wall](crate::wall), in the order in which they can be put up.
//!
//! It is done by the process to itself, and read back where the kernel can tell, since what is
//! missing here is missed by nobody. Nothing here knows about components.

use std::ffi::c_uint;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::unistd::{Gid, Pid, Uid};
use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{landlock, rlimits};
use crate::failure::{Code, Failure};
use crate::wall::{Layer, stands};

/// User and group ids from here on are those of guest processes, one a process: it is added to
/// the process id, which is below 2^22. Nobody else is given any: it is above what user
/// namespaces and systemd's dynamic users are usually given (uid_t's upper half is not used, and
/// systemd's range for containers ends at 0x6FFF_FFFF).
const FIRST_ID: u32 = 0x7000_0000;

/// Gives up every descriptor but those in `keep`, every privilege, and the chance to outlive
/// `parent`.
pub(super) fn confine(keep: &[BorrowedFd<'_>], parent: Pid) -> Result<(), Failure> {
    put_up(Layer::Descriptors, "close its descriptors", || close_all_but(keep))?;
    reset_signals().map_err(|error| refused("reset its signals", error))?;
    drop_privileges()?;
    landlock::enclose()?;
    rlimits::limit_all()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o777));
    // These two are undone by a change of the user id, so they come after it (prctl(2)).
    put_up(Layer::NotDumpable, "refuse to be dumped", || {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
    })?;
    put_up(Layer::ParentDeath, END, || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
    })?;
    if nix::unistd::getppid() != parent {
        return Err(refused(END, "that has ended already"));
    }
    Ok(())
}

const END: &str = "end with the call";

/// Puts up a layer of the wall; `what` is that in words. Nothing runs behind a wall that lacks one.
pub(super) fn put_up<E: std::fmt::Display>(
    layer: Layer,
    what: &str,
    put: impl FnOnce() -> Result<(), E>,
) -> Result<(), Failure> {
    if stands(layer) { put().map_err(|error| refused(what, error)) } else { Ok(()) }
}

/// What becomes of the call if the process cannot do something to itself.
pub(super) fn refused(what: &str, error: impl std::fmt::Display) -> Failure {
    let message = format!(
        "the process that would run the component cannot {what}: {error}; nothing of the \
         component was run"
    );
    Failure::new(Code::FailedPrecondition, "confinement", message)
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

fn drop_privileges() -> Result<(), Failure> {
    if stands(Layer::BoundingSet) {
        // A process that may not change the set has no capability that a program could be given.
        for capability in CapabilitySet::all() {
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    // Without root there is no other user to become, but there may be capabilities to lose.
    if nix::unistd::geteuid().is_root() {
        put_up(Layer::User, NOBODY, become_nobody)?;
    }
    put_up(Layer::Capabilities, PRIVILEGES, drop_capabilities)?;
    put_up(Layer::NoNewPrivileges, PRIVILEGES, || rustix::thread::set_no_new_privs(true))
}

const PRIVILEGES: &str = "give up its privileges";
/// Who made a container for it has to be told what root lacks there.
const NOBODY: &str = "become nobody, for which root needs CAP_SETUID and CAP_SETGID";

fn drop_capabilities() -> nix::Result<()> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).map_err(errno)?;
    let left = rustix::thread::capabilities(None).map_err(errno)?;
    let is_none = (left.effective | left.permitted | left.inheritable).is_empty();
    if is_none { Ok(()) } else { Err(nix::Error::EPERM) }
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

fn errno(error: rustix::io::Errno) -> nix::Error {
    nix::Error::from_raw(error.raw_os_error())
}
