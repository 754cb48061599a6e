//! A log's end as the next line finds it: the last whole line and what follows it, through as many
//! files as that takes; and the number that a file begins with. It only reads, and a file that
//! cannot be read has nothing in it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::chain::{KEPT, MAX_FILE, rotated};
use super::digest::digest;

/// How much of a file's end is read to find the last whole line, in bytes, for as long as it is not
/// found: most lines are shorter than the first, all shorter than the second, and what a power cut
/// leaves after them may be all of the file.
const REACHES: [u64; 3] = [2 * 1024, 256 * 1024, LONGEST];

/// No more of a file is looked at, in bytes. None gets that long but by other hands.
const LONGEST: u64 = 2 * MAX_FILE;

/// The last whole line, and what follows it.
#[derive(Default)]
pub(super) struct Tail {
    /// The line's number; none if there is no whole line.
    pub(super) seq: Option<u64>,
    /// The line and what follows it, without the last end of a line; none if there is nothing.
    bytes: Option<Vec<u8>>,
    /// How long the line is.
    line: usize,
    /// Whether the newest file ends within a line, as a power cut may leave it.
    pub(super) is_torn: bool,
}

impl Tail {
    /// The end of a log, whose newest file is open.
    pub(super) fn of_log(path: &Path, newest: &File) -> std::io::Result<Self> {
        let mut tail = Self::of(newest)?;
        for n in 1..=KEPT {
            if tail.seq.is_some() {
                break;
            }
            let older = File::open(rotated(path, n)).and_then(|older| Self::of(&older));
            tail = tail.after(older.unwrap_or_default());
        }
        Ok(tail)
    }

    fn of(file: &File) -> std::io::Result<Self> {
        let length = file.metadata()?.len();
        let mut tail = Self::default();
        for reach in REACHES {
            let from = length.saturating_sub(reach);
            let mut bytes = vec![0; (length - from) as usize];
            file.read_exact_at(&mut bytes, from)?;
            tail = Self::in_bytes(bytes, from == 0);
            if tail.seq.is_some() || from == 0 {
                break;
            }
        }
        Ok(tail)
    }

    /// The same in the end of a file, or all of it.
    fn in_bytes(mut bytes: Vec<u8>, all: bool) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        let is_torn = bytes.pop_if(|last| *last == b'\n').is_none();
        let mut end = bytes.len();
        for line in bytes.rsplit(|byte| *byte == b'\n') {
            let start = end - line.len();
            if let Some(seq) = seq(line).filter(|_| start > 0 || all) {
                let line = line.len();
                return Self { seq: Some(seq), bytes: Some(bytes.split_off(start)), line, is_torn };
            }
            end = start.saturating_sub(1);
        }
        Self { seq: None, line: bytes.len(), bytes: Some(bytes), is_torn }
    }

    /// What there is of an older file, and then this.
    fn after(self, older: Self) -> Self {
        let bytes = match (older.bytes, self.bytes) {
            (Some(mut older), Some(newer)) => {
                older.push(b'\n');
                older.extend(newer);
                Some(older)
            }
            (older, newer) => older.or(newer),
        };
        Self { bytes, is_torn: self.is_torn, ..older }
    }

    /// What the next line says of it.
    pub(super) fn prev(&self) -> String {
        self.bytes.as_deref().map(digest).unwrap_or_default()
    }

    /// The digest of the line alone.
    pub(super) fn line_digest(&self) -> String {
        digest(self.bytes.as_ref().map_or(&[], |bytes| &bytes[..self.line]))
    }
}

/// The number of a line; none if it is torn.
fn seq(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Map<String, Value>>(line).ok()?.get("seq")?.as_u64()
}

/// The number of the first line of a file.
fn first(path: &Path) -> Option<u64> {
    let lines = BufReader::new(File::open(path).ok()?.take(LONGEST)).split(b'\n');
    lines.map_while(Result::ok).find_map(|line| seq(&line))
}

/// The number of the oldest line that there is, or will be once a file is given up.
pub(super) fn oldest(path: &Path, kept: u32) -> Option<u64> {
    let rotated = (1..=kept).rev().find_map(|n| first(&rotated(path, n)));
    rotated.or_else(|| first(path))
}
