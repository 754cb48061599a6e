//! The names for what a driver can ask of an operator: the sections and keys of grants.toml. What
//! they permit, and whether they are granted, is the host's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that only grants.toml can give, by the name that it has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Capability {
    /// `[devices]`: finding block devices by the operator's rules.
    #[serde(rename = "devices")]
    Devices,
    /// `[filesystems]` with `check`.
    #[serde(rename = "filesystems.check")]
    FilesystemsCheck,
    /// `[filesystems]` with `format`.
    #[serde(rename = "filesystems.format")]
    FilesystemsFormat,
    /// `[filesystems]` with `grow`.
    #[serde(rename = "filesystems.grow")]
    FilesystemsGrow,
    /// `[images]`: opening, leasing and attaching image files.
    #[serde(rename = "images")]
    Images,
    /// `[images]` with `create`.
    #[serde(rename = "images.create")]
    ImagesCreate,
    /// `[images]` with `grow`.
    #[serde(rename = "images.grow")]
    ImagesGrow,
    /// `[mounts.bind]`.
    #[serde(rename = "mounts.bind")]
    MountsBind,
    /// `[mounts.block]`.
    #[serde(rename = "mounts.block")]
    MountsBlock,
    /// `[mounts.tmpfs]`.
    #[serde(rename = "mounts.tmpfs")]
    MountsTmpfs,
    /// `[[secrets]]`.
    #[serde(rename = "secrets")]
    Secrets,
    /// `[state]`.
    #[serde(rename = "state")]
    State,
}

impl Capability {
    /// Every one, in the order of docs/grants.md.
    pub const ALL: [Self; 12] = [
        Self::State,
        Self::Secrets,
        Self::Images,
        Self::ImagesCreate,
        Self::ImagesGrow,
        Self::Devices,
        Self::FilesystemsFormat,
        Self::FilesystemsCheck,
        Self::FilesystemsGrow,
        Self::MountsBlock,
        Self::MountsBind,
        Self::MountsTmpfs,
    ];

    /// Whether a mistake in granting it can cost data that is not this driver's, whatever is asked for
    /// beside it. Secrets that are revealed are as grave, and are told by their use: see
    /// [`Ask::super_privileged`](crate::Ask::super_privileged).
    #[must_use]
    pub fn is_super_privileged(self) -> bool {
        matches!(
            self,
            Self::Images
                | Self::ImagesCreate
                | Self::ImagesGrow
                | Self::Devices
                | Self::FilesystemsFormat
        )
    }
}

impl fmt::Display for Capability {
    /// The name in grants.toml.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
