//! What supervisor and broker say to each other. Both are trusted; the format is as small as
//! that allows: one tag byte a packet, then the payload.
//!
//! Whether what the broker has prepared takes effect is not asked and answered, which would have
//! the broker wait for another process to run: there is one turn, and whoever takes it first decides.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// A reply is at most 4 KiB of message and what is around it.
const MAX_PACKET: usize = 64 * 1024;

/// What the broker says.
#[derive(Debug)]
pub enum FromBroker {
    /// The exit code of a failure, from the grants.
    FailureExit(i32),
    /// The call's reply. The last packet.
    Reply {
        /// The JSON document.
        document: Vec<u8>,
        /// The exit code.
        exit: i32,
    },
}

/// The count of the turn while nothing of the call has taken effect, and after something has.
const NOTHING: u64 = 1;
const SOMETHING: u64 = 2;

/// One end.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    /// An eventfd(2) that both ends have. Who takes its count decides whether what the broker has
    /// prepared takes effect; the count is what has taken effect before.
    turn: OwnedFd,
    /// Whether the supervisor has said stop, or is gone: that is never taken back.
    stopped: Cell<bool>,
}

impl Link {
    /// The supervisor's end and the broker's.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let turn = eventfd(NOTHING as u32, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let end = |socket, turn| Self { socket, turn, stopped: Cell::new(false) };
        Ok((end(ours, turn.try_clone()?), end(theirs, turn)))
    }

    /// The supervisor's side: the next packet; `None` if the broker is gone.
    pub fn from_broker(&self) -> io::Result<Option<FromBroker>> {
        // Not zeroed: only the pages that a packet fills are ever touched.
        let mut packet = Vec::with_capacity(MAX_PACKET);
        let mut receive = || {
            rustix::io::retry_on_intr(|| {
                let room = rustix::buffer::spare_capacity(&mut packet);
                rustix::net::recv(&self.socket, room, RecvFlags::empty()).map(drop)
            })
        };
        match receive() {
            // A broker that ended before it had read that it is to stop: the kernel says so first,
            // and has what the broker said all the same.
            Err(Errno::CONNRESET) => receive()?,
            received => received?,
        }
        match &packet[..] {
            [] => Ok(None),
            [b'E', code] => Ok(Some(FromBroker::FailureExit((*code).into()))),
            [b'R', exit, document @ ..] => {
                Ok(Some(FromBroker::Reply { document: document.to_vec(), exit: (*exit).into() }))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The supervisor's side: from now on nothing begins to take effect. True if nothing has.
    pub fn stop(&self) -> bool {
        let before = self.take_turn();
        self.send(b"X");
        before == Some(NOTHING)
    }

    /// The broker's side: says something. Lost if the supervisor is gone, which the next
    /// [`is_stopped`](Self::is_stopped) tells.
    pub fn tell(&self, message: &FromBroker) {
        let packet = match message {
            FromBroker::FailureExit(code) => vec![b'E', *code as u8],
            FromBroker::Reply { document, exit } => {
                [&[b'R', *exit as u8], document.as_slice()].concat()
            }
        };
        self.send(&packet);
    }

    /// The broker's side: whether it is to stop, or is told so in that time. A supervisor that is
    /// gone has said stop: nobody would hear of a success.
    pub fn is_stopped(&self, within: Duration) -> bool {
        if !self.stopped.get() {
            let timeout =
                Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
            let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
            let waited =
                rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout)));
            self.stopped.set(waited != Ok(0));
        }
        self.stopped.get()
    }

    /// The broker's side: lets something take effect, unless it is to stop; none then. The
    /// supervisor does not answer that the call was stopped and nothing came of it while this is
    /// under way, nor does this begin afterwards.
    pub fn take_effect<T>(&self, effect: impl FnOnce() -> T) -> Option<T> {
        if self.is_stopped(Duration::ZERO) || self.take_turn().is_none() {
            self.stopped.set(true);
            return None;
        }
        let done = effect();
        // A call may consist of several operations, and be stopped between any two.
        let _ = rustix::io::write(&self.turn, &SOMETHING.to_ne_bytes());
        Some(done)
    }

    /// What has taken effect so far; none if the other end has the turn.
    fn take_turn(&self) -> Option<u64> {
        let mut count = [0; 8];
        rustix::io::retry_on_intr(|| rustix::io::read(&self.turn, &mut count[..])).ok()?;
        Some(u64::from_ne_bytes(count))
    }

    fn send(&self, packet: &[u8]) {
        let _ = rustix::io::retry_on_intr(|| {
            rustix::net::send(&self.socket, packet, SendFlags::NOSIGNAL)
        });
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reply of a broker that was told to stop at its very end is not lost.
    #[test]
    fn what_was_said_is_heard_though_the_speaker_did_not_listen() {
        let (ours, theirs) = Link::pair().expect("a pair");
        ours.stop();
        theirs.tell(&FromBroker::Reply { document: b"{}".to_vec(), exit: 0 });
        drop(theirs);
        let heard = ours.from_broker().expect("no error");
        assert!(
            matches!(heard, Some(FromBroker::Reply { document, exit: 0 }) if document == b"{}")
        );
        assert!(matches!(ours.from_broker(), Ok(None)));
    }

    #[test]
    fn nothing_takes_effect_after_stop() {
        let (ours, theirs) = Link::pair().expect("a pair");
        assert!(ours.stop());
        assert_eq!(theirs.take_effect(|| "late"), None);
    }

    #[test]
    fn what_is_taking_effect_is_known_to_who_says_stop() {
        let (ours, theirs) = Link::pair().expect("a pair");
        assert_eq!(theirs.take_effect(|| ours.stop()), Some(false));
        assert_eq!(theirs.take_effect(|| "late"), None);
    }

    #[test]
    fn so_is_what_has_taken_effect() {
        let (ours, theirs) = Link::pair().expect("a pair");
        assert_eq!(theirs.take_effect(|| "done"), Some("done"));
        assert_eq!(theirs.take_effect(|| "again"), Some("again"));
        assert!(!ours.stop());
        assert_eq!(theirs.take_effect(|| "late"), None);
    }

    #[test]
    fn nothing_takes_effect_when_nobody_waits() {
        let (ours, theirs) = Link::pair().expect("a pair");
        drop(ours);
        assert_eq!(theirs.take_effect(|| "unheard"), None);
    }
}
