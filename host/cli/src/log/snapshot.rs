//! A driver's audit log and its head as they are at one moment: opened while no call writes, and
//! read up to where they ended then. What is found in them is for [`chain`](super::chain).

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::FlockOperation;
use rustix::io::retry_on_intr;
use serde::Deserialize;
use wasmount_core::audit::head::Head;
use wasmount_core::audit::{KEPT, digest, rotated};

/// The log and the head.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// What all of its files are named after.
    pub(super) path: PathBuf,
    /// The whole lines, oldest first.
    pub(super) lines: Vec<Link>,
    /// What comes before the first of them.
    pub(super) torn: Vec<Place>,
    /// The head; what stands in its place if there is none.
    pub(super) head: Result<Head, NoHead>,
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHead {
    /// No file.
    Absent,
    /// A file that is none.
    Damaged,
}

/// A line as the chain has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) at: Place,
    pub(super) seq: u64,
    pub(super) prev: String,
    /// What it says of lines that were gone when it was written.
    pub(super) gap: Option<String>,
    /// Its own digest.
    pub(super) digest: String,
    /// The same with what follows it and is no whole line.
    pub(super) digest_to_next: String,
    /// Where that is.
    pub(super) torn: Vec<Place>,
}

/// A line of a file, counted from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) number: u64,
}

/// What of a line is read here.
#[derive(Deserialize)]
struct Fields {
    seq: u64,
    prev: String,
    gap: Option<String>,
}

impl Snapshot {
    /// Takes it. An error if something cannot be read, not if it is absent.
    pub(super) fn take(path: &Path, head: &Path) -> Result<Self> {
        loop {
            let current = lock(path)?;
            let head = read_head(head)?;
            let mut files = Vec::new();
            for n in (1..=KEPT).rev() {
                files.extend(open(&rotated(path, n))?);
            }
            match current {
                Some(current) => {
                    files.push(bounded(path, &current)?);
                    retry_on_intr(|| rustix::fs::flock(&current, FlockOperation::Unlock))?;
                }
                // What came meanwhile may have been renamed, too.
                None if path.exists() => continue,
                None => {}
            }
            let mut snapshot = Self { path: path.to_owned(), lines: vec![], torn: vec![], head };
            let mut since = Vec::new();
            for (path, length, file) in files {
                snapshot
                    .read(&path, file, length, &mut since)
                    .with_context(|| format!("reading {}", path.display()))?;
            }
            return Ok(snapshot);
        }
    }

    /// Reads a file. `since` has the last whole line, and what was read since.
    fn read(
        &mut self,
        path: &Path,
        file: File,
        length: u64,
        since: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut reader = BufReader::new(file.take(length));
        let (mut bytes, mut number) = (Vec::new(), 0);
        loop {
            bytes.clear();
            if reader.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(());
            }
            number += 1;
            bytes.pop_if(|last| *last == b'\n');
            let at = Place { file: path.to_owned(), number };
            match serde_json::from_slice::<Fields>(&bytes) {
                Ok(Fields { seq, prev, gap }) => {
                    since.clone_from(&bytes);
                    let digest = digest(&bytes);
                    let digest_to_next = digest.clone();
                    let torn = Vec::new();
                    self.lines.push(Link { at, seq, prev, gap, digest, digest_to_next, torn });
                }
                Err(_) => match self.lines.last_mut() {
                    Some(line) => {
                        since.push(b'\n');
                        since.extend_from_slice(&bytes);
                        line.digest_to_next = digest(since);
                        line.torn.push(at);
                    }
                    None => self.torn.push(at),
                },
            }
        }
    }
}

/// Opens the file that is written to, and keeps calls from writing while it is open.
fn lock(path: &Path) -> Result<Option<File>> {
    loop {
        let Some((_, _, file)) = open(path)? else { return Ok(None) };
        retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockShared))
            .with_context(|| format!("locking {}", path.display()))?;
        let here = file.metadata().with_context(|| format!("reading {}", path.display()))?;
        let there = fs::symlink_metadata(path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())) {
            return Ok(Some(file));
        }
    }
}

type Bounded = (PathBuf, u64, File);

fn open(path: &Path) -> Result<Option<Bounded>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("only root can read the audit log {}; try sudo", path.display())
        }
        opened => {
            bounded(path, &opened.with_context(|| format!("opening {}", path.display()))?).map(Some)
        }
    }
}

fn bounded(path: &Path, file: &File) -> Result<Bounded> {
    let read = || Ok::<_, io::Error>((file.metadata()?.len(), file.try_clone()?));
    let (length, file) = read().with_context(|| format!("reading {}", path.display()))?;
    Ok((path.to_owned(), length, file))
}

/// Reads the head of a log.
pub(super) fn read_head(path: &Path) -> Result<Result<Head, NoHead>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Err(NoHead::Absent)),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("only root can read the head of the audit log, {}; try sudo", path.display())
        }
        read => {
            let bytes = read.with_context(|| format!("reading {}", path.display()))?;
            Ok(Head::parse(&bytes).ok_or(NoHead::Damaged))
        }
    }
}
