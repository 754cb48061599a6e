//! One line of the audit log, as far as all lines are alike. What kinds there are is known to
//! those who write and tell them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value};

/// The version of the format that is understood here.
const VERSION: u64 = 1;

/// A line.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    v: u64,
    /// The id of the call that it belongs to.
    pub(crate) call: String,
    time: f64,
    /// What it tells of: a `call` that began, a `host-call`, a `reply` …
    pub(crate) kind: String,
    /// All else.
    #[serde(flatten)]
    pub(crate) fields: Map<String, Value>,
    /// The line as it is in the file, without its end.
    #[serde(skip)]
    pub(crate) text: String,
}

impl Line {
    /// Reads a line. None if it is torn, of another format, or somebody else's.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\n');
        let line: Self = serde_json::from_str(text).ok()?;
        let told = Duration::try_from_secs_f64(line.time).is_ok();
        (line.v == VERSION && told).then(|| Self { text: text.to_owned(), ..line })
    }

    /// When it was written.
    pub(crate) fn time(&self) -> SystemTime {
        // Half a millisecond, since what was a whole number of them is a fraction in JSON.
        let since = Duration::try_from_secs_f64(self.time + 0.000_5).unwrap_or_default();
        UNIX_EPOCH + since
    }

    /// A field that is a text.
    pub(crate) fn text_of(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }
}
