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
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde_json::{Map, Value};

use super::digest::digest;
use super::head::{Head, HeadFile, boot};
use super::now;
use super::plain::plain;
use super::tail::{self, Tail};

/// The file is renamed to `.1`, and that to `.2` … `.4`, when it would grow past this.
pub(super) const MAX_FILE: u64 = 16 * 1024 * 1024;
/// How many files are kept besides the one that is written to.
pub const KEPT: u32 = 4;

/// How often is looked whether the lock is free.
const LOOK: Duration = Duration::from_millis(1);

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
    let tail = Tail::of_log(path, &file)?;
    let Next { mut seq, mut prev, gap } = Next::after(&tail, known.as_ref());
    let (oldest, began) = match &known {
        Some(head) => (head.oldest, head.began),
        None => (tail::oldest(path, KEPT).unwrap_or(seq), seq),
    };
    let mut text = Vec::new();
    if tail.is_torn {
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
    let head = Head { seq: seq - 1, digest: prev, oldest, began, time: now(), boot: boot() };
    head_file.write(&head);
    if known.is_none() {
        // Once in a log's life: what a power cut could leave of the two otherwise, a log without a
        // head or the reverse, looks like something removed.
        let _ = file.sync_data();
        head_file.sync();
    }
    if rotates && length + text.len() as u64 > MAX_FILE {
        // The lines are written, whatever becomes of this: it is tried again with the next ones.
        let _ = rotate(path, &file, head, &head_file);
    }
    Ok(())
}

/// What the next line says of those before it.
struct Next {
    seq: u64,
    prev: String,
    gap: Option<&'static str>,
}

impl Next {
    fn after(tail: &Tail, known: Option<&Head>) -> Self {
        let (prev, seq) = (tail.prev(), tail.seq.map_or(0, |seq| seq + 1));
        match known {
            // A line that was changed since it was written is not vouched for.
            Some(head) if seq == head.seq + 1 && tail.line_digest() != head.digest => {
                Self { seq, prev: head.digest.clone(), gap: None }
            }
            Some(head) if seq <= head.seq => {
                let gap = match head.is_of_earlier_boot() {
                    true => Some("restart"),
                    false => Some("unexplained"),
                };
                Self { seq: head.seq + 1, prev, gap }
            }
            _ => Self { seq, prev, gap: None },
        }
    }
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
    if let (true, Some(oldest)) = (gives_up, tail::oldest(path, KEPT - 1)) {
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
