//! Mounts of a block device's filesystem. Needs `[mounts.block]`.

use super::PendingMount;
use crate::host::mounts_block as raw;
use crate::{Access, BlockDevice, Result};

/// Makes a mount of the device.
///
/// `nosuid` and `nodev` are always on; a filesystem smaller than its device is grown where that
/// is possible before it is mounted. Options are names from the host's list, such as `noatime`.
pub fn mount(
    device: &BlockDevice,
    fs_type: &str,
    access: Access,
    options: &[&str],
) -> Result<PendingMount> {
    let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
    Ok(PendingMount(raw::mount(&device.0, fs_type, access, &options)?))
}
