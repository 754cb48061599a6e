//! Image files in the operator's directory: opened, created, grown, never truncated or written.
//!
//! An image is known by its inode and time of birth, whatever it is called. To which node it is
//! given is in a lease file beside it, see [`leases`]. Which names a volume may use is decided
//! elsewhere.

pub mod leases;

pub use leases::{Lease, LeaseRecord, Release, Taken, give_back, holder, lease, release};

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, SeekFrom, StatxFlags};
use rustix::fs::{flock, fstatvfs, linkat, openat, seek, statat, statx, unlinkat};
use rustix::io::Errno;

use super::{failed, invalid, unfit};
use crate::decide::Granted;
use crate::failure::{Code, Failure};
use crate::rehearsal;

/// A directory that the operator set aside for images.
#[derive(Debug)]
pub struct ImageDir {
    pub(super) file: File,
    path: PathBuf,
}

/// An open image.
#[derive(Debug)]
pub struct ImageFile {
    pub(super) file: File,
    /// The directory it is in.
    pub dir: Rc<ImageDir>,
    /// Its name there.
    pub name: ImageName,
    /// `image:FSID:INODE:BIRTH`: filesystem id in hexadecimal, inode, time of birth in
    /// nanoseconds since 1970. At most 63 bytes.
    pub identity: String,
}

/// A plain file name: 1 to 255 bytes, no `/`, no control character, no dot at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName(String);

/// An image that is to be opened.
#[derive(Debug)]
pub struct ImageOpen {
    /// Where.
    pub dir: Rc<ImageDir>,
    /// Which.
    pub name: ImageName,
}

/// An image that is to be created.
#[derive(Debug)]
pub struct ImageCreate {
    /// Where.
    pub dir: Rc<ImageDir>,
    /// Its name.
    pub name: ImageName,
    /// In bytes. It is sparse: space is taken when it is written to.
    pub size: u64,
}

/// An image that is to be made longer.
#[derive(Debug)]
pub struct ImageGrow {
    /// Which.
    pub image: Rc<ImageFile>,
    /// In bytes.
    pub size: u64,
}

/// Opens an image; none if there is none of that name. A symbolic link or anything else that is
/// not a regular file is `not-an-image`.
pub fn open(open: Granted<ImageOpen>) -> Result<Option<ImageFile>, Failure> {
    let ImageOpen { dir, name } = open.into_inner();
    open_there(dir, name)
}

/// Creates an image, or opens the one that is there, whatever its size is. True if it was
/// created. It is durable then, and never seen unfinished.
pub fn create(create: Granted<ImageCreate>) -> Result<(ImageFile, bool), Failure> {
    let ImageCreate { dir, name, size } = create.into_inner();
    // If another call makes it meanwhile, its image is opened; if that is removed again, too,
    // the whole starts over.
    for _ in 0..4 {
        if let Some(image) = open_there(dir.clone(), name.clone())? {
            return Ok((image, false));
        }
        let what = format!("creating {}", dir.path.join(&name.0).display());
        let made = dir.unnamed(&what)?;
        if rehearsal::is_on() {
            // It has no name, and is gone when it is closed.
            made.set_len(size)
                .and_then(|()| rehearsal::created(dir.path.join(&name.0), &made))
                .map_err(|error| Failure::io(&what, &error))?;
            return ImageFile::new(made, dir, name).map(|image| (image, true));
        }
        made.set_len(size)
            .and_then(|()| made.sync_all())
            .map_err(|error| Failure::io(&what, &error))?;
        if dir.give_name(&made, &name.0, &what)? {
            // Opened by its name: of the description that made it, the kernel would say for as
            // long as a loop device has it that the file was deleted.
            let made = ImageFile::new(made, dir.clone(), name.clone())?;
            if let Some(image) = open_there(dir.clone(), name.clone())?
                && image.identity == made.identity
            {
                return Ok((image, true));
            }
        }
    }
    Err(Failure::new(
        Code::Aborted,
        "again",
        format!("{} is created and removed by others", name.0),
    ))
}

/// Its size in bytes.
pub fn size(image: &ImageFile) -> Result<u64, Failure> {
    if let Some(length) = rehearsal::length(&image.identity) {
        return Ok(length);
    }
    let what = || format!("looking at {}", image.path().display());
    image.file.metadata().map(|found| found.len()).map_err(|error| Failure::io(what(), &error))
}

