//! What a manifest says of the options that a volume may set, for whoever writes volumes and whoever
//! reviews the driver. The host passes options on as they are; to hold a volume to this is the
//! component's part.

use std::collections::BTreeSet;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Description, OptionName};

/// The most values that an option may have listed.
const MAX_VALUES: usize = 64;

/// An option that volumes may set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "kebab-case", deny_unknown_fields)]
pub struct VolumeOption {
    /// Its key: 1 to 63 of `A-Z a-z 0-9 . _ -`; with a `*` at the end, every key that begins so.
    pub name: OptionName,
    /// What it does, in a line of at most 512 bytes.
    pub description: Description,
    /// Whether every volume has to set it.
    #[serde(default)]
    pub required: bool,
    /// What holds where a volume does not set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Description>,
    /// The values that it can have, if they can be counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Description>,
}

impl VolumeOption {
    fn check(&self) -> Result<(), String> {
        let Self { name, required, default, values, .. } = self;
        if *required && default.is_some() {
            return Err(format!("the option `{name}` is required, and cannot have a default"));
        }
        let distinct: BTreeSet<&str> = values.iter().map(Description::as_str).collect();
        if values.len() > MAX_VALUES || distinct.len() < values.len() {
            return Err(format!(
                "the option `{name}` has a value twice, or more than {MAX_VALUES} values"
            ));
        }
        match default {
            Some(default) if !values.is_empty() && !values.contains(default) => {
                Err(format!("the default of the option `{name}` is none of its values"))
            }
            _ => Ok(()),
        }
    }
}

impl Serialize for VolumeOption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for VolumeOption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let option = Self::deserialize(deserializer)?;
        option.check().map_err(D::Error::custom)?;
        Ok(option)
    }
}
