//! Which system calls a tool cannot make: whatever reaches past its own device and memory. No
//! network, no mount, no other process, nothing of the kernel's own.
//!
//! What it does with its device is not judged, and no call is missing that tools are used to: what is
//! refused looks as if the kernel did not have it. So does every call that is newer than the oldest
//! kernel, whatever it may be: no tool can need one. Which files it can open is [`super::files`]'s.

use libc::{c_int, c_long, sock_filter};
use rustix::io::Errno;

use crate::bpf::{
    self, ALLOW, ARCHITECTURE, ARCHITECTURE_AT, NUMBER_AT, jump, load, load_argument,
};

/// Calls that are not there.
const REFUSED: &[c_long] = &[
    // The network, and the sockets of whatever runs on this node. A network namespace of its own would
    // still let it connect to a container runtime's.
    libc::SYS_socket,
    libc::SYS_socketpair,
    // It does what other calls would.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Makes any file of root's shorter, which Landlock does not keep from it before Linux 6.2.
    libc::SYS_truncate,
    // What is known of a file without its being open, which Landlock does not keep from it.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    // Other processes. They are root's, as it is, so that it could signal them without any capability.
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Processes of its own: how clone(2) says what it makes can be told, and of this it cannot.
    libc::SYS_clone3,
    // Memory and messages that others share.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The kernel, the clock and the machine: mostly for want of a capability, too.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_adjtimex,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_mknodat,
];

/// Those that only this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[];

/// Makes a thread or, which is refused, a process.
const THREAD: c_long = libc::SYS_clone;

/// Limits a process: itself or, which is refused, another.
const LIMITS: c_long = libc::SYS_prlimit64;

/// Works on an open file or, which is refused, says which process is signalled when there is something
/// to read in it: with any signal, and for root without any capability (`sigio_perm` in fs/fcntl.c).
const FILE: c_long = libc::SYS_fcntl;

/// The two of its commands that say so.
const OWNERS: [c_int; 2] = [libc::F_SETOWN, F_SETOWN_EX];

/// From `<asm-generic/fcntl.h>`; `libc` has it not.
const F_SETOWN_EX: c_int = 15;

/// The newest call of Linux 5.11 (the oldest kernel is 5.12, whose only new one is for mounts).
const NEWEST: c_long = libc::SYS_epoll_pwait2;

const REFUSE: sock_filter = bpf::refuse(libc::ENOSYS);

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Allowed,
    Refused,
    IfThread,
    IfItself,
    UnlessOwner,
}

const fn has(list: &[c_long], number: c_long) -> bool {
    let mut at = 0;
    while at < list.len() {
        if list[at] == number {
            return true;
        }
        at += 1;
    }
    false
}

const fn verdict(number: c_long) -> Verdict {
    match number {
        THREAD => Verdict::IfThread,
        LIMITS => Verdict::IfItself,
        FILE => Verdict::UnlessOwner,
        _ if number > NEWEST || has(REFUSED, number) || has(REFUSED_HERE, number) => {
            Verdict::Refused
        }
        _ => Verdict::Allowed,
    }
}

/// How many ranges of numbers there are with one verdict each.
const RANGES: usize = {
    let (mut ranges, mut number) = (1, 1);
    while number <= NEWEST + 1 {
        if verdict(number) as u8 != verdict(number - 1) as u8 {
            ranges += 1;
        }
        number += 1;
    }
    ranges
};

/// Where each of them begins.
const STARTS: [c_long; RANGES] = {
    let (mut starts, mut at, mut number) = ([0; RANGES], 1, 1);
    while number <= NEWEST + 1 {
        if verdict(number) as u8 != verdict(number - 1) as u8 {
            starts[at] = number;
            at += 1;
        }
        number += 1;
    }
    starts
};

/// What comes before the search, the jumps of the search, one instruction for each range, three more
/// for each of the two that compare an argument once, and four for the one that does so twice.
const LENGTH: usize = 4 + (RANGES - 1) + RANGES + 2 * 3 + 4;

