//! The audit log: what was asked, decided and done. One JSON object a line: one for the start of
//! a call, one for each host call and log line of the component, one for the reply.
//!
//! Fields of every line: `v` (1), `seq` and `prev` (what the `chain` is made of), `call` (which
//! call it belongs to), `time` (seconds since 1970 with milliseconds), `kind`. Lines are gathered
//! and appended under a lock, before a mount is attached and at the end of a call: what else a call
//! did before it was killed, the log may not have. A lock that another call has is waited for; a log
//! that cannot be written stops no call. Nothing secret is in it: what comes from a component was
//! cleaned before it got here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::{observe, rehearsal};

mod chain;
mod digest;
pub mod head;
mod plain;
mod tail;

pub use chain::{KEPT, rotated};
pub use digest::{Running, digest};
use head::Head;
pub use plain::plain;

/// A line is bounded by what is in it: a message of 4 KiB and a request, whose texts the decision
/// bounds, in JSON. What is longer all the same loses its fields.
const MAX_LINE: usize = 64 * 1024;

/// What one call may add. A component that talks without end must not rotate away what others did.
const MAX_CALL: usize = 1024 * 1024;

/// How long the last lines of a call wait for a log that other calls have locked. kubelet does not
/// wait for them, and whoever has the lock may have to wait for a processor, or the disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// The log of one call.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    /// Where its head is.
    head: PathBuf,
    call: String,
    lines: Vec<Map<String, Value>>,
    /// How many bytes this call has added, about.
    added: usize,
}

impl Audit {
    /// The log of a driver, `<log-dir>/<vendor>~<driver>.jsonl`, whose head is in its data
    /// directory.
    pub fn new(log_dir: &Path, data_dir: &Path, tilde_name: &str) -> Self {
        let mut id = [0; 8];
        // Only tells calls apart; a kernel without randomness yet gives them all the same id.
        let _ = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::NONBLOCK);
        let call = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            path: log_dir.join(format!("{tilde_name}.jsonl")),
            head: Head::path(data_dir, tilde_name),
            call,
            lines: Vec::new(),
            added: 0,
        }
    }

    /// Adds a line; `fields` is an object.
    pub fn line(&mut self, kind: &str, fields: Value) {
        observe::line(&self.call, kind, &fields);
        let mut line = Map::new();
        line.insert("v".to_owned(), 1.into());
        line.insert("call".to_owned(), self.call.as_str().into());
        line.insert("time".to_owned(), json!(now()));
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
    pub fn flush(&mut self, mut stopped: impl FnMut(Duration) -> bool) {
        self.append(false, &mut stopped);
    }

    /// The same at the end of a call, when nobody waits for it any more: then a file that is full
    /// is rotated, too.
    pub fn flush_last(&mut self) {
        let end = Instant::now() + PATIENCE;
        self.append(true, &mut |within| {
            std::thread::sleep(within);
            Instant::now() > end
        });
    }

    fn append(&mut self, rotates: bool, stopped: &mut dyn FnMut(Duration) -> bool) {
        if rehearsal::is_on() {
            return;
        }
        // There is nobody to tell of a failure: standard error is part of the reply. What could not
        // be written is tried again at the end.
        if !self.lines.is_empty()
            && chain::append(&self.path, &self.head, &self.lines, rotates, stopped).is_ok()
        {
            self.lines.clear();
        }
    }
}

/// Seconds since 1970, with milliseconds.
fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
