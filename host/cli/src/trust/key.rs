//! Keys as minisign has them: their identifiers, and the public ones that this node trusts.

use std::fmt;
use std::str::FromStr;

use minisign_verify::PublicKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// minisign's identifier of a key: eight random bytes, which are in the public key and in every
/// signature. It finds a key, and proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(u64);

impl KeyId {
    /// Reads its bytes, in the order that they have in a file.
    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_id = text.len() == 16 && text.bytes().all(|c| c.is_ascii_hexdigit());
        let id = is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or_else(|| {
            format!(
                "`{}` is not a key's identifier; valid: the 16 hexadecimal digits in the first \
                 line of its .pub file",
                text.escape_debug()
            )
        })
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A public key that is trusted.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    /// Its file's name.
    pub name: String,
    /// Its identifier.
    pub id: KeyId,
    pub(super) key: PublicKey,
}

impl TrustedKey {
    /// Reads the contents of a `.pub` file: a comment, and the key in base64. None if it is none.
    pub(super) fn parse(name: &str, contents: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(contents).ok()?;
        let encoded = text.lines().nth(1)?;
        let nothing_more = text.lines().skip(2).all(|line| line.trim().is_empty());
        let key = PublicKey::decode(text).ok().filter(|_| nothing_more)?;
        let (_, id) = algorithm_and_id(encoded)?;
        Some(Self { name: name.to_owned(), id, key })
    }
}

/// What the base64 line of a public key or a signature begins with.
pub(super) fn algorithm_and_id(encoded: &str) -> Option<([u8; 2], KeyId)> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let (algorithm, rest) = bytes.split_first_chunk()?;
    let (id, _) = rest.split_first_chunk()?;
    Some((*algorithm, KeyId::from_bytes(*id)))
}
