//! The mount directory of a call, as a descriptor of its parent and one name below that.
//!
//! Whatever may happen to the tree meanwhile, an act on a target reaches the directory that was
//! checked or nothing. Nothing here asks the filesystem that is mounted on the target anything it
//! could fail to answer: a dead server must not keep a volume from being taken down.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxAttributes};
use rustix::fs::{StatxFlags, openat, openat2, statx};
use rustix::io::Errno;

use super::{failed, invalid, unfit};
use crate::call::Access;
use crate::failure::{Code, Failure};
use crate::rehearsal;

/// The directory that a call is about.
#[derive(Debug)]
pub struct Target {
    /// None if the parent is not there.
    parent: Option<OwnedFd>,
    name: OsString,
    /// As kubelet named it. For messages only.
    pub path: PathBuf,
    /// Whether the directory is there. One that is not has nothing mounted on it.
    pub exists: bool,
}

/// What is mounted on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// The mount's id, as in /proc/PID/mountinfo.
    pub mount_id: u64,
    /// The device number that stat(2) shows for it.
    pub device: (u32, u32),
    /// Read-only if the mount or its filesystem is.
    pub access: Access,
    /// The filesystem's type, such as `ext4`.
    pub fs_type: String,
}

/// Opens the directory `beneath_root` of the kubelet root. The root's own path may go through
/// symbolic links, what is beneath it may not. `invalid-argument` with reason `symlink` if it
/// does, `bad-path` if it is no plain relative path or no directory.
pub fn open(kubelet_root: &Path, beneath_root: &Path) -> Result<Target, Failure> {
    let path = kubelet_root.join(beneath_root);
    let shown = path.display();
    let plain = beneath_root.components().all(|part| matches!(part, Component::Normal(_)));
    let (true, Some(name)) = (plain, beneath_root.file_name()) else {
        return Err(invalid(
            "bad-path",
            format!("{shown} is not a directory below the kubelet root"),
        ));
    };
    let name = name.to_owned();
    let parent = match beneath_root.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, kubelet_root, directory, Mode::empty())
        .map_err(failed(format_args!("opening the kubelet root {}", kubelet_root.display())))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // EAGAIN says that something was renamed while the kernel looked: it asks to look again.
    let mut tries = 0..16;
    let parent = loop {
        match openat2(&root, parent, directory, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries.next().is_some() => {}
            other => break other,
        }
    };
    let parent = match parent {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(Target { parent: None, name, path, exists: false }),
        Err(Errno::LOOP | Errno::XDEV) => return Err(symlink(&path)),
        Err(Errno::NOTDIR) => return Err(not_a_directory(&path)),
        Err(error) => return Err(failed(format_args!("opening the parent of {shown}"))(error)),
    };
    let exists = match look(&parent, &name) {
        Ok(found) => match FileType::from_raw_mode(found.stx_mode.into()) {
            FileType::Directory => true,
            FileType::Symlink => return Err(symlink(&path)),
            _ => return Err(not_a_directory(&path)),
        },
        Err(Errno::NOENT) => false,
        // What is mounted there is broken. It can still be taken down.
        Err(error) if is_broken(error) => true,
        Err(error) => return Err(failed(format_args!("looking at {shown}"))(error)),
    };
    Ok(Target { parent: Some(parent), name, path, exists })
}

/// What is mounted on the directory itself; none if nothing is.
pub fn mounted(target: &Target) -> Result<Option<Mounted>, Failure> {
    Ok(entry(target)?.map(|entry| Mounted {
        mount_id: entry.id,
        device: entry.device,
        access: if entry.read_only { Access::ReadOnly } else { Access::ReadWrite },
        fs_type: entry.fs_type,
    }))
}

