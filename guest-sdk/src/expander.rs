//! The trait behind the exported interface `expander`.

use crate::{MountTarget, Result, VolumeSpec};

/// A volume that can grow. Sizes are in bytes.
///
/// Both functions are idempotent. Implement it inside [`export!`](crate::export).
pub trait Expander {
    /// Grows what the volume is stored on. Returns the new size.
    fn expand_volume(volume: &VolumeSpec<'_>, new_size: u64, old_size: u64) -> Result<u64>;

    /// Grows the filesystem of a mounted volume to its device's size. `target` is a mount of it.
    fn expand_fs(
        volume: &VolumeSpec<'_>,
        target: &MountTarget<'_>,
        new_size: u64,
        old_size: u64,
    ) -> Result;
}
