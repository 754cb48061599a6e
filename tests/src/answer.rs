//! What a call of kubelet's answered: everything that kubelet could see.

use serde_json::Value;

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the call was, for messages.
    pub call: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error: part of the reply for kubelet, so always to be empty.
    pub stderr: String,
    /// The exit code; none if killed.
    pub exit: Option<i32>,
}

impl Answer {
    /// The reply, as kubelet parses it: one document and nothing else.
    pub fn json(&self) -> Value {
        assert_eq!(self.stderr, "", "{} wrote to standard error", self.call);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error} in {:?}", self.call, self.stdout))
    }

    /// The reply of a call that succeeded.
    pub fn success(&self) -> Value {
        let json = self.json();
        assert_eq!(
            (json["status"].as_str(), self.exit),
            (Some("Success"), Some(0)),
            "{}: {json}",
            self.call
        );
        json
    }

    /// The message of a call that failed, with exit code 1.
    pub fn failure(&self) -> String {
        let json = self.json();
        assert_eq!(
            (json["status"].as_str(), self.exit),
            (Some("Failure"), Some(1)),
            "{}: {json}",
            self.call
        );
        json["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts a Failure of this reason.
    pub fn fails_with(&self, reason: &str) -> String {
        let message = self.failure();
        assert!(
            message.ends_with(&format!("[{reason}]")),
            "{}: wanted [{reason}], got {message}",
            self.call
        );
        message
    }
}
