//! The kernel's own: mounts, namespaces, keys, programs in the kernel, and the machine. The arguments
//! are such that nothing would come of a call that is allowed.

use super::payload::{Attempt, NOBODY, PATHS, Scene, Tried, any, by, path, syscall};
use crate::wall::Layer::{LimitMsgqueue, LimitNofile, Seccomp};

pub(super) const ATTEMPTS: &[Attempt] = &[
    by(LimitNofile, &[Seccomp], "make a file in memory", |_| {
        syscall!(SYS_memfd_create, c"x".as_ptr(), 0)
    }),
    by(LimitMsgqueue, PATHS, "make a message queue", queue),
    any("mount", |s| {
        let (target, tmpfs) = (path(&s.scratch), c"tmpfs");
        syscall!(SYS_mount, tmpfs.as_ptr(), target.as_ptr(), tmpfs.as_ptr(), 0, 0)
    }),
    any("unmount", |s| syscall!(SYS_umount2, path(&s.scratch).as_ptr(), 0)),
    any("open a filesystem", |_| syscall!(SYS_fsopen, c"tmpfs".as_ptr(), 0)),
    any("open a mount", |s| syscall!(SYS_open_tree, libc::AT_FDCWD, path(&s.scratch).as_ptr(), 0)),
    any("move a mount", |s| {
        let directory = path(&s.scratch);
        syscall!(SYS_move_mount, NOBODY, directory.as_ptr(), NOBODY, directory.as_ptr(), 0)
    }),
    any("change a mount", |s| {
        syscall!(
            SYS_mount_setattr,
            libc::AT_FDCWD,
            path(&s.scratch).as_ptr(),
            0,
            [0_u64; 4].as_ptr(),
            32
        )
    }),
    any("change the root of all", |s| {
        let directory = path(&s.scratch);
        syscall!(SYS_pivot_root, directory.as_ptr(), directory.as_ptr())
    }),
    any("have a user namespace", |_| syscall!(SYS_unshare, libc::CLONE_NEWUSER)),
    any("have a mount namespace", |_| syscall!(SYS_unshare, libc::CLONE_NEWNS)),
    any("have a network", |_| syscall!(SYS_unshare, libc::CLONE_NEWNET)),
    any("enter another namespace", |s| syscall!(SYS_setns, s.channel, 0)),
    any("add a key", |_| {
        let (kind, name) = (c"user", c"wasmount-wall");
        syscall!(SYS_add_key, kind.as_ptr(), name.as_ptr(), name.as_ptr(), 1, NOBODY)
    }),
    any("ask for a key", |_| {
        syscall!(SYS_request_key, c"user".as_ptr(), c"wasmount-wall".as_ptr(), 0, 0)
    }),
    any("have the keys of the session", |_| {
        syscall!(SYS_keyctl, 0, libc::KEY_SPEC_SESSION_KEYRING, 0)
    }),
    any("load a program into the kernel", |_| syscall!(SYS_bpf, 5, [0_u64; 16].as_ptr(), 128)),
    any("count events", |_| {
        let attributes = [0_u32, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        syscall!(SYS_perf_event_open, attributes.as_ptr(), 0, NOBODY, NOBODY, 0)
    }),
    any("have a ring of calls", |_| syscall!(SYS_io_uring_setup, 1, [0_u32; 30].as_ptr())),
    any("enter a ring of calls", |s| syscall!(SYS_io_uring_enter, s.channel, 0, 0, 0, 0, 0)),
    any("handle its own page faults", |_| syscall!(SYS_userfaultfd, 1)),
    any("load another kernel", |_| syscall!(SYS_kexec_load, 0, 0, 0, 0xffff)),
    any("load a module", |_| syscall!(SYS_init_module, 0, 0, c"".as_ptr())),
    any("load a module from a file", |_| syscall!(SYS_finit_module, NOBODY, c"".as_ptr(), 0)),
    any("remove a module", |_| syscall!(SYS_delete_module, c"wasmount-none".as_ptr(), 0)),
    any("restart the machine", |_| syscall!(SYS_reboot, 0, 0, 0, 0)),
    any("rename the machine", |_| syscall!(SYS_sethostname, c"".as_ptr(), NOBODY)),
    any("rename the domain", |_| syscall!(SYS_setdomainname, c"".as_ptr(), NOBODY)),
    any("set the time", |_| syscall!(SYS_settimeofday, 0, 0)),
    any("set a clock", |_| syscall!(SYS_clock_settime, 99, [0_u64; 2].as_ptr())),
    any("swap to a file", |s| syscall!(SYS_swapon, path(&s.scratch).as_ptr(), 0)),
    any("swap no longer", |s| syscall!(SYS_swapoff, path(&s.scratch).as_ptr())),
    any("set quotas", |s| syscall!(SYS_quotactl, NOBODY, path(&s.scratch).as_ptr(), 0, 0)),
    any("account for processes", |s| syscall!(SYS_acct, path(&s.scratch).as_ptr())),
    any("read the kernel's messages", |_| syscall!(SYS_syslog, 10, 0, 0)),
    any("change what it executes as", |_| syscall!(SYS_personality, 0xffff_ffff_u32)),
    any("have shared memory", |_| syscall!(SYS_shmget, 0, 4096, 0o600)),
    any("have semaphores", |_| syscall!(SYS_semget, 0, 1, 0o600)),
    any("have a queue of System V", |_| syscall!(SYS_msgget, 0, 0o600)),
    any("have a queue of events", |_| syscall!(SYS_epoll_create1, 0)),
    any("have a counter", |_| syscall!(SYS_eventfd2, 0, 0)),
    any("have a pipe", |_| syscall!(SYS_pipe2, [0_i32; 2].as_mut_ptr(), 0)),
    any("duplicate a descriptor", |s| {
        // As many as there may be: none.
        (0..2000).map(|_| syscall!(SYS_dup, s.channel)).reduce(Result::or).expect("not empty")
    }),
    any("wake who waits for a lock", |_| syscall!(SYS_futex, [0_u32].as_ptr(), 1, 1, 0, 0, 0)),
    #[cfg(target_arch = "x86_64")]
    any("have all ports of the machine", |_| syscall!(SYS_iopl, 3)),
    #[cfg(target_arch = "x86_64")]
    any("have a port of the machine", |_| syscall!(SYS_ioperm, 0x80, 1, 1)),
    #[cfg(target_arch = "x86_64")]
    any("have segments of its own", |_| syscall!(SYS_modify_ldt, 0, 0, 0)),
    #[cfg(target_arch = "x86_64")]
    any("make a call of another interface", |_| {
        super::payload::call(0x4000_0000 | libc::SYS_getpid, &[])
    }),
];

fn queue(_: &Scene) -> Tried {
    let name = path(&format!("wasmount-wall-{}", std::process::id()));
    let flags = libc::O_CREAT | libc::O_RDWR | libc::O_EXCL;
    let made = syscall!(SYS_mq_open, name.as_ptr(), flags, 0o600, 0)?;
    let _ = syscall!(SYS_mq_unlink, name.as_ptr());
    Ok(made)
}