/// The program, assembled when this is compiled. It searches the ranges by halves: the kernel runs it
/// for every number there is when it is installed, which would take three times as long for a list.
const PROGRAM: [sock_filter; LENGTH] = {
    let mut program = [REFUSE; LENGTH];
    program[0] = load(ARCHITECTURE_AT);
    // Another architecture's calls (32 bits) have other numbers.
    program[1] = jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0);
    program[3] = load(NUMBER_AT);
    let end = search(&mut program, 4, 0, RANGES);
    assert!(end == LENGTH);
    program
};

/// Writes the search among the ranges from `low` to before `high`, from `at` on; where it ends.
const fn search(program: &mut [sock_filter; LENGTH], at: usize, low: usize, high: usize) -> usize {
    if high - low > 1 {
        let middle = usize::midpoint(low, high);
        let right = search(program, at + 1, low, middle);
        assert!(right - at <= 256, "a jump reaches no further");
        program[at] = jump(libc::BPF_JGE, STARTS[middle] as u32, (right - at - 1) as u8, 0);
        return search(program, right, middle, high);
    }
    let test = match verdict(STARTS[low]) {
        Verdict::Allowed => {
            program[at] = ALLOW;
            return at + 1;
        }
        Verdict::Refused => return at + 1,
        Verdict::IfThread => jump(libc::BPF_JSET, libc::CLONE_THREAD as u32, 0, 1),
        Verdict::IfItself => jump(libc::BPF_JEQ, 0, 0, 1),
        Verdict::UnlessOwner => {
            program[at] = load_argument(1);
            program[at + 1] = jump(libc::BPF_JEQ, OWNERS[0] as u32, 2, 0);
            program[at + 2] = jump(libc::BPF_JEQ, OWNERS[1] as u32, 1, 0);
            program[at + 3] = ALLOW;
            return at + 5;
        }
    };
    program[at] = load_argument(0);
    program[at + 1] = test;
    program[at + 2] = ALLOW;
    at + 4
}

/// Installs the filter for the rest of the process's life and for what it executes. Needs
/// no_new_privs.
pub(super) fn install() -> Result<(), Errno> {
    bpf::install(PROGRAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(architecture: u32, number: c_long, first: u32) -> u32 {
        answer_to(architecture, number, first, 0)
    }

    fn answer_to(architecture: u32, number: c_long, first: u32, second: u32) -> u32 {
        bpf::answer(&PROGRAM, architecture, number, [first, second, 0, 0, 0, 0])
    }

    #[test]
    fn a_file_signals_nobody() {
        let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        for command in 0_i32..2000 {
            let is_refused = [8, 15].contains(&command);
            let expected = if is_refused { refused } else { libc::SECCOMP_RET_ALLOW };
            let command = command.cast_unsigned();
            let given = answer_to(ARCHITECTURE, libc::SYS_fcntl, 0, command);
            assert_eq!(given, expected, "{command}");
        }
    }

    #[test]
    fn what_is_listed_or_new_is_refused_and_nothing_else() {
        let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        let thread = libc::CLONE_THREAD as u32;
        for number in 0..1000 {
            let is_refused =
                REFUSED.contains(&number) || REFUSED_HERE.contains(&number) || number > 441;
            for first in [0, 1, thread, thread | 1] {
                let allowed = match number {
                    libc::SYS_clone => first & thread != 0,
                    libc::SYS_prlimit64 => first == 0,
                    _ => !is_refused,
                };
                let expected = if allowed { libc::SECCOMP_RET_ALLOW } else { refused };
                assert_eq!(answer(ARCHITECTURE, number, first), expected, "{number} {first}");
                assert_eq!(answer(ARCHITECTURE ^ 1, number, first), refused, "{number}");
            }
        }
        // The x32 ABI's numbers have this bit and the same architecture.
        assert_eq!(answer(ARCHITECTURE, 0x4000_0000, 0), refused);
    }
}
