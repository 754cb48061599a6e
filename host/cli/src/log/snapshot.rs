//! A driver's audit log and its head as they are at one moment: opened while no call writes, and
//! read up to where they ended then. What is found in them is for [`chain`](super::chain).

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use rustix::fs::FlockOperation;
use rustix::io::retry_on_intr;
use serde::Deserialize;
use wasmount_core::audit::head::Head;
use wasmount_core::audit::{KEPT, Running, rotated};

use super::LONGEST_LINE;

/// The log and the head.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// What all of its files are named after.
    pub(super) path: PathBuf,
    /// The whole lines, oldest first.
    pub(super) lines: Vec<Link>,
    /// The first of them as it is, without its end.
    pub(super) first: Vec<u8>,
    /// What comes before the first of them.
    pub(super) torn: Option<Torn>,
    /// Whether all of them are of one call.
    pub(super) of_one_call: bool,
    /// The head; what stands in its place if there is none.
    pub(super) head: Result<Head, NoHead>,
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHead {
    /// No file.
    Absent,
    /// A file that nothing was written to yet.
    Empty,
    /// A file that is none.
    Damaged,
}

/// A line as the chain has it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) at: Place,
    pub(super) seq: u64,
    pub(super) prev: String,
    /// What it says of lines that were gone when it was written.
    pub(super) gap: Option<String>,
    /// Its own digest.
    pub(super) digest: String,
    /// What follows it.
    pub(super) torn: Option<Torn>,
}

/// What is no whole line, up to the next.
#[derive(Clone, Debug)]
pub(super) struct Torn {
    /// Where it begins.
    pub(super) at: Place,
    /// The digest of the whole line before it, if there is one, and of all of it.
    digest: String,
}

/// A line of a file, counted from 1. Places of one log are in the order in which it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which of the log's files it is, from the oldest on.
    nth: usize,
    pub(super) number: u64,
    pub(super) file: Rc<Path>,
}

impl Link {
    /// What the next line has to say of it.
    pub(super) fn digest_to_next(&self) -> &str {
        self.torn.as_ref().map_or(&self.digest, |torn| &torn.digest)
    }
}

impl Torn {
    /// Whether a line says that this is before it, and nothing else.
    pub(super) fn is_all_before(&self, line: &Link) -> bool {
        self.digest == line.prev
    }
}

/// What of a line is read here.
#[derive(Deserialize)]
struct Fields {
    seq: u64,
    prev: String,
    gap: Option<String>,
    call: Option<String>,
}

/// What was read since the last whole line, that line included.
#[derive(Default)]
struct Since {
    digest: Running,
    is_anything: bool,
    torn: Option<Place>,
}

impl Since {
    fn line(bytes: &[u8]) -> Self {
        let mut digest = Running::default();
        digest.add(bytes);
        Self { digest, is_anything: true, torn: None }
    }

    /// Adds what is no whole line, or more of it.
    fn add(&mut self, at: &Place, bytes: &[u8], goes_on: bool) {
        if self.is_anything && !goes_on {
            self.digest.add(b"\n");
        }
        self.digest.add(bytes);
        self.is_anything = true;
        self.torn.get_or_insert_with(|| at.clone());
    }
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
            let path = path.to_owned();
            let (lines, first, torn) = (Vec::new(), Vec::new(), None);
            let mut snapshot = Self { path, lines, first, torn, of_one_call: true, head };
            let (mut since, mut call) = (Since::default(), None);
            for (nth, (path, length, file)) in files.into_iter().enumerate() {
                let first = Place { nth, number: 0, file: path.as_path().into() };
                snapshot
                    .read(first, file.take(length), &mut since, &mut call)
                    .with_context(|| format!("reading {}", path.display()))?;
            }
            snapshot.settle(since);
            return Ok(snapshot);
        }
    }

    /// Reads a file, counting from a place on. `since` has the last whole line and what was read
    /// since, `call` whose the first line is.
    fn read(
        &mut self,
        mut at: Place,
        file: impl io::Read,
        since: &mut Since,
        call: &mut Option<String>,
    ) -> io::Result<()> {
        let mut reader = BufReader::new(file);
        let (mut bytes, mut goes_on) = (Vec::new(), false);
        loop {
            bytes.clear();
            let length = (&mut reader).take(LONGEST_LINE as u64).read_until(b'\n', &mut bytes)?;
            if length == 0 {
                return Ok(());
            }
            let ends = bytes.pop_if(|last| *last == b'\n').is_some();
            at.number += u64::from(!goes_on);
            let is_whole = !goes_on && (ends || length < LONGEST_LINE);
            match is_whole.then(|| serde_json::from_slice::<Fields>(&bytes)) {
                Some(Ok(Fields { seq, prev, gap, call: of })) => {
                    let before = std::mem::replace(since, Since::line(&bytes));
                    self.settle(before);
                    if self.lines.is_empty() {
                        self.first.clone_from(&bytes);
                        call.clone_from(&of);
                    }
                    self.of_one_call &= of == *call;
                    let digest = since.digest.clone().digest();
                    self.lines.push(Link { at: at.clone(), seq, prev, gap, digest, torn: None });
                }
                _ => since.add(&at, &bytes, goes_on),
            }
            goes_on = !ends;
        }
    }

    /// What follows the last whole line is known: there is another, or no more.
    fn settle(&mut self, since: Since) {
        let Some(at) = since.torn else { return };
        let torn = Some(Torn { at, digest: since.digest.digest() });
        match self.lines.last_mut() {
            Some(line) => line.torn = torn,
            None => self.torn = torn,
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

/// Takes the head alone.
pub(super) fn take_head(path: &Path, head: &Path) -> Result<Result<Head, NoHead>> {
    let _locked = lock(path)?;
    read_head(head)
}

fn read_head(path: &Path) -> Result<Result<Head, NoHead>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Err(NoHead::Absent)),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("only root can read the head of the audit log, {}; try sudo", path.display())
        }
        read => {
            let bytes = read.with_context(|| format!("reading {}", path.display()))?;
            Ok(match bytes.is_empty() {
                true => Err(NoHead::Empty),
                false => Head::parse(&bytes).ok_or(NoHead::Damaged),
            })
        }
    }
}
