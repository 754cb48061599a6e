//! Landlock (landlock(7)): no path, no TCP port, and no process or abstract socket but its own can be
//! named by the guest process, whatever its user may.
//!
//! Everything is handled that the kernel knows of, and no rule allows any of it. The kernel may be
//! older than some of it, or have been started without: then [`lacking`] says so, to whoever decides.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use libc::{c_int, c_long};
use nix::errno::Errno;

use super::confine::refused;
use crate::failure::{Code, Failure};
use crate::grants::Isolation;
use crate::wall::{Layer, stands};

/// What came with one version of Landlock.
struct Part {
    /// Its name, in the audit log and for the operator.
    name: &'static str,
    /// The Linux that it came with.
    since: &'static str,
    layer: Layer,
    /// The version of the interface.
    abi: c_long,
    handled: Ruleset,
}

/// `struct landlock_ruleset_attr` of linux/landlock.h. A kernel that knows only its beginning takes
/// it where the rest is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ruleset {
    access_fs: u64,
    access_net: u64,
    scoped: u64,
}

const NONE: Ruleset = Ruleset { access_fs: 0, access_net: 0, scoped: 0 };

const PARTS: [Part; 4] = [
    // EXECUTE to MAKE_SYM. To move a file to another directory (REFER, of version 2) is refused by
    // version 1 as well, and ioctls of devices (IOCTL_DEV, of version 5) need one that was opened.
    Part {
        name: "landlock-files",
        since: "5.13",
        layer: Layer::LandlockFiles,
        abi: 1,
        handled: Ruleset { access_fs: (1 << 13) - 1, ..NONE },
    },
    Part {
        name: "landlock-truncate",
        since: "6.2",
        layer: Layer::LandlockTruncate,
        abi: 3,
        handled: Ruleset { access_fs: TRUNCATE, ..NONE },
    },
    // BIND_TCP, CONNECT_TCP.
    Part {
        name: "landlock-network",
        since: "6.7",
        layer: Layer::LandlockNetwork,
        abi: 4,
        handled: Ruleset { access_net: 0b11, ..NONE },
    },
    // ABSTRACT_UNIX_SOCKET, SIGNAL.
    Part {
        name: "landlock-scopes",
        since: "6.12",
        layer: Layer::LandlockScopes,
        abi: 6,
        handled: Ruleset { scoped: 0b11, ..NONE },
    },
];

const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// `LANDLOCK_CREATE_RULESET_VERSION`: only tell the version.
const VERSION: c_int = 1;

/// What this kernel does not have of it, by name, each with the Linux that brought it; none if it has
/// all.
pub fn lacking() -> Option<String> {
    let abi = abi();
    let lacking = PARTS.iter().filter(|part| part.abi > abi);
    let lacking: Vec<_> =
        lacking.map(|part| format!("{} (Linux {})", part.name, part.since)).collect();
    (!lacking.is_empty()).then(|| lacking.join(", "))
}

/// Fails if all of it is demanded and this kernel has less.
pub fn demand(isolation: Isolation) -> Result<(), Failure> {
    if isolation == Isolation::Available {
        return Ok(());
    }
    let Some(lacking) = lacking() else { return Ok(()) };
    let message = format!(
        "grants.toml demands `isolation = \"full\"`, and this kernel lacks {lacking}; boot a newer \
         one, or one with `landlock` in its `lsm=`, or grant `isolation = \"available\"`"
    );
    Err(Failure::new(Code::FailedPrecondition, "isolation", message))
}

/// What the audit log says of it.
pub(crate) fn account() -> String {
    lacking().map_or_else(|| "full".to_owned(), |lacking| format!("without {lacking}"))
}

/// Denies everything that this kernel can. Needs no_new_privs.
pub(super) fn enclose() -> Result<(), Failure> {
    let ruleset = ruleset(abi());
    if ruleset == NONE {
        return Ok(());
    }
    restrict(&ruleset).map_err(|error| refused("enclose itself by Landlock", error))
}

/// The version of the interface; 0 if the kernel has none, or was started without, or a filter
/// refuses it.
fn abi() -> c_long {
    #[expect(unsafe_code, reason = "neither nix nor rustix has Landlock")]
    // SAFETY: landlock_create_ruleset(2) with no ruleset, of no size, only answers a number.
    unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0, VERSION)
    }
    .max(0)
}

/// All that an interface of this version can handle.
fn ruleset(abi: c_long) -> Ruleset {
    let mut all = NONE;
    for Part { handled, .. } in PARTS.iter().filter(|part| part.abi <= abi && stands(part.layer)) {
        all.access_fs |= handled.access_fs;
        all.access_net |= handled.access_net;
        all.scoped |= handled.scoped;
    }
    if all.access_fs != 0 {
        all.access_fs |= if abi >= 2 { REFER } else { 0 } | if abi >= 5 { IOCTL_DEV } else { 0 };
    }
    all
}

fn restrict(ruleset: &Ruleset) -> nix::Result<()> {
    #[expect(unsafe_code, reason = "neither nix nor rustix has Landlock")]
    // SAFETY: landlock_create_ruleset(2) reads as many bytes at the pointer as it is told, which are
    // those of the structure, and answers a new descriptor, which is nobody else's.
    let ruleset = unsafe {
        let size = size_of::<Ruleset>();
        let created =
            libc::syscall(libc::SYS_landlock_create_ruleset, &raw const *ruleset, size, 0);
        OwnedFd::from_raw_fd(Errno::result(created)? as c_int)
    };
    #[expect(unsafe_code, reason = "neither nix nor rustix has Landlock")]
    // SAFETY: landlock_restrict_self(2) touches no memory.
    let restricted =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    Errno::result(restricted).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the header of each kernel: how many rights there are of each kind.
    #[test]
    fn every_right_of_a_version_is_handled() {
        for (abi, rights, ports, scopes) in [
            (0, 0, 0, 0),
            (1, 13, 0, 0),
            (2, 14, 0, 0),
            (3, 15, 0, 0),
            (4, 15, 2, 0),
            (5, 16, 2, 0),
            (6, 16, 2, 2),
            (7, 16, 2, 2),
        ] {
            let all = |count: u32| (1 << count) - 1;
            let expected =
                Ruleset { access_fs: all(rights), access_net: all(ports), scoped: all(scopes) };
            assert_eq!(ruleset(abi), expected, "version {abi}");
        }
    }
}
