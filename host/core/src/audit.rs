//! The audit log: what was asked, decided and done. One JSON object a line: one for the start of
//! a call, one for each host call and log line of the component, one for the reply.
//!
//! Fields of every line: `v` (1), `seq` (counts lines of the file, from 0), `prev` (the first 16 hex
//! digits of the SHA-256 of the line before, empty for the first), `call` (which call it belongs
//! to), `time` (seconds since 1970 with milliseconds), `kind`. Lines are gathered and appended
//! under a lock, before a call takes effect and at its end. A log that cannot be written stops no
//! call; nothing secret is in it: what comes from a component was cleaned before it got here.

use std::fs::File;
use std::io::Write as _;
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

/// How long a log that somebody else has locked is waited for.
const PATIENCE: Duration = Duration::from_millis(100);

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
    /// is no lost volume.
    pub fn flush(&mut self) {
        // There is nobody to tell of a failure: standard error is part of the reply. What could not
        // be written is tried again at the end.
        if !self.lines.is_empty() && append(&self.path, &self.lines).is_ok() {
            self.lines.clear();
        }
    }
}

fn append(path: &Path, lines: &[Map<String, Value>]) -> std::io::Result<()> {
    let mut file = open(path)?;
    let end = Instant::now() + PATIENCE;
    while let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK || Instant::now() > end {
            return Err(error.into());
        }
        std::thread::sleep(Duration::from_millis(1));
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
/// appends to that one, which then simply gets longer.
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
            audit.flush();
        }
        let text = std::fs::read_to_string(dir.path().join("v~d.jsonl")).expect("a log");
        let mut prev = String::new();
        for (number, line) in text.lines().enumerate() {
            let fields: Map<String, Value> = serde_json::from_str(line).expect("JSON");
            assert_eq!(fields["seq"], number);
            assert_eq!(fields["prev"], prev.as_str());
            prev = sha256_hex(line.as_bytes())[..16].to_owned();
        }
        assert_eq!(text.lines().count(), 4);
    }
}
