//! Processes: new ones, other programs, other processes' memory and signals, and its own standing.

use std::ffi::CStr;

use nix::errno::Errno;

use super::payload::{Attempt, NOBODY, Scene, Tried, any, by, path, syscall};
use crate::wall::Layer::{
    BoundingSet, LandlockFiles, LandlockNetwork, LandlockScopes, LandlockTruncate, LimitCore,
    LimitFsize, LimitNofile, LimitNproc, LimitSigpending, LimitStack, NoNewPrivileges, NotDumpable,
    Seccomp, User,
};

pub(super) const ATTEMPTS: &[Attempt] = &[
    by(LimitNproc, &[Seccomp], "fork", |_| in_child(|| 0)),
    by(
        NoNewPrivileges,
        // Without it a process that is not root cannot put up either.
        &[
            Seccomp,
            LimitNofile,
            LimitNproc,
            LandlockFiles,
            LandlockTruncate,
            LandlockNetwork,
            LandlockScopes,
        ],
        "become root by a program that is root's",
        |s| succeeds(&s.setuid, &[c"-O", c"/"]),
    ),
    by(
        BoundingSet,
        &[
            Seccomp,
            LimitNofile,
            LimitNproc,
            NoNewPrivileges,
            LandlockFiles,
            LandlockTruncate,
            LandlockNetwork,
            LandlockScopes,
        ],
        "read every file by a program that may",
        |s| succeeds(&s.capable, &[c"-q", c"", &path(&s.private)]),
    ),
    by(
        LimitCore,
        &[Seccomp, LimitNofile, LandlockFiles, LimitNproc, LimitFsize, NotDumpable],
        "dump its memory into a file",
        dump,
    ),
    by(LandlockScopes, &[Seccomp, User], "signal a process of its user", |s| kill(s.victim)),
    // `NotDumpable` is the victim's here: the test makes it another component's process.
    any("trace another process", |s| syscall!(SYS_ptrace, libc::PTRACE_SEIZE, s.victim, 0, 0)),
    by(LimitSigpending, &[Seccomp], "set a timer", |_| {
        let mut timer = 0_usize;
        syscall!(SYS_timer_create, libc::CLOCK_MONOTONIC, 0, &raw mut timer)
    }),
    by(LimitStack, &[], "raise the bound of its stack", |_| limit(0, libc::RLIMIT_STACK, 64 << 20)),
    any("fork as clone3 does", |_| {
        let mut arguments = [0_u64; 8];
        arguments[4] = libc::SIGCHLD as u64;
        syscall!(SYS_clone3, arguments.as_mut_ptr(), size_of_val(&arguments))
    }),
    any("start a thread", |_| syscall!(SYS_clone, libc::CLONE_VM | libc::CLONE_THREAD, 0, 0, 0, 0)),
    #[cfg(target_arch = "x86_64")]
    any("fork as vfork does", |_| syscall!(SYS_vfork)),
    any("execute a program", |_| {
        let (arguments, nothing) = ([c"true".as_ptr() as usize, 0], [0_usize]);
        syscall!(SYS_execve, c"/bin/true".as_ptr(), arguments.as_ptr(), nothing.as_ptr())
    }),
    any("execute a file that has no name", |s| {
        let empty = [0_usize];
        syscall!(
            SYS_execveat,
            s.channel,
            c"".as_ptr(),
            empty.as_ptr(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH
        )
    }),
    any("trace the broker", |s| syscall!(SYS_ptrace, libc::PTRACE_SEIZE, s.broker, 0, 0)),
    any("be traced", |_| syscall!(SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0)),
    any("read the broker's memory", |s| read_memory(s.broker)),
    any("read another process's memory", |s| read_memory(s.victim)),
    any("write to another process's memory", |s| {
        syscall!(SYS_process_vm_writev, s.victim, 0, 0, 0, 0, 0)
    }),
    any("have a handle of the broker", |s| syscall!(SYS_pidfd_open, s.broker, 0)),
    any("have the broker's descriptor", |_| syscall!(SYS_pidfd_getfd, 0, 0, 0)),
    any("compare itself with the broker", |s| syscall!(SYS_kcmp, s.broker, s.supervisor, 0, 0, 0)),
    any("signal the broker", |s| kill(s.broker)),
    any("signal the supervisor", |s| kill(s.supervisor)),
    any("signal process 1", |_| kill(1)),
    any("signal everybody", |_| kill(NOBODY)),
    any("signal its group", |_| kill(0)),
    any("queue a signal", |s| syscall!(SYS_rt_sigqueueinfo, s.victim, 0, [0_u32; 32].as_ptr())),
    any("leave its group", |_| syscall!(SYS_setsid)),
    any("be dumpable again", |_| prctl(libc::PR_SET_DUMPABLE, 1)),
    any("outlive the broker", |_| prctl(libc::PR_SET_PDEATHSIG, 0)),
    any("let others trace it", |_| prctl(libc::PR_SET_PTRACER, usize::MAX)),
    any("keep capabilities", |_| prctl(libc::PR_SET_KEEPCAPS, 1)),
    any("be another user", |_| syscall!(SYS_setuid, 0)),
    any("be three other users", |_| syscall!(SYS_setresuid, 0, 0, 0)),
    any("be of another group", |_| syscall!(SYS_setgid, 0)),
    any("be of more groups", |_| syscall!(SYS_setgroups, 1, [0_u32].as_ptr())),
    any("open files as another user", |_| {
        // It answers who it was, whatever became of it.
        syscall!(SYS_setfsuid, 0)
    }),
    any("have capabilities", |_| {
        let (header, sets) = ([0x2008_0522_u32, 0], [u32::MAX; 6]);
        syscall!(SYS_capset, header.as_ptr(), sets.as_ptr())
    }),
    any("filter its calls anew", |_| {
        syscall!(SYS_prctl, libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, 0)
    }),
    any("listen to its filter", |_| syscall!(SYS_seccomp, 1, 1 << 3, 0)),
    any("enclose itself anew", |_| syscall!(SYS_landlock_create_ruleset, 0, 0, 1)),
    any("raise the bound of its files", |_| limit(0, libc::RLIMIT_NOFILE, 64)),
    any("raise the bound of its processes", |_| limit(0, libc::RLIMIT_NPROC, 64)),
    any("raise the bound of its time", |_| limit(0, libc::RLIMIT_CPU, 1000)),
    any("raise the bound of its memory", |_| limit(0, libc::RLIMIT_DATA, 1 << 40)),
    any("bound another process", |s| limit(s.victim, libc::RLIMIT_NOFILE, 0)),
    any("have a real-time priority", |_| {
        syscall!(SYS_sched_setscheduler, 0, libc::SCHED_FIFO, [1_u32].as_ptr())
    }),
    any("have a higher priority", |_| syscall!(SYS_setpriority, libc::PRIO_PROCESS, 0, NOBODY)),
    any("keep another process off the processors", |s| {
        syscall!(SYS_sched_setaffinity, s.victim, 8, [1_u64].as_ptr())
    }),
    any("advise another process's memory", |_| syscall!(SYS_process_madvise, 0, 0, 0, 0, 0)),
    any("ask who its parent is", |_| syscall!(SYS_getppid)),
];

/// Signals nobody: only asks whether that could be.
fn kill(process: i32) -> Tried {
    syscall!(SYS_kill, process, 0)
}

fn prctl(option: i32, value: usize) -> Tried {
    syscall!(SYS_prctl, option, value, 0, 0, 0)
}

fn limit(process: i32, resource: libc::__rlimit_resource_t, value: u64) -> Tried {
    let limit = [value, value];
    syscall!(SYS_prlimit64, process, resource, limit.as_ptr(), 0)
}

/// Where nothing is mapped: it is answered first whether it may look at all.
fn read_memory(process: i32) -> Tried {
    let mut buffer = 0_u8;
    let (local, remote) = ([&raw mut buffer as usize, 1], [4096_usize, 1]);
    syscall!(SYS_process_vm_readv, process, local.as_ptr(), 1, remote.as_ptr(), 1, 0)
}

/// Has a signal no effect.
pub(super) fn ignore(signal: i32) -> Tried {
    // `struct sigaction` of the kernel, whose first member is SIG_IGN.
    let action = [libc::SIG_IGN, 0, 0, 0];
    syscall!(SYS_rt_sigaction, signal, action.as_ptr(), 0, 8)
}

/// Runs something in a child; how that ended, as wait(2) has it.
fn in_child(run: impl FnOnce() -> i32) -> Tried {
    let child = syscall!(SYS_clone, libc::SIGCHLD, 0, 0, 0, 0)?;
    if child == 0 {
        let _ = syscall!(SYS_exit_group, run());
    }
    let mut status = 0_i32;
    syscall!(SYS_wait4, child, &raw mut status, 0, 0)?;
    Ok(status as usize)
}

/// Executes a program; got out if that says yes.
fn succeeds(program: &str, arguments: &[&CStr]) -> Tried {
    let (program, nothing) = (path(program), [0_usize]);
    let given = arguments.iter().map(|argument| argument.as_ptr() as usize);
    let arguments: Vec<usize> =
        [program.as_ptr() as usize].into_iter().chain(given).chain([0]).collect();
    let execute = || {
        let _ = syscall!(SYS_execve, program.as_ptr(), arguments.as_ptr(), nothing.as_ptr());
        99
    };
    match in_child(execute)? {
        0 => Ok(0),
        _ => Err(Errno::EACCES),
    }
}

/// Got out if the kernel says that there is a core.
fn dump(scene: &Scene) -> Tried {
    const WITH_CORE: usize = 0x80;
    let directory = path(&scene.scratch);
    let status = in_child(|| {
        let _ = syscall!(SYS_chdir, directory.as_ptr());
        // A core that its owner may not read is none.
        let _ = syscall!(SYS_umask, 0);
        let _ = prctl(libc::PR_SET_DUMPABLE, 1);
        let _ = limit(0, libc::RLIMIT_CORE, 1 << 30);
        let _ = syscall!(SYS_getpid).and_then(|own| syscall!(SYS_kill, own, libc::SIGABRT));
        0
    })?;
    if status & WITH_CORE != 0 { Ok(status) } else { Err(Errno::EPERM) }
}
