//! What the log tells of one call, from its beginning to its reply: in a line, or all of it.
//!
//! Volumes, messages and requests are what users and vendors wrote; none of it gets to a terminal
//! but by `printable`.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use wasmount_core::call::DriverName;

use super::line::Line;
use crate::output::printable;
use crate::time::rfc3339_milliseconds;

/// The line that ends a call.
const REPLY: &str = "reply";

/// The lines of one call, in their order; at least one.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) driver: DriverName,
    pub(super) lines: Vec<Line>,
}

impl Story {
    /// The call's id.
    pub(super) fn id(&self) -> &str {
        self.lines.first().map_or("", |line| &line.call)
    }

    /// When it began.
    pub(super) fn began(&self) -> SystemTime {
        self.lines.first().map_or(SystemTime::UNIX_EPOCH, Line::time)
    }

    /// Whether its reply is on record.
    pub(super) fn has_ended(&self) -> bool {
        self.lines.last().is_some_and(|line| line.kind == REPLY)
    }

    /// What the call says of itself, or its reply if the call could not be understood.
    pub(super) fn about(&self, field: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| match line.kind.as_str() {
            "call" | REPLY => line.text_of(field),
            _ => None,
        })
    }

    /// Whether it ended otherwise than kubelet would have it.
    pub(super) fn failed(&self) -> bool {
        let status = self.reply().and_then(|reply| reply.text_of("status"));
        !matches!(status, Some("Success" | "Not supported"))
    }

    /// Time, id, operation, volume, how long, and how it ended.
    pub(super) fn line(&self, with_driver: bool) -> String {
        let shown = |field| self.about(field).map_or_else(|| "-".to_owned(), printable);
        let mut text = format!("{}  ", rfc3339_milliseconds(self.began()));
        if with_driver {
            let _ = write!(text, "{:<28}  ", self.driver.slash());
        }
        let (operation, volume) = (shown("operation"), shown("volume"));
        let took = self.took().map_or_else(|| "-".to_owned(), whole);
        let _ =
            write!(text, "{}  {operation:<13}  {volume:<20}  {took:>8}  ", printable(self.id()));
        text.push_str(&self.outcome());
        text
    }

    /// Everything, over many lines.
    pub(super) fn tell(&self) -> String {
        let mut text = format!("call {} of {}\n", printable(self.id()), self.driver);
        for field in ["operation", "volume", "target", "access", "version", "isolation"] {
            if let Some(value) = self.about(field) {
                let _ = writeln!(text, "  {field:<10} {}", printable(value));
            }
        }
        let _ = writeln!(text, "  {:<10} {}", "began", rfc3339_milliseconds(self.began()));
        for line in &self.lines {
            let since = line.time().duration_since(self.began()).unwrap_or_default();
            let mut told = tell(line).into_iter();
            if let Some(first) = told.next() {
                let _ = writeln!(text, "{:>10}  {first}", whole(since));
            }
            for more in told {
                let _ = writeln!(text, "{:>10}  {more}", "");
            }
        }
        if !self.has_ended() {
            let _ = writeln!(text, "{:>10}  {}", "", self.outcome());
        }
        text
    }

    fn reply(&self) -> Option<&Line> {
        self.lines.iter().find(|line| line.kind == REPLY)
    }

    fn took(&self) -> Option<Duration> {
        // Where the reply is all there is, nobody knows when the call began.
        let reply = self.reply().filter(|_| self.lines.len() > 1)?;
        reply.time().duration_since(self.began()).ok()
    }

    fn outcome(&self) -> String {
        match self.reply() {
            Some(reply) => outcome(reply),
            None => "no reply on record: it is still running, or was killed".to_owned(),
        }
    }
}

fn outcome(reply: &Line) -> String {
    let status = reply.text_of("status").map_or_else(|| "?".to_owned(), printable);
    match reply.text_of("reason") {
        Some(reason) => format!("{status} [{}]", printable(reason)),
        None => status,
    }
}

/// What a line says, in lines.
fn tell(line: &Line) -> Vec<String> {
    let message = line.text_of("message").map(printable);
    let reason = line.text_of("reason").map(|reason| format!(" [{}]", printable(reason)));
    let reason = reason.unwrap_or_default();
    let text = match line.kind.as_str() {
        "call" => return vec!["the host has read the call".to_owned()],
        "host-call" => {
            let request = line.fields.get("request").and_then(Value::as_object);
            let request = request.map(|request| described(request, "call")).unwrap_or_default();
            let mut decision = line.text_of("decision").map(printable).unwrap_or_default();
            if decision == "allowed" && !reason.is_empty() {
                decision.push_str(", failed");
            }
            let took = line.fields.get("us").and_then(Value::as_u64).unwrap_or_default();
            let took = Duration::from_micros(took);
            format!("{request}: {decision}{reason}, {:.2} ms", took.as_secs_f64() * 1_000.0)
        }
        "log" => {
            let level = line.text_of("level").map(printable).unwrap_or_default();
            return vec![format!("the component says ({level}): {}", message.unwrap_or_default())];
        }
        REPLY => {
            let told =
                std::iter::once(outcome(line)).chain(message.filter(|text| !text.is_empty()));
            return told.chain(omitted(line)).collect();
        }
        _ => {
            let mut fields = line.fields.clone();
            for known in ["reason", "message", "seq", "prev"] {
                fields.remove(known);
            }
            fields.insert("kind".to_owned(), line.kind.as_str().into());
            format!("{}{reason}", described(&fields, "kind"))
        }
    };
    std::iter::once(text).chain(message.filter(|message| !message.is_empty())).collect()
}

/// What the call asked for besides, which the log had no room for.
fn omitted(reply: &Line) -> Option<String> {
    let came = reply.fields.get("omitted")?.as_object()?;
    let functions = came.iter().flat_map(|(came, functions)| {
        let each = functions.as_object().into_iter().flatten();
        each.map(move |(name, count)| format!("{} {count} ({})", printable(name), printable(came)))
    });
    let functions: Vec<String> = functions.collect();
    Some(format!(
        "and, without lines in the log, since there were so many: {}",
        functions.join(", ")
    ))
}

/// `name key=value key=value`, the name being the value of a key.
fn described(fields: &Map<String, Value>, name: &str) -> String {
    let mut text = fields.get(name).and_then(Value::as_str).map(printable).unwrap_or_default();
    for (key, value) in fields.iter().filter(|(key, _)| *key != name) {
        let _ = write!(text, " {}={}", printable(key), printable(&value.to_string()));
    }
    text
}

/// What lies between two times of the log, which has them to the millisecond.
fn whole(time: Duration) -> String {
    format!("{} ms", (time.as_micros() + 500) / 1_000)
}
