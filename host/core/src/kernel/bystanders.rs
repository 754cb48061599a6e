//! Asks what belongs to others without waiting for it: another volume's storage may have stopped
//! answering, and whoever asks the kernel about it then is stuck until it goes on.
//!
//! So it is a process of its own that asks. One that gets no answer is left behind, with nothing of
//! this one's but its memory; what that answer would have been is the caller's to judge.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::{PipeFlags, pipe_with};

use super::failed;
use crate::failure::Failure;

/// How long an answer is waited for, which the kernel mostly has in microseconds.
const PATIENCE: Duration = Duration::from_millis(250);

/// Asks about each of so many things; none is what did not answer. After one of those, no other of
/// its `kin` is asked, as it will not answer either.
///
/// `question` runs in a copy of this process that has no descriptor of it, so it has to open what it
/// asks. Of threads only the caller's is in the copy: what another may hold it must not need, but for
/// the allocator, which the C library's fork(3) sees to. The broker has no other.
pub(super) fn ask<const N: usize>(
    count: usize,
    question: impl Fn(usize) -> [u8; N],
    kin: impl Fn(usize, usize) -> bool,
) -> Result<Vec<Option<[u8; N]>>, Failure> {
    let mut answers = vec![None; count];
    let mut silent: Vec<usize> = Vec::new();
    let mut next = 0;
    while next < count {
        let left: Vec<usize> =
            (next..count).filter(|&one| !silent.iter().any(|&other| kin(one, other))).collect();
        let asked = &mut Asked::begin(&left, &question)?;
        let stuck = left.iter().find(|&&one| match asked.answer() {
            Some(answer) => {
                answers[one] = Some(answer);
                false
            }
            None => true,
        });
        let Some(&stuck) = stuck else { break };
        silent.push(stuck);
        next = stuck + 1;
    }
    Ok(answers)
}

/// The process that asks, and what it says.
struct Asked {
    process: Pid,
    answers: File,
}

impl Asked {
    fn begin<const N: usize>(
        things: &[usize],
        question: &impl Fn(usize) -> [u8; N],
    ) -> Result<Self, Failure> {
        let what = "asking about what others have";
        let (answers, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(failed(what))?;
        #[expect(
            unsafe_code,
            reason = "what a fork's child may call depends on the parent's threads"
        )]
        // SAFETY: the child needs nothing that another thread may hold, as its caller promises; it
        // never returns, so nothing of the parent's is used or dropped twice.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => tell(things, question, &writer),
            Ok(ForkResult::Parent { child }) => {
                Ok(Self { process: child, answers: File::from(answers) })
            }
            Err(error) => Err(Failure::io(what, &error.into())),
        }
    }

    /// The next answer; none if there is none in time, or the process is gone.
    fn answer<const N: usize>(&mut self) -> Option<[u8; N]> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            let mut fds = [PollFd::from_borrowed_fd(self.answers.as_fd(), PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) | Err(_) => return None,
                Ok(_) => break,
            }
        }
        let mut answer = [0; N];
        // Each is written at once, and is shorter than what a pipe takes at once.
        self.answers.read_exact(&mut answer).ok().map(|()| answer)
    }
}

impl Drop for Asked {
    /// It has ended, or is ended; or, where no signal ends it, left to the kernel.
    fn drop(&mut self) {
        let _ = kill(self.process, Signal::SIGKILL);
        let end = Instant::now() + Duration::from_millis(20);
        while let Ok(nix::sys::wait::WaitStatus::StillAlive) =
            waitpid(self.process, Some(WaitPidFlag::WNOHANG))
        {
            if Instant::now() > end {
                break;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// The life of the process that asks.
fn tell<const N: usize>(
    things: &[usize],
    question: &impl Fn(usize) -> [u8; N],
    answers: &OwnedFd,
) -> ! {
    // It may be stuck for long: with nothing that a lock or a device is kept by.
    let ready = rustix::stdio::dup2_stdout(answers).is_ok() && close_all_but_streams();
    if ready {
        for &thing in things {
            if rustix::io::write(rustix::stdio::stdout(), &question(thing)) != Ok(N) {
                break;
            }
        }
    }
    #[expect(unsafe_code, reason = "libc marks _exit as unsafe")]
    // SAFETY: _exit(2) has no precondition.
    unsafe {
        libc::_exit(0)
    }
}

fn close_all_but_streams() -> bool {
    #[expect(unsafe_code, reason = "neither nix nor rustix has close_range")]
    // SAFETY: close_range(2) touches no memory. The descriptors it closes belong to values of the
    // forking process that are never used or dropped in this one, which ends in `_exit`.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    closed == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_answer_is_not_waited_for() {
        // The second, and its kin, which is every fourth from there.
        let question = |thing: usize| {
            if thing % 4 == 1 {
                std::thread::sleep(Duration::from_secs(600));
            }
            [thing as u8; 4]
        };
        let began = Instant::now();
        let answers = ask(8, question, |one, other| one % 4 == other % 4).expect("processes");
        let expected: Vec<_> =
            (0..8).map(|thing| (thing % 4 != 1).then_some([thing as u8; 4])).collect();
        assert_eq!(answers, expected);
        assert!(began.elapsed() >= PATIENCE, "it was waited for a moment");
        assert_eq!(ask(0, question, |_, _| false), Ok(vec![]));
    }
}
