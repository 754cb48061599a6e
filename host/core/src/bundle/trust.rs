//! Whom files could have been changed by that are to be believed, such as the installed ones:
//! nobody but root, or they are not used.
//!
//! It holds for every directory from `/` down, since whoever may write to one of them may put
//! something else in place of what is below. Nothing here looks at what is in a file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::failure::{Code, Failure};

/// Who may own what is trusted, besides root, and what to do where it is another's.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    owner: u32,
    remedy: &'static str,
}

impl Trust {
    /// Nobody besides root. What is wrong is mended by `remedy`, which reads on after "…; " and
    /// "run `…` and ".
    pub const fn root(remedy: &'static str) -> Self {
        Self { owner: 0, remedy }
    }

    /// For tests, which an ordinary user runs too.
    #[cfg(test)]
    pub(super) fn in_user(owner: u32) -> Self {
        Self { owner, remedy: super::REMEDY }
    }

    /// Opens a directory by its absolute path, if nobody else can write to it or put another
    /// in its place. Symbolic links on the way are refused.
    pub fn directory(self, path: &Path) -> Result<OwnedFd, Failure> {
        let mut here = PathBuf::from("/");
        let mut dir = self.open(CWD, &here, OsStr::new("/"))?;
        self.check_directory(&dir, &here, path == here)?;
        for component in path.components().filter(|part| *part != Component::RootDir) {
            here.push(component);
            if !matches!(component, Component::Normal(_)) || !path.is_absolute() {
                return Err(self.untrusted(path, "is not an absolute path without `..`"));
            }
            dir = self.open(&dir, &here, component.as_os_str())?;
            self.check_directory(&dir, &here, path == here)?;
        }
        Ok(dir)
    }

    /// Opens a file of a trusted directory for reading, if it is a regular file that nobody
    /// else can write to.
    pub fn file(self, dir: &OwnedFd, path: &Path, name: &str) -> Result<File, Failure> {
        // A FIFO in the file's place must not make the call wait for somebody to write to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let within =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = path.join(name);
        let opened = rustix::fs::openat2(dir, name, flags, Mode::empty(), within);
        let file = opened.map_err(|error| self.unopened(&path, error))?;
        let stat = stat(&file, &path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.untrusted(&path, "is not a regular file"));
        }
        self.check_owner(&stat, &path)?;
        if written_by_others(&stat) {
            let what = "can be written to by others than its owner, who may have changed it";
            return Err(self.untrusted(&path, what));
        }
        Ok(File::from(file))
    }

    /// Reads a whole file of at most `longest` bytes.
    pub fn read(
        self,
        dir: &OwnedFd,
        path: &Path,
        name: &str,
        longest: u64,
    ) -> Result<Vec<u8>, Failure> {
        let file = self.file(dir, path, name)?;
        // Room for most, so that it is read at once.
        let mut bytes = Vec::with_capacity(8 * 1024);
        file.take(longest + 1).read_to_end(&mut bytes).map_err(|error| {
            Failure::io(format_args!("reading {}", path.join(name).display()), &error)
        })?;
        if bytes.len() as u64 > longest {
            let what = format!("is longer than {longest} bytes");
            return Err(self.untrusted(&path.join(name), &what));
        }
        Ok(bytes)
    }

    /// `last`: it is the directory that holds the files themselves.
    fn check_directory(self, dir: &OwnedFd, path: &Path, last: bool) -> Result<(), Failure> {
        let stat = stat(dir, path)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {}
            FileType::Symlink => return Err(self.untrusted(path, "is a symbolic link")),
            _ => return Err(self.untrusted(path, "is not a directory")),
        }
        self.check_owner(&stat, path)?;
        // In a sticky directory such as /tmp nobody but root replaces what root owns, and the
        // next part of the path is checked to be root's. In the last one a stranger could still
        // add files under names that are missing.
        let sticky = Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX);
        if written_by_others(&stat) && (last || !sticky) {
            let what = "can be written to by others than its owner, who may have changed what \
                        is in it";
            let remedy = format!("run `chmod go-w {}` and {}", path.display(), self.remedy);
            return Err(untrusted(path, what, &remedy));
        }
        Ok(())
    }

    fn check_owner(self, stat: &Stat, path: &Path) -> Result<(), Failure> {
        if stat.st_uid == 0 || stat.st_uid == self.owner {
            return Ok(());
        }
        let what = format!("belongs to user {} and not to root", stat.st_uid);
        let remedy = format!("run `chown root {}` and {}", path.display(), self.remedy);
        Err(untrusted(path, &what, &remedy))
    }

    /// Opens one part of a path to look at it and go on from it, whatever it is. That takes the
    /// right to search only, which is all that other users than root may have.
    fn open(self, dir: impl AsFd, path: &Path, name: &OsStr) -> Result<OwnedFd, Failure> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::empty())
            .map_err(|error| self.unopened(path, error))
    }

    fn unopened(self, path: &Path, error: Errno) -> Failure {
        match error {
            Errno::NOENT => {
                let message = format!("{} is missing; {}", path.display(), self.remedy);
                Failure::new(Code::FailedPrecondition, "file-missing", message)
            }
            Errno::LOOP => self.untrusted(path, "is a symbolic link"),
            error => Failure::io(format_args!("opening {}", path.display()), &error.into()),
        }
    }

    fn untrusted(self, path: &Path, what: &str) -> Failure {
        untrusted(path, what, self.remedy)
    }
}

fn stat(file: impl AsFd, path: &Path) -> Result<Stat, Failure> {
    rustix::fs::fstat(file)
        .map_err(|error| Failure::io(format_args!("examining {}", path.display()), &error.into()))
}

/// An access control list shows in the group's bits as the most that it gives anybody.
fn written_by_others(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH)
}

fn untrusted(path: &Path, what: &str, remedy: &str) -> Failure {
    let message = format!("{} {what}; {remedy}", path.display());
    Failure::new(Code::FailedPrecondition, "file-untrusted", message)
}
