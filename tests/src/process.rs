//! A process as others see it: what procfs tells of it. It may end at any moment, and then
//! nothing is seen of it any more.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::running::until;

/// A process; another that gets its number later is not taken for it.
#[derive(Clone, Debug)]
pub struct Process {
    pid: Pid,
    handle: Rc<OwnedFd>,
}

impl Process {
    /// The process of that number; none if there is none.
    pub fn open(pid: Pid) -> Option<Self> {
        let handle = Rc::new(pidfd_open(pid, PidfdFlags::empty()).ok()?);
        Some(Self { pid, handle })
    }

    /// Its number.
    pub fn number(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Kills it: only for a process of a call of the test's own.
    pub fn kill(&self) {
        pidfd_send_signal(&*self.handle, Signal::KILL).expect("root may");
    }

    /// Those that it has started and not waited for.
    pub fn children(&self) -> Vec<Self> {
        let pid = self.pid;
        let list = self.tells(&format!("task/{pid}/children"));
        let pids = list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        pids.filter_map(Self::open).collect()
    }

    /// A file of its directory in procfs.
    pub fn open_file(&self, file: &str) -> io::Result<File> {
        File::open(format!("/proc/{}/{file}", self.pid))
    }

    /// What such a file says; nothing if it has ended.
    pub fn read(&self, file: &str) -> Vec<u8> {
        fs::read(format!("/proc/{}/{file}", self.pid)).unwrap_or_default()
    }

    /// The file that it runs.
    pub fn program(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.pid)).ok()
    }

    /// The directory that it is in.
    pub fn directory(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).ok()
    }

    /// The name that it was called by.
    pub fn called(&self) -> String {
        self.tells("cmdline").split('\0').next().unwrap_or_default().to_owned()
    }

    /// The files that it has open.
    pub fn files(&self) -> Vec<PathBuf> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
    }

    /// Whether it blocks a signal.
    pub fn blocks(&self, signal: Signal) -> bool {
        let status = self.tells("status");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & 1 << (signal.as_raw() - 1) != 0)
    }

    /// Waits until it sleeps in a system call of this number.
    pub fn sleeps_in(&self, call: libc::c_long) {
        until("it sleeps in the system call", || {
            let now = self.tells("syscall");
            (now.split(' ').next()? == call.to_string()).then_some(())
        });
    }

    /// Waits until it has used so much of a processor's time, in hundredths of a second.
    pub fn has_worked(&self, hundredths: u64) {
        until("it has worked", || {
            let stat = self.tells("stat");
            // After the program's name, which may contain anything: the state is field 3, and
            // 14 and 15 are the times in and outside of the program.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let time = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
            (time(14)? + time(15)? >= hundredths).then_some(())
        });
    }

    /// Sends it a signal. False if it has ended.
    pub fn signal(&self, signal: Signal) -> bool {
        !self.has_ended() && pidfd_send_signal(&*self.handle, signal).is_ok()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&*self.handle, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).expect("a process can be polled") > 0
    }

    /// Waits until it has ended.
    pub fn ends(&self) {
        until("it has ended", || self.has_ended().then_some(()));
    }

    fn tells(&self, file: &str) -> String {
        String::from_utf8(self.read(file)).unwrap_or_default()
    }
}
