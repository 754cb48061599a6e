//! `policy.toml` of the trust directory: which drivers are installed from whom alone, and what is
//! not trusted any more. It grants nothing: that is grants.toml's part.
//!
//! ```toml
//! [drivers."example.com/disk"]
//! keys = ["0123456789ABCDEF"]
//! digests = ["sha256:…"]
//!
//! [revoked]
//! keys = ["FEDCBA9876543210"]
//! digests = ["sha256:…"]
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};
use wasmount_core::bundle::receipt;
use wasmount_core::call::DriverName;
use wasmount_core::failure::Failure;

use super::key::KeyId;

/// What the operator has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Drivers that are pinned.
    #[serde(default, deserialize_with = "by_name")]
    pub drivers: BTreeMap<DriverName, Pins>,
    /// What is installed no more.
    #[serde(default)]
    pub revoked: Revoked,
}

/// What a driver is installed from, and from nothing else. Whoever says both means both.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Lists")]
pub struct Pins {
    /// Who may sign it, if it matters.
    pub keys: Option<Vec<KeyId>>,
    /// What the component may be, if it matters.
    pub digests: Option<Vec<Digest>>,
}

/// What is trusted no more, whoever trusts it otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Keys, wherever they are.
    #[serde(default)]
    pub keys: Vec<KeyId>,
    /// Components.
    #[serde(default)]
    pub digests: Vec<Digest>,
}

/// A component's digest: `sha256:` and 64 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(String);

impl Policy {
    /// Parses the file's text. An error names the line, the mistake and what is valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
            // As the grants are spoken of.
            let mistake = error.message().replace(", expected one of ", "; valid: ");
            let mistake = mistake.replace(", expected `", "; valid: `");
            format!("line {line}: {}", mistake.replace(" or `", ", `"))
        })
    }
}

impl Digest {
    /// What is pinned or revoked by it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if receipt::is_digest(&text) {
            return Ok(Self(text));
        }
        Err(serde::de::Error::custom(format_args!(
            "`{}` is not a digest; valid: sha256: and 64 of 0-9 and a-f, as `wasmount verify` \
             prints it",
            text.escape_debug()
        )))
    }
}

/// The pins of each driver. A name that can be written in two ways could be pinned twice, and one of the
/// two would hold.
fn by_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<DriverName, Pins>, D::Error> {
    let written = BTreeMap::<String, Pins>::deserialize(deserializer)?;
    let each = written.into_iter().map(|(text, pins)| {
        let name: DriverName = text.parse().map_err(|failure: Failure| failure.message)?;
        match name.to_string() == text {
            true => Ok((name, pins)),
            false => Err(format!("`{text}` is written as `{name}` here")),
        }
    });
    let each = each.map(|pinned| pinned.map_err(serde::de::Error::custom));
    each.collect()
}

/// The pins as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    keys: Option<Vec<KeyId>>,
    digests: Option<Vec<Digest>>,
}

impl TryFrom<Lists> for Pins {
    type Error = &'static str;

    fn try_from(Lists { keys, digests }: Lists) -> Result<Self, Self::Error> {
        if keys.is_none() && digests.is_none() {
            return Err("a pinned driver needs `keys`, `digests` or both");
        }
        if keys.as_ref().is_some_and(Vec::is_empty) || digests.as_ref().is_some_and(Vec::is_empty) {
            return Err("an empty list would let nothing be installed; leave it out, or fill it");
        }
        Ok(Self { keys, digests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, told) in [
            ("", None),
            ("[drivers.\"a.b/c\"]\nkeys = [\"0123456789abcdef\"]\n", None),
            (
                "[revoked]\nkey = []\n",
                Some("line 2: unknown field `key`; valid: `keys`, `digests`"),
            ),
            ("\n[pins]\n", Some("line 2: unknown field `pins`; valid: `drivers`, `revoked`")),
            (
                "[drivers.\"a.b/c\"]\nkey = []\n",
                Some("line 2: unknown field `key`; valid: `keys`, `digests`"),
            ),
            (
                "[drivers.\"a.b/c\"]\n",
                Some("line 1: a pinned driver needs `keys`, `digests` or both"),
            ),
            (
                "[drivers.\"a.b/c\"]\nkeys = []\n",
                Some(
                    "line 1: an empty list would let nothing be installed; leave it out, or fill it",
                ),
            ),
            (
                "[revoked]\nkeys = [\"vendor\"]\n",
                Some(
                    "line 2: `vendor` is not a key's identifier; valid: the 16 hexadecimal digits \
                     in the first line of its .pub file",
                ),
            ),
            (
                "[revoked]\ndigests = [\"abc\"]\n",
                Some(
                    "line 2: `abc` is not a digest; valid: sha256: and 64 of 0-9 and a-f, as \
                     `wasmount verify` prints it",
                ),
            ),
            (
                "[drivers.disk]\nkeys = [\"0123456789abcdef\"]\n",
                Some("line 1: a driver's name is VENDOR/NAME"),
            ),
            (
                "[drivers.\"a.b~c\"]\nkeys = [\"0123456789abcdef\"]\n",
                Some("line 1: `a.b~c` is written as `a.b/c` here"),
            ),
        ] {
            let read = Policy::parse(text).map(drop);
            match (read, told) {
                (Ok(()), None) => {}
                (Err(mistake), Some(told)) => assert!(mistake.starts_with(told), "{mistake}"),
                (read, told) => panic!("{text}: {read:?} {told:?}"),
            }
        }
    }
}