/// Makes an image longer, durably; one that is longer already stays. Returns its size.
///
/// `again` while another call does so: between its look at the size and what it does then, an image
/// that was made longer would be cut off. No volume's lock keeps them apart, since calls of a
/// controller have none and may be of several nodes.
pub fn grow(grow: Granted<ImageGrow>) -> Result<u64, Failure> {
    let ImageGrow { image, size: wanted } = grow.into_inner();
    let long = size(&image)?;
    if wanted <= long {
        return Ok(long);
    }
    let _turn = turn(&image)?;
    let now = size(&image)?;
    if wanted <= now {
        return Ok(now);
    }
    if rehearsal::is_on() {
        rehearsal::lengthened(&image.identity, wanted);
        return Ok(wanted);
    }
    let what = format!("growing {}", image.path().display());
    image
        .file
        .set_len(wanted)
        .and_then(|()| image.file.sync_all())
        .map_err(|error| Failure::io(what, &error))?;
    Ok(wanted)
}

/// The right to change an image's size, as long as what is returned is open. It is an open file of
/// its own, so that descriptors that others have of the image's do not keep the lock.
fn turn(image: &ImageFile) -> Result<Option<File>, Failure> {
    if rehearsal::is_on() {
        return Ok(None);
    }
    let what = format!("locking {}", image.path().display());
    let file = File::options().read(true).write(true).open(path_by_descriptor(&image.file));
    let file = file.map_err(|error| Failure::io(&what, &error))?;
    if lock(&file, &what)? {
        return Ok(Some(file));
    }
    let message = format!("{} is made longer by another call", image.path().display());
    Err(Failure::new(Code::Aborted, "again", message))
}

/// Locks a file for as long as it is open, also where several nodes share it. False if another call
/// has it. Where the filesystem has no locks nobody is kept away.
fn lock(file: &File, what: &str) -> Result<bool, Failure> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(failed(what)(error)),
    }
}

/// Undoes [`create`]: removes the image if its name still means it and nothing was ever written to
/// it. Only who has its lease may, or another could begin to use it meanwhile; false if that has been
/// ended. True if it was removed.
pub fn remove_unused(taken: &Taken) -> Result<bool, Failure> {
    let image = &taken.image;
    if !holder(image)?.is_some_and(|held| taken.is(&held)) {
        return Ok(false);
    }
    let what = format!("removing {}", image.path().display());
    if !is_at(&image.dir, &image.name.0, &image.file)? || !is_hole(&image.file)? {
        return Ok(false);
    }
    if rehearsal::is_on() {
        return Ok(true);
    }
    unlinkat(&image.dir.file, &image.name.0, AtFlags::empty()).map_err(failed(&what))?;
    image.dir.sync(what)?;
    Ok(true)
}

/// Whether a name in the directory leads to the file.
fn is_at(dir: &ImageDir, name: &str, file: &File) -> Result<bool, Failure> {
    let what = || format!("looking at {}", dir.path.join(name).display());
    let there = match statat(&dir.file, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(false),
        there => there.map_err(failed(what()))?,
    };
    let here = file.metadata().map_err(|error| Failure::io(what(), &error))?;
    Ok((there.st_dev, there.st_ino) == (here.dev(), here.ino()))
}

/// Whether nothing was ever written to a file, as far as its filesystem can tell.
pub(super) fn is_hole(file: &File) -> Result<bool, Failure> {
    match seek(file, SeekFrom::Data(0)) {
        Ok(_) => Ok(false),
        Err(Errno::NXIO) => Ok(true),
        Err(error) => Err(failed("looking for data in an image")(error)),
    }
}

/// A path by which this process opens exactly this file again.
pub(super) fn path_by_descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

