//! A volume's record: plain data, one JSON file a volume.
//!
//! It holds no secret and decides nothing. `kernel objects` in it (devices, mounts) are those
//! of one boot; the rest outlives it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::call::Access;
use crate::wire::{Bytes, VolumeFacts};

/// The version of the format.
pub const VERSION: u32 = 1;

/// Why a record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It is whole, and of another format than this program's: a newer program wrote it.
    Foreign(String),
    /// It is no record.
    Damaged(String),
}

/// How many devices are remembered to have held a volume of one name.
const MAX_MOUNTED: usize = 64;

impl Mistake {
    /// What is wrong.
    pub fn what(&self) -> &str {
        let (Self::Foreign(what) | Self::Damaged(what)) = self;
        what
    }

    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Foreign(_) => "install the newer one again, and leave the record where it is",
            Self::Damaged(_) => "move it away after checking that the volume is not mounted",
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.remedy())
    }
}

impl std::error::Error for Mistake {}

/// Everything that is remembered of one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeRecord {
    /// [`VERSION`].
    pub v: u32,
    /// The volume's name.
    pub volume: String,
    /// The options it was set up with. Never a secret.
    pub options: BTreeMap<String, String>,
    /// `kubernetes.io/fsType`, if not empty.
    pub fs_type: Option<String>,
    /// Whether it was set up read-only.
    pub access: Access,
    /// The boot in which `device`, `staged` and `published` are true.
    pub boot_id: String,
    /// The node that the volume was given to by `attach`.
    pub attached_node: Option<String>,
    /// The image file it lives in.
    pub image: Option<ImageRef>,
    /// The device that it is on this node.
    pub device: Option<DeviceRef>,
    /// Where the device is mounted.
    pub staged: Option<MountRef>,
    /// Where pods have it.
    pub published: Vec<MountRef>,
    /// A format that was begun and not seen to end.
    pub formatting: Option<FormatRef>,
    /// The identities of the devices that it was ever mounted from: those are never formatted
    /// again.
    pub mounted: Vec<String>,
    /// What the component stored.
    pub state: BTreeMap<String, Bytes>,
}

impl VolumeRecord {
    /// The record of a volume of which nothing is known.
    pub fn empty(volume: &str, boot_id: String) -> Self {
        Self {
            v: VERSION,
            volume: volume.to_owned(),
            options: BTreeMap::new(),
            fs_type: None,
            access: Access::ReadWrite,
            boot_id,
            attached_node: None,
            image: None,
            device: None,
            staged: None,
            published: Vec::new(),
            formatting: None,
            mounted: Vec::new(),
            state: BTreeMap::new(),
        }
    }

    /// Reads a record's bytes. One of another version, or with anything in it that is not known
    /// here, is never read in part: what is left out would be lost when it is written.
    pub fn parse(bytes: &[u8]) -> Result<Self, Mistake> {
        /// Whatever else is in it: the fields are those of its version.
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        let foreign = |what: String| {
            Mistake::Foreign(format!("{what}: a newer one wrote it, or somebody changed it"))
        };
        let mistake = |error: serde_json::Error| match error.is_data() {
            true => foreign(format!("it holds what this wasmount does not know ({error})")),
            false => Mistake::Damaged(format!("it is damaged ({error})")),
        };
        match serde_json::from_slice(bytes).map_err(mistake)? {
            Versioned { v: VERSION } => serde_json::from_slice(bytes).map_err(mistake),
            Versioned { v } => Err(foreign(format!(
                "it is of version {v}, and this wasmount reads version {VERSION}"
            ))),
        }
    }