impl Target {
    /// A descriptor of the directory, or of the root of what is mounted on it, that gives no
    /// access to it. As long as it is open, what is mounted cannot be unmounted.
    pub(super) fn pin(&self) -> Result<OwnedFd, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.open_with(flags)
    }

    /// The directory opened for reading and for ioctls.
    pub(super) fn read(&self) -> Result<OwnedFd, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.open_with(flags)
    }

    /// A path that leads to the directory whatever happens to its parents, for system calls
    /// that take no descriptor. None if the directory is not there.
    pub(super) fn path_by_descriptor(&self) -> Option<PathBuf> {
        let parent = self.parent.as_ref().filter(|_| self.exists)?;
        Some(Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(&self.name))
    }

    fn open_with(&self, flags: OFlags) -> Result<OwnedFd, Failure> {
        let absent = || {
            let message =
                format!("{} does not exist; kubelet makes it before it calls", self.path.display());
            Failure::new(Code::NotFound, "not-found", message)
        };
        let parent = self.parent.as_ref().ok_or_else(absent)?;
        openat(parent, &self.name, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => absent(),
            Errno::LOOP | Errno::NOTDIR => symlink(&self.path),
            error => failed(format_args!("opening {}", self.path.display()))(error),
        })
    }
}

/// One line of /proc/PID/mountinfo, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) device: (u32, u32),
    /// What of the filesystem is mounted: `/` is all of it.
    pub(super) root: PathBuf,
    pub(super) point: PathBuf,
    pub(super) read_only: bool,
    pub(super) fs_type: String,
    /// Whether mounts on it are seen in other mount namespaces too.
    shared: bool,
}

impl Entry {
    /// The line that there would be.
    fn of(mounted: Mounted, point: &Path) -> Self {
        let Mounted { mount_id: id, device, access, fs_type } = mounted;
        let (root, point) = (PathBuf::from("/"), point.to_owned());
        let read_only = access == Access::ReadOnly;
        Self { id, device, root, point, read_only, fs_type, shared: false }
    }
}

/// The mount on the target, with the device number that stat shows for it.
pub(super) fn entry(target: &Target) -> Result<Option<Entry>, Failure> {
    if let Some(mount) = rehearsal::mount_on(&target.path) {
        return Ok(mount.map(|mounted| Entry::of(mounted, &target.path)));
    }
    let Some(parent) = target.parent.as_ref().filter(|_| target.exists) else {
        return Ok(None);
    };
    let shown = target.path.display();
    // Between the two looks the mount may be gone: then the first look is repeated.
    for _ in 0..4 {
        let found = match look(parent, &target.name) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) if is_broken(error) => return by_path(parent, &target.name),
            Err(error) => return Err(failed(format_args!("looking at {shown}"))(error)),
        };
        if !found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
            return Err(unfit(
                "kernel-refused",
                "the kernel does not tell mount points; Linux 5.12 is needed",
            ));
        }
        if !found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok(None);
        }
        let entry = mountinfo()?.into_iter().find(|entry| entry.id == found.stx_mnt_id);
        if let Some(entry) = entry {
            // btrfs shows another number in mountinfo than for its files.
            let device = (found.stx_dev_major, found.stx_dev_minor);
            return Ok(Some(Entry { device, ..entry }));
        }
    }
    Err(Failure::new(
        Code::Unavailable,
        "again",
        format!("what is mounted on {shown} keeps changing"),
    ))
}

fn look(parent: &OwnedFd, name: &OsStr) -> Result<Statx, Errno> {
    // DONT_SYNC: what the kernel knows already will do; a server is not asked.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    statx(parent.as_fd(), name, flags, StatxFlags::TYPE | StatxFlags::MNT_ID)
}

/// Errors of a mount whose filesystem is gone (as mount-utils' `IsCorruptedMnt`).
pub(super) fn is_broken(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::NOTCONN
            | Errno::STALE
            | Errno::IO
            | Errno::ACCESS
            | Errno::HOSTDOWN
            | Errno::NODEV
    )
}

/// For a mount that does not even answer statx: the topmost one of that path.
fn by_path(parent: &OwnedFd, name: &OsStr) -> Result<Option<Entry>, Failure> {
    let link = format!("/proc/self/fd/{}", parent.as_raw_fd());
    let parent =
        rustix::fs::readlink(link, Vec::new()).map_err(failed("reading a descriptor's path"))?;
    let path = Path::new(OsStr::from_bytes(parent.as_bytes())).join(name);
    Ok(mountinfo()?.into_iter().rfind(|entry| entry.point == path))
}