impl ImageName {
    /// Reads a name.
    pub fn parse(name: &str) -> Result<Self, Failure> {
        let plain = (1..=255).contains(&name.len())
            && !name.starts_with('.')
            && !name.chars().any(|c| c == '/' || c.is_control());
        if plain {
            return Ok(Self(name.to_owned()));
        }
        Err(invalid(
            "bad-path",
            "an image's name is a plain file name that does not start with a dot",
        ))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ImageDir {
    /// Opens a directory. `image-directory` if it is not there, which says nothing of the images in
    /// it; or if anybody but its owner and group may write to it: whoever may could put any file in
    /// an image's place.
    pub fn open(path: &Path) -> Result<Rc<Self>, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let what = || format!("opening the image directory {}", path.display());
        let opened = openat(CWD, path, flags, Mode::empty()).map(File::from);
        let file = opened.map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => {
                let message = format!(
                    "{}: {}; it has to be there wherever volumes are attached or grown, also in \
                     kube-controller-manager",
                    what(),
                    std::io::Error::from(error)
                );
                unfit("image-directory", message)
            }
            error => failed(what())(error),
        })?;
        let found = file.metadata().map_err(|error| Failure::io(what(), &error))?;
        if found.mode() & 0o002 != 0 {
            let message = format!(
                "the image directory {0} is writable by everybody; run `chmod o-w {0}`",
                path.display()
            );
            return Err(unfit("image-directory", message));
        }
        Ok(Rc::new(Self { file, path: path.to_owned() }))
    }

    /// As the grants name it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in this directory's filesystem that has no name yet, and leaves nothing behind.
    fn unnamed(&self, what: &str) -> Result<File, Failure> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match openat(&self.file, c".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(File::from(file)),
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let message = format!(
                    "{what}: the filesystem of {} cannot make files without a name (O_TMPFILE)",
                    self.path.display()
                );
                Err(unfit("image-directory", message))
            }
            Err(error) => Err(failed(what)(error)),
        }
    }

    /// Gives a finished file its name, durably; false if that name is taken.
    fn give_name(&self, file: &File, name: &str, what: &str) -> Result<bool, Failure> {
        match linkat(CWD, path_by_descriptor(file), &self.file, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => self.sync(what).map(|()| true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(failed(what)(error)),
        }
    }

    fn sync(&self, what: impl std::fmt::Display) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| Failure::io(what, &error))
    }
}

impl ImageFile {
    fn new(file: File, dir: Rc<ImageDir>, name: ImageName) -> Result<Self, Failure> {
        let what = || format!("looking at {}", dir.path.join(&name.0).display());
        let mask = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::BTIME;
        let found = statx(&file, c"", AtFlags::EMPTY_PATH, mask).map_err(failed(what()))?;
        if FileType::from_raw_mode(found.stx_mode.into()) != FileType::RegularFile {
            let message = format!("{} is not a regular file", dir.path.join(&name.0).display());
            return Err(unfit("not-an-image", message));
        }
        // Not every filesystem knows when a file was born; then it is 0.
        let birth = i128::from(found.stx_btime.tv_sec) * 1_000_000_000
            + i128::from(found.stx_btime.tv_nsec);
        let fsid = fstatvfs(&file).map_err(failed(what()))?.f_fsid;
        let identity = format!("image:{fsid:x}:{}:{birth}", found.stx_ino);
        Ok(Self { file, dir, name, identity })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> PathBuf {
        self.dir.path.join(&self.name.0)
    }
}

fn open_there(dir: Rc<ImageDir>, name: ImageName) -> Result<Option<ImageFile>, Failure> {
    let shown = dir.path.join(&name.0);
    // NONBLOCK: a FIFO that somebody put there must not stop the call.
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = |access| openat(&dir.file, &name.0, access | flags, Mode::empty());
    let file = match open(OFlags::RDWR) {
        // An image on a read-only filesystem can be used read-only.
        Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => open(OFlags::RDONLY),
        result => result,
    };
    match file {
        Ok(file) => ImageFile::new(File::from(file), dir, name).map(Some),
        Err(Errno::NOENT) => match rehearsal::image(&shown) {
            Some(file) => ImageFile::new(file, dir, name).map(Some),
            None => Ok(None),
        },
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NODEV) => {
            Err(unfit("not-an-image", format!("{} is not a regular file", shown.display())))
        }
        Err(error) => Err(failed(format_args!("opening {}", shown.display()))(error)),
    }
}

#[cfg(test)]
impl ImageFile {
    /// An image by name only: for tests that do not act on it.
    pub(crate) fn for_test(dir: Rc<ImageDir>, name: &str, identity: &str) -> Self {
        let file = File::open("/dev/null").expect("/dev/null");
        Self {
            file,
            dir,
            name: ImageName::parse(name).expect("a name"),
            identity: identity.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
