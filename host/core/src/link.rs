//! What supervisor and broker say to each other. Both are trusted; the format is as small as
//! that allows: one tag byte a packet, then the payload.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// A reply is at most 4 KiB of message and what is around it.
const MAX_PACKET: usize = 64 * 1024;

/// What the broker says.
#[derive(Debug)]
pub enum FromBroker {
    /// The exit code of a failure, from the grants.
    FailureExit(i32),
    /// Everything is ready and durable; may it take effect?
    MayCommit,
    /// The call's reply. The last packet.
    Reply {
        /// The JSON document.
        document: Vec<u8>,
        /// The exit code.
        exit: i32,
    },
}

/// What the supervisor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Commit.
    Go,
    /// Nothing may take effect any more: undo and reply.
    Stop,
}

/// One end.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    /// Whether the supervisor has said stop, or is gone: that is never taken back.
    stopped: Cell<bool>,
}

impl Link {
    /// Wraps one end of a `SOCK_SEQPACKET` pair.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, stopped: Cell::new(false) }
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
            // A broker that ended before it had read our verdict: the kernel says so first, and
            // has what the broker said all the same.
            Err(Errno::CONNRESET) => receive()?,
            received => received?,
        }
        match &packet[..] {
            [] => Ok(None),
            [b'E', code] => Ok(Some(FromBroker::FailureExit((*code).into()))),
            [b'C'] => Ok(Some(FromBroker::MayCommit)),
            [b'R', exit, document @ ..] => {
                Ok(Some(FromBroker::Reply { document: document.to_vec(), exit: (*exit).into() }))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The broker's side: says something. Lost if the supervisor is gone, which the next
    /// [`verdict`](Self::verdict) tells.
    pub fn tell(&self, message: &FromBroker) {
        let packet = match message {
            FromBroker::FailureExit(code) => vec![b'E', *code as u8],
            FromBroker::MayCommit => vec![b'C'],
            FromBroker::Reply { document, exit } => {
                [&[b'R', *exit as u8], document.as_slice()].concat()
            }
        };
        self.send(&packet);
    }

    /// The supervisor's side: the verdict.
    pub fn say(&self, verdict: Verdict) {
        self.send(if verdict == Verdict::Go { b"G" } else { b"X" });
    }

    /// The broker's side: the supervisor's verdict, if it comes in time. A supervisor that is
    /// gone has said stop: nobody would hear of a success.
    pub fn verdict(&self, within: Duration) -> Option<Verdict> {
        if self.stopped.get() {
            return Some(Verdict::Stop);
        }
        let timeout =
            Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
        let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        if rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout))) == Ok(0) {
            return None;
        }
        let mut byte = [0];
        match rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.socket, &mut byte[..], RecvFlags::empty())
        }) {
            Ok((1, _)) if byte == *b"G" => Some(Verdict::Go),
            _ => {
                self.stopped.set(true);
                Some(Verdict::Stop)
            }
        }
    }

    /// The broker's side: whether the supervisor has said stop already.
    pub fn is_stopped(&self) -> bool {
        self.stopped.get()
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
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .expect("a pair");
        let (ours, theirs) = (Link::new(ours), Link::new(theirs));
        ours.say(Verdict::Stop);
        theirs.tell(&FromBroker::Reply { document: b"{}".to_vec(), exit: 0 });
        drop(theirs);
        let heard = ours.from_broker().expect("no error");
        assert!(
            matches!(heard, Some(FromBroker::Reply { document, exit: 0 }) if document == b"{}")
        );
        assert!(matches!(ours.from_broker(), Ok(None)));
    }
}
