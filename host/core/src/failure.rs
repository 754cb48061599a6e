//! Why a call, or one host call of a component, did not happen.
//!
//! There is one such type from the kernel's errno to the `message` that kubelet shows, so that
//! nothing is lost or invented on the way. It does not decide how a failure is shown: that is
//! `reply`'s part.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of trouble it is: gRPC's canonical codes other than OK, as in the WIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the cases are gRPC's; wit/types.wit says what each means")]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

/// A failure on its way to the component, the reply and the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What kind of trouble it is.
    pub code: Code,
    /// A stable token for machines: `not-blank`, `grant:mounts.block`.
    pub reason: String,
    /// For the operator: what failed, why, what to do. Never holds an option's value.
    pub message: String,
}

impl Failure {
    /// A failure; the message starts in lower case and has no final full stop.
    pub fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into() }
    }

    /// A failed system call or tool: `what` says what was being done, in words.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let (code, reason) = match error.raw_os_error() {
            Some(libc::ENOENT) => (Code::NotFound, "not-found"),
            Some(libc::EACCES | libc::EPERM) => (Code::FailedPrecondition, "kernel-refused"),
            Some(libc::EBUSY) => (Code::FailedPrecondition, "busy"),
            Some(libc::ENOSPC | libc::EDQUOT | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => {
                (Code::ResourceExhausted, "exhausted")
            }
            Some(libc::EIO | libc::EUCLEAN) => (Code::DataLoss, "io"),
            Some(libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT) => (Code::Unavailable, "again"),
            _ => (Code::Internal, "kernel-refused"),
        };
        Self::new(code, reason, format!("{what}: {error}"))
    }

    /// The same failure where taking back what was done until then has failed, too.
    #[must_use]
    pub fn leaving(mut self, left: &Self) -> Self {
        self.message = format!(
            "{}; what had been set up until then stays for the next call, since taking it down \
             failed, too: {left}",
            self.message
        );
        self
    }

    /// The same failure with what was being done put before its message.
    #[must_use]
    pub fn during(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.reason)
    }
}

impl std::error::Error for Failure {}
