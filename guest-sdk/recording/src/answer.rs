//! What the host answers, and how a call ends.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::words::quoted;

/// gRPC's canonical codes other than OK, as `wit/types.wit` spells them.
pub const CODES: &[&str] = &[
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

/// The longest reason that the host passes on, in bytes.
const MAX_REASON: usize = 64;

/// The longest attachment that the host passes on, in bytes.
const MAX_ATTACHMENT: usize = 256;

/// Why something did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// One of the codes of `wit/types.wit`.
    #[serde(deserialize_with = "code")]
    pub code: String,
    /// A stable token for machines.
    #[serde(deserialize_with = "reason")]
    pub reason: String,
    /// For the operator. Where a call's end is recorded and this is empty, any message will do.
    #[serde(default)]
    pub message: String,
}

/// Something that the host holds for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Tells it from everything else that the host hands out in the call.
    pub number: u32,
    /// The name that it has in the recording.
    pub name: String,
}

/// What the host answers to a host call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; there is nothing to say about it.
    Done,
    /// Yes or no.
    Flag(bool),
    /// A size.
    Number(u64),
    /// A text, or none.
    Text(Option<String>),
    /// Bytes, or none.
    Bytes(Option<Vec<u8>>),
    /// Something that the host now holds.
    Handle(Held),
    /// A device that the host now holds, whose identity is its name; or none.
    Device(Option<Held>),
    /// It did not happen.
    Failed(Failure),
    /// The host has ended the driver, which has broken the rules.
    Ended,
}

/// How a call ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Success, and nothing to say about it.
    Done,
    /// Success, with what is passed on to the node.
    Attachment(String),
    /// Success, with a truth.
    Flag(bool),
    /// Success, with a size.
    Number(u64),
    /// The driver's error.
    Failed(Failure),
    /// The driver came to a sudden end, for this reason. Only what was recorded of a real call says so.
    Trapped(String),
    /// The driver's process came to an end without a result, which the host has made this of. Only
    /// what was recorded of a real call says so.
    Ended(Failure),
}

impl Outcome {
    /// Whether this is what the recording says. A message that it leaves out may be any.
    pub(crate) fn is(&self, recorded: &Self) -> bool {
        match (self, recorded) {
            (Self::Failed(ours), Self::Failed(theirs)) if theirs.message.is_empty() => {
                ours.code == theirs.code && ours.reason == theirs.reason
            }
            // The functions that it was in are told besides.
            (Self::Trapped(ours), Self::Trapped(theirs)) => {
                ours == theirs || ours.strip_prefix(theirs).is_some_and(|r| r.starts_with("; in "))
            }
            _ => self == recorded,
        }
    }
}

impl fmt::Display for Outcome {
    /// As a recording says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => write!(f, "success"),
            Self::Attachment(text) => write!(f, "returns = {}", quoted(text)),
            Self::Flag(flag) => write!(f, "returns = {flag}"),
            Self::Number(number) => write!(f, "returns = {number}"),
            Self::Failed(failure) => write!(f, "fails = {failure}"),
            Self::Trapped(cause) => write!(f, "it {cause}"),
            Self::Ended(failure) => write!(f, "ended = {failure}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{ code = \"{}\", reason = {}", self.code, quoted(&self.reason))?;
        if !self.message.is_empty() {
            write!(f, ", message = {}", quoted(&self.message))?;
        }
        write!(f, " }}")
    }
}

/// Whether the host passes this on from `attach` to the node as it is.
pub(crate) fn is_attachment(text: &str) -> bool {
    (1..=MAX_ATTACHMENT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let code = String::deserialize(deserializer)?;
    if CODES.contains(&code.as_str()) {
        return Ok(code);
    }
    Err(D::Error::custom(format_args!("unknown code `{code}`; valid: {}", CODES.join(", "))))
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let reason = String::deserialize(deserializer)?;
    let token = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b':' | b'-');
    if (1..=MAX_REASON).contains(&reason.len()) && reason.bytes().all(token) {
        return Ok(reason);
    }
    let rule = "a reason is 1 to 64 of a-z, 0-9, `-`, `.` and `:`; the host replaces any other";
    Err(D::Error::custom(rule))
}
