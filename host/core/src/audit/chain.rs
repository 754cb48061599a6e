//! The chain of the log's lines, through all of its files: each has a number, `seq`, and in `prev`
//! the SHA-256 of the line before. The first line ever has the number 0 and an empty `prev`.
//!
//! What a cut-off call or a power cut leaves is told in the chain itself, so that it is told from
//! what somebody has done to the log. A torn line has no number, and counts as part of the whole
//! line before it. If lines are gone that the [head](super::head) knows, their numbers are not
//! given again, and the next line says in `gap` whether the node was restarted meanwhile
//! (`restart`) or not (`unexplained`). What the head knows of the last line is believed, not what
//! is in the file. Nothing is refused here because of what is found: `wasmount log verify` judges.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde_json::{Map, Value};

use super::head::{Head, HeadFile};
use super::plain::plain;
use super::{MAX_LINE, now};
use crate::bundle::receipt::sha256_hex;

/// The file is renamed to `.1`, and that to `.2` … `.4`, when it would grow past this.
pub(super) const MAX_FILE: u64 = 16 * 1024 * 1024;
/// How many files are kept besides the one that is written to.
pub const KEPT: u32 = 4;

/// What most lines are shorter than.
const USUAL_LINE: usize = 2 * 1024;

/// How often is looked whether the lock is free.
const LOOK: Duration = Duration::from_millis(1);

/// What `prev` says of a line, given without its end.
pub fn digest(line: &[u8]) -> String {
    sha256_hex(line)
}

/// The file that the log's file becomes when it is rotated for the nth time.
pub fn rotated(path: &Path, n: u32) -> PathBuf {
    PathBuf::from(format!("{}.{n}", path.display()))
}

/// Appends lines, and then has the head say so: a call that is cut off in between leaves a log
/// that goes on past its head, and never a head that knows of more than there is. A file that is full
/// by then is rotated if `rotates`: that waits for the disk, as kubelet should not have to.
pub(super) fn append(
    path: &Path,
    head: &Path,
    lines: &[Map<String, Value>],
    rotates: bool,
    stopped: &mut dyn FnMut(Duration) -> bool,
) -> std::io::Result<()> {
    let mut file = open(path)?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(path, &file)? => break,
            // Whoever had the lock has renamed the file. Who went on with it would find it too long,
            // and rename the next one, too.
            Ok(()) => file = open(path)?,
            Err(rustix::io::Errno::WOULDBLOCK) if !stopped(LOOK) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let head_file = HeadFile::open(head);
    let known = head_file.read();
    let length = file.metadata()?.len();
    let tail = match length {
        0 => File::open(rotated(path, 1)).and_then(|older| Tail::of(&older)).unwrap_or_default(),
        _ => Tail::of(&file)?,
    };
    let Next { mut seq, mut prev, gap } = Next::after(&tail, known.as_ref());
    let (oldest, began) = match &known {
        Some(head) => (head.oldest, head.began),
        None => (oldest(path).unwrap_or(seq), seq),
    };
    let mut text = Vec::new();
    if length > 0 && tail.is_torn {
        text.push(b'\n');
    }
    for (index, line) in lines.iter().enumerate() {
        let mut line = line.clone();
        line.insert("seq".to_owned(), seq.into());
        line.insert("prev".to_owned(), prev.into());
        if let (0, Some(gap)) = (index, gap) {
            line.insert("gap".to_owned(), gap.into());
        }
        let start = text.len();
        text.extend_from_slice(plain(&serde_json::to_string(&line)?).as_bytes());
        prev = digest(&text[start..]);
        text.push(b'\n');
        seq += 1;
    }
    if let Err(error) = file.write_all(&text) {
        // The disk is full. What is tried again later is not to be there twice, once torn.
        let _ = file.set_len(length);
        return Err(error);
    }
    let head = Head { seq: seq - 1, digest: prev, oldest, began, time: now() };
    head_file.write(&head);
    if rotates && length + text.len() as u64 > MAX_FILE {
        // The lines are written, whatever becomes of this: it is tried again with the next ones.
        let _ = rotate(path, &file, head, &head_file);
    }
    Ok(())
}

/// When the node was started, in seconds since 1970, give or take one; 0 if nobody can tell.
pub fn node_started() -> f64 {
    // Not by clock_gettime(2): with it come several kilobytes that read the kernel's vDSO.
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up = text.split('.').next().and_then(|seconds| seconds.parse::<u32>().ok());
    up.map_or(0.0, |up| now() - f64::from(up))
}

/// What the next line says of those before it.
struct Next {
    seq: u64,
    prev: String,
    gap: Option<&'static str>,
}

