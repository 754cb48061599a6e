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
        let told = moment(line.time).is_some();
        (line.v == VERSION && told).then(|| Self { text: text.to_owned(), ..line })
    }

    /// When it was written.
    pub(crate) fn time(&self) -> SystemTime {
        moment(self.time).unwrap_or(UNIX_EPOCH)
    }

    /// A field that is a text.
    pub(crate) fn text_of(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }
}

/// A time in seconds since 1970, to the millisecond. None if it is none of this era: a log that somebody
/// changed may hold any number.
fn moment(seconds: f64) -> Option<SystemTime> {
    const YEAR_10000: f64 = 253_402_300_800.0;
    // Half a millisecond, since what was a whole number of them is a fraction in JSON.
    let since = Duration::try_from_secs_f64(seconds + 0.000_5).ok()?;
    (seconds < YEAR_10000).then(|| UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_no_time_that_can_be_told_is_somebody_elses() {
        let line = |time: &str| format!(r#"{{"v":1,"call":"x","time":{time},"kind":"call"}}"#);
        for time in ["1e19", "1e300", "253402300800", "-1"] {
            assert!(Line::parse(line(time).as_bytes()).is_none(), "{time}");
        }
        for time in ["0", "1764374400.5", "253402300799"] {
            let since = Line::parse(line(time).as_bytes()).map(|line| line.time());
            assert!(since.is_some_and(|time| time >= UNIX_EPOCH), "{time}");
        }
    }
}
