//! The lock of a volume: at most one call works on a volume at a time.
//!
//! It is a flock(2) on a file in the run directory, so the kernel frees it when the last process
//! that inherited it is gone: the broker, or a tool that outlived it. The file says who took it
//! last, for the message of whoever finds it taken, and whether that call came to its end, for
//! whoever has it next. When nothing is on record of the volume any more it is removed, by who has
//! the lock: a pod's volume has a name of its own, and a node sees many pods. A lock on a removed file
//! locks nothing, so whoever gets one looks whether the file is still there.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::call::{DriverName, Operation};
use crate::failure::{Code, Failure};
use crate::rehearsal;

/// How long a call waits for its turn. kubelet retries anyway; a short wait saves it the noise
/// when two calls for a volume follow each other closely. One that has had its turn for longer is
/// not waited for at all: it may be stuck in the kernel.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the file says behind its holder: while a call runs or if it was cut off, and at its end.
const RUNNING: &str = "running";
const ENDED: &str = "ended";

/// How long a call that has just got its turn may take to say so in the file.
const MOMENT: Duration = Duration::from_millis(100);

/// A held lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// None of one that only looks whether anybody else has the lock.
    operation: Option<Operation>,
    before: Before,
    /// Where the file is; none in a rehearsal.
    place: Option<(OwnedFd, String)>,
    /// Whether the file is removed in the end.
    goes: bool,
}

/// The call that had the lock before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// There was none since the node was booted.
    Nobody,
    /// It has let go of the lock itself.
    Ended,
    /// It was killed.
    CutOff,
}

impl Lock {
    /// Takes the lock of a volume, waiting up to ten seconds. `stopped` is asked between tries, with
    /// the time that it may take to answer.
    pub fn take(
        run_dir: &Path,
        driver: &DriverName,
        key: &str,
        operation: Operation,
        stopped: impl FnMut(Duration) -> bool,
    ) -> Result<Self, Failure> {
        Self::within(PATIENCE, run_dir, driver, key, Some(operation), stopped)
    }

    /// Takes the lock if nobody has it, for another volume's call. Of that the file says nothing.
    pub fn try_take(run_dir: &Path, driver: &DriverName, key: &str) -> Result<Self, Failure> {
        Self::within(Duration::ZERO, run_dir, driver, key, None, |_| false)
    }

