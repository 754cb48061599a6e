//! The trait behind the exported interface `attacher`.

use crate::{Result, VolumeRecord, VolumeSpec};

/// A volume that is given to one node before it can be used there. Needs
/// [`Device`](crate::Device) beside it.
///
/// `attach`, `detach` and `is_attached` may run away from the node, without any local state. All
/// functions are idempotent. Implement it inside [`export!`](crate::export).
pub trait Attacher {
    /// Gives the volume to a node. Returns what the node needs to find it: 1 to 256 bytes of
    /// visible ASCII, no secret in it.
    fn attach(volume: &VolumeSpec<'_>, node: &str) -> Result<String>;

    /// Takes the volume from a node. `previous` is none away from the node.
    fn detach(name: &str, previous: Option<&VolumeRecord<'_>>, node: &str) -> Result;

    /// Waits on the node until the device can be used. Returns what is to be passed on, like
    /// `attach`.
    fn wait_for_attach(volume: &VolumeSpec<'_>, attachment: Option<&str>) -> Result<String>;

    /// Whether the volume is given to the node.
    fn is_attached(volume: &VolumeSpec<'_>, node: &str) -> Result<bool>;
}
