//! The audit log: what was asked, decided and done. One JSON object a line: one for the start of
//! a call, one for each host call and log line of the component, one for the reply.
//!
//! Fields of every line: `v` (1), `seq` and `prev` (what the `chain` is made of), `call` (which
//! call it belongs to), `time` (seconds since 1970 with milliseconds), `kind`. Lines are gathered
//! and appended under a lock, before a mount is attached and at the end of a call: what else a call
//! did before it was killed, the log may not have. A lock that another call has is waited for; a log
//! that cannot be written stops no call. Nothing secret is in it: what comes from a component was
//! cleaned before it got here. Of a component that asks without end, the reply's line only counts what
//! it went on to ask for (`omitted`).

use std::collections::{BTreeMap, BTreeSet};
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
/// bounds, in JSON. What is longer all the same is cut to what was called, and what came of it.
const MAX_LINE: usize = 64 * 1024;

/// What one call may add. A component that talks without end must not rotate away what others did.
/// Nor may it drown what it does itself: beyond this, the first of a kind still has its line, and
/// the others are counted.
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
    /// Of what the component asked for there is a line.
    told: BTreeSet<Asked>,
    /// How often there is none.
    omitted: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

/// What came of something that the component asked for, and the function that it called.
type Asked = (&'static str, String);

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
            told: BTreeSet::new(),
            omitted: BTreeMap::new(),
        }
    }

    /// Adds a line; `fields` is an object.
    pub fn line(&mut self, kind: &str, fields: Value) {
        observe::line(&self.call, kind, &fields);
        let asked = asked(kind, &fields);
        if let Some(asked) = &asked
            && !self.told.insert(asked.clone())
            && self.added > MAX_CALL
        {
            let (came, function) = asked;
            let functions = self.omitted.entry(came).or_default();
            *functions.entry(function.clone()).or_default() += 1;
            return;
        }
        let mut line = Map::new();
        line.insert("v".to_owned(), 1.into());
        line.insert("call".to_owned(), self.call.as_str().into());
        line.insert("time".to_owned(), json!(now()));
        line.insert("kind".to_owned(), kind.into());
        let length = fields.to_string().len();
        self.added += length;
        match fields {
            _ if length > MAX_LINE / 2 => {
                line.insert("truncated".to_owned(), length.into());
                if let Some((_, function)) = asked {
                    line.insert("request".to_owned(), json!({ "call": function }));
                    line.insert("decision".to_owned(), fields["decision"].clone());
                    line.insert("reason".to_owned(), fields["reason"].clone());
                }
            }
            Value::Object(fields) => line.extend(fields),
            _ => {}
        }
        if kind == "reply" && !self.omitted.is_empty() {
            line.insert("omitted".to_owned(), json!(std::mem::take(&mut self.omitted)));
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

/// What a line tells that a component can have as many of as it may make host calls. The host's own
/// lines are few.
fn asked(kind: &str, fields: &Value) -> Option<Asked> {
    match kind {
        "log" => Some(("allowed", "log.write".to_owned())),
        "host-call" => {
            let came = match fields["decision"].as_str() {
                Some("allowed") if fields["reason"].is_null() => "allowed",
                Some("allowed") => "failed",
                Some("refused") => "refused",
                _ => "fault",
            };
            Some((came, fields["request"]["call"].as_str().unwrap_or_default().to_owned()))
        }
        _ => None,
    }
}

/// Seconds since 1970, with milliseconds.
fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
