//! Block devices that the operator described in `[[devices]]` of grants.toml.

use std::time::Duration;

use crate::Result;
use crate::clock::milliseconds;
use crate::host::devices as raw;

/// Finds a device by one of the operator's rules, which puts `id` into its path and proves the
/// device's identity by it. None if it is not there now.
pub fn find(rule: &str, id: &str) -> Result<Option<BlockDevice>> {
    Ok(raw::find(rule, id)?.map(BlockDevice))
}

/// Like [`find`], waiting up to the given time for the device to appear.
pub fn wait(rule: &str, id: &str, time: Duration) -> Result<BlockDevice> {
    Ok(BlockDevice(raw::wait(rule, id, milliseconds(time))?))
}

/// A block device whose identity was proven, and is proven again before each use.
#[derive(Debug)]
pub struct BlockDevice(pub(crate) raw::BlockDevice);

impl BlockDevice {
    /// What the device is, for logs and records: stable while it is attached.
    #[must_use]
    pub fn identity(&self) -> String {
        self.0.identity()
    }

    /// Its size in bytes.
    pub fn size(&self) -> Result<u64> {
        Ok(self.0.size()?)
    }

    /// Whether it can only be read.
    pub fn is_read_only(&self) -> Result<bool> {
        Ok(self.0.is_read_only()?)
    }

    /// What is on it: none if it is proven blank, else a name such as `ext4`, `xfs`, `luks`,
    /// `gpt` or, for what nobody knows, `unknown`. A device that cannot be read is an error.
    pub fn probe(&self) -> Result<Option<String>> {
        Ok(self.0.probe()?)
    }
}
