//! `wasmount.toml`: what a vendor says of a driver, and what it asks for and why. `wasmount build`
//! checks it and puts it into the component, where a signature covers it. It gives nothing: that
//! is grants.toml's part.

mod ask;
mod grants;
mod options;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use wasmount_core::grants::Bounded;

use crate::error::{Error, Result};

pub use ask::{Ask, Parameters};
pub(crate) use ask::{REVEAL, example, required};
pub use grants::Operators;
pub use options::VolumeOption;
pub use text::{Description, Name, OptionName, RuleName, Version};

/// The file's name, beside the crate's Cargo.toml.
const FILE: &str = "wasmount.toml";

/// The longest manifest, in bytes, as a file and in a component.
pub(crate) const MAX_MANIFEST: usize = 64 * 1024;

/// The most entries of `asks`.
const MAX_ASKS: usize = 64;

/// The most entries of `options`.
const MAX_OPTIONS: usize = 64;

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
    /// The options that volumes may set, each once.
    #[serde(default, deserialize_with = "options", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<VolumeOption>,
    /// What it needs of what `[limits]` in grants.toml bounds.
    #[serde(default, skip_serializing_if = "Needs::is_nothing")]
    pub limits: Needs,
}

/// What a driver needs to have in one call. What is absent is what grants.toml gives by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Needs {
    /// Linear memory, in mebibytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<Bounded<1, 1024>>,
    /// CPU time, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<Bounded<1, 100>>,
}

impl Needs {
    /// What is stated, by the keys of grants.toml.
    #[must_use]
    pub fn parameters(&self) -> BTreeMap<&'static str, u64> {
        let memory = self.memory_mib.map(|memory| ("memory-mib", memory.get()));
        let cpu = self.cpu_seconds.map(|seconds| ("cpu-seconds", seconds.get()));
        memory.into_iter().chain(cpu).collect()
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
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
        let line = |offset: usize| {
            let before = &text.as_bytes()[..offset.min(text.len())];
            1 + before.iter().filter(|&&byte| byte == b'\n').count()
        };
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line(span.start));
            Error::new(format!("line {line}: {}", error.message()))
        })?;
        let vague = manifest.asks.iter().position(|ask| !ask.missing().is_empty());
        match vague.map(|index| (index, &manifest.asks[index])) {
            Some((index, ask)) => {
                let line = line(nth_ask(text, index));
                let missing: Vec<&str> = ask.missing().into_iter().map(example).collect();
                Err(Error::new(format!(
                    "line {line}: `{}` is asked for without saying of what; add such as {}",
                    ask.capability,
                    missing.join(", ")
                )))
            }
            None => Ok(manifest),
        }
    }

    /// The grants file that gives exactly what is asked for. What only the operator knows and does not
    /// say is not in it, nor are devices.
    #[must_use]
    pub fn grants(&self, operators: &Operators) -> String {
        let asks: Vec<&Ask> = self.asks.iter().collect();
        grants::write(&asks, &self.limits, operators)
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

/// Where an entry of `asks` is, in bytes.
fn nth_ask(text: &str, index: usize) -> usize {
    #[derive(Deserialize)]
    struct Places {
        asks: Vec<toml::Spanned<serde::de::IgnoredAny>>,
    }
    let places = toml::from_str::<Places>(text).ok();
    places.and_then(|places| Some(places.asks.get(index)?.span().start)).unwrap_or_default()
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
    // grants.toml has one list of types for all that is done with filesystems.
    let mut types = asks.iter().filter_map(|ask| ask.parameters().remove("types"));
    if let Some(first) = types.next()
        && types.any(|other| other != first)
    {
        let mistake =
            "the asks for `filesystems.…` have different `types`, and can be granted one list only";
        return Err(D::Error::custom(mistake));
    }
    Ok(asks)
}

fn options<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<VolumeOption>, D::Error> {
    let options = Vec::<VolumeOption>::deserialize(deserializer)?;
    if options.len() > MAX_OPTIONS {
        return Err(D::Error::custom(format_args!("more than {MAX_OPTIONS} options")));
    }
    for (index, option) in options.iter().enumerate() {
        if options[..index].iter().any(|earlier| earlier.name == option.name) {
            return Err(D::Error::custom(format_args!(
                "the option `{}` is there twice",
                option.name
            )));
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests;