    fn within(
        patience: Duration,
        run_dir: &Path,
        driver: &DriverName,
        key: &str,
        operation: Option<Operation>,
        mut stopped: impl FnMut(Duration) -> bool,
    ) -> Result<Self, Failure> {
        if rehearsal::is_on() {
            // A call that is under way does not wait for a rehearsal, nor a rehearsal for it.
            let file = rustix::fs::memfd_create("lock", MemfdFlags::CLOEXEC).map(File::from);
            let file = file.map_err(|error| Failure::io("making a lock", &error.into()))?;
            let before = Before::Ended;
            return Ok(Self { file, operation: None, before, place: None, goes: false });
        }
        let path = run_dir.join(driver.tilde());
        let dir = super::private_dir(&path)?;
        let name = super::identity_name(key) + ".lock";
        let opening = || format!("opening {}", path.join(&name).display());
        let mut file = open(&dir, &name).map_err(|error| Failure::io(opening(), &error))?;
        let began = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&dir, &name, &file) => break,
                // Whoever had the lock has removed the file.
                Ok(()) => {
                    file = open(&dir, &name).map_err(|error| Failure::io(opening(), &error))?;
                    continue;
                }
                Err(Errno::WOULDBLOCK) if began.elapsed() >= patience => {
                    return Err(taken(&file));
                }
                Err(Errno::WOULDBLOCK)
                    if began.elapsed() >= MOMENT && held_for(&file) >= patience =>
                {
                    return Err(taken(&file));
                }
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(Failure::io("locking the volume", &error.into())),
            }
            if stopped(Duration::from_millis(2)) {
                return Err(Failure::new(
                    Code::Cancelled,
                    "stopped",
                    "stopped while waiting for its turn",
                ));
            }
        }
        let before = match text(&file).split_whitespace().nth(2) {
            None => Before::Nobody,
            Some(RUNNING) => Before::CutOff,
            Some(_) => Before::Ended,
        };
        let lock = Self { file, operation, before, place: Some((dir, name)), goes: false };
        lock.say(RUNNING);
        Ok(lock)
    }

    /// What became of the call before.
    pub fn before(&self) -> Before {
        self.before
    }

    /// Whoever has the lock next need not know that the call before was cut off: what it left is
    /// cleared up.
    pub fn forget_before(&mut self) {
        self.before = Before::Ended;
    }

    /// Whether the file is to go with the lock: nothing of the volume is on record.
    pub fn is_last(&mut self, goes: bool) {
        self.goes = goes;
    }

    /// For convenience only: a write that fails changes nothing. All are of one length, since cutting
    /// the file would make some filesystems write it out.
    fn say(&self, state: &str) {
        let Some(operation) = self.operation else { return };
        let (operation, process) = (operation.name(), std::process::id());
        let holder = format!("{operation:<16} {process:>10} {state:<7}");
        let _ = self.file.write_all_at(holder.as_bytes(), 0);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What a broker that panicked has left is as little known.
        if self.before == Before::CutOff || std::thread::panicking() {
            return;
        }
        match &self.place {
            // Whoever has put another file in its place has another lock.
            Some((dir, name)) if self.goes && is_at(dir, name, &self.file) => {
                let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
            }
            _ => self.say(ENDED),
        }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open(dir: &OwnedFd, name: &str) -> std::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Whether the name still leads to the file.
fn is_at(dir: &OwnedFd, name: &str, file: &File) -> bool {
    let there = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    let (Ok(there), Ok(here)) = (there, file.metadata()) else { return false };
    (there.st_dev, there.st_ino) == (here.dev(), here.ino())
}

/// How long ago the file was written to last, which is when the lock was taken; none if nobody knows.
fn held_for(file: &File) -> Duration {
    let since = file.metadata().and_then(|found| found.modified());
    since.ok().and_then(|since| since.elapsed().ok()).unwrap_or_default()
}

fn text(file: &File) -> String {
    let mut bytes = [0; 100];
    let length = file.read_at(&mut bytes, 0).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

fn taken(file: &File) -> Failure {
    let seconds = held_for(file).as_secs();
    let holder = text(file);
    let mut words = holder.split_whitespace();
    let who = match (words.next(), words.next()) {
        (Some(operation), Some(pid)) => format!("{operation} (process {pid})"),
        _ => "a call".to_owned(),
    };
    let message = format!(
        "{who} for the same volume is still running, since {seconds} s; kubelet will try again"
    );
    Failure::new(Code::Aborted, "still-running", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_cut_off_is_known_to_the_next_until_that_has_cleared_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let driver: DriverName = "a.example/x".parse().expect("a driver's name");
        let take = || {
            Lock::take(dir.path(), &driver, "pv-1", Operation::Mount, |_| true).expect("it is free")
        };
        assert_eq!(take().before(), Before::Nobody);
        assert_eq!(take().before(), Before::Ended);
        let file = dir.path().join("a.example~x/pv-1.lock");
        let lock = take();
        let told = Lock::try_take(dir.path(), &driver, "pv-1").expect_err("it is taken").message;
        let who = format!("mount (process {}) for the same volume", std::process::id());
        assert!(told.starts_with(&who), "{told}");
        let while_it_runs = std::fs::read(&file).expect("readable");
        drop(lock);
        std::fs::write(&file, while_it_runs).expect("writable");
        drop(Lock::try_take(dir.path(), &driver, "pv-1").expect("it is free"));
        assert_eq!(take().before(), Before::CutOff);
        let mut lock = take();
        assert_eq!(lock.before(), Before::CutOff, "nobody has cleared up");
        lock.forget_before();
        drop(lock);
        assert_eq!(take().before(), Before::Ended);
    }
    /// A pod's volume is never heard of again.
    #[test]
    fn nothing_stays_of_a_volume_that_is_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let driver: DriverName = "a.example/x".parse().expect("a driver's name");
        let take = || {
            Lock::take(dir.path(), &driver, "pv-1", Operation::Mount, |_| false).expect("its turn")
        };
        let file = dir.path().join("a.example~x/pv-1.lock");
        let mut lock = take();
        lock.is_last(true);
        // One that waits meanwhile has the file open that is removed.
        let mut asks = 0;
        let mut first = Some(lock);
        let waiting = Lock::take(dir.path(), &driver, "pv-1", Operation::Mount, |_| {
            asks += 1;
            drop(first.take());
            false
        });
        let waiting = waiting.expect("its turn");
        assert_eq!(asks, 1, "it has waited");
        assert!(file.exists(), "what is locked now is there for others");
        Lock::try_take(dir.path(), &driver, "pv-1").expect_err("it is taken");
        drop(waiting);
        assert!(file.exists());
        let mut lock = take();
        lock.is_last(true);
        drop(lock);
        assert!(!file.exists());
        assert_eq!(take().before(), Before::Nobody);
    }
}
