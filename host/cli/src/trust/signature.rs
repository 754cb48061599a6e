//! A detached signature as minisign writes it, `x.wasm.minisig` beside `x.wasm`. What is in it is
//! the vendor's word, or that of whoever passes for one, until a key has verified it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::key::{KeyId, TrustedKey, algorithm_and_id};
use crate::output::printable;

/// What is put behind a file's name for the name of its signature.
pub const SUFFIX: &str = ".minisig";

/// The longest signature file, in bytes: twice what minisign itself would read as a comment.
pub const MAX_SIGNATURE: usize = 16 * 1024;

/// The longest trusted comment, in bytes. It is kept in the receipt and shown to people.
const MAX_COMMENT: usize = 1024;

/// A signature's algorithm if the file's hash was signed, which is all that is accepted: what signs
/// the file itself is minisign's old format.
const PREHASHED: [u8; 2] = *b"ED";

/// A signature that reads as one. It may be anything's and anybody's.
#[derive(Clone)]
pub struct Signature {
    /// Which key it says it was made with.
    pub key: KeyId,
    /// What the vendor says in it, harmless to a terminal.
    pub(super) trusted_comment: String,
    parsed: minisign_verify::Signature,
}

/// Why a file is no signature that could be looked at further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It is not in minisign's format.
    Format,
    /// It is in the old format, which signs the file and not its hash.
    Legacy,
    /// What the vendor says in it is longer than anybody would read.
    LongComment,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str("is not a minisign signature"),
            Self::Legacy => {
                f.write_str("is a signature of minisign's old format, which is not accepted")
            }
            Self::LongComment => {
                write!(f, "has a trusted comment of more than {MAX_COMMENT} bytes")
            }
        }
    }
}

impl Signature {
    /// Reads the contents of a signature file.
    pub fn parse(contents: &[u8]) -> Result<Self, Mistake> {
        let read = || {
            let text = std::str::from_utf8(contents).ok()?;
            let parsed = minisign_verify::Signature::decode(text).ok()?;
            let nothing_more = text.lines().skip(4).all(|line| line.trim().is_empty());
            let (algorithm, key) = algorithm_and_id(text.lines().nth(1)?)?;
            nothing_more.then_some((parsed, algorithm, key))
        };
        let (parsed, algorithm, key) = read().ok_or(Mistake::Format)?;
        if algorithm != PREHASHED {
            return Err(Mistake::Legacy);
        }
        if parsed.trusted_comment().len() > MAX_COMMENT {
            return Err(Mistake::LongComment);
        }
        let trusted_comment = printable(parsed.trusted_comment());
        Ok(Self { key, trusted_comment, parsed })
    }

    /// Whether the key has signed these bytes, and what the vendor says with them.
    pub(super) fn is_of(&self, key: &TrustedKey, bytes: &[u8]) -> bool {
        key.key.verify(bytes, &self.parsed, false).is_ok()
    }
}

/// Where the signature of a file is.
pub fn beside(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(SUFFIX);
    PathBuf::from(name)
}
