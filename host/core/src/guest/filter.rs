//! Which system calls the guest process can still make once it runs the component.
//!
//! Even of code that has broken out of the engine's sandbox, nothing is left but memory, time,
//! randomness, and messages to the broker on the one socket there is. All other calls fail with
//! EPERM instead of ending the process, so that what a C library only tries is not fatal.

use libc::{c_long, sock_filter, sock_fprog};

use crate::failure::{Code, Failure};

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[c_long] = &[
    // Talk to the broker. Without the msghdr forms no descriptor can be passed either way.
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    // Let it have the processor meanwhile.
    libc::SYS_sched_yield,
    // Memory; making it executable is refused below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
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
    // Its own limits, which it can only lower: no other process is of its user.
    libc::SYS_prlimit64,
    // Locks of the standard library, which nobody else holds, and the end.
    libc::SYS_futex,
    libc::SYS_exit_group,
];

/// Calls that are allowed unless their third argument has `PROT_EXEC`.
const UNLESS_EXECUTABLE: &[c_long] = &[libc::SYS_mmap, libc::SYS_mprotect];

/// `AUDIT_ARCH_…` of `linux/audit.h`: the ELF machine, 64 bits, little endian.
const ARCHITECTURE: u32 = 0xC000_0000
    | if cfg!(target_arch = "x86_64") { libc::EM_X86_64 as u32 } else { libc::EM_AARCH64 as u32 };

/// Offsets in `struct seccomp_data` (seccomp(2)).
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const THIRD_ARGUMENT_AT: u32 = 32;

const LENGTH: usize = 3 + ALLOWED.len() + UNLESS_EXECUTABLE.len() + 1 + 3 + 1;

/// The program, assembled when this is compiled.
const PROGRAM: [sock_filter; LENGTH] = {
    let refuse = op(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let allow = op(libc::BPF_RET, libc::SECCOMP_RET_ALLOW);
    let mut program = [refuse; LENGTH];
    program[0] = load(ARCHITECTURE_AT);
    // A process that can switch to another architecture's calls (32 bits) has other numbers.
    program[1] = jump(libc::BPF_JEQ, ARCHITECTURE, 0, (LENGTH - 7) as u8);
    program[2] = load(NUMBER_AT);
    let allow_at = LENGTH - 1;
    let check_at = LENGTH - 4;
    let mut at = 3;
    while at < 3 + ALLOWED.len() {
        program[at] = jump(libc::BPF_JEQ, ALLOWED[at - 3] as u32, (allow_at - at - 1) as u8, 0);
        at += 1;
    }
    while at < 3 + ALLOWED.len() + UNLESS_EXECUTABLE.len() {
        let number = UNLESS_EXECUTABLE[at - 3 - ALLOWED.len()] as u32;
        program[at] = jump(libc::BPF_JEQ, number, (check_at - at - 1) as u8, 0);
        at += 1;
    }
    // Here `refuse` stands already.
    program[check_at] = load(THIRD_ARGUMENT_AT);
    program[check_at + 1] = jump(libc::BPF_JSET, libc::PROT_EXEC as u32, 0, 1);
    program[check_at + 2] = refuse;
    program[allow_at] = allow;
    program
};

/// Installs the filter for the rest of the process's life. Needs no_new_privs.
pub(super) fn install() -> Result<(), Failure> {
    let mut program = PROGRAM;
    let program = sock_fprog { len: LENGTH as u16, filter: program.as_mut_ptr() };
    #[expect(unsafe_code, reason = "rustix and nix cannot install a filter")]
    // SAFETY: PR_SET_SECCOMP reads `len` instructions at `filter`, which both outlive the call
    // (prctl(2)); the kernel copies and checks them.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    nix::errno::Errno::result(result).map(drop).map_err(|error| {
        let message = format!(
            "the process that would run the component cannot restrict its system calls: {error}; \
             nothing of the component was run"
        );
        Failure::new(Code::FailedPrecondition, "confinement", message)
    })
}

const fn load(at: u32) -> sock_filter {
    op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at)
}

const fn op(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program says to a call, by the rules of classic BPF.
    fn verdict(architecture: u32, number: c_long, third: u32) -> u32 {
        let mut accumulator = 0;
        let mut at = 0;
        loop {
            let sock_filter { code, jt, jf, k } = PROGRAM[at];
            at += 1;
            let taken = match u32::from(code) {
                code if code == libc::BPF_RET => return k,
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    accumulator = match k {
                        NUMBER_AT => number as u32,
                        ARCHITECTURE_AT => architecture,
                        THIRD_ARGUMENT_AT => third,
                        _ => panic!("loads at {k}"),
                    };
                    continue;
                }
                code if code == libc::BPF_JMP | libc::BPF_JEQ => accumulator == k,
                code if code == libc::BPF_JMP | libc::BPF_JSET => accumulator & k != 0,
                code => panic!("code {code:#x}"),
            };
            at += usize::from(if taken { jt } else { jf });
        }
    }

    #[test]
    fn what_is_listed_is_allowed_and_nothing_else() {
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        for number in 0..600 {
            let listed = ALLOWED.contains(&number);
            let conditional = UNLESS_EXECUTABLE.contains(&number);
            for (third, allowed) in [
                (0, listed || conditional),
                (libc::PROT_READ as u32 | libc::PROT_WRITE as u32, listed || conditional),
                (libc::PROT_READ as u32 | libc::PROT_EXEC as u32, listed),
            ] {
                let expected = if allowed { libc::SECCOMP_RET_ALLOW } else { refused };
                assert_eq!(verdict(ARCHITECTURE, number, third), expected, "{number} {third}");
                assert_eq!(verdict(ARCHITECTURE ^ 1, number, third), refused, "{number}");
            }
        }
        // The x32 ABI's numbers have this bit and the same architecture.
        assert_eq!(verdict(ARCHITECTURE, 0x4000_0000 | libc::SYS_sendto, 0), refused);
    }
}