    /// The bytes that are written.
    pub fn to_bytes(&self) -> std::io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(std::io::Error::other)
    }

    /// Whether this node has anything of the volume.
    pub fn in_use(&self) -> bool {
        self.attached_node.is_some()
            || self.device.is_some()
            || self.staged.is_some()
            || !self.published.is_empty()
    }

    /// Whether it was set up as a volume is described now: if it is not, it is another volume with
    /// the same name.
    pub fn is_of(&self, facts: &VolumeFacts) -> bool {
        self.options == facts.options && self.fs_type == facts.fs_type
    }

    /// Whether there is anything to remember.
    pub fn worth_keeping(&self) -> bool {
        self.in_use() || !self.mounted.is_empty() || self.formatting.is_some()
    }

    /// Leaves out device and mounts of an earlier boot than this one: they are gone.
    pub fn outlive(&mut self, boot: &str) {
        if self.boot_id == boot {
            return;
        }
        self.device = None;
        self.staged = None;
        self.published.clear();
        boot.clone_into(&mut self.boot_id);
        // What is in use no longer is nobody's claim: while the node was down the volume may have
        // been given to another, or its image to another volume.
        self.settle();
    }

    /// Strips what belongs to a volume in use, once it is not.
    pub fn settle(&mut self) {
        if !self.in_use() {
            self.image = None;
            self.options.clear();
            self.state.clear();
        }
    }

    /// An earlier record instead of this one, to take back what was noted since and did not come true.
    /// A format that began since has begun: what it has written is there.
    pub fn taken_back(&self, earlier: Self) -> Self {
        Self { formatting: self.formatting.clone(), ..earlier }
    }

    /// The recorded mount on a directory, by its path beneath the kubelet root.
    pub fn mount_at(&self, beneath_root: &Path) -> Option<&MountRef> {
        self.staged.iter().chain(&self.published).find(|mount| mount.beneath_root == beneath_root)
    }

    /// Notes that it was mounted from a device.
    pub fn note_mounted(&mut self, identity: &str) {
        if !self.mounted.iter().any(|known| known == identity) {
            self.mounted.push(identity.to_owned());
        }
        // A name that is used again and again, by one pod after the other: the oldest go.
        let over = self.mounted.len().saturating_sub(MAX_MOUNTED);
        self.mounted.drain(..over);
    }

    /// What the volume has to itself.
    pub fn identities(&self) -> Vec<&str> {
        let image = self.image.iter().map(|image| image.identity.as_str());
        let device = self.device.iter().map(|device| device.identity.as_str());
        let mut all: Vec<_> = image.chain(device).collect();
        all.dedup();
        all
    }
}

/// An image file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRef {
    /// The directory it is in, as the grants name it.
    pub directory: PathBuf,
    /// Its name there.
    pub name: String,
    /// Which file it is, whatever it is called.
    pub identity: String,
    /// The lease under which it was attached.
    pub lease: Option<String>,
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRef {
    /// Major and minor number.
    pub number: (u32, u32),
    /// What it is, whatever its number.
    pub identity: String,
    /// Whether it is a loop device that wasmount made and takes down.
    pub is_loop: bool,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountRef {
    /// Relative to the kubelet root.
    pub beneath_root: PathBuf,
    /// How it was asked for. What is made may be narrower: a finished tmpfs is read-only.
    pub asked: Access,
    /// Whether it is read-only.
    pub access: Access,
    /// The filesystem's type.
    pub fs_type: String,
    /// The device number that `stat` shows for files on it.
    pub device: (u32, u32),
}

/// A format under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatRef {
    /// The identity of the device being formatted.
    pub identity: String,
    /// The filesystem being made.
    pub fs_type: String,
    /// The UUID that it gets: what tells this format's remains from another's.
    pub uuid: String,
    /// The lease under which the device's image was held. Once that is gone, somebody else may
    /// have used the image.
    pub lease: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_the_mount_and_not_a_format_that_began() {
        let earlier = VolumeRecord::empty("pv-1", "boot".to_owned());
        let mount = MountRef {
            beneath_root: "mounts/pv-1".into(),
            asked: Access::ReadWrite,
            access: Access::ReadWrite,
            fs_type: "ext4".to_owned(),
            device: (7, 0),
        };
        let format = FormatRef {
            identity: "disk-2".to_owned(),
            fs_type: "ext4".to_owned(),
            uuid: "0".to_owned(),
            lease: None,
        };
        let noted = VolumeRecord {
            staged: Some(mount),
            formatting: Some(format.clone()),
            ..earlier.clone()
        };
        let left = VolumeRecord { formatting: Some(format), ..earlier.clone() };
        assert_eq!(noted.taken_back(earlier), left);
    }
}
