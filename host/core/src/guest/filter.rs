//! Which system calls the guest process can still make once it runs the component.
//!
//! Even of code that has broken out of the engine's sandbox, nothing is left but memory, time,
//! randomness, and messages to the broker on the one socket there is. All other calls fail with
//! EPERM instead of ending the process, so that what a C library only tries is not fatal.

use libc::{c_long, sock_filter};

use super::confine::put_up;
use crate::bpf::{
    self, ALLOW, ARCHITECTURE, ARCHITECTURE_AT, NUMBER_AT, jump, load, load_argument,
};
use crate::failure::Failure;
use crate::wall::Layer;

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[c_long] = &[
    // Talk to the broker. Without the msghdr forms no descriptor can be passed either way.
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    // Let it have the processor meanwhile.
    libc::SYS_sched_yield,
    // Memory, and less of it. To move a part of the stack (mremap(2)) would let it grow uncounted.
    libc::SYS_brk,
    libc::SYS_munmap,
    // Traps: wasmtime's handlers and their stack.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // `clock` and `random`.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_exit_group,
];

/// Calls that are allowed where all of these are so.
const CHECKED: &[(c_long, &[Check])] = &[
    // Memory that the limit counts, for as long as it is there: nothing shared, locked, of huge pages
    // or growing by itself, and nothing that was written to becomes read-only or a secret reserve.
    // Nothing becomes executable.
    (
        libc::SYS_mmap,
        &[
            Check { argument: 2, is: Is::OneOf(&[libc::PROT_NONE as u32, READ_WRITE]) },
            Check { argument: 3, is: Is::Within(MAPPINGS) },
        ],
    ),
    (libc::SYS_mprotect, &[Check { argument: 2, is: Is::OneOf(&[READ_WRITE]) }]),
    (libc::SYS_madvise, &[Check { argument: 2, is: Is::OneOf(&[libc::MADV_DONTNEED as u32]) }]),
    // The C library wakes who waits for what it does once, even if nobody does; a panic needs that.
    (libc::SYS_futex, &[Check { argument: 1, is: Is::OneOf(&[WAKE]) }]),
    // Its own limits, which it can only lower. Away from a node, its user has other processes.
    (libc::SYS_prlimit64, &[Check { argument: 0, is: Is::OneOf(&[0]) }]),
];

const WAKE: u32 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u32;

const READ_WRITE: u32 = (libc::PROT_READ | libc::PROT_WRITE) as u32;

/// What a mapping may be.
const MAPPINGS: u32 = (libc::MAP_PRIVATE
    | libc::MAP_ANONYMOUS
    | libc::MAP_FIXED
    | libc::MAP_FIXED_NOREPLACE
    | libc::MAP_NORESERVE
    | libc::MAP_STACK) as u32;

/// What has to be so of an argument. The kernel looks at no more than its lower half either.
struct Check {
    argument: u32,
    is: Is,
}

enum Is {
    /// It is one of these.
    OneOf(&'static [u32]),
    /// It has none but these bits.
    Within(u32),
}

const REFUSE: sock_filter = bpf::refuse(libc::EPERM);

/// Where the checks begin: after the architecture, a jump for each call, and two verdicts.
const CHECKS_AT: usize = 4 + ALLOWED.len() + CHECKED.len() + 2;

const LENGTH: usize = {
    let (mut length, mut call) = (CHECKS_AT, 0);
    while call < CHECKED.len() {
        length += length_of(CHECKED[call].1);
        call += 1;
    }
    length
};

/// The program, assembled when this is compiled.
const PROGRAM: [sock_filter; LENGTH] = {
    let mut program = [REFUSE; LENGTH];
    program[0] = load(ARCHITECTURE_AT);
    // A process that can switch to another architecture's calls (32 bits) has other numbers.
    program[1] = jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0);
    program[3] = load(NUMBER_AT);
    let allow_at = CHECKS_AT - 1;
    let mut at = 4;
    while at < 4 + ALLOWED.len() {
        program[at] = jump(libc::BPF_JEQ, ALLOWED[at - 4] as u32, (allow_at - at - 1) as u8, 0);
        at += 1;
    }
    let (mut call, mut checks_at) = (0, CHECKS_AT);
    while call < CHECKED.len() {
        let (number, checks) = CHECKED[call];
        program[at] = jump(libc::BPF_JEQ, number as u32, (checks_at - at - 1) as u8, 0);
        (at, call, checks_at) = (at + 1, call + 1, put(checks, checks_at, &mut program));
    }
    program[allow_at] = ALLOW;
    program
};

