//! The guest process, seen from the broker: how it is started, and how it ended.
//!
//! It is forked before the broker has opened or parsed anything, so that it holds no secret; it
//! gives up its privileges while the broker finds out which driver this is, and loads its image
//! while the broker parses. It says nothing before it was told about the call.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Pid};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};

use super::engine::{Loader, Prepared};
use super::image::Image;
use super::{confine, filter, rlimits, run};
use crate::breakout;
use crate::failure::Failure;
use crate::wire::{Channel, Outcome, Start};

/// A guest process. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Child {
    /// `None` once it is reaped, after which the number may be another process's.
    pid: Option<Pid>,
    channel: Channel,
}

/// How a guest process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By itself.
    Exited,
    /// It had used up its CPU time.
    CpuLimit,
    /// By a signal of this number: the broker's SIGKILL, the kernel's for want of memory, or a
    /// crash.
    Killed(i32),
}

impl Child {
    /// The broker's end of the pair.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Has the process load the image, if its SHA-256 is `image_digest` (64 lower-case hexadecimal
    /// digits).
    pub fn load(&self, image: File, image_digest: &str) -> Result<(), Failure> {
        self.channel.send_file(image_digest, image.as_fd()).map_err(|error| unstarted(&error))
    }

    /// The process id, for the audit log.
    pub fn pid(&self) -> Option<i32> {
        self.pid.map(Pid::as_raw)
    }

    /// Ends the process, whatever it is doing. Does not wait for its end.
    pub fn kill(&self) {
        if let Some(pid) = self.pid {
            // It is not reaped yet, so the number is its own, and this cannot fail.
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
    }

    /// Waits until the process has ended: at once after [`kill`](Self::kill) or after its last
    /// message, and otherwise for as long as it runs.
    pub fn wait(mut self) -> How {
        // Only for this does it wait once it has said its last. It fails where it has ended.
        let _ = rustix::net::shutdown(&self.channel, Shutdown::Write);
        self.reap()
    }

    fn reap(&mut self) -> How {
        let Some(pid) = self.pid.take() else { return How::Exited };
        loop {
            match nix::sys::wait::waitpid(pid, None) {
                Err(nix::Error::EINTR) => {}
                Ok(WaitStatus::Signaled(_, Signal::SIGXCPU, _)) => return How::CpuLimit,
                Ok(WaitStatus::Signaled(_, signal, _)) => return How::Killed(signal as i32),
                _ => return How::Exited,
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        self.reap();
    }
}

/// Starts a guest process that loads an image: [`start`] and [`Child::load`] in one.
pub fn spawn(image: File, image_digest: &str) -> Result<Child, Failure> {
    let child = start()?;
    child.load(image, image_digest)?;
    Ok(child)
}

/// Starts a guest process. It gives up its privileges, waits for [`Child::load`], and then for
/// a [`Start`]; when it has told the outcome, it waits for another.
///
/// The calling process must have one thread. Whatever is wrong with the image or the machine is
/// told as the call's outcome; an error here means that there is no process.
pub fn start() -> Result<Child, Failure> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| unstarted(&error.into()))?;
    let broker = nix::unistd::getpid();
    #[expect(unsafe_code, reason = "what a fork's child may call depends on the parent's threads")]
    // SAFETY: fork(2) is sound in a process with one thread, which is this function's contract;
    // the child never returns to the caller, so nothing of the parent's is used or dropped twice.
    let forked = unsafe { nix::unistd::fork() };
    match forked {
        Ok(ForkResult::Parent { child }) => {
            Ok(Child { pid: Some(child), channel: Channel::new(ours) })
        }
        Ok(ForkResult::Child) => {
            // The socket stays open for its owner; this process's copy of ours is closed with
            // everything else.
            std::mem::forget(ours);
            std::panic::set_hook(Box::new(|_| {}));
            let live = AssertUnwindSafe(|| live(broker, theirs));
            let Err(_) = std::panic::catch_unwind(live);
            leave(0)
        }
        Err(error) => Err(unstarted(&error.into())),
    }
}

fn unstarted(error: &io::Error) -> Failure {
    Failure::io("the guest process cannot be started", error)
}

/// The guest process's life. It ends here, where everything is still in place: to take apart an
/// image and an engine would make the broker wait for nothing.
fn live(broker: Pid, socket: OwnedFd) -> Infallible {
    give_way();
    let ready = confine::confine(&[socket.as_fd()], broker).and_then(|()| Loader::new());
    let channel = Arc::new(Channel::new(socket));
    let Ok(Some((digest, image))) = channel.receive_file() else { leave(0) };
    let prepared = ready.and_then(|loader| prepare(&loader, image, &digest));
    // Before anything of this call is known, while the broker is still busy with it.
    let prepared = prepared.and_then(|prepared| filter::install().map(|()| prepared));
    let Ok(Some(mut start)) = channel.receive::<Start>(&mut Vec::new()) else { leave(0) };
    let prepared = prepared.and_then(|prepared| {
        rlimits::bound(start.cpu_seconds, start.memory_bytes)?;
        Ok(prepared)
    });
    loop {
        let (outcome, used) = match &prepared {
            Ok(prepared) => {
                if let Some(outcome) = breakout::instead_of_the_component(&channel) {
                    run::finish(&channel, outcome);
                    leave(0)
                }
                let (outcome, store) = run::run(prepared, Arc::clone(&channel), start);
                (outcome, Some(store))
            }
            Err(failure) => (Some(Outcome::Unusable(failure.clone())), None),
        };
        let Some(outcome) = outcome else { leave(0) };
        run::finish(&channel, outcome);
        // To end takes a while, on the very processor that the broker would go on at. It ends
        // us, or its own end does, once kubelet has its answer; unless that takes another call.
        let Ok(Some(next)) = channel.receive::<Start>(&mut Vec::new()) else { leave(0) };
        start = next;
        // Nothing of one call is left in the next: not even its memory.
        drop(used);
    }
}

/// Has the scheduler let others cut in who run for a moment only: of this process nothing is wanted
/// but that it gets done, while the broker waits for its disk. Each process goes on having its share of
/// the processor, and a kernel that knows no slices of a process's own (before 6.12) changes nothing.
fn give_way() {
    /// `struct sched_attr` of sched_setattr(2), in its first version.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        slice_ns: u64,
        deadline: u64,
        period: u64,
    }
    /// The longest slice there is.
    const SLICE_NS: u64 = 100_000_000;
    /// `SCHED_FLAG_KEEP_POLICY` of linux/sched.h: whatever kubelet runs under.
    const KEEP_POLICY: u64 = 0x08;
    let Ok(nice) = rustix::process::getpriority_process(None) else { return };
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: 0,
        flags: KEEP_POLICY,
        nice,
        priority: 0,
        slice_ns: SLICE_NS,
        deadline: 0,
        period: 0,
    };
    #[expect(unsafe_code, reason = "neither rustix nor nix has sched_setattr")]
    // SAFETY: sched_setattr(2) reads `size` bytes at the pointer, which outlive the call.
    unsafe {
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
    }
}

fn prepare(loader: &Loader, file: File, digest: &str) -> Result<Prepared, Failure> {
    let image = Image::open(&file, digest)?;
    drop(file);
    rlimits::seal()?;
    loader.load(&image)
}

/// Ends the process without running what the parent process has registered for its own end.
pub(super) fn leave(code: i32) -> ! {
    #[expect(unsafe_code, reason = "libc marks _exit as unsafe")]
    // SAFETY: _exit(2) has no precondition.
    unsafe {
        libc::_exit(code)
    }
}
