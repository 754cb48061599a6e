//! Storage that can stop answering, as a network's or a dying disk's does: what asks it something is
//! then stuck in the kernel, where no signal reaches it, until the storage goes on or dies.
//!
//! It is a FUSE filesystem of one file, which is mounted over an image and passes everything on to
//! it. Either writes are held up, from a certain one on, or everything; and nothing is reordered.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyLseek, ReplyWrite, Request, Session,
    WriteFlags,
};
use rustix::fs::SeekFrom;
use rustix::io::Errno as Error;
use rustix::mount::{UnmountFlags, unmount};

use crate::running::{PATIENCE, until};

/// How long whoever still has the image may take to let go of it.
const LETTING_GO: Duration = Duration::from_secs(2);

/// The storage of one image. Dropped, it goes on and is taken off the image, whose file has all
/// that was written then.
#[derive(Debug)]
pub struct Storage {
    path: PathBuf,
    image: Arc<Image>,
    _session: BackgroundSession,
}

struct Image {
    file: File,
    waiting: Mutex<Waiting>,
    missed: Condvar,
}

/// What is asked, and answered when this is called.
type Question = Box<dyn FnOnce(&Image) + Send>;

#[derive(Default)]
struct Waiting {
    /// Tells the first write that is not answered any more; none while all are.
    stop_at: Option<fn(offset: u64, data: &[u8]) -> bool>,
    /// Whether nothing is answered, whatever it is.
    silent: bool,
    /// Those that wait for an answer.
    held: Vec<Question>,
}

impl Storage {
    /// Puts itself between an image and whoever opens it from now on.
    pub fn over(path: &Path) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("an image");
        let image = Arc::new(Image { file, waiting: Mutex::default(), missed: Condvar::new() });
        let served = Served(Arc::clone(&image));
        let session = Session::new(served, path, &Config::default()).expect("the kernel has FUSE");
        let session = session.spawn().expect("a thread");
        Self { path: path.to_owned(), image, _session: session }
    }

    /// From the next such write on, none is answered.
    pub fn stop_at(&self, write: fn(offset: u64, data: &[u8]) -> bool) {
        self.image.waiting().stop_at = Some(write);
    }

    /// From now on nothing is answered, not even what the file is like.
    pub fn falls_silent(&self) {
        self.image.waiting().silent = true;
    }

    /// Waits until somebody waits for an answer.
    pub fn is_waited_for(&self) {
        let waiting = self.image.waiting();
        let is_quiet = |waiting: &mut Waiting| waiting.held.is_empty();
        let waited = self.image.missed.wait_timeout_while(waiting, PATIENCE, is_quiet);
        let (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waiting.held.is_empty(), "nothing was asked of the storage");
    }

    /// Does what was left undone, and answers again.
    pub fn go_on(&self) {
        let mut waiting = self.image.waiting();
        (waiting.stop_at, waiting.silent) = (None, false);
        for question in waiting.held.drain(..) {
            question(&self.image);
        }
    }

    /// Answers nothing any more, for good, and whoever waits is told so: as when a server dies. What
    /// was not answered was not done.
    pub fn dies(&self) {
        // The kernel ends what waits, and takes the filesystem off if nobody has the file open.
        let _ = unmount(&self.path, UnmountFlags::NOFOLLOW | UnmountFlags::FORCE);
        self.image.waiting().held.clear();
    }

    /// Is taken off the image, which is as it was left: another server has it now.
    pub fn is_replaced(&self) {
        until("nobody has the dead storage open", || {
            (unmount(&self.path, UnmountFlags::NOFOLLOW) != Err(Error::BUSY)).then_some(())
        });
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.go_on();
        let end = Instant::now() + LETTING_GO;
        // If it stays in use, a test has failed: then the node takes it down after all else. The
        // session's thread goes on answering, and with this process the kernel gives it up.
        while unmount(&self.path, UnmountFlags::NOFOLLOW) == Err(Error::BUSY)
            && Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Image {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Also after a panic what is held has to be answered.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a question, or keeps it; `ends` tells whether it is one after which none is answered.
    fn asked(
        &self,
        ends: impl FnOnce(&Waiting) -> bool,
        question: impl FnOnce(&Self) + Send + 'static,
    ) {
        let mut waiting = self.waiting();
        if waiting.silent || ends(&waiting) {
            waiting.held.push(Box::new(question));
            self.missed.notify_all();
        } else {
            question(self);
        }
    }

    fn write(&self, offset: u64, data: &[u8], reply: ReplyWrite) {
        match self.file.write_all_at(data, offset) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error.into()),
        }
    }

    fn attributes(&self) -> io::Result<FileAttr> {
        let found = self.file.metadata()?;
        Ok(FileAttr {
            ino: INodeNo(found.ino()),
            size: found.size(),
            blocks: found.blocks(),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::RegularFile,
            perm: 0o600,
            nlink: 1,
            uid: found.uid(),
            gid: found.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// What the session's thread calls. It never waits: a question that is held is put aside. Of what it
/// does not have, such as fsync, the kernel takes it that there is nothing to do.
#[derive(Debug)]
struct Served(Arc<Image>);

impl Filesystem for Served {
    fn getattr(&self, _: &Request, _: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.0.asked(
            |_| false,
            |image| match image.attributes() {
                Ok(attributes) => reply.attr(&Duration::ZERO, &attributes),
                Err(error) => reply.error(error.into()),
            },
        );
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.0.asked(
            |_| false,
            move |image| {
                let mut buffer = vec![0; size as usize];
                match image.file.read_at(&mut buffer, offset) {
                    Ok(length) => reply.data(&buffer[..length]),
                    Err(error) => reply.error(error.into()),
                }
            },
        );
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let copy = data.to_vec();
        self.0.asked(
            |waiting| {
                let is_first = waiting.stop_at.is_some_and(|is_first| is_first(offset, data));
                is_first || !waiting.held.is_empty()
            },
            move |image| image.write(offset, &copy, reply),
        );
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        // The kernel asks for nothing but data and holes; the rest it knows itself.
        let from = match whence {
            libc::SEEK_DATA => SeekFrom::Data(offset as u64),
            _ => SeekFrom::Hole(offset as u64),
        };
        self.0.asked(
            |_| false,
            move |image| match rustix::fs::seek(&image.file, from) {
                Ok(found) => reply.offset(found as i64),
                Err(error) => reply.error(Errno::from_i32(error.raw_os_error())),
            },
        );
    }
}
