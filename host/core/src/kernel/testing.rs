//! What tests of acts share: a node of their own, as far as one can be had.
//!
//! A [`Node`] is a mount namespace of the test's thread and a scratch directory. Its loop
//! devices have autoclear, so they go when their descriptors and mounts do, also on a panic.

#![expect(clippy::unwrap_used, reason = "for tests")]

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tempfile::TempDir;

use super::device::Device;
use super::filesystems::{Filesystem, Format, Profile, format};
use super::images::{ImageCreate, ImageDir, ImageFile, ImageName, create};
use super::loopdev::{LoopAttach, attach};
use super::target::{self, Target};
use super::uuid;
use crate::call::Access;
use crate::decide::Granted;
use crate::failure::Failure;

/// One mebibyte.
pub(super) const MIB: u64 = 1024 * 1024;

/// A size in bytes with which each filesystem can be made.
pub(super) fn enough_for(filesystem: Filesystem) -> u64 {
    match filesystem {
        Filesystem::Ext4 => 64 * MIB,
        Filesystem::Xfs => 320 * MIB,
        Filesystem::Btrfs => 256 * MIB,
    }
}

/// What filesystems of tests are called.
pub(super) const UUID: &str = "6e3fa0f0-17a4-4c6e-9b1d-1f7d4f0c5a11";

/// One test at a time: a child that another test's thread has just forked holds every
/// descriptor of this process until it execs, and would keep a device busy.
static TURN: Mutex<()> = Mutex::new(());

/// A place to mount things at.
pub(super) struct Node {
    dir: TempDir,
    pub(super) lock: File,
    _turn: MutexGuard<'static, ()>,
}

impl Node {
    /// None for an ordinary user, who is told that the test was skipped.
    pub(super) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "CI must run this as root"
            );
            // Not by a macro: the harness would hide it.
            let _ = std::io::stderr().write_all(b"skipped: needs root\n");
            return None;
        }
        let turn = turn();
        // SAFETY: only this thread's mount namespace changes; no descriptor table is unshared.
        #[expect(unsafe_code, reason = "unshare can do more than is asked of it here")]
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let dir = TempDir::new().unwrap();
        // As on a node, mounts below the kubelet root are seen by its peers.
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        mount_bind(&root, &root).unwrap();
        mount_change(&root, MountPropagationFlags::SHARED).unwrap();
        let lock = File::create(dir.path().join("lock")).unwrap();
        Some(Self { dir, lock, _turn: turn })
    }

    /// The scratch directory, which is also an image directory.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What stands for the kubelet root.
    pub(super) fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    /// A target directory, made if need be.
    pub(super) fn target(&self, name: &str) -> Rc<Target> {
        std::fs::create_dir_all(self.root().join(name)).unwrap();
        Rc::new(target::open(&self.root(), Path::new(name)).unwrap())
    }

    pub(super) fn images(&self) -> Rc<ImageDir> {
        ImageDir::open(self.path()).unwrap()
    }

    pub(super) fn image(&self, name: &str, size: u64) -> Rc<ImageFile> {
        let name = ImageName::parse(name).unwrap();
        let create_it = ImageCreate { dir: self.images(), name, size };
        Rc::new(create(Granted::for_test(create_it)).unwrap().0)
    }

    /// A blank loop device.
    pub(super) fn device(&self, name: &str, size: u64) -> Rc<Device> {
        loop_of(&self.image(name, size), Access::ReadWrite)
    }

    /// A loop device with ext4.
    pub(super) fn ext4(&self, name: &str, size: u64) -> Rc<Device> {
        let device = self.device(name, size);
        self.format(&device, &[], false).unwrap();
        device
    }

    /// A loop device with a filesystem that is a little larger than it has to be.
    pub(super) fn made(&self, filesystem: Filesystem, name: &str) -> Rc<Device> {
        let device = self.device(name, enough_for(filesystem));
        self.format_as(&device, filesystem, &[], false, &uuid::random().unwrap()).unwrap();
        device
    }

    pub(super) fn format(
        &self,
        device: &Rc<Device>,
        options: &[(&str, &str)],
        resume: bool,
    ) -> Result<(), Failure> {
        self.format_as(device, Filesystem::Ext4, options, resume, UUID)
    }

    pub(super) fn format_as(
        &self,
        device: &Rc<Device>,
        filesystem: Filesystem,
        options: &[(&str, &str)],
        resume: bool,
        uuid: &str,
    ) -> Result<(), Failure> {
        use std::os::fd::AsFd as _;
        let options: Vec<_> = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let profile = Profile::parse(filesystem, &options)?;
        let wanted =
            Format { device: device.clone(), filesystem, profile, resume, uuid: uuid.to_owned() };
        format(Granted::for_test(wanted), self.lock.as_fd(), || Ok(()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Bottom up: the last line is the topmost mount.
        let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
        for point in table.lines().rev().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(point).starts_with(self.path()) {
                let _ = unmount(point, UnmountFlags::DETACH);
            }
        }
    }
}

/// For a test that runs programs without a node.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A loop device of an image.
pub(super) fn loop_of(image: &Rc<ImageFile>, access: Access) -> Rc<Device> {
    let wanted = LoopAttach { image: image.clone(), access };
    Rc::new(attach(Granted::for_test(wanted)).unwrap())
}

/// Whether a tool is there whose work a test looks at. `cargo xtask test` installs all of them as
/// root on Debian; where it cannot, a test says what it leaves out, and under CI it fails.
pub(super) fn has_tool(program: &str) -> bool {
    let is_there = Path::new(program).exists();
    if !is_there {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs {program}");
        let _ = writeln!(std::io::stderr(), "skipped: {program} is not here");
    }
    is_there
}

/// Runs a program that the test needs; it has to succeed.
pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The reason of the failure that there has to be.
pub(super) fn reason<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    result.unwrap_err().reason
}
