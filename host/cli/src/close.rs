//! A driver that kubelet cannot call for a while: what it executes is away, and calls that were
//! under way have ended. Meanwhile the driver is removed, or what its calls rely on is moved.
//!
//! A call that comes then fails as one of a driver that is not there, and kubelet tries again.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::layout::{self, DriverDir};
use crate::usage::{self, Vacant};

/// How long to wait for calls that are under way: they end within 110 s by themselves.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often to look whether they have ended.
const POLL: Duration = Duration::from_millis(50);

/// A driver that cannot be called. Dropped, it is opened again.
#[derive(Debug)]
pub struct Closed {
    directory: DriverDir,
    reopens: bool,
    vacant: Vec<Vacant>,
    /// Dropped last, and then what came meanwhile takes effect.
    interrupts: Interrupts,
}

impl Closed {
    /// Takes away what kubelet executes and waits for the calls that are under way. `waiting` is
    /// told the process of one, if there is any. After an error, and after an interrupt, the driver
    /// is as it was.
    pub fn close(
        directory: &DriverDir,
        patience: Duration,
        waiting: &mut dyn FnMut(u32),
    ) -> Result<Self> {
        let interrupts = Interrupts::hold()?;
        let executable = directory.executable();
        let reopens = match fs::remove_file(&executable) {
            // An uninstallation before this one was cut short.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            removed => {
                removed.with_context(|| format!("removing {}", executable.display()))?;
                true
            }
        };
        let directory = directory.clone();
        let mut closed = Self { directory, reopens, vacant: Vec::new(), interrupts };
        closed.wait(patience, waiting)?;
        Ok(closed)
    }

    /// The driver is not opened again, but calls stay out of its versions for as long as this lives.
    pub fn for_good(&mut self) {
        self.reopens = false;
    }

    /// This program itself may call the versions now, by their own programs; kubelet still cannot.
    /// It can afterwards, also if a process before this one was killed and had left it closed.
    pub fn for_calls_of_ours(mut self) -> Self {
        self.vacant.clear();
        self.reopens = true;
        self
    }

    /// Fails if this process has been asked to end.
    pub fn go_on(&self) -> Result<()> {
        match self.interrupts.came()? {
            true => bail!("interrupted; what is not done yet was left as it was"),
            false => Ok(()),
        }
    }

    fn wait(&mut self, patience: Duration, waiting: &mut dyn FnMut(u32)) -> Result<()> {
        let start = Instant::now();
        let mut told = false;
        loop {
            let running = usage::running(&self.directory)?.into_iter().next();
            if running.is_none()
                && let Some(vacant) = usage::vacate_all(&self.directory)?
            {
                self.vacant = vacant;
                return Ok(());
            }
            if start.elapsed() >= patience {
                let process = running.map(|process| format!(" (process {process})"));
                bail!(
                    "a call of the driver is still running{} after {} s; find out what it waits \
                     for, then try again",
                    process.unwrap_or_default(),
                    patience.as_secs()
                );
            }
            if self.interrupts.came()? {
                bail!("interrupted while a call was under way; the driver is as it was");
            }
            if let (Some(process), false) = (running, told) {
                waiting(process);
                told = true;
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if self.reopens {
            // It fails where an upgrade has put it back, or else an installation repairs it; the
            // error that led here counts.
            let _ = symlink(layout::EXECUTABLE_TARGET, self.directory.executable());
            let directory = layout::open_directory(self.directory.path()).map(fs::File::from);
            let _ = directory.and_then(|directory| directory.sync_all());
        }
    }
}

/// Signals that would end this process and leave the driver closed, with volumes that nobody can
/// take down.
#[derive(Debug)]
struct Interrupts {
    before: SigSet,
    descriptor: SignalFd,
}

impl Interrupts {
    fn hold() -> Result<Self> {
        let what = "holding signals back";
        let signals =
            SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT]);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&signals, flags).context(what)?;
        let before = SigSet::thread_get_mask().context(what)?;
        signals.thread_block().context(what)?;
        Ok(Self { before, descriptor })
    }

    fn came(&self) -> Result<bool> {
        Ok(self.descriptor.read_signal().context("looking for signals")?.is_some())
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}
