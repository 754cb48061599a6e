//! The names of drivers, volumes and nodes. Each becomes part of file names and messages, so
//! none can hold a slash, be `..` or be empty. They say nothing about what they name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::invalid;
use crate::failure::Failure;

/// The longest name of a volume or a node, and the longest vendor: that of a DNS subdomain,
/// which is what Kubernetes makes of them. It leaves room for a suffix in a file name.
const MAX_NAME: usize = 253;

/// The longest name of a driver: that of a qualified name in Kubernetes, after the slash.
const MAX_DRIVER: usize = 63;

/// A volume's name: the persistent volume's, or that of the pod's own volume. 1 to 253 of
/// `A-Z a-z 0-9 . _ -`, the first of them a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName(String);

impl VolumeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        if is_plain(text, MAX_NAME) {
            return Ok(Self(text.to_owned()));
        }
        Err(invalid(
            "volume-name",
            "a volume's name is 1 to 253 letters, digits, dots, underscores and hyphens and \
             starts with a letter or digit",
        ))
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node's name, as Kubernetes knows it. 1 to 253 of `A-Z a-z 0-9 . _ -`, the first of them a
/// letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

impl NodeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        if is_plain(text, MAX_NAME) {
            return Ok(Self(text.to_owned()));
        }
        Err(invalid(
            "node-name",
            "a node's name is 1 to 253 letters, digits, dots, underscores and hyphens and starts \
             with a letter or digit",
        ))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A driver's name: the vendor's domain and the vendor's name for it. A volume's `driver` field
/// has it with a slash, its directory with a tilde, and both are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverName {
    vendor: String,
    name: String,
}

impl DriverName {
    /// The vendor: a DNS subdomain in lower case.
    pub fn vendor(&self) -> &str {
        &self.vendor
    }

    /// The name without the vendor; kubelet's name for the executable.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `vendor/name`, as in a volume's `driver` field.
    pub fn slash(&self) -> String {
        format!("{}/{}", self.vendor, self.name)
    }

    /// `vendor~name`, as in the plugin directory and in pods' mount directories.
    pub fn tilde(&self) -> String {
        format!("{}~{}", self.vendor, self.name)
    }
}

impl FromStr for DriverName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let separator = |c| c == '/' || c == '~';
        text.split_once(separator)
            .filter(|(vendor, name)| is_subdomain(vendor) && is_qualified(name))
            .map(|(vendor, name)| Self { vendor: vendor.to_owned(), name: name.to_owned() })
            .ok_or_else(|| {
                invalid(
                    "driver-name",
                    "a driver's name is VENDOR/NAME: the vendor a domain name in lower case, the \
                     name at most 63 letters, digits, dots, underscores and hyphens between \
                     letters or digits",
                )
            })
    }
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vendor, self.name)
    }
}

impl Serialize for DriverName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DriverName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|failure: Failure| serde::de::Error::custom(failure.message))
    }
}

/// Whether `text` is 1 to `longest` of `A-Z a-z 0-9 . _ -` and starts with a letter or digit.
/// Then it is a file name, and neither `.` nor `..` nor an option of a program.
pub(super) fn is_plain(text: &str, longest: usize) -> bool {
    text.len() <= longest
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
}

/// RFC 1123's subdomain, as Kubernetes' validation has it.
fn is_subdomain(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    text.len() <= MAX_NAME
        && text.split('.').all(|label| {
            label.bytes().all(inner)
                && !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// The name part of Kubernetes' qualified name.
fn is_qualified(text: &str) -> bool {
    is_plain(text, MAX_DRIVER) && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers() {
        for (text, slash) in [
            ("example.com/loop-image", Some("example.com/loop-image")),
            ("example.com~loop-image", Some("example.com/loop-image")),
            ("k8s/Nfs_4.1", Some("k8s/Nfs_4.1")),
            ("Example.com/x", None),
            ("a~b~c", None),
            ("a/b/c", None),
            ("a~b/c", None),
            ("/x", None),
            ("x/", None),
            ("x", None),
            ("", None),
            ("a..b/x", None),
            ("a-/x", None),
            ("../x", None),
            ("a/..", None),
            ("a/x-", None),
        ] {
            let parsed = text.parse::<DriverName>().ok();
            assert_eq!(parsed.as_ref().map(DriverName::slash).as_deref(), slash, "{text}");
            if let Some(driver) = parsed {
                assert_eq!(driver.tilde().parse(), Ok(driver));
            }
        }
        assert!(format!("a/{}", "x".repeat(63)).parse::<DriverName>().is_ok());
        assert!(format!("a/{}", "x".repeat(64)).parse::<DriverName>().is_err());
    }

    #[test]
    fn volumes_and_nodes() {
        let longest = "x".repeat(253);
        for name in ["pvc-8f1c", "data", "0", "A_b.c-", "a..b", &longest] {
            assert_eq!(name.parse::<VolumeName>().expect(name).as_str(), name);
            assert_eq!(name.parse::<NodeName>().expect(name).as_str(), name);
        }
        let too_long = "x".repeat(254);
        for name in ["", ".", "..", "-x", ".x", "a/b", "a b", "a\n", "a\0", "ä", &too_long] {
            name.parse::<VolumeName>().expect_err(name);
            name.parse::<NodeName>().expect_err(name);
        }
    }
}
