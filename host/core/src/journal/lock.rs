//! The lock of a volume: at most one call works on a volume at a time.
//!
//! It is a flock(2) on a file in the run directory, so the kernel frees it when the last process
//! that inherited it is gone: the broker, or a tool that outlived it. The file says who took it
//! last, for the message of whoever finds it taken; it is never removed, since a lock on a
//! removed file would lock nothing.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::call::{DriverName, Operation};
use crate::failure::{Code, Failure};

/// How long a call waits for its turn. kubelet retries anyway; a short wait saves it the noise
/// when two calls for a volume follow each other closely.
const PATIENCE: Duration = Duration::from_secs(10);

/// A held lock.
#[derive(Debug)]
pub struct Lock(File);

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
        Self::within(PATIENCE, run_dir, driver, key, operation, stopped)
    }

    /// Takes the lock if nobody has it.
    pub fn try_take(
        run_dir: &Path,
        driver: &DriverName,
        key: &str,
        operation: Operation,
    ) -> Result<Self, Failure> {
        Self::within(Duration::ZERO, run_dir, driver, key, operation, |_| false)
    }

    fn within(
        patience: Duration,
        run_dir: &Path,
        driver: &DriverName,
        key: &str,
        operation: Operation,
        mut stopped: impl FnMut(Duration) -> bool,
    ) -> Result<Self, Failure> {
        let path = run_dir.join(driver.tilde());
        let dir = super::private_dir(&path)?;
        let name = super::identity_name(key) + ".lock";
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = rustix::fs::openat(&dir, &name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| {
                Failure::io(format_args!("opening {}", path.join(&name).display()), &error.into())
            })?;
        let end = Instant::now() + patience;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < end => {}
                Err(Errno::WOULDBLOCK) => return Err(taken(&mut file)),
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
        // Who holds it is told for convenience only: a write that fails changes nothing.
        // All are of one length, since cutting the file would make some filesystems write it out.
        let holder = format!("{:<16} {:>10}", operation.name(), std::process::id());
        let _ = file.write_all(holder.as_bytes());
        Ok(Self(file))
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn taken(file: &mut File) -> Failure {
    let mut holder = String::new();
    let _ = file.rewind();
    let _ = file.take(100).read_to_string(&mut holder);
    let who = match holder.split_once(' ').map(|(operation, pid)| (operation, pid.trim())) {
        Some((operation, pid)) if !pid.is_empty() => format!("{operation} (process {pid})"),
        _ => "a call".to_owned(),
    };
    let message = format!("{who} for the same volume is still running; kubelet will try again");
    Failure::new(Code::Aborted, "still-running", message)
}