impl Next {
    fn after(tail: &Tail, known: Option<&Head>) -> Self {
        let prev = if tail.bytes.is_empty() { String::new() } else { digest(&tail.bytes) };
        let seq = tail.seq.map_or(0, |seq| seq + 1);
        match known {
            // A line that was changed since it was written is not vouched for.
            Some(head) if seq == head.seq + 1 && digest(tail.line()) != head.digest => {
                Self { seq, prev: head.digest.clone(), gap: None }
            }
            Some(head) if seq <= head.seq => {
                let restarted = head.time < node_started();
                let gap = Some(if restarted { "restart" } else { "unexplained" });
                Self { seq: head.seq + 1, prev, gap }
            }
            _ => Self { seq, prev, gap: None },
        }
    }
}

/// The last whole line of a file, and what follows it.
#[derive(Default)]
struct Tail {
    /// The line's number; none if there is no whole line.
    seq: Option<u64>,
    /// The line and what follows it, without the last end of a line.
    bytes: Vec<u8>,
    /// How long the line is.
    line: usize,
    /// Whether the last line has no end, as a power cut may leave it.
    is_torn: bool,
}

impl Tail {
    fn of(file: &File) -> std::io::Result<Self> {
        let length = file.metadata()?.len();
        let mut tail = Self::default();
        // Nearly every line is short; a long one is looked for only where it is.
        for reach in [USUAL_LINE, 2 * MAX_LINE] {
            let mut bytes = vec![0; reach.min(length as usize)];
            let from = length - bytes.len() as u64;
            file.read_exact_at(&mut bytes, from)?;
            let is_torn = bytes.pop_if(|last| *last == b'\n').is_none();
            let mut end = bytes.len();
            for line in bytes.rsplit(|byte| *byte == b'\n') {
                let start = end - line.len();
                if let Some(seq) = seq(line).filter(|_| start > 0 || from == 0) {
                    let line = line.len();
                    return Ok(Self {
                        seq: Some(seq),
                        bytes: bytes.split_off(start),
                        line,
                        is_torn,
                    });
                }
                end = start.saturating_sub(1);
            }
            let line = bytes.len();
            tail = Self { seq: None, bytes, line, is_torn };
        }
        Ok(tail)
    }

    fn line(&self) -> &[u8] {
        &self.bytes[..self.line]
    }
}

/// The number of a line; none if it is torn.
fn seq(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Map<String, Value>>(line).ok()?.get("seq")?.as_u64()
}

/// The number of the first line of a file.
fn first(path: &Path) -> Option<u64> {
    let file = File::open(path).ok()?;
    let mut bytes = vec![0; file.metadata().ok()?.len().min(2 * MAX_LINE as u64) as usize];
    file.read_exact_at(&mut bytes, 0).ok()?;
    bytes.split(|byte| *byte == b'\n').find_map(seq)
}

/// The number of the oldest line that there is.
fn oldest(path: &Path) -> Option<u64> {
    let rotated = (1..=KEPT).rev().find_map(|n| first(&rotated(path, n)));
    rotated.or_else(|| first(path))
}

pub(super) fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(path, flags, mode) {
        Err(rustix::io::Errno::NOENT) => {
            if let Some(dir) = path.parent() {
                crate::journal::private_dir(dir).map_err(std::io::Error::other)?;
            }
            Ok(rustix::fs::open(path, flags, mode)?.into())
        }
        opened => Ok(opened?.into()),
    }
}

/// Whether the path leads to the file.
fn is_at(path: &Path, file: &File) -> std::io::Result<bool> {
    let (there, here) = (std::fs::symlink_metadata(path), file.metadata()?);
    Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())))
}

/// `x.jsonl` → `x.jsonl.1` → … The lock is on the file that is renamed away; whoever waits for it
/// then opens the next one. Its end is made durable: the lines of the next file may be so before it,
/// and a power cut would look like lines that were taken out.
fn rotate(path: &Path, file: &File, mut head: Head, head_file: &HeadFile) -> std::io::Result<()> {
    file.sync_data()?;
    let gives_up = rotated(path, KEPT).exists() && rotated(path, KEPT - 1).exists();
    if let (true, Some(oldest)) = (gives_up, first(&rotated(path, KEPT - 1))) {
        // Whoever is cut off here leaves more than the head says is kept, and not less, even if it
        // is the node: the one time that the head is made durable.
        head.oldest = oldest;
        head_file.write(&head);
        head_file.sync();
    }
    for n in (1..KEPT).rev() {
        match std::fs::rename(rotated(path, n), rotated(path, n + 1)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, rotated(path, 1))
}
