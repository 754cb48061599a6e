//! Filesystems in memory for a pod's small files: made, filled and sealed while detached.
//!
//! What may be put into them, and how much, is decided before; the kernel's own size limit
//! holds in any case.

use std::fmt;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, fchmod, fchown, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{FsPickFlags, MountAttrFlags, fsconfig_reconfigure, fsconfig_set_flag, fspick};

use super::mounts::{Context, PendingMount};
use super::{failed, invalid, unfit};
use crate::call::Access;
use crate::decide::Granted;
use crate::failure::{Code, Failure};

/// Each inode costs the kernel about a kilobyte that `size` does not count: there are as many
/// as the filesystem has pages, and at least this many.
const MIN_INODES: u64 = 1024;

/// A tmpfs that is to be made. `nosuid`, `nodev` and `noexec` are always on.
#[derive(Debug)]
pub struct Tmpfs {
    /// The most it can hold, in bytes. Not 0, which the kernel would take for "no limit".
    pub size: u64,
    /// The root directory's permissions, at most `0o7777`.
    pub mode: u32,
    /// The group of the root directory and of the files; 0 if none.
    pub group: Option<u32>,
}

/// A file that is to be put into the root of a tmpfs.
pub struct TmpfsFile {
    /// The tmpfs, not yet sealed.
    pub pending: Rc<PendingMount>,
    /// A plain file name.
    pub name: String,
    /// May be a secret: never shown, and overwritten when it is dropped.
    pub contents: Vec<u8>,
    /// Permissions, at most `0o777`.
    pub mode: u32,
}

/// Makes an empty tmpfs. `group` is also written to the files that [`write()`] puts into it.
pub fn create(tmpfs: Granted<Tmpfs>) -> Result<PendingMount, Failure> {
    let Tmpfs { size, mode, group } = tmpfs.into_inner();
    if size == 0 || mode > 0o7777 {
        return Err(invalid(
            "bad-option",
            "a tmpfs needs a size above 0 and a mode of at most 7777 (octal)",
        ));
    }
    let what = "making a tmpfs";
    let context = Context::open("tmpfs")?;
    context.set("source", "tmpfs", what)?;
    context.set("size", &size.to_string(), what)?;
    context.set("mode", &format!("{mode:o}"), what)?;
    context.set("gid", &group.unwrap_or(0).to_string(), what)?;
    context.set("nr_inodes", &(size / 4096).max(MIN_INODES).to_string(), what)?;
    // Keeps secrets off the swap device, since Linux 6.4. Before that no node with secrets
    // should have swap: kubelet refuses to run with it by default.
    match context.flag("noswap") {
        Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
        Err(error) => return Err(failed(what)(error)),
    }
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    context.create(false).map_err(|error| context.failure(what, error))?;
    context.mount(attributes, Access::ReadWrite, "tmpfs", what)
}

/// Puts a file into a tmpfs. `already-exists` if there is one of that name, `exhausted` if it
/// does not fit; then nothing of it stays.
pub fn write(file: Granted<TmpfsFile>) -> Result<(), Failure> {
    let file = file.into_inner();
    if !is_plain(&file.name) || file.mode > 0o777 || file.pending.fs_type() != "tmpfs" {
        return Err(invalid(
            "bad-path",
            "a tmpfs file needs a plain name and a mode of at most 777 (octal)",
        ));
    }
    let what = format!("writing {} into the tmpfs", file.name);
    let directory = &file.pending.mount;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made =
        openat(directory, &file.name, flags, Mode::empty()).map_err(|error| match error {
            Errno::EXIST => Failure::new(
                Code::AlreadyExists,
                "already-exists",
                format!("{what}: it is there already"),
            ),
            Errno::ROFS => unfit("sealed", format!("{what}: it is sealed")),
            error => failed(&what)(error),
        })?;
    fill(made, directory, &file).map_err(|error| {
        let _ = unlinkat(directory, &file.name, AtFlags::empty());
        Failure::io(&what, &error)
    })
}

/// Makes a tmpfs read-only for good, from before it is attached.
pub fn seal(pending: Granted<Rc<PendingMount>>) -> Result<(), Failure> {
    let pending = pending.into_inner();
    let what = "sealing the tmpfs";
    // Both the mount and the filesystem: a bind of it that somebody makes is read-only, too.
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = fspick(&pending.mount, c"", flags).map_err(failed(what))?;
    fsconfig_set_flag(&context, "ro")
        .and_then(|()| fsconfig_reconfigure(&context))
        .and_then(|()| pending.make_read_only())
        .map_err(failed(what))
}

fn fill(made: OwnedFd, directory: &OwnedFd, file: &TmpfsFile) -> std::io::Result<()> {
    // The root directory has the group that was asked for when the tmpfs was made.
    let group = rustix::fs::statat(directory, c"", AtFlags::EMPTY_PATH)?.st_gid;
    let mut made = std::fs::File::from(made);
    made.write_all(&file.contents)?;
    fchown(&made, None, Some(Gid::from_raw(group)))?;
    // Last, and explicitly: the umask is not ours to rely on, and chown clears bits.
    fchmod(&made, Mode::from_raw_mode(file.mode))?;
    Ok(())
}

fn is_plain(name: &str) -> bool {
    let length = 1..=255;
    length.contains(&name.len()) && name != "." && name != ".." && !name.contains(['/', '\0'])
}

impl fmt::Debug for TmpfsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TmpfsFile {:?} ({} bytes, {:o})", self.name, self.contents.len(), self.mode)
    }
}

impl Drop for TmpfsFile {
    fn drop(&mut self) {
        self.contents.fill(0);
        // Or the compiler may leave the filling out, as nobody reads the bytes again.
        std::hint::black_box(&mut self.contents);
    }
}

#[cfg(test)]
mod tests;
