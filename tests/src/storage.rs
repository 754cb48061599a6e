//! Storage that can stop answering, as a network's or a dying disk's does: what writes to it is
//! then stuck in the kernel, where no signal reaches it, until the storage goes on.
//!
//! It is a FUSE filesystem of one file, which is mounted over an image and passes everything on to
//! it. Only writes are ever held up, and none is lost or reordered.

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

use crate::running::PATIENCE;

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

#[derive(Debug)]
struct Image {
    file: File,
    writes: Mutex<Writes>,
    missed: Condvar,
}

#[derive(Debug, Default)]
struct Writes {
    /// Tells the first that is not answered any more; none while all are.
    stop_at: Option<fn(offset: u64, data: &[u8]) -> bool>,
    /// Those that wait for an answer: where, what, to whom.
    held: Vec<(u64, Vec<u8>, ReplyWrite)>,
}

impl Storage {
    /// Puts itself between an image and whoever opens it from now on.
    pub fn over(path: &Path) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("an image");
        let image = Arc::new(Image { file, writes: Mutex::default(), missed: Condvar::new() });
        let served = Served(Arc::clone(&image));
        let session = Session::new(served, path, &Config::default()).expect("the kernel has FUSE");
        let session = session.spawn().expect("a thread");
        Self { path: path.to_owned(), image, _session: session }
    }

    /// From the next such write on, none is answered.
    pub fn stop_at(&self, write: fn(offset: u64, data: &[u8]) -> bool) {
        self.image.writes().stop_at = Some(write);
    }

    /// Waits until a write waits for its answer.
    pub fn wait_for_a_write(&self) {
        let writes = self.image.writes();
        let waited =
            self.image.missed.wait_timeout_while(writes, PATIENCE, |writes| writes.held.is_empty());
        let (writes, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!writes.held.is_empty(), "nothing was written to the storage");
    }

    /// Does what was left undone, and answers again.
    pub fn go_on(&self) {
        let mut writes = self.image.writes();
        writes.stop_at = None;
        for (offset, data, reply) in writes.held.drain(..) {
            self.image.write(offset, &data, reply);
        }
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

impl Image {
    fn writes(&self) -> MutexGuard<'_, Writes> {
        // Also after a panic the held writes have to be answered.
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What the session's thread calls. It never waits: a write that is held is put aside. Of what it
/// does not have, such as fsync, the kernel takes it that there is nothing to do.
#[derive(Debug)]
struct Served(Arc<Image>);

impl Filesystem for Served {
    fn getattr(&self, _: &Request, _: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.attributes() {
            Ok(attributes) => reply.attr(&Duration::ZERO, &attributes),
            Err(error) => reply.error(error.into()),
        }
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
        let mut buffer = vec![0; size as usize];
        match self.0.file.read_at(&mut buffer, offset) {
            Ok(length) => reply.data(&buffer[..length]),
            Err(error) => reply.error(error.into()),
        }
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
        let mut writes = self.0.writes();
        if !writes.held.is_empty() || writes.stop_at.is_some_and(|is_first| is_first(offset, data))
        {
            writes.held.push((offset, data.to_vec(), reply));
            self.0.missed.notify_all();
        } else {
            self.0.write(offset, data, reply);
        }
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
        match rustix::fs::seek(&self.0.file, from) {
            Ok(found) => reply.offset(found as i64),
            Err(error) => reply.error(Errno::from_i32(error.raw_os_error())),
        }
    }
}
