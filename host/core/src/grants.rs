//! What the operator gives to a driver: grants.toml, parsed.
//!
//! Everything is denied that the file does not name, and a value that is not valid here cannot
//! be held: each field's type is its own check. Nothing here knows of a call; what is left of the
//! grants in one call is [`crate::session`]'s part, and every yes or no [`crate::decide`]'s.

mod error;
mod file;
mod pattern;
mod sections;
mod size;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

pub use error::GrantsError;
pub use file::DEFAULT_IMAGE_SIZE;
pub use pattern::{
    Attribute, AttributeValue, DevicePath, Directory, IdPattern, ImagePattern, KeyPattern, MAX_ID,
    is_id, is_rule_name,
};
pub use sections::{Key, SECTIONS, Section};
pub use size::Size;

use crate::kernel::filesystems::Filesystem;

/// The only version of the format.
pub const VERSION: i64 = 1;

/// The longest grants file, in bytes.
pub const MAX_FILE: usize = 64 * 1024;

/// A grants file. [`Grants::none`] is what a file grants that only states its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// What of the wall around the component's process has to be there.
    pub isolation: Isolation,
    /// The exit code of a call that fails, where the file states it.
    pub failure_exit_code: Option<u8>,
    /// The operator's settings for the component.
    pub config: BTreeMap<String, String>,
    /// What the component may use up.
    pub limits: Limits,
    /// Whether the component may store values for each volume.
    pub state: bool,
    /// The secret keys that the component may use, each name or pattern once.
    pub secrets: Vec<SecretGrant>,
    /// Image files.
    pub images: Option<ImagesGrant>,
    /// Rules by which block devices are found, each name once.
    pub devices: Vec<DeviceRule>,
    /// Making, checking and growing filesystems.
    pub filesystems: Option<FilesystemsGrant>,
    /// Mounts of block devices.
    pub block: Option<BlockGrant>,
    /// Binds of what the volume has mounted on the node.
    pub bind: bool,
    /// Filesystems in memory.
    pub tmpfs: Option<TmpfsGrant>,
}

impl Grants {
    /// Parses a grants file.
    pub fn parse(text: &str) -> Result<Self, GrantsError> {
        file::parse(text)
    }

    /// Nothing granted.
    pub fn none() -> Self {
        Self {
            isolation: Isolation::default(),
            failure_exit_code: None,
            config: BTreeMap::new(),
            limits: Limits::default(),
            state: false,
            secrets: Vec::new(),
            images: None,
            devices: Vec::new(),
            filesystems: None,
            block: None,
            bind: false,
            tmpfs: None,
        }
    }

    /// The exit code of a call that fails: what the file states, or 1 as the contract says.
    pub fn failure_exit_code(&self) -> u8 {
        self.failure_exit_code.unwrap_or(1)
    }

    /// What is granted for one secret key: every entry that it fits.
    pub fn secret(&self, key: &str) -> impl Iterator<Item = &SecretGrant> {
        self.secrets.iter().filter(move |secret| secret.key.matches(key))
    }
}

/// `isolation`: what of the wall around the component's process has to be there for it to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// What the node's kernel has.
    #[default]
    Available,
    /// All that this driver knows.
    Full,
}

/// `[limits]`: what the component may use up in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Its linear memory, in mebibytes: 1 to 1024.
    pub memory_mib: Bounded<1, 1024>,
    /// Its CPU time, in seconds: 1 to 100.
    pub cpu_seconds: Bounded<1, 100>,
}

impl Limits {
    /// The linear memory that the component may grow to, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_mib.get() << 20
    }

    /// The CPU time that the component may use, in seconds.
    pub fn cpu_seconds(&self) -> u64 {
        self.cpu_seconds.get()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_mib: Bounded(64), cpu_seconds: Bounded(10) }
    }
}

/// `[[secrets]]`: one key of the volume's secret, or all that fit a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretGrant {
    /// The key or the pattern.
    pub key: KeyPattern,
    /// What may be done with it; at least one. With a pattern, never [`Use::Reveal`].
    pub uses: Vec<Use>,
}

/// What may be done with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// The component reads it.
    Reveal,
    /// The host writes it into a file of a tmpfs; the component does not see it.
    File,
}

impl Use {
    /// The use's name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reveal => "reveal",
            Self::File => "file",
        }
    }
}

/// `[images]`: image files of one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagesGrant {
    /// The directory.
    pub directory: Directory,
    /// Which names in it a volume may use; at least one.
    pub names: Vec<ImagePattern>,
    /// Whether an absent image may be created.
    pub create: bool,
    /// Whether an image may be made longer.
    pub grow: bool,
    /// What an image may be created as or grown to.
    pub max_size: Size,
}

/// `[[devices]]`: how one kind of device is found and told from any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// The name by which the component asks for the rule.
    pub rule: String,
    /// Where the device is.
    pub path: DevicePath,
    /// Which ids a volume may use.
    pub id: IdPattern,
    /// What proves that the device found is the one meant.
    pub verify: Verify,
}

/// `verify` of a device rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// The attribute to read.
    pub attribute: Attribute,
    /// What it has to say.
    pub value: AttributeValue,
}

/// `[filesystems]`: what may be done with filesystems of some types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesystemsGrant {
    /// The types; at least one.
    pub types: Vec<Filesystem>,
    /// Whether a blank device may be formatted.
    pub format: bool,
    /// Whether a filesystem may be checked and repaired.
    pub check: bool,
    /// Whether a filesystem may be grown.
    pub grow: bool,
}

/// `[mounts.block]`: which filesystems may be mounted, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockGrant {
    /// The types; at least one.
    pub filesystems: Vec<Filesystem>,
    /// The options that the component may ask for; none is needed for a mount.
    pub options: Vec<String>,
}

/// `[mounts.tmpfs]`: filesystems in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TmpfsGrant {
    /// The size of one.
    pub max_size: TmpfsSize,
    /// How many files a call may write.
    pub max_files: Bounded<1, 1024>,
}

impl Default for TmpfsGrant {
    fn default() -> Self {
        Self { max_size: TmpfsSize(Size::of(1 << 20)), max_files: Bounded(32) }
    }
}

/// The size of a tmpfs: at most 1 GiB, since it is the node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Size")]
pub struct TmpfsSize(Size);

impl TmpfsSize {
    /// The largest that can be granted.
    pub const MAX: Size = Size::of(1 << 30);

    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0.bytes()
    }
}

impl TryFrom<Size> for TmpfsSize {
    type Error = String;

    fn try_from(size: Size) -> Result<Self, String> {
        match size <= Self::MAX {
            true => Ok(Self(size)),
            false => Err(format!("{size} is out of bounds; valid: 1 to {}", Self::MAX)),
        }
    }
}

/// A whole number from `LOW` to `HIGH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Bounded<const LOW: u64, const HIGH: u64>(u64);

impl<const LOW: u64, const HIGH: u64> Bounded<LOW, HIGH> {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<const LOW: u64, const HIGH: u64> Serialize for Bounded<LOW, HIGH> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<const LOW: u64, const HIGH: u64> TryFrom<i64> for Bounded<LOW, HIGH> {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        u64::try_from(number)
            .ok()
            .filter(|number| (LOW..=HIGH).contains(number))
            .map(Self)
            .ok_or_else(|| format!("{number} is out of bounds; valid: {LOW} to {HIGH}"))
    }
}

#[cfg(test)]
mod tests;
