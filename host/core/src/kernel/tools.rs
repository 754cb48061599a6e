//! Runs the filesystem tools of the distribution: only by absolute paths that nobody but root
//! can tamper with, and with nothing but the device, the volume's lock and a pipe for words. One that
//! is taken over by what is on the device gets no further than that.
//!
//! A tool is never killed and outlives this process if need be: half-written is the one state
//! that no filesystem recovers from. What its exit code means is the caller's to say.

mod files;
mod filter;
mod spawn;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::CapabilitySet;

pub(super) use self::files::Files;
use self::spawn::Start;
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
        self.run_while(arguments, device, lock, || ())
    }

    /// The same, with something to do until it has ended.
    pub(super) fn run_while(
        &self,
        arguments: &[&str],
        device: &Device,
        lock: BorrowedFd<'_>,
        meanwhile: impl FnOnce(),
    ) -> Result<Ended, Failure> {
        let what = format!("running {}", self.name);
        let path = device.path_by_descriptor();
        // mke2fs tells by the name it is called by what it is to make.
        let words = [&[self.name], arguments, &[&path]].concat();
        let argv: Result<Vec<CString>, _> = words.into_iter().map(CString::new).collect();
        let argv = argv.map_err(|error| Failure::io(&what, &error.into()))?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(failed(&what))?;
        let files = may_open(device).map_err(failed(&what))?;
        if let Some(files) = files {
            files.allow_program(&self.path).map_err(failed(&what))?;
        }
        let child = spawn::spawn(&Start {
            program: &self.path,
            argv: &argv,
            handed: &[device.file.as_fd(), lock],
            output: writer.as_fd(),
            capabilities: self.capabilities,
            files,
        })
        .map_err(|error| Failure::io(&what, &error))?;
        // Or the pipe would never end.
        drop(writer);
        meanwhile();
        let words = last_words(File::from(reader));
        let code = exit_code(child).map_err(|error| Failure::io(&what, &error.into()))?;
        // A descriptor's path means nothing to who reads it.
        let words = words.replace(&path, &device.node().display().to_string());
        Ok(Ended { name: self.name, code, words })
    }
}

/// Prepares for a tool to be run on the device, while there is nothing else to do. What goes wrong is
/// found out when it is run.
pub fn prepare(device: &Device) {
    let _ = may_open(device);
}

/// What a tool can open; none if this kernel cannot keep it from anything.
fn may_open(device: &Device) -> Result<Option<&Files>, rustix::io::Errno> {
    if device.tools_open.get().is_none() {
        let files = Files::of_the_node()?;
        if let Some(files) = &files {
            files.allow_device(&device.file)?;
        }
        let _ = device.tools_open.set(files);
    }
    Ok(device.tools_open.get().and_then(Option::as_ref))
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

/// Waits for a child's end; none if a signal ended it.
fn exit_code(child: Pid) -> nix::Result<Option<i32>> {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(Some(code)),
            Ok(WaitStatus::Signaled(..)) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
