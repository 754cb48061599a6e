//! The socket that values go over: one value a packet, and at the start a file. It knows nothing of
//! what the values mean.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

/// The longest message, in bytes: a 64 KiB value in hexadecimal, and room for what is around it.
/// It stays below the kernel's default socket buffer (208 KiB), so that a packet always fits.
pub const MAX_MESSAGE: usize = 160 * 1024;

/// The longest text that goes with a file: a digest.
pub const MAX_WITH_FILE: usize = 128;

/// How long an answer is awaited awake. Most come sooner; to fall asleep and be woken on another
/// processor takes about as long as that, twice a host call.
const MOMENT: Duration = Duration::from_micros(100);

/// One end of the pair.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Wraps one end of a `SOCK_SEQPACKET` pair.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends one message to a receiver that is known to wait for it. Fails with `WouldBlock` if it
    /// does not, and has left so many unread that there is no room.
    pub fn send_now<T: Serialize>(&self, message: &T) -> io::Result<()> {
        self.send_with(message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    /// Sends one message. Fails with `InvalidInput` if it is over [`MAX_MESSAGE`].
    pub fn send<T: Serialize>(&self, message: &T) -> io::Result<()> {
        self.send_with(message, SendFlags::NOSIGNAL)
    }

    fn send_with<T: Serialize>(&self, message: &T, flags: SendFlags) -> io::Result<()> {
        let packet = serde_json::to_vec(message).map_err(io::Error::other)?;
        if packet.len() > MAX_MESSAGE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long"));
        }
        rustix::io::retry_on_intr(|| rustix::net::send(&self.0, &packet, flags))?;
        Ok(())
    }

    /// Returns once there is something to receive, or after a moment.
    pub fn look_out(&self) {
        let end = Instant::now() + MOMENT;
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        while rustix::net::recv(&self.0, &mut [0][..], look) == Err(Errno::AGAIN)
            && Instant::now() < end
        {
            // Who is to answer may be waiting for this very processor.
            rustix::thread::sched_yield();
        }
    }

    /// Receives one message; `None` when the other side is gone. Anything that is not exactly
    /// one `T` is `InvalidData`.
    pub fn receive<T: for<'de> Deserialize<'de>>(
        &self,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<T>> {
        // One byte more than is allowed tells a message that is too long from one that just fits.
        // The room is not filled first: that would touch 160 KiB, forty page faults, for messages
        // of a few hundred bytes.
        buffer.clear();
        buffer.reserve(MAX_MESSAGE + 1);
        let (_, length) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.0, spare_capacity(buffer), RecvFlags::empty())
        })?;
        match length {
            0 => Ok(None),
            length if length > MAX_MESSAGE => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"))
            }
            length => serde_json::from_slice(&buffer[..length])
                .map(Some)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

impl Channel {
    /// Sends a text, of at most [`MAX_WITH_FILE`] bytes, and a file with it.
    pub fn send_file(&self, text: &str, file: BorrowedFd<'_>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file];
        control.push(SendAncillaryMessage::ScmRights(&files));
        let text = [IoSlice::new(text.as_bytes())];
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.0, &text, &mut control, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// Receives a text with a file; `None` when the other side is gone. Anything else is
    /// `InvalidData`.
    pub fn receive_file(&self) -> io::Result<Option<(String, File)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; MAX_WITH_FILE];
        let got = rustix::io::retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut text)];
            rustix::net::recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        let file = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        let text = std::str::from_utf8(&text[..got.bytes]).ok();
        match (text, file) {
            (Some(text), Some(file)) => Ok(Some((text.to_owned(), File::from(file)))),
            (Some(""), None) => Ok(None),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
