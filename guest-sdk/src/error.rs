//! Why an operation did not happen, as the operator reads it and a machine sorts it. What to do
//! with an error is not decided here: returned from a trait's function, it ends the call.

use std::fmt;

use crate::Code;
use crate::bindings::capabilities::wasmount::driver::types;

/// What the functions of this crate and of its traits return.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why an operation did not happen.
///
/// The host shows it to the operator, and in the events of pods: never put a secret into it, nor
/// the value of one of the volume's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of trouble it is.
    pub code: Code,
    /// A stable token for machines, such as `not-blank`: at most 64 bytes of `a-z`, `0-9`, `-`,
    /// `.` and `:`; the host replaces anything else.
    pub reason: String,
    /// What failed, why, and what to do, in lower case and without a final full stop: at most
    /// 2 KiB. The host puts the driver and the operation before it, and `reason` after it.
    pub message: String,
}

/// A constructor for each code. The documentation is `wit/types.wit`'s.
macro_rules! constructors {
    ($($(#[$doc:meta])+ $name:ident = $code:ident;)+) => {
        impl Error { $(
            $(#[$doc])+
            #[must_use]
            pub fn $name(reason: &str, message: impl Into<String>) -> Self {
                Self::new(Code::$code, reason, message)
            }
        )+ }
    };
}

constructors! {
    /// The caller, or a deadline's expiry upstream, cancelled the operation.
    cancelled = Cancelled;
    /// No better code is known.
    unknown = Unknown;
    /// An argument is wrong whatever the state of the system is.
    invalid_argument = InvalidArgument;
    /// The time allowed for the operation has passed.
    deadline_exceeded = DeadlineExceeded;
    /// Something named does not exist.
    not_found = NotFound;
    /// Something to be created exists already, and is not the same.
    already_exists = AlreadyExists;
    /// A quota, a bound or a disk is full.
    resource_exhausted = ResourceExhausted;
    /// The system is not in the state the operation needs; retrying alone does not help.
    failed_precondition = FailedPrecondition;
    /// A conflict with another operation; retrying from the start may help.
    aborted = Aborted;
    /// A value is outside what the system can do now.
    out_of_range = OutOfRange;
    /// The operation is not implemented.
    unimplemented = Unimplemented;
    /// An invariant is broken.
    internal = Internal;
    /// A passing trouble; retrying may help.
    unavailable = Unavailable;
    /// Data is lost or corrupt.
    data_loss = DataLoss;
    /// The caller's credentials are missing or wrong.
    unauthenticated = Unauthenticated;
}

impl Error {
    /// An error of any code. The constructor named after a code says the same in fewer words.
    /// [`Code::PermissionDenied`] has none: it is what the host says when the grants refuse.
    #[must_use]
    pub fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into() }
    }

    /// The same error with what was being done put before its message.
    #[must_use]
    pub fn during(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.reason)
    }
}

impl std::error::Error for Error {}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        Self { code: error.code, reason: error.reason, message: error.message }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        Self { code: error.code, reason: error.reason, message: error.message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_message_and_its_reason() {
        let error = Error::failed_precondition("fs-mismatch", "the device has xfs, not ext4");
        assert_eq!(error.code, Code::FailedPrecondition);
        assert_eq!(error.to_string(), "the device has xfs, not ext4 (fs-mismatch)");
        assert_eq!(
            error.during("mounting").to_string(),
            "mounting: the device has xfs, not ext4 (fs-mismatch)"
        );
    }

    #[test]
    fn an_error_crosses_the_boundary_unchanged() {
        let error = Error::data_loss("io", "bad sector");
        assert_eq!(Error::from(types::Error::from(error.clone())), error);
    }
}
