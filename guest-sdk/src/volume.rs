//! The trait behind the exported interface `volume`.

use crate::{MountTarget, Result, VolumeRecord, VolumeSpec};

/// A volume that pods can use.
///
/// Both functions are idempotent: done twice, they succeed twice. Implement it inside [`export!`](crate::export).
pub trait Volume {
    /// Mounts the volume on the pod's directory. All that it attaches takes effect only after
    /// it has returned success; otherwise nothing of it remains.
    fn mount(volume: &VolumeSpec<'_>, target: &MountTarget<'_>) -> Result;

    /// Takes the volume off the pod's directory. Whatever it leaves mounted there, or leaves
    /// undone by failing, the host takes down itself. kubelet passes no options here:
    /// `previous` is what the host recorded when it mounted the volume, if it did.
    fn unmount(name: &str, previous: Option<&VolumeRecord<'_>>, target: &MountTarget<'_>)
    -> Result;
}
