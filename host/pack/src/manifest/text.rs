//! The texts of a manifest, each checked where it is read, so that an error points at it.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use wasmount_core::grants::is_rule_name;

use crate::error::{Error, deceives};

/// A text that only a check makes.
macro_rules! texts {
    ($($(#[$doc:meta])+ $name:ident if $check:ident else $rule:literal;)+) => { $(
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                if $check(text) { Ok(Self(text.to_owned())) } else { Err(Error::new($rule)) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )+ };
}

texts! {
    /// A driver's name.
    Name if is_name else
        "a name is 1 to 63 of a-z, 0-9 and -, and neither begins nor ends with -";
    /// A driver's version.
    Version if is_version else "a version is 1 to 64 of A-Z, a-z, 0-9, `.`, `-` and `+`";
    /// A line for people.
    Description if is_line else
        "this text is 1 to 512 bytes, without line ends, control or invisible characters";
    /// The name of a rule for devices, as grants.toml has it.
    RuleName if is_rule_name else "a rule's name is 1 to 64 of a-z, 0-9 and -";
    /// The key of a volume's option, or the beginning of some.
    OptionName if is_option else
        "an option's name is 1 to 63 of A-Z, a-z, 0-9, `.`, `_` and -; a `*` at the end is any ending";
}

fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+".contains(&b))
}

fn is_line(text: &str) -> bool {
    (1..=512).contains(&text.len()) && !text.chars().any(deceives)
}

fn is_option(text: &str) -> bool {
    let key = text.strip_suffix('*').unwrap_or(text);
    (1..=63).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
