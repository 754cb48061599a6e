//! The trait behind the exported interface `device`.

use crate::{MountTarget, Result, VolumeRecord, VolumeSpec};

/// A volume whose device is mounted once a node, on a directory from which pods' directories
/// are bind-mounted.
///
/// A driver that exports this and not [`Volume`](crate::Volume) has the host bind for it. Both
/// functions are idempotent. Implement it inside [`export!`](crate::export).
pub trait Device {
    /// Mounts the volume's device on the node's directory for it. Gets no secrets. `attachment` is what
    /// `wait_for_attach` or `attach` returned, if kubelet still knows it.
    fn mount_device(
        volume: &VolumeSpec<'_>,
        attachment: Option<&str>,
        target: &MountTarget<'_>,
    ) -> Result;

    /// Undoes `mount_device` and what `wait_for_attach` did on this node. What it leaves
    /// mounted or attached, the host takes down itself.
    fn unmount_device(
        name: &str,
        previous: Option<&VolumeRecord<'_>>,
        target: &MountTarget<'_>,
    ) -> Result;
}
