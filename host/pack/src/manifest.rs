//! `wasmount.toml`: what a vendor says of a driver, and what it asks for and why. `wasmount build`
//! checks it and puts it into the component, where a signature covers it. It gives nothing: that
//! is grants.toml's part.

mod text;

use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::capability::Capability;
use crate::error::{Error, Result};

pub use text::{Description, Name, Version};

/// The file's name, beside the crate's Cargo.toml.
const FILE: &str = "wasmount.toml";

/// The longest manifest, in bytes, as a file and in a component.
pub(crate) const MAX_MANIFEST: usize = 64 * 1024;

/// The most entries of `asks`.
const MAX_ASKS: usize = 64;

/// What a vendor says of a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// The driver's name: 1 to 63 of `a-z`, `0-9` and, inside, `-`.
    pub name: Name,
    /// Its version: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `-` and `+`.
    pub version: Version,
    /// What it is, in a line of at most 512 bytes.
    pub description: Description,
    /// Whether kubelet is to give a volume's files to the pod's group after `mount`.
    #[serde(default = "yes")]
    pub fs_group: bool,
    /// Whether the container runtime is to label a volume's files for SELinux.
    #[serde(default = "yes")]
    pub selinux_relabel: bool,
    /// Whether kubelet is to measure how full a volume is.
    #[serde(default)]
    pub supports_metrics: bool,
    /// What the driver asks for, at most once for each capability.
    #[serde(default, deserialize_with = "asks")]
    pub asks: Vec<Ask>,
}

/// One thing that a driver asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ask {
    /// What is asked for.
    pub capability: Capability,
    /// Why, in a line of at most 512 bytes, for whoever is to grant it.
    pub reason: Description,
}

impl Manifest {
    /// Reads `wasmount.toml` in a crate's directory.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Error::new(match error.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "{}: there is none; write one with at least name, version and description",
                    path.display()
                ),
                _ => format!("{}: {error}", path.display()),
            })
        })?;
        Self::parse(&text).map_err(|error| error.during(&path.display().to_string()))
    }

    /// Parses the text of a `wasmount.toml`. An error names the line, the mistake and, where
    /// there are some, the valid choices.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_MANIFEST {
            return Err(Error::new(format!("longer than {MAX_MANIFEST} bytes")));
        }
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                1 + text.as_bytes()[..span.start.min(text.len())]
                    .iter()
                    .filter(|&&byte| byte == b'\n')
                    .count()
            });
            Error::new(format!("line {line}: {}", error.message()))
        })
    }

    /// The manifest as it stands in a component.
    pub(crate) fn to_section(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest is strings, booleans and lists")
    }

    /// Reads the manifest of a component that nobody trusts, under the same rules as a file.
    pub(crate) fn from_section(data: &[u8]) -> Result<Self> {
        if data.len() > MAX_MANIFEST {
            return Err(Error::new(format!("its manifest is longer than {MAX_MANIFEST} bytes")));
        }
        serde_json::from_slice(data)
            .map_err(|error| Error::new(format!("its manifest is not valid: {error}")))
    }
}

fn yes() -> bool {
    true
}

fn asks<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<Ask>, D::Error> {
    let asks = Vec::<Ask>::deserialize(deserializer)?;
    if asks.len() > MAX_ASKS {
        return Err(D::Error::custom(format_args!("more than {MAX_ASKS} asks")));
    }
    for (index, ask) in asks.iter().enumerate() {
        if asks[..index].iter().any(|earlier| earlier.capability == ask.capability) {
            return Err(D::Error::custom(format_args!("`{}` is asked for twice", ask.capability)));
        }
    }
    Ok(asks)
}

#[cfg(test)]
mod tests;
