//! Work on a vendor's bytes outside of a call: parsing and compiling, which happens when a driver is
//! examined or installed. It is done by a process of its own, behind the wall that components run
//! behind, and all that comes back is bytes.
//!
//! Whoever reads those believes them no more than the vendor's: a component that has taken the
//! compiler over can say of itself whatever it likes, and do nothing else.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Pid};

use super::{confine, filter, rlimits};
use crate::failure::{Code, Failure};

/// What the work may use up. More than that ends it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of a processor, in seconds. There is nothing that the process could wait for instead.
    pub cpu_seconds: u64,
    /// Of memory, in bytes.
    pub memory_bytes: u64,
    /// Of what comes back, in bytes.
    pub result_bytes: u64,
}

/// The first byte of what comes back.
const DONE: u8 = 0;
const FAILED: u8 = 1;

/// Does `work` apart from this process, with what `load` has made there before system calls are
/// filtered; `what` is all of it, in words.
///
/// The calling process must have one thread.
pub fn apart<T>(
    what: &str,
    bounds: Bounds,
    load: impl FnOnce() -> Result<T, Failure>,
    work: impl FnOnce(T) -> Result<Vec<u8>, Failure>,
) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::io(what, &error);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let parent = nix::unistd::getpid();
    #[expect(unsafe_code, reason = "what a fork's child may call depends on the parent's threads")]
    // SAFETY: fork(2) is sound in a process with one thread, which is this function's contract;
    // the child never returns to the caller, so nothing of the parent's is used or dropped twice.
    let forked = unsafe { nix::unistd::fork() };
    match forked {
        Ok(ForkResult::Child) => {
            std::panic::set_hook(Box::new(|_| {}));
            let live = AssertUnwindSafe(|| live(parent, theirs, bounds, load, work));
            let done = std::panic::catch_unwind(live).unwrap_or(false);
            super::process::leave(i32::from(!done))
        }
        Ok(ForkResult::Parent { child }) => {
            drop(theirs);
            let mut said = Vec::new();
            let read = ours.take(bounds.result_bytes + 2).read_to_end(&mut said);
            // Whatever it would go on saying, nobody listens any more.
            let ended = reap(child);
            read.map_err(failed)?;
            concluded(what, bounds, ended, said)
        }
        Err(error) => Err(failed(error.into())),
    }
}

/// The life of the process. True if it has said all it had to say.
fn live<T>(
    parent: Pid,
    mut socket: UnixStream,
    bounds: Bounds,
    load: impl FnOnce() -> Result<T, Failure>,
    work: impl FnOnce(T) -> Result<Vec<u8>, Failure>,
) -> bool {
    let walled = confine::confine(&[socket.as_fd()], parent)
        .and_then(|()| rlimits::seal())
        .and_then(|()| rlimits::bound_work(bounds.cpu_seconds, bounds.memory_bytes));
    let done = walled
        .and_then(|()| load())
        .and_then(|loaded| filter::install().map(|()| loaded))
        .and_then(work);
    let (first, rest) = match done {
        Ok(bytes) => (DONE, bytes),
        Err(failure) => (FAILED, serde_json::to_vec(&failure).unwrap_or_default()),
    };
    // write(2) is none of the calls that are left; send(2) is.
    let mut said = Said(&mut socket);
    said.write_all(&[first]).and_then(|()| said.write_all(&rest)).is_ok()
}

/// The socket, written to by send(2).
struct Said<'a>(&'a mut UnixStream);

impl std::io::Write for Said<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(rustix::net::send(&*self.0, bytes, rustix::net::SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn reap(child: Pid) -> WaitStatus {
    loop {
        match nix::sys::wait::waitpid(child, None) {
            Err(nix::Error::EINTR) => {}
            Err(_) => return WaitStatus::Exited(child, 1),
            Ok(status) => return status,
        }
    }
}

fn concluded(
    what: &str,
    bounds: Bounds,
    ended: WaitStatus,
    mut said: Vec<u8>,
) -> Result<Vec<u8>, Failure> {
    let exhausted = |reason: &str, how: String| {
        Err(Failure::new(Code::ResourceExhausted, reason, format!("{what} {how}")))
    };
    let Bounds { cpu_seconds, memory_bytes, result_bytes } = bounds;
    match ended {
        _ if said.len() as u64 > result_bytes + 1 => {
            exhausted("too-large", format!("makes more than {} MiB of it", result_bytes >> 20))
        }
        WaitStatus::Exited(_, 0) if said.first() == Some(&DONE) => {
            said.remove(0);
            Ok(said)
        }
        WaitStatus::Exited(_, 0) => Err(serde_json::from_slice(said.get(1..).unwrap_or_default())
            .unwrap_or_else(|_| died(what, "said nothing that can be read"))),
        WaitStatus::Signaled(_, Signal::SIGXCPU, _) => {
            exhausted("cpu-limit", format!("takes more than {cpu_seconds} s of processor time"))
        }
        WaitStatus::Signaled(_, signal, _) => exhausted(
            "died",
            format!(
                "was ended by {signal}; it may use {} MiB of memory, and perhaps needs more",
                memory_bytes >> 20
            ),
        ),
        _ => Err(died(what, "ended without a result")),
    }
}

fn died(what: &str, how: &str) -> Failure {
    Failure::new(Code::Internal, "died", format!("{what} {how}; this is a bug in wasmount"))
}
