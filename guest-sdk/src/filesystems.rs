//! Making, checking and growing filesystems. Needs `[filesystems]`.

use crate::host::filesystems as raw;
use crate::{BlockDevice, MountTarget, Result};

/// Makes a filesystem on a device that is proven blank, and on no other.
///
/// Options are from the host's list for the type: for ext4 `block-size`, `inode-size`,
/// `bytes-per-inode`, `inodes`, `label`, `reserved-percent`; for xfs `block-size`, `inode-size`,
/// `label`; for btrfs `node-size`, `checksum`, `label`, `metadata`. A device that has the
/// filesystem already is `not-blank`, one that is too small for it `too-small`.
pub fn format(device: &BlockDevice, fs_type: &str, options: &[(&str, &str)]) -> Result {
    let options: Vec<_> =
        options.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok(raw::format(&device.0, fs_type, &options)?)
}

/// Checks a filesystem that is not mounted and repairs what is safe to repair. True if
/// something was repaired. Of xfs and btrfs it is only made sure that they are there and whole:
/// what a crash leaves of them, the kernel repairs when it mounts them.
pub fn check(device: &BlockDevice, fs_type: &str) -> Result<bool> {
    Ok(raw::check(&device.0, fs_type)?)
}

/// Grows the mounted filesystem to the size of its device. Returns the device's size in bytes.
/// On a read-only mount nothing is done.
pub fn grow(target: &MountTarget<'_>) -> Result<u64> {
    Ok(raw::grow(target.0)?)
}
