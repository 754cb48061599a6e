//! Runs the filesystem tools of the distribution: only by absolute paths that nobody but root
//! can tamper with, and with nothing but the device, the volume's lock and a pipe for words.
//!
//! A tool is never killed and outlives this process if need be: half-written is the one state
//! that no filesystem recovers from. What its exit code means is the caller's to say.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, setpgid, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use super::device::Device;
use super::failed;
use crate::failure::{Code, Failure};

/// Where distributions put such tools.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// How much of a tool's words is kept: the end, where it says why it gave up.
const MAX_WORDS: usize = 8 * 1024;

/// How much of that goes into a failure's message, in characters.
const MAX_SHOWN: usize = 500;

/// As the kernel: more than so many symbolic links in a path is a loop.
const MAX_LINKS: usize = 40;

/// A tool that is there and safe to run.
#[derive(Debug)]
pub(super) struct Tool {
    name: &'static str,
    path: PathBuf,
    capabilities: CapabilitySet,
}

/// How a tool ended.
#[derive(Debug)]
pub(super) struct Ended {
    name: &'static str,
    /// Its exit code; none if a signal ended it.
    pub(super) code: Option<i32>,
    words: String,
}

impl Tool {
    /// Finds a tool. `tool-missing` if it is not there, naming the package it comes in, or if
    /// somebody other than root could have changed it.
    pub(super) fn find(name: &'static str, package: &str) -> Result<Self, Failure> {
        let mut reason = format!("{name} is not installed on this node; install {package}");
        for directory in DIRECTORIES {
            match trusted(&Path::new(directory).join(name)) {
                Ok(path) => return Ok(Self { name, path, capabilities: CapabilitySet::empty() }),
                Err(Some(problem)) => reason = format!("{name} is not run: {problem}"),
                Err(None) => {}
            }
        }
        Err(Failure::new(Code::Unavailable, "tool-missing", reason))
    }

    /// Lets it have these capabilities, without which it gives up.
    pub(super) fn keeping(self, capabilities: CapabilitySet) -> Self {
        Self { capabilities, ..self }
    }

    /// Runs it with the device as the last argument, and waits for it.
    pub(super) fn run(
        &self,
        arguments: &[&str],
        device: &Device,
        lock: BorrowedFd<'_>,
    ) -> Result<Ended, Failure> {
        let what = format!("running {}", self.name);
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(failed(&what))?;
        let mut command = Command::new(&self.path);
        // mke2fs tells by the name it is called by what it is to make.
        command.arg0(self.name).args(arguments).arg(device.path_by_descriptor());
        command.env_clear().env("LC_ALL", "C").current_dir("/");
        command.stdin(Stdio::null()).stderr(duplicate(&writer)?).stdout(writer);
        confine(&mut command, [device.file.as_raw_fd(), lock.as_raw_fd()], self.capabilities);
        let mut child = command.spawn().map_err(|error| Failure::io(&what, &error))?;
        // Or the pipe would never end: the command has the writing end, too.
        drop(command);
        let words = last_words(File::from(reader));
        let status = child.wait().map_err(|error| Failure::io(&what, &error))?;
        // A descriptor's path means nothing to who reads it.
        let words =
            words.replace(&device.path_by_descriptor(), &device.node().display().to_string());
        Ok(Ended { name: self.name, code: status.code(), words })
    }
}

impl Ended {
    /// The failure, with the tool's last words.
    pub(super) fn failure(&self, reason: &str, code: Code) -> Failure {
        let how = match self.code {
            Some(code) => format!("ended with exit code {code}"),
            None => "was ended by a signal".to_owned(),
        };
        let skip = self.words.chars().count().saturating_sub(MAX_SHOWN);
        let words: String = self.words.chars().skip(skip).collect();
        let words = if words.is_empty() { "it said nothing" } else { &words };
        Failure::new(code, reason, format!("{} {how}: {words}", self.name))
    }
}

/// The path with all links resolved, if at every step only root could have put there what is
/// there. `Err(None)` if there is no such file.
fn trusted(path: &Path) -> Result<PathBuf, Option<String>> {
    let mut real = PathBuf::from("/");
    let mut rest: Vec<PathBuf> = parts(path);
    let mut links = 0;
    check(&real)?;
    while let Some(part) = rest.pop() {
        if part.as_os_str() == ".." {
            real.pop();
            continue;
        }
        real.push(part);
        if check(&real)?.is_symlink() {
            links += 1;
            let to = std::fs::read_link(&real).map_err(|error| Some(describe(&real, &error)))?;
            if links > MAX_LINKS {
                return Err(Some(format!("{} is a loop of symbolic links", path.display())));
            }
            real.pop();
            if to.is_absolute() {
                real = PathBuf::from("/");
            }
            rest.extend(parts(&to));
        }
    }
    Ok(real)
}

/// Looks at one step of a path; an error if another than root may change it.
fn check(path: &Path) -> Result<std::fs::FileType, Option<String>> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(None),
        Err(error) => return Err(Some(describe(path, &error))),
    };
    // A symbolic link has no permissions of its own.
    if found.uid() != 0 || (!found.is_symlink() && found.mode() & 0o022 != 0) {
        return Err(Some(format!("{} may be changed by another than root", path.display())));
    }
    Ok(found.file_type())
}

fn describe(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be looked at: {error}", path.display())
}

/// The components after the root, last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let plain = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(plain).map(|part| PathBuf::from(part.as_os_str())).rev().collect()
}

/// Reads to the end, keeping the end, as one line of visible characters.
fn last_words(mut from: File) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => kept.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        let over = kept.len().saturating_sub(MAX_WORDS);
        kept.drain(..over);
    }
    let text = String::from_utf8_lossy(&kept).replace('\t', " ");
    let lines = text.split(|c: char| c.is_control()).map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, Failure> {
    fd.try_clone().map_err(|error| Failure::io("duplicating a descriptor", &error))
}

/// What the child does to itself between fork and exec.
#[expect(unsafe_code, reason = "only pre_exec can change what a child of Command inherits")]
fn confine(command: &mut Command, inherited: [RawFd; 2], capabilities: CapabilitySet) {
    let restrict = move || -> io::Result<()> {
        // A group of its own: a signal for this process's group is not for it. A session of its own
        // would be a new scheduling group, too, which is slow to get a turn.
        setpgid(None, None)?;
        // Whatever is open here is closed there, but for the standard streams and these two.
        // SAFETY: close_range(2) takes three integers and touches no memory; with CLOEXEC it
        // only marks descriptors, so none that is in use between here and exec goes away.
        if unsafe {
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
        } != 0
        {
            return Err(io::Error::last_os_error());
        }
        for fd in inherited {
            // SAFETY: both descriptors are borrowed from values that outlive the call of
            // `Tool::run`, and so are open in the child.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::empty())?;
        }
        // If this process dies, the pipe breaks, and who stops the kubelet's processes may stop
        // all of them: neither must end a tool while it writes.
        for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            // SAFETY: setting a disposition to ignore installs no handler.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        // Root without capabilities owns the device node, and mostly needs no more than that.
        // Without new privileges, exec gives none back that are not kept here.
        set_no_new_privs(true)?;
        let (kept, none) = (capabilities, CapabilitySet::empty());
        set_capabilities(
            None,
            CapabilitySets { effective: kept, permitted: kept, inheritable: none },
        )?;
        Ok(())
    };
    // SAFETY: the closure makes system calls only, allocates nothing and takes no lock, as
    // pre_exec demands of what runs after fork.
    unsafe { command.pre_exec(restrict) };
}

#[cfg(test)]
mod tests;
