//! The audit log: what was asked, decided and done. One JSON object a line: one for the start of
//! a call, one for each host call and log line of the component, one for the reply.
//!
//! Fields of every line: `v` (1), `seq` (counts lines of the file, from 0), `prev` (the first 16 hex
//! digits of the SHA-256 of the line before, empty for the first), `call` (which call it belongs
//! to), `time` (seconds since 1970 with milliseconds), `kind`. Lines are gathered and appended
//! under a lock, before a call takes effect and at its end. A lock that another call has is waited
//! for; a log that cannot be written stops no call. Nothing secret is in it: what comes from a
//! component was cleaned before it got here.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde_json::{Map, Value, json};

use crate::bundle::receipt::sha256_hex;

/// The file is renamed to `.1`, and that to `.2` … `.4`, when it would grow past this.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// How many files are kept besides the one that is written to.
pub const KEPT: u32 = 4;

/// A line is bounded by what is in it: a message of 4 KiB and a request, whose texts the decision
/// bounds, in JSON. What is longer all the same loses its fields.
const MAX_LINE: usize = 64 * 1024;

/// What most lines are shorter than.
const USUAL_LINE: usize = 2 * 1024;

/// What one call may add. A component that talks without end must not rotate away what others did.
const MAX_CALL: usize = 1024 * 1024;

/// How long the last lines of a call wait for a log that other calls have locked. kubelet does not
/// wait for them, and whoever has the lock may have to wait for a processor, or the disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked whether it is free.
const LOOK: Duration = Duration::from_millis(1);

/// The log of one call.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    call: String,
    lines: Vec<Map<String, Value>>,
    /// How many bytes this call has added, about.
    added: usize,
}

impl Audit {
    /// The log of a driver: `<log-dir>/<vendor>~<driver>.jsonl`.
    pub fn new(log_dir: &Path, tilde_name: &str) -> Self {
        let mut id = [0; 8];
        // Only tells calls apart; a kernel without randomness yet gives them all the same id.
        let _ = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::NONBLOCK);
        let call = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            path: log_dir.join(format!("{tilde_name}.jsonl")),
            call,
            lines: Vec::new(),
            added: 0,
        }
    }

    /// Adds a line; `fields` is an object.
    pub fn line(&mut self, kind: &str, fields: Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = Map::new();
        line.insert("v".to_owned(), 1.into());
        line.insert("call".to_owned(), self.call.as_str().into());
        line.insert("time".to_owned(), json!(now.as_millis() as f64 / 1000.0));
        line.insert("kind".to_owned(), kind.into());
        let length = fields.to_string().len();
        let full = self.added > MAX_CALL;
        self.added += length;
        match fields {
            // The reply is always told.
            _ if full && kind != "reply" => return,
            _ if length > MAX_LINE / 2 => {
                line.insert("truncated".to_owned(), length.into());
            }
            Value::Object(fields) => line.extend(fields),
            _ => {}
        }
        if !full && self.added > MAX_CALL {
            line.insert("more".to_owned(), "left out: the call has logged too much".into());
        }
        self.lines.push(line);
    }

    /// Appends what was gathered. Durability is left to the kernel: a lost tail after a power cut
    /// is no lost volume. While other calls have the log locked, `stopped` is asked between tries,
    /// with the time that it may take to answer.
    pub fn flush(&mut self, stopped: impl FnMut(Duration) -> bool) {
        // There is nobody to tell of a failure: standard error is part of the reply. What could not
        // be written is tried again at the end.
        if !self.lines.is_empty() && append(&self.path, &self.lines, stopped).is_ok() {
            self.lines.clear();
        }
    }

    /// The same at the end of a call, when nobody waits for it any more.
    pub fn flush_last(&mut self) {
        let end = Instant::now() + PATIENCE;
        self.flush(|within| {
            std::thread::sleep(within);
            Instant::now() > end
        });
    }
}

fn append(
    path: &Path,
    lines: &[Map<String, Value>],
    mut stopped: impl FnMut(Duration) -> bool,
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
    let (mut seq, mut prev) = last(&mut file)?;
    let mut text = Vec::new();
    for line in lines {
        let mut line = line.clone();
        line.insert("seq".to_owned(), seq.into());
        line.insert("prev".to_owned(), prev.into());
        let start = text.len();
        serde_json::to_writer(&mut text, &line)?;
        prev = sha256_hex(&text[start..])[..16].to_owned();
        text.push(b'\n');
        seq += 1;
    }
    file.write_all(&text)?;
    if file.metadata()?.len() > MAX_FILE {
        rotate(path)?;
    }
    Ok(())
}

