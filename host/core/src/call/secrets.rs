//! The secrets of one call: held in memory, overwritten when dropped, never printed. Who may
//! see them is decided elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The keys of a secret and what is in them. Overwritten with zeroes when dropped.
#[derive(Default)]
pub struct Secrets(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Secrets {
    /// None at all.
    pub(super) const NONE: &'static Self = &Self(BTreeMap::new());

    /// What is in a key.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(|value| value.as_slice())
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What is in the keys, in their order.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.0.values().map(|value| value.as_slice())
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what kubelet wrote for a key: the standard base64 of its bytes. Callers other than
    /// kubelet have been known to pass the value as it is, and what is no base64 cannot be
    /// anything else.
    pub(super) fn insert_encoded(&mut self, key: String, text: &str) {
        let value = STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec());
        self.0.insert(key, Zeroizing::new(value));
    }
}

impl FromIterator<(String, Vec<u8>)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key, Zeroizing::new(value))).collect())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_strictly_and_anything_else_is_itself() {
        for (text, value) in [
            ("aHVudGVyMg==", &b"hunter2"[..]),
            ("", b""),
            ("AP//", b"\0\xff\xff"),
            ("+/+/", b"\xfb\xff\xbf"),
            ("aHVudGVyMg", b"aHVudGVyMg"),
            ("aHVudGVyMh==", b"aHVudGVyMh=="),
            ("aHVu dGVy", b"aHVu dGVy"),
            ("-_-_", b"-_-_"),
            ("hunter2!", b"hunter2!"),
        ] {
            let mut secrets = Secrets::default();
            secrets.insert_encoded("key".to_owned(), text);
            assert_eq!(secrets.get("key"), Some(value), "{text}");
            assert_eq!(format!("{secrets:?}"), "Secrets(1)");
        }
    }
}
