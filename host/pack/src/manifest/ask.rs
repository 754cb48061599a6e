//! One thing that a driver asks for: a capability, why, and its parameters, which are those keys of
//! grants.toml that a vendor can know. Where images lie and what a device is called on a node is the
//! operator's alone, and cannot be asked for.
//!
//! An ask is valid if the grants file that it asks for is: nothing of grants.toml's rules is
//! repeated here. As there, what grants.toml requires is required, and what has a default there may be
//! absent and then asks for that default.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wasmount_core::grants::{DEFAULT_IMAGE_SIZE, Grants, Size, TmpfsGrant, Use};

use super::grants::{self, Operators};
use super::{Description, Needs, RuleName};
use crate::capability::Capability;
use crate::error::deceives;

/// What secrets that are revealed are accepted by.
pub(crate) const REVEAL: &str = "secrets.reveal";

/// The most rules that are asked for.
const MAX_RULES: usize = 64;

/// One thing that a driver asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ask {
    /// What is asked for.
    pub capability: Capability,
    /// Why, in a line of at most 512 bytes, for whoever is to grant it.
    pub reason: Description,
    /// `images`: patterns for the names of image files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) names: Option<Vec<String>>,
    /// `images`: how long one may be made. `mounts.tmpfs`: the size of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_size: Option<String>,
    /// `secrets`: which keys, and what for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) keys: Option<Vec<SecretKey>>,
    /// `devices`: the names of the rules that the component asks by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rules: Option<Vec<RuleName>>,
    /// `filesystems.*`: which filesystems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) types: Option<Vec<String>>,
    /// `mounts.block`: which filesystems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) filesystems: Option<Vec<String>>,
    /// `mounts.block`: which mount options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) options: Option<Vec<String>>,
    /// `mounts.tmpfs`: how many files a call may write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_files: Option<u64>,
}

/// A key of a volume's secret, or a pattern for some, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretKey {
    pub(super) key: String,
    pub(super) uses: Vec<Use>,
}

/// What a capability is asked for with: by the keys of grants.toml, the values of each, as texts. A
/// key of a secret is `KEY (USE)`, once for each use.
pub type Parameters = BTreeMap<&'static str, BTreeSet<String>>;

/// The parameters that an ask for this capability has to state, and those that it may.
fn known(capability: Capability) -> (&'static [&'static str], &'static [&'static str]) {
    match capability {
        Capability::Images => (&["names"], &["max-size"]),
        Capability::Secrets => (&["keys"], &[]),
        Capability::Devices => (&["rules"], &[]),
        Capability::FilesystemsFormat
        | Capability::FilesystemsCheck
        | Capability::FilesystemsGrow => (&["types"], &[]),
        Capability::MountsBlock => (&["filesystems"], &["options"]),
        Capability::MountsTmpfs => (&[], &["max-size", "max-files"]),
        Capability::ImagesCreate
        | Capability::ImagesGrow
        | Capability::MountsBind
        | Capability::State => (&[], &[]),
    }
}

/// The parameters that an ask for this capability has to state.
pub(crate) fn required(capability: Capability) -> &'static [&'static str] {
    known(capability).0
}

/// How a parameter is written, for whoever left it out.
pub(crate) fn example(parameter: &str) -> &'static str {
    match parameter {
        "names" => "names = [\"{volume}.img\"]",
        "keys" => "keys = [{ key = \"password\", uses = [\"file\"] }]",
        "rules" => "rules = [\"disk\"]",
        "types" => "types = [\"ext4\"]",
        "filesystems" => "filesystems = [\"ext4\"]",
        _ => "",
    }
}

