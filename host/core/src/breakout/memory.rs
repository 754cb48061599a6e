//! Its own memory: more of it than there may be, code made of it, and what might be left in it.

use nix::errno::Errno;

use super::payload::{Attempt, NOBODY, Scene, Tried, any, by, syscall};
use crate::wall::Layer::{Arguments, LimitAs, LimitData, LimitMemlock, Seccomp};

pub(super) const ATTEMPTS: &[Attempt] = &[
    by(Seccomp, &[], "map memory that can be executed", |_| map(PAGE, ALL, PRIVATE)),
    by(Seccomp, &[], "execute what it has written", |_| {
        let page = map(PAGE, READ_WRITE, PRIVATE)?;
        protect(page, libc::PROT_READ | libc::PROT_EXEC)
    }),
    by(LimitData, &[], "take more memory than it may", |_| map(4 << 30, READ_WRITE, RESERVE)),
    by(LimitAs, &[], "take more addresses than it may", |_| map(64 << 30, 0, RESERVE)),
    by(LimitMemlock, &[Seccomp], "lock memory", |_| {
        let page = map(PAGE, READ_WRITE, PRIVATE)?;
        syscall!(SYS_mlock, page, PAGE)
    }),
    by(Arguments, &[], "find a secret of the call in its memory", find),
    any("grow its heap beyond all bounds", |_| {
        let end = syscall!(SYS_brk, 0)?;
        let grown = syscall!(SYS_brk, end + (4 << 30))?;
        if grown == end { Err(Errno::ENOMEM) } else { Ok(grown) }
    }),
    any("write to its code", |_| {
        let code = protect as fn(usize, i32) -> Tried as usize;
        protect(code & !(PAGE - 1), ALL)
    }),
    any("share memory, which no limit counts", |_| {
        map(PAGE, READ_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS)
    }),
    any("have a second stack, which no limit counts", |_| {
        map(PAGE, READ_WRITE, PRIVATE | libc::MAP_GROWSDOWN)
    }),
    any("move its stack, which no limit counts then", |scene| {
        let stack = (&raw const scene.channel) as usize & !(PAGE - 1);
        syscall!(SYS_mremap, stack, PAGE, 1 << 30, libc::MREMAP_MAYMOVE)
    }),
    any("have memory read-only, which no limit counts", |_| {
        let page = map(PAGE, READ_WRITE, PRIVATE)?;
        protect(page, libc::PROT_READ)
    }),
    any("have memory out of reach, which no limit counts", |_| {
        let page = map(PAGE, READ_WRITE, PRIVATE)?;
        protect(page, libc::PROT_NONE)
    }),
    any("have tables of pages, which no limit counts", |_| map(1 << 30, libc::PROT_READ, RESERVE)),
    any("have huge pages", |_| map(2 << 20, READ_WRITE, PRIVATE | libc::MAP_HUGETLB)),
    any("map locked memory", |_| map(PAGE, READ_WRITE, PRIVATE | libc::MAP_LOCKED)),
    any("lock all its memory", |_| syscall!(SYS_mlockall, libc::MCL_FUTURE)),
    any("protect memory by a key", |_| {
        let page = map(PAGE, READ_WRITE, PRIVATE)?;
        syscall!(SYS_pkey_mprotect, page, PAGE, ALL, NOBODY)
    }),
    any("have memory that nobody else sees", |_| syscall!(SYS_memfd_secret, 0)),
    any("have its memory merged with others'", |_| {
        let page = map(PAGE, READ_WRITE, PRIVATE)?;
        syscall!(SYS_madvise, page, PAGE, libc::MADV_MERGEABLE)
    }),
];

pub(super) const PAGE: usize = 4096;
pub(super) const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
pub(super) const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const ALL: i32 = READ_WRITE | libc::PROT_EXEC;
const RESERVE: i32 = PRIVATE | libc::MAP_NORESERVE;

/// Maps new memory where nothing is.
pub(super) fn map(length: usize, protection: i32, flags: i32) -> Tried {
    syscall!(SYS_mmap, 0, length, protection, flags, NOBODY, 0)
}

fn protect(page: usize, protection: i32) -> Tried {
    syscall!(SYS_mprotect, page, PAGE, protection)
}

/// Got out if any page that can be read has it. Nobody tells what is mapped, so it looks around all
/// that it knows of: as far as the heap, the program and the stack can reach, and where the kernel puts
/// mappings.
fn find(scene: &Scene) -> Tried {
    let code = find as fn(&Scene) -> Tried as usize;
    let heap = syscall!(SYS_brk, 0)?;
    let mapped = map(PAGE, READ_WRITE, PRIVATE)?;
    let stack = (&raw const heap) as usize;
    let mut around = [(code, 32 << 20), (heap, 64 << 20), (mapped, 128 << 20), (stack, 16 << 20)]
        .map(|(middle, reach): (usize, usize)| {
            (middle.saturating_sub(reach) & !(PAGE - 1), middle.saturating_add(reach))
        });
    around.sort_unstable();
    let (mut done, mut read) = (0, 0);
    for (from, to) in around {
        let mut page = from.max(done);
        while page < to {
            if can_be_read(page) {
                read += PAGE;
                if scene.secret.iter().any(|inverted| has(page, inverted)) {
                    return Ok(page);
                }
            }
            page += PAGE;
        }
        done = done.max(to);
    }
    // Less than that, and it has not looked.
    if read > 4 << 20 { Err(Errno::ENOENT) } else { Ok(read) }
}

/// The kernel reads what a signal is to do before it looks at which signal it is. No program may
/// catch SIGKILL.
fn can_be_read(page: usize) -> bool {
    syscall!(SYS_rt_sigaction, libc::SIGKILL, page, 0, 8) == Err(Errno::EINVAL)
}

/// Whether a page has these bytes, each inverted. One that goes on in the next page is missed: the
/// secret is short, and there in more than one place.
fn has(page: usize, inverted: &[u8]) -> bool {
    #[expect(unsafe_code, reason = "to read whatever is there is the point")]
    // SAFETY: the kernel has just read from that page, and there is one thread: nobody writes to it
    // meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(page as *const u8, PAGE) };
    bytes.windows(inverted.len()).any(|window| window.iter().zip(inverted).all(|(a, b)| *a == !*b))
}
