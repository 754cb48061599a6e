//! Which files a tool can open: its device, itself, libraries and settings, and what the kernel tells
//! of devices. Nothing else can be read, and nothing else be written to, though the tool is root's.
//!
//! It is Landlock that sees to it, which since Linux 5.13 a kernel may have; where it does not,
//! tools run without. Metadata is not kept from them here: to read it is harmless, and to change it is
//! [`super::filter`]'s to refuse. What is open stays so.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;

use libc::{c_int, c_long};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::spawn::last_error;

/// `LANDLOCK_ACCESS_FS_…` of linux/landlock.h.
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;

/// What the first version has, all of it: also making and removing things of any kind.
const FIRST_VERSION: u64 = (1 << 13) - 1;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const ASK_VERSION: c_int = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: c_int = 1;

const PROGRAMS: u64 = EXECUTE | READ_FILE | READ_DIR;
const TOLD: u64 = READ_FILE | READ_DIR;

/// What every tool may have of the node, as far as it is there.
const NODE: &[(&str, u64)] = &[
    ("/usr", PROGRAMS),
    // Where these are not links into it.
    ("/lib", PROGRAMS),
    ("/lib64", PROGRAMS),
    ("/etc/ld.so.cache", READ_FILE),
    ("/etc/mke2fs.conf", READ_FILE),
    ("/etc/e2fsck.conf", READ_FILE),
    // Of other processes it shows only what everybody may know: more than that it gives to whoever
    // may trace them, which Landlock prevents.
    ("/proc", TOLD),
    ("/sys", TOLD),
    ("/dev/null", READ_FILE | WRITE_FILE),
    ("/dev/urandom", READ_FILE),
];

/// `struct landlock_ruleset_attr`, as of the first version.
#[repr(C)]
struct Attributes {
    handled: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: c_int,
}

/// What a process is to be restricted to.
#[derive(Debug)]
pub(in crate::kernel) struct Files {
    ruleset: OwnedFd,
    handled: u64,
}

impl Files {
    /// What every tool may open. None if this kernel has no Landlock.
    pub(super) fn of_the_node() -> Result<Option<Self>, Errno> {
        let version = match create(None, ASK_VERSION) {
            // Not compiled in, or not turned on.
            Err(Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(None),
            version => version?,
        };
        let newer = [(2, REFER), (3, TRUNCATE)];
        let newer = newer.into_iter().filter(|(since, _)| version >= *since);
        let handled = newer.fold(FIRST_VERSION, |handled, (_, right)| handled | right);
        let ruleset = create(Some(&Attributes { handled }), 0)? as c_int;
        #[expect(unsafe_code, reason = "a descriptor that a system call has returned")]
        // SAFETY: it was opened just now, and nobody else knows of it.
        let files = Self { ruleset: unsafe { OwnedFd::from_raw_fd(ruleset) }, handled };
        for (path, access) in NODE {
            match openat(CWD, *path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                Ok(file) => files.allow(&file, *access)?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(files))
    }

    /// Lets it have a device.
    pub(super) fn allow_device(&self, device: impl AsFd) -> Result<(), Errno> {
        self.allow(device, READ_FILE | WRITE_FILE | TRUNCATE)
    }

    /// Lets it be executed, wherever it is.
    pub(super) fn allow_program(&self, path: &Path) -> Result<(), Errno> {
        let file = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        self.allow(&file, EXECUTE | READ_FILE)
    }

    fn allow(&self, file: impl AsFd, access: u64) -> Result<(), Errno> {
        let parent = file.as_fd().as_raw_fd();
        let rule = Beneath { allowed: access & self.handled, parent };
        let ruleset = self.ruleset.as_raw_fd();
        #[expect(unsafe_code, reason = "neither nix nor rustix has Landlock")]
        // SAFETY: a rule of this type is what the kernel reads, and it outlives the call.
        let added = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, ruleset, PATH_BENEATH, &raw const rule, 0)
        };
        returned(added).map(drop)
    }
}

impl AsFd for Files {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ruleset.as_fd()
    }
}

/// Restricts this process and what it executes for the rest of its life. Needs no_new_privs.
pub(super) fn restrict(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "neither nix nor rustix has Landlock")]
    // SAFETY: the call takes two integers and touches no memory.
    let restricted =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    returned(restricted).map(drop)
}

fn create(attributes: Option<&Attributes>, flags: c_int) -> Result<c_long, Errno> {
    let size = if attributes.is_some() { size_of::<Attributes>() } else { 0 };
    let attributes = attributes.map_or(std::ptr::null(), std::ptr::from_ref);
    #[expect(unsafe_code, reason = "neither nix nor rustix has Landlock")]
    // SAFETY: the kernel reads `size` bytes of attributes, which outlive the call.
    let created =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attributes, size, flags) };
    returned(created)
}

fn returned(result: c_long) -> Result<c_long, Errno> {
    if result < 0 { Err(last_error()) } else { Ok(result) }
}