/// A mount point of this process's mount namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Where it is.
    pub path: PathBuf,
    /// Whether what is mounted beneath it is seen in other mount namespaces too.
    pub shared: bool,
}

/// All mount points, in the order in which they were mounted.
pub fn mount_points() -> Result<Vec<MountPoint>, Failure> {
    let point = |entry: Entry| MountPoint { path: entry.point, shared: entry.shared };
    Ok(mountinfo()?.into_iter().map(point).collect())
}

/// What is mounted where, which is known without asking any filesystem.
pub(super) struct Filesystems(Vec<Entry>);

impl Filesystems {
    /// Those of this process's mount namespace.
    pub(super) fn read() -> Result<Self, Failure> {
        mountinfo().map(Self)
    }

    /// The number of the one that an open file is in; none if it is mounted in none of these places.
    pub(super) fn of(&self, file: impl AsFd) -> Result<Option<(u32, u32)>, Failure> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let found = statx(file, c"", flags, StatxFlags::MNT_ID)
            .map_err(failed("asking which mount a file is in"))?;
        let entry = self.0.iter().find(|entry| entry.id == found.stx_mnt_id);
        Ok(entry.map(|entry| entry.device))
    }

    /// The number of the one that an absolute path leads into, if it has no symbolic link.
    pub(super) fn at(&self, path: &Path) -> Option<(u32, u32)> {
        let beneath = self.0.iter().filter(|entry| path.starts_with(&entry.point));
        // Of several on one directory the last hides the others.
        let entry = beneath.max_by_key(|entry| entry.point.as_os_str().len());
        entry.map(|entry| entry.device)
    }
}

/// The device numbers of all mounts of a type in this process's mount namespace.
pub(super) fn devices_of(fs_type: &str) -> Result<Vec<(u32, u32)>, Failure> {
    let mut devices: Vec<_> = mountinfo()?
        .into_iter()
        .filter(|entry| entry.fs_type == fs_type)
        .map(|entry| entry.device)
        .collect();
    devices.sort_unstable();
    devices.dedup();
    Ok(devices)
}

fn mountinfo() -> Result<Vec<Entry>, Failure> {
    let path = "/proc/thread-self/mountinfo";
    let text =
        std::fs::read(path).map_err(|error| Failure::io(format_args!("reading {path}"), &error))?;
    Ok(text.split(|&byte| byte == b'\n').filter_map(parse_line).collect())
}

/// proc_pid_mountinfo(5). None for what is not such a line.
fn parse_line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mut next = || fields.next();
    let id = text(next()?)?.parse().ok()?;
    let _parent = next()?;
    let (major, minor) = text(next()?)?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let root = unescape(next()?);
    let point = unescape(next()?);
    let options = next()?;
    // Any number of optional fields comes before the hyphen.
    let mut shared = false;
    loop {
        match next()? {
            b"-" => break,
            field => shared |= field.starts_with(b"shared:"),
        }
    }
    let fs_type = text(next()?)?.to_owned();
    let _source = next()?;
    let super_options = next()?;
    let read_only =
        [options, super_options].iter().any(|list| list.split(|&b| b == b',').any(|o| o == b"ro"));
    Some(Entry { id, device, root, point, read_only, fs_type, shared })
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

/// Undoes the kernel's `\ooo` for space, tab, newline, backslash and `#`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| first == b'\\');
        let value = digits.and_then(|digits| u8::from_str_radix(text(digits)?, 8).ok());
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn symlink(path: &Path) -> Failure {
    invalid("symlink", format!("{} is or goes through a symbolic link", path.display()))
}

fn not_a_directory(path: &Path) -> Failure {
    invalid("bad-path", format!("{} is not a directory", path.display()))
}

#[cfg(test)]
mod tests;