fn open(path: &Path) -> std::io::Result<File> {
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

/// The number that the next line gets, and the digest of the last one. A torn last line, left by
/// a power cut, is ended first so that it spoils no other.
fn last(file: &mut File) -> std::io::Result<(u64, String)> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok((0, String::new()));
    }
    let mut tail = Vec::new();
    // Nearly every line is short; a long one is looked for only where it is.
    for reach in [USUAL_LINE, MAX_LINE] {
        tail.clear();
        tail.resize(reach.min(length as usize), 0);
        let from = length - tail.len() as u64;
        std::os::unix::fs::FileExt::read_exact_at(file, &mut tail, from)?;
        let ended = tail.strip_suffix(b"\n").unwrap_or(&tail);
        if ended.contains(&b'\n') || tail.len() as u64 == length {
            break;
        }
    }
    if tail.last() != Some(&b'\n') {
        file.write_all(b"\n")?;
        tail.push(b'\n');
    }
    let lines = &tail[..tail.len() - 1];
    let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let seq = serde_json::from_slice::<Map<String, Value>>(line)
        .ok()
        .and_then(|line| line.get("seq").and_then(Value::as_u64))
        .unwrap_or(0);
    Ok((seq + 1, sha256_hex(line)[..16].to_owned()))
}

/// `x.jsonl` → `x.jsonl.1` → … The lock is on the file that is renamed away; whoever waits for it
/// then opens the next one.
fn rotate(path: &Path) -> std::io::Result<()> {
    let name = |n: u32| PathBuf::from(format!("{}.{n}", path.display()));
    for n in (1..KEPT).rev() {
        match std::fs::rename(name(n), name(n + 1)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, name(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_chained() {
        let dir = tempfile::tempdir().expect("a directory");
        for what in ["one", "two"] {
            let mut audit = Audit::new(dir.path(), "v~d");
            audit.line("call", json!({ "what": what }));
            audit.line("reply", json!({ "what": what }));
            audit.flush_last();
        }
        assert_eq!(chained(&dir.path().join("v~d.jsonl")), 4);
    }

    /// How many lines a file has, which have to be numbered and chained.
    fn chained(path: &Path) -> u64 {
        let text = std::fs::read_to_string(path).expect("a log");
        let (mut number, mut prev) = (0, String::new());
        for line in text.lines() {
            let fields: Map<String, Value> = serde_json::from_str(line).expect("JSON");
            assert_eq!(fields["seq"], number);
            assert_eq!(fields["prev"], prev.as_str());
            prev = sha256_hex(line.as_bytes())[..16].to_owned();
            number += 1;
        }
        number
    }

    /// As on a busy node, where whoever has the log locked may not get a processor for long.
    #[test]
    fn a_log_that_is_locked_is_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("v~d.jsonl");
        let holder = open(&path).expect("a log");
        rustix::fs::flock(&holder, FlockOperation::LockExclusive).expect("free");
        let mut audit = Audit::new(dir.path(), "v~d");
        audit.line("call", json!({}));
        // Until the call is stopped: what it has gathered is kept for its end.
        let mut asked = 0;
        audit.flush(|_| {
            asked += 1;
            asked == 500
        });
        assert_eq!((asked, chained(&path)), (500, 0));
        audit.line("reply", json!({}));
        let mut holder = Some(holder);
        let mut asked = 0;
        audit.flush(|_| {
            asked += 1;
            if asked == 500 {
                holder = None;
            }
            false
        });
        assert_eq!(chained(&path), 2);
    }

    #[test]
    fn calls_that_run_at_once_lose_no_line_of_a_log_that_is_rotated() {
        const CALLS: u64 = 16;
        const LINES: u64 = 200;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("v~d.jsonl");
        // As long as a file of the log gets, and as many as are kept.
        let filler = json!({ "v": 1, "seq": 0, "prev": "", "text": "x".repeat(1000) }).to_string();
        let long = (filler + "\n").repeat((MAX_FILE / 1000) as usize);
        for name in ["", ".1", ".2", ".3", ".4"] {
            std::fs::write(format!("{}{name}", path.display()), &long).expect("written");
        }
        std::thread::scope(|calls| {
            for _ in 0..CALLS {
                calls.spawn(|| {
                    let mut audit = Audit::new(dir.path(), "v~d");
                    for _ in 0..LINES {
                        audit.line("host-call", json!({}));
                        audit.flush_last();
                    }
                });
            }
        });
        let older = std::fs::read_to_string(dir.path().join("v~d.jsonl.1")).expect("rotated");
        let at_the_end_of_it = older.lines().filter(|line| line.contains("host-call")).count();
        assert_eq!(at_the_end_of_it as u64 + chained(&path), CALLS * LINES);
    }
}