impl Ask {
    /// What it asks for in particular, with the defaults of what it does not say. Empty where the
    /// capability has no parameters, or the vendor says nothing of them, as before there were any.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        let mut set = |name, values: BTreeSet<String>| {
            if !values.is_empty() {
                parameters.insert(name, values);
            }
        };
        let list = |list: &Option<Vec<String>>| list.iter().flatten().cloned().collect();
        let size = |text: &Option<String>, default: String| {
            let size = text.as_ref().map(|text| Size::try_from(text.clone()));
            [size.and_then(Result::ok).map_or(default, |size| size.to_string())].into()
        };
        set("names", list(&self.names));
        set("types", list(&self.types));
        set("filesystems", list(&self.filesystems));
        set("options", list(&self.options));
        set("rules", self.rules.iter().flatten().map(ToString::to_string).collect());
        let uses = |key: &SecretKey| {
            key.uses.iter().map(|used| format!("{} ({})", key.key, used.name())).collect::<Vec<_>>()
        };
        set("keys", self.keys.iter().flatten().flat_map(uses).collect());
        if self.capability == Capability::Images && self.names.is_some() {
            set("max-size", size(&self.max_size, DEFAULT_IMAGE_SIZE.to_string()));
        }
        if self.capability == Capability::MountsTmpfs {
            let default = TmpfsGrant::default();
            set("max-size", size(&self.max_size, Size::of(default.max_size.bytes()).to_string()));
            let files = self.max_files.unwrap_or(default.max_files.get());
            set("max-files", [files.to_string()].into());
        }
        parameters
    }

    /// Whether it asks for a key of a secret with this use.
    #[must_use]
    pub fn asks_to(&self, used: Use) -> bool {
        self.keys.iter().flatten().any(|key| key.uses.contains(&used))
    }

    /// The name that it has to be accepted by, if it is such that nobody should give it without
    /// having named it.
    #[must_use]
    pub fn super_privileged(&self) -> Option<String> {
        match self.capability {
            Capability::Secrets if self.asks_to(Use::Reveal) => Some(REVEAL.to_owned()),
            capability => capability.is_super_privileged().then(|| capability.to_string()),
        }
    }

    /// The parameters that are missing, which a vendor has to state now.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let stated = self.stated();
        required(self.capability).iter().filter(|name| !stated.contains(name)).copied().collect()
    }

    fn stated(&self) -> Vec<&'static str> {
        [
            ("names", self.names.is_some()),
            ("max-size", self.max_size.is_some()),
            ("keys", self.keys.is_some()),
            ("rules", self.rules.is_some()),
            ("types", self.types.is_some()),
            ("filesystems", self.filesystems.is_some()),
            ("options", self.options.is_some()),
            ("max-files", self.max_files.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, stated)| stated.then_some(name))
        .collect()
    }

    fn check(&self) -> Result<(), String> {
        let (required, optional) = known(self.capability);
        let valid: Vec<&str> = required.iter().chain(optional).copied().collect();
        let stated = self.stated();
        if let Some(odd) = stated.iter().find(|name| !valid.contains(name)) {
            let valid = if valid.is_empty() { "none".to_owned() } else { valid.join(", ") };
            return Err(format!("`{}` has no parameter `{odd}`; valid: {valid}", self.capability));
        }
        if valid.is_empty() {
            return Ok(());
        }
        // What is not said can only be the whole, as a vendor wrote before there were parameters.
        if !self.missing().is_empty() {
            return match stated[..] {
                [] => Ok(()),
                _ => Err(format!("`{}` lacks `{}`", self.capability, required.join("`, `"))),
            };
        }
        let texts = [&self.names, &self.types, &self.filesystems, &self.options];
        let mut texts = texts.into_iter().flatten().flatten().chain(&self.max_size);
        if texts.any(|text| text.chars().any(deceives)) {
            return Err("a parameter has control or invisible characters".to_owned());
        }
        if let Some(rules) = &self.rules {
            let names: BTreeSet<&str> = rules.iter().map(RuleName::as_str).collect();
            if rules.len() > MAX_RULES || names.len() < rules.len() || names.is_empty() {
                return Err(format!("`rules` has each rule once, and 1 to {MAX_RULES} of them"));
            }
        }
        let text = grants::write(&[self], &Needs::default(), &Operators::anyone());
        Grants::parse(&text).map(drop).map_err(|error| error.mistake)
    }
}

impl Serialize for Ask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Ask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ask = Self::deserialize(deserializer)?;
        ask.check().map_err(D::Error::custom)?;
        Ok(ask)
    }
}
