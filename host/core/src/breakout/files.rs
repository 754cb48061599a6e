//! Files: contents, names, devices, and what procfs has of processes.

use super::payload::{Attempt, DESCRIPTORS, PATHS, Scene, Tried, any, by, path, syscall};
use crate::wall::Layer::{
    Capabilities, LandlockFiles, LandlockTruncate, LimitFsize, LimitNofile, Seccomp, User,
};

pub(super) const ATTEMPTS: &[Attempt] = &[
    by(LandlockFiles, DESCRIPTORS, "open a file that everybody may read", |s| read(&s.open)),
    by(User, PATHS, "open a file of root's", |s| read(&s.private)),
    by(
        Capabilities,
        &[Seccomp, LimitNofile, LandlockFiles, User],
        "open a file that nobody may read",
        |s| read(&s.sealed),
    ),
    by(LandlockTruncate, &[Seccomp], "cut a file off by its path", |s| {
        syscall!(SYS_truncate, path(&s.open).as_ptr(), 0)
    }),
    by(LimitFsize, PATHS, "write to a file", write),
    any("open /etc/passwd", |_| read("/etc/passwd")),
    any("list the plugin directory", |s| open(&s.directories[0], libc::O_DIRECTORY)),
    any("list the records", |s| open(&s.directories[1], libc::O_DIRECTORY)),
    any("list the audit logs", |s| open(&s.directories[2], libc::O_DIRECTORY)),
    any("open the grants", |_| read("/proc/self/exe/../grants.toml")),
    any("open a path and no more", |s| open(&s.open, libc::O_PATH)),
    any("open by openat2", |s| {
        let how = [0_u64; 3];
        syscall!(
            SYS_openat2,
            libc::AT_FDCWD,
            path(&s.open).as_ptr(),
            how.as_ptr(),
            size_of_val(&how)
        )
    }),
    any("open a file by its handle", |_| {
        let handle = [8_u32, 1, 0, 0];
        syscall!(SYS_open_by_handle_at, libc::AT_FDCWD, handle.as_ptr(), libc::O_RDONLY)
    }),
    any("create a file", |s| open(&new(s), libc::O_CREAT | libc::O_WRONLY)),
    any("make a file without a name", |s| open(&s.scratch, libc::O_TMPFILE | libc::O_RDWR)),
    any("make a directory", |s| {
        syscall!(SYS_mkdirat, libc::AT_FDCWD, path(&new(s)).as_ptr(), 0o700)
    }),
    any("make a device node", |s| {
        let (null, mode) = (0x103, libc::S_IFCHR | 0o600);
        syscall!(SYS_mknodat, libc::AT_FDCWD, path(&new(s)).as_ptr(), mode, null)
    }),
    any("make a pipe with a name", |s| {
        syscall!(SYS_mknodat, libc::AT_FDCWD, path(&new(s)).as_ptr(), libc::S_IFIFO | 0o600, 0)
    }),
    any("make a link", |s| {
        let (from, to) = (path(&s.open), path(&new(s)));
        syscall!(SYS_linkat, libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), 0)
    }),
    any("make a symbolic link", |s| {
        syscall!(SYS_symlinkat, c"/".as_ptr(), libc::AT_FDCWD, path(&new(s)).as_ptr())
    }),
    any("rename a file", |s| {
        let (from, to) = (path(&s.open), path(&new(s)));
        syscall!(SYS_renameat2, libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), 0)
    }),
    any("remove a file", |s| syscall!(SYS_unlinkat, libc::AT_FDCWD, path(&s.open).as_ptr(), 0)),
    any("change a file's mode", |s| {
        syscall!(SYS_fchmodat, libc::AT_FDCWD, path(&s.open).as_ptr(), 0o777)
    }),
    any("change a file's owner", |s| {
        syscall!(SYS_fchownat, libc::AT_FDCWD, path(&s.open).as_ptr(), 1, 1, 0)
    }),
    any("change a file's times", |s| {
        syscall!(SYS_utimensat, libc::AT_FDCWD, path(&s.open).as_ptr(), 0, 0)
    }),
    any("set a file's attribute", |s| {
        syscall!(SYS_setxattr, path(&s.open).as_ptr(), c"user.x".as_ptr(), c"x".as_ptr(), 1, 0)
    }),
    any("look whether a file is there", |s| {
        syscall!(SYS_faccessat, libc::AT_FDCWD, path(&s.private).as_ptr(), 0)
    }),
    any("ask for a file's size", |s| {
        let mut told = [0_u64; 32];
        syscall!(SYS_statx, libc::AT_FDCWD, path(&s.open).as_ptr(), 0, 0x7ff, told.as_mut_ptr())
    }),
    any("ask for a filesystem's size", |_| {
        let mut told = [0_u64; 16];
        syscall!(SYS_statfs, c"/".as_ptr(), told.as_mut_ptr())
    }),
    any("ask where its program is", |_| {
        let (link, mut told) = (c"/proc/self/exe", [0_u8; 256]);
        syscall!(SYS_readlinkat, libc::AT_FDCWD, link.as_ptr(), told.as_mut_ptr(), told.len())
    }),
    any("ask where it is", |_| {
        let mut told = [0_u8; 256];
        syscall!(SYS_getcwd, told.as_mut_ptr(), told.len())
    }),
    any("go elsewhere", |s| syscall!(SYS_chdir, path(&s.scratch).as_ptr())),
    any("change its root", |s| syscall!(SYS_chroot, path(&s.scratch).as_ptr())),
    any("watch files", |_| syscall!(SYS_inotify_init1, 0)),
    any("watch filesystems", |_| syscall!(SYS_fanotify_init, 0, 0)),
    any("open its own memory", |_| open("/proc/self/mem", libc::O_RDWR)),
    any("list its mappings", |_| read("/proc/self/maps")),
    any("read its environment", |_| read("/proc/self/environ")),
    any("list its descriptors", |_| open("/proc/self/fd", libc::O_DIRECTORY)),
    any("give itself to the memory killer last", |_| {
        open("/proc/self/oom_score_adj", libc::O_WRONLY)
    }),
    any("read the environment of process 1", |_| read("/proc/1/environ")),
    any("open the root of process 1", |_| open("/proc/1/root", libc::O_DIRECTORY)),
    any("open the broker's memory", |s| open(&of_broker(s, "mem"), libc::O_RDWR)),
    any("list the broker's descriptors", |s| open(&of_broker(s, "fd"), libc::O_DIRECTORY)),
    any("read the broker's environment", |s| read(&of_broker(s, "environ"))),
    any("open a device", |_| open("/dev/null", libc::O_RDWR)),
    any("open the control of loop devices", |_| open("/dev/loop-control", libc::O_RDWR)),
    any("open the kernel's memory", |_| read("/dev/mem")),
    any("open the kernel's messages", |_| read("/dev/kmsg")),
    any("set a variable of the kernel", |_| open("/proc/sys/kernel/core_pattern", libc::O_WRONLY)),
];

fn open(name: &str, flags: i32) -> Tried {
    syscall!(SYS_openat, libc::AT_FDCWD, path(name).as_ptr(), flags | libc::O_CLOEXEC, 0o600)
}

fn read(name: &str) -> Tried {
    open(name, libc::O_RDONLY)
}

fn write(scene: &Scene) -> Tried {
    // Otherwise the signal of the limit would be the end.
    super::processes::ignore(libc::SIGXFSZ)?;
    let fd = open(&scene.open, libc::O_WRONLY)?;
    syscall!(SYS_write, fd, b"x".as_ptr(), 1)
}

/// A name that nothing has.
fn new(scene: &Scene) -> String {
    format!("{}/new", scene.scratch)
}

fn of_broker(scene: &Scene, file: &str) -> String {
    format!("/proc/{}/{file}", scene.broker)
}
