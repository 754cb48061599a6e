//! Sockets: new ones, and what more there might be to the one that leads to the broker.

use super::payload::{Attempt, DESCRIPTORS, Tried, any, by, syscall};
use crate::wall::Layer::{Descriptors, LandlockNetwork, LandlockScopes};

pub(super) const ATTEMPTS: &[Attempt] = &[
    by(LandlockNetwork, DESCRIPTORS, "connect to a server", |s| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM)?;
        let address = loopback(s.port);
        syscall!(SYS_connect, socket, address.as_ptr(), address.len())
    }),
    by(LandlockNetwork, DESCRIPTORS, "be a server", |_| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM)?;
        let address = loopback(0);
        syscall!(SYS_bind, socket, address.as_ptr(), address.len())
    }),
    by(LandlockScopes, DESCRIPTORS, "connect to an abstract socket", |s| {
        let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
        let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        address.push(0);
        address.extend(s.socket.as_bytes());
        syscall!(SYS_connect, socket, address.as_ptr(), address.len())
    }),
    by(Descriptors, &[], "speak to whoever else it was left a descriptor of", |s| {
        // To the supervisor: the exit code of a failure is 1.
        let packet = b"E\x01";
        let others = (0..64).filter(|fd| *fd != s.channel);
        let said =
            others.map(|fd| syscall!(SYS_sendto, fd, packet.as_ptr(), packet.len(), 0, 0, 0));
        said.reduce(Result::or).expect("not empty")
    }),
    any("open a TCP socket", |_| socket(libc::AF_INET, libc::SOCK_STREAM)),
    any("open a TCP socket of IPv6", |_| socket(libc::AF_INET6, libc::SOCK_STREAM)),
    any("open a UDP socket", |_| socket(libc::AF_INET, libc::SOCK_DGRAM)),
    any("open a raw socket", |_| socket(libc::AF_INET, libc::SOCK_RAW)),
    any("open a packet socket", |_| socket(libc::AF_PACKET, libc::SOCK_RAW)),
    any("open a netlink socket", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW)),
    any("open a vsock", |_| socket(libc::AF_VSOCK, libc::SOCK_STREAM)),
    any("open a socket of the kernel's cryptography", |_| {
        socket(libc::AF_ALG, libc::SOCK_SEQPACKET)
    }),
    any("open a unix socket", |_| socket(libc::AF_UNIX, libc::SOCK_DGRAM)),
    any("open a pair of sockets", |_| {
        let mut pair = [0_i32; 2];
        syscall!(SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr())
    }),
    any("send the broker a descriptor", |s| {
        let control = rights(s.channel);
        let message = message(&control);
        syscall!(SYS_sendmsg, s.channel, message.as_ptr(), 0)
    }),
    any("receive a descriptor", |s| {
        let control = rights(0);
        let message = message(&control);
        syscall!(SYS_recvmsg, s.channel, message.as_ptr(), libc::MSG_DONTWAIT)
    }),
    any("receive many packets at once", |s| {
        syscall!(SYS_recvmmsg, s.channel, 0, 0, libc::MSG_DONTWAIT, 0)
    }),
    any("connect the broker's socket elsewhere", |s| {
        let unspecified = [0_u16; 8];
        syscall!(SYS_connect, s.channel, unspecified.as_ptr(), 16)
    }),
    any("listen on the broker's socket", |s| syscall!(SYS_listen, s.channel, 1)),
    any("accept on the broker's socket", |s| syscall!(SYS_accept4, s.channel, 0, 0, 0)),
    any("close the broker's socket for writing", |s| syscall!(SYS_shutdown, s.channel, 1)),
    any("close the broker's socket", |s| syscall!(SYS_close, s.channel)),
    any("ask who the broker is", |s| {
        let (mut told, mut length) = ([0_u32; 3], 12_u32);
        let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
        syscall!(SYS_getsockopt, s.channel, level, name, told.as_mut_ptr(), &raw mut length)
    }),
    any("give its socket more room", |s| {
        let (room, level, name) = (1_u32 << 30, libc::SOL_SOCKET, libc::SO_SNDBUF);
        syscall!(SYS_setsockopt, s.channel, level, name, &raw const room, 4)
    }),
    any("filter packets of its socket", |s| {
        let (filter, level) = ([0_u64; 2], libc::SOL_SOCKET);
        syscall!(SYS_setsockopt, s.channel, level, libc::SO_ATTACH_FILTER, filter.as_ptr(), 16)
    }),
    any("have the broker signalled when there is something to read", |s| {
        syscall!(SYS_fcntl, s.channel, libc::F_SETOWN, s.broker)
    }),
    any("control its socket", |s| {
        let mut told = 0_i32;
        syscall!(SYS_ioctl, s.channel, libc::FIONREAD, &raw mut told)
    }),
];

fn socket(family: i32, kind: i32) -> Tried {
    syscall!(SYS_socket, family, kind | libc::SOCK_CLOEXEC, 0)
}

/// `struct sockaddr_in` of 127.0.0.1.
fn loopback(port: u16) -> [u8; 16] {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    address
}

/// `struct cmsghdr` with one descriptor, and room for it.
fn rights(fd: i32) -> [u32; 6] {
    [20, 0, libc::SOL_SOCKET as u32, libc::SCM_RIGHTS as u32, fd as u32, 0]
}

/// `struct msghdr` of nothing but control data.
fn message(control: &[u32; 6]) -> [usize; 7] {
    [0, 0, 0, 0, control.as_ptr() as usize, 24, 0]
}
