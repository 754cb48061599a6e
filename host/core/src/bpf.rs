//! Filters of system calls (seccomp(2)), as programs of classic BPF that are assembled when this is
//! compiled. What a filter allows is for whom it is: `guest/filter.rs`, `kernel/tools/filter.rs`.

use libc::{sock_filter, sock_fprog};
use rustix::io::Errno;

/// `AUDIT_ARCH_…` of `linux/audit.h`: the ELF machine, 64 bits, little endian.
pub(crate) const ARCHITECTURE: u32 = 0xC000_0000
    | if cfg!(target_arch = "x86_64") { libc::EM_X86_64 as u32 } else { libc::EM_AARCH64 as u32 };

/// Offsets in `struct seccomp_data` (seccomp(2)), of the arguments' lower halves.
pub(crate) const NUMBER_AT: u32 = 0;
pub(crate) const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// The call is made.
pub(crate) const ALLOW: sock_filter = op(libc::BPF_RET, libc::SECCOMP_RET_ALLOW);

/// The call fails with this error.
pub(crate) const fn refuse(errno: i32) -> sock_filter {
    op(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | errno as u32)
}

/// Looks at what is at that offset.
pub(crate) const fn load(at: u32) -> sock_filter {
    op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at)
}

/// Looks at an argument; the first is 0.
pub(crate) const fn load_argument(argument: u32) -> sock_filter {
    load(ARGUMENTS_AT + 8 * argument)
}

/// Passes over so many instructions if the test (`BPF_JEQ` and the like) says yes, and no.
pub(crate) const fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt, jf, k }
}

const fn op(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Has the calls of this process filtered for the rest of its life, and those of what it executes.
/// Needs no_new_privs.
pub(crate) fn install<const N: usize>(mut program: [sock_filter; N]) -> Result<(), Errno> {
    let program = sock_fprog { len: N as u16, filter: program.as_mut_ptr() };
    #[expect(unsafe_code, reason = "rustix and nix cannot install a filter")]
    // SAFETY: PR_SET_SECCOMP reads `len` instructions at `filter`, which both outlive the call
    // (prctl(2)); the kernel copies and checks them.
    let installed =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    match installed {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

/// What a program says to a call with these arguments, by the rules of classic BPF.
#[cfg(test)]
pub(crate) fn answer(
    program: &[sock_filter],
    architecture: u32,
    number: libc::c_long,
    arguments: [u32; 6],
) -> u32 {
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let taken = match u32::from(code) {
            code if code == libc::BPF_RET => return k,
            code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                accumulator = match k {
                    NUMBER_AT => number as u32,
                    ARCHITECTURE_AT => architecture,
                    k => {
                        assert_eq!((k - ARGUMENTS_AT) % 8, 0, "loads at {k}");
                        arguments[(k - ARGUMENTS_AT) as usize / 8]
                    }
                };
                continue;
            }
            code if code == libc::BPF_JMP | libc::BPF_JEQ => accumulator == k,
            code if code == libc::BPF_JMP | libc::BPF_JGE => accumulator >= k,
            code if code == libc::BPF_JMP | libc::BPF_JSET => accumulator & k != 0,
            code => panic!("code {code:#x}"),
        };
        at += usize::from(if taken { jt } else { jf });
    }
}
