//! A secret of a volume, and the search for it where it must not be: in what a driver writes and
//! in what its processes show. It only looks; what is no leak, a test has to leave out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Process;

/// What is in one key of a secret.
#[derive(Debug)]
pub struct Secret {
    base64: String,
    /// As it is, in base64 and URL-encoded.
    forms: [Vec<u8>; 3],
}

impl Secret {
    /// A secret. One of a few bytes would be found everywhere.
    pub fn new(value: &[u8]) -> Self {
        assert!(value.len() >= 8, "too short to look for");
        let base64 = base64(value);
        // Programs leave the padding out.
        let bare = base64.trim_end_matches('=').as_bytes().to_vec();
        Self { forms: [value.to_vec(), bare, url(value).into_bytes()], base64 }
    }

    /// As kubelet passes it.
    pub fn base64(&self) -> &str {
        &self.base64
    }

    /// Whether it is in the bytes.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        let has = |form: &Vec<u8>| bytes.windows(form.len()).any(|window| window == form);
        self.forms.iter().any(has)
    }

    /// Asserts that no file below a directory holds it; how many there are.
    pub fn is_in_no_file(&self, dir: &Path) -> usize {
        let mut files = Vec::new();
        files_below(dir, &mut files);
        for file in &files {
            let bytes = fs::read(file).expect("readable");
            assert!(!self.is_in(&bytes), "{} holds the secret", file.display());
        }
        files.len()
    }

    /// Asserts that a process has it neither among its arguments nor in its environment, of which
    /// nothing is left at all.
    pub fn is_not_shown(&self, process: &Process) {
        let (arguments, environment) = (process.read("cmdline"), process.read("environ"));
        assert!(!self.is_in(&arguments), "an argument of {process:?} holds the secret");
        assert!(environment.iter().all(|byte| *byte == 0), "{process:?} has an environment");
    }
}

/// Standard base64, as kubelet encodes a secret.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let used = digit <= chunk.len();
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if used { DIGITS[index as usize].into() } else { '=' });
        }
    }
    text
}

fn url(bytes: &[u8]) -> String {
    let encoded = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(*byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    bytes.iter().map(encoded).collect()
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path(), found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_each_of_its_forms() {
        let secret = Secret::new("s3cr3t/p&ss wörd".as_bytes());
        assert_eq!(secret.base64(), "czNjcjN0L3Amc3Mgd8O2cmQ=");
        for text in
            ["the s3cr3t/p&ss wörd!", "=czNjcjN0L3Amc3Mgd8O2cmQ", "s3cr3t%2Fp%26ss%20w%C3%B6rd"]
        {
            assert!(secret.is_in(text.as_bytes()), "{text}");
        }
        assert!(!secret.is_in(b"s3cr3t"));
    }
}
