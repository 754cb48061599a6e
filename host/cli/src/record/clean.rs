//! Puts `[secret]` in place of the secrets in what is recorded; and of `[secret]` in every encoding in what is played,
//! so that a component that encodes what it was given does the same in both.

use serde_json::Value;
use wasmount_core::call::Secrets;
use wasmount_core::failure::Failure;
use wasmount_core::redact::Redactor;
use wasmount_core::wire::{Bytes, Outcome, Request};

/// What a component gets in a secret's place when a recording is played.
const PLACEHOLDER: &str = "[secret]";

/// Fields whose values are words of the wire, and no texts: a secret that is the same word is not
/// told by them.
const WORDS: [&str; 5] = ["call", "access", "code", "outcome", "level"];

/// Knows the secrets of a call.
pub(crate) struct Cleaner {
    secrets: Secrets,
    redactor: Redactor,
    /// Whether a component has seen any of them.
    revealed: bool,
}

impl Cleaner {
    /// For a call that is recorded. `revealed` is whether its component has seen any of them.
    pub(crate) fn new(secrets: Secrets, revealed: bool) -> Self {
        Self { redactor: Redactor::new(&secrets), secrets, revealed }
    }

    /// For a call that is played.
    pub(crate) fn of_placeholder() -> Self {
        Self::new([("it".to_owned(), PLACEHOLDER.into())].into_iter().collect(), true)
    }

    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    pub(crate) fn text(&self, text: &str) -> String {
        let clean = self.redactor.clean(text).into_owned();
        let short = self.short().filter_map(|secret| std::str::from_utf8(secret).ok());
        short.fold(clean, |text, secret| text.replace(secret, PLACEHOLDER))
    }

    /// What is too short to be looked for in every text: a component that has seen it may have put it
    /// anywhere all the same, and a recording leaves the node.
    fn short(&self) -> impl Iterator<Item = &[u8]> {
        let seen = self.secrets.values().filter(|_| self.revealed).map(<[u8]>::trim_ascii);
        seen.filter(|secret| !secret.is_empty() && !self.redactor.contains(secret))
    }

    /// What a component was revealed.
    pub(crate) fn revealed(&self) -> Vec<u8> {
        PLACEHOLDER.into()
    }

    /// Bytes that a component has made or stored.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let has = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text).into_bytes(),
            Err(_) if self.redactor.contains(bytes) || self.short().any(has) => self.revealed(),
            Err(_) => bytes.to_vec(),
        }
    }

    pub(crate) fn request(&self, request: &Request) -> Request {
        let mut request = request.clone();
        let bytes = match &mut request {
            Request::StatePut { value, .. } => Some(&mut value.0),
            Request::TmpfsWriteFile { contents, .. } => Some(&mut contents.0),
            _ => None,
        };
        // As they are written they are no text.
        let bytes = bytes.map(std::mem::take).map(|bytes| Bytes(self.bytes(&bytes)));
        let mut request = self.typed(&request);
        if let Some(clean) = bytes
            && let Request::StatePut { value: bytes, .. }
            | Request::TmpfsWriteFile { contents: bytes, .. } = &mut request
        {
            *bytes = clean;
        }
        request
    }

    pub(crate) fn outcome(&self, outcome: &Outcome) -> Outcome {
        match (self.typed(outcome), outcome) {
            // A reason is a token, and what is no such is said to be the component's: as in a reply.
            (Outcome::Refused(clean), Outcome::Refused(said)) if clean.reason != said.reason => {
                Outcome::Refused(Failure { reason: "component".to_owned(), ..clean })
            }
            (clean, _) => clean,
        }
    }

    /// Every text in a value of the wire.
    fn typed<T: serde::Serialize + serde::de::DeserializeOwned>(&self, value: &T) -> T {
        let json = serde_json::to_value(value).expect("what the wire has is JSON");
        serde_json::from_value(self.json(json)).expect("a text in place of a text")
    }

    fn json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.json(item)).collect(),
            Value::Object(fields) => {
                let clean = |(key, field): (String, Value)| match WORDS.contains(&key.as_str()) {
                    true => (key, field),
                    false => (key, self.json(field)),
                };
                Value::Object(fields.into_iter().map(clean).collect())
            }
            other => other,
        }
    }
}