/// How many instructions a call's checks are.
const fn length_of(checks: &[Check]) -> usize {
    let (mut length, mut check) = (1, 0);
    while check < checks.len() {
        length += match checks[check].is {
            Is::OneOf(values) => values.len() + 2,
            Is::Within(_) => 3,
        };
        check += 1;
    }
    length
}

/// Puts a call's checks where `REFUSE` is everywhere; returns where they end.
const fn put(checks: &[Check], mut at: usize, program: &mut [sock_filter; LENGTH]) -> usize {
    let mut check = 0;
    while check < checks.len() {
        program[at] = load_argument(checks[check].argument);
        at += 1;
        match checks[check].is {
            Is::OneOf(values) => {
                let mut value = 0;
                while value < values.len() {
                    let past_refuse = (values.len() - value) as u8;
                    program[at] = jump(libc::BPF_JEQ, values[value], past_refuse, 0);
                    (at, value) = (at + 1, value + 1);
                }
            }
            Is::Within(bits) => {
                program[at] = jump(libc::BPF_JSET, !bits, 0, 1);
                at += 1;
            }
        }
        (at, check) = (at + 1, check + 1);
    }
    program[at] = ALLOW;
    at + 1
}

/// Installs the filter for the rest of the process's life. Needs no_new_privs.
pub(super) fn install() -> Result<(), Failure> {
    put_up(Layer::Seccomp, "restrict its system calls", || bpf::install(PROGRAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(architecture: u32, number: c_long, arguments: [u32; 6]) -> u32 {
        bpf::answer(&PROGRAM, architecture, number, arguments)
    }

    const REFUSED: u32 = REFUSE.k;
    const YES: u32 = libc::SECCOMP_RET_ALLOW;

    #[test]
    fn what_is_listed_is_allowed_and_nothing_else() {
        for number in 0..600 {
            let odd = [u32::MAX; 6];
            let expected = if ALLOWED.contains(&number) { YES } else { REFUSED };
            assert_eq!(verdict(ARCHITECTURE, number, odd), expected, "{number}");
            assert_eq!(verdict(ARCHITECTURE ^ 1, number, odd), REFUSED, "{number}");
        }
        // The x32 ABI's numbers have this bit and the same architecture.
        assert_eq!(verdict(ARCHITECTURE, 0x4000_0000 | libc::SYS_sendto, [0; 6]), REFUSED);
    }

    #[test]
    fn arguments_are_looked_at() {
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let reserve = anonymous | libc::MAP_NORESERVE;
        let (none, read, both) = (libc::PROT_NONE, libc::PROT_READ, READ_WRITE as i32);
        for (number, third, fourth, allowed) in [
            (libc::SYS_mmap, both, anonymous, true),
            (libc::SYS_mmap, none, reserve, true),
            (libc::SYS_mmap, read, anonymous, false),
            (libc::SYS_mmap, both | libc::PROT_EXEC, anonymous, false),
            (libc::SYS_mmap, libc::PROT_EXEC, anonymous, false),
            (libc::SYS_mmap, both, libc::MAP_SHARED | libc::MAP_ANONYMOUS, false),
            (libc::SYS_mmap, both, anonymous | libc::MAP_GROWSDOWN, false),
            (libc::SYS_mmap, both, anonymous | libc::MAP_HUGETLB, false),
            (libc::SYS_mmap, both, anonymous | libc::MAP_LOCKED, false),
            (libc::SYS_mprotect, both, 0, true),
            (libc::SYS_mprotect, none, 0, false),
            (libc::SYS_mprotect, read, 0, false),
            (libc::SYS_mprotect, read | libc::PROT_EXEC, 0, false),
            (libc::SYS_madvise, libc::MADV_DONTNEED, 0, true),
            (libc::SYS_madvise, libc::MADV_HUGEPAGE, 0, false),
            (libc::SYS_prlimit64, 77, 77, true),
        ] {
            let arguments = [0, 4096, third as u32, fourth as u32, 0, 0];
            let expected = if allowed { YES } else { REFUSED };
            let told = verdict(ARCHITECTURE, number, arguments);
            assert_eq!(told, expected, "{number} {third:#x} {fourth:#x}");
        }
        assert_eq!(verdict(ARCHITECTURE, libc::SYS_prlimit64, [1, 0, 0, 0, 0, 0]), REFUSED);
    }
}
