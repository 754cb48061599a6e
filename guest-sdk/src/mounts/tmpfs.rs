//! Filesystems in memory. Needs `[mounts.tmpfs]`.

use super::PendingMount;
use crate::host::mounts_tmpfs as raw;
use crate::{Result, Secret};

/// A tmpfs that is being filled. Dropped, it is gone.
#[derive(Debug)]
pub struct Tmpfs(PendingMount);

impl Tmpfs {
    /// Makes a tmpfs of at most `size` bytes; `mode` is its root directory's, such as `0o750`.
    /// `nosuid`, `nodev` and `noexec` are always on. `group` owns the root and the files.
    pub fn create(size: u64, mode: u32, group: Option<u32>) -> Result<Self> {
        Ok(Self(PendingMount(raw::create(size, mode, group)?)))
    }

    /// Puts a file into its root.
    pub fn write_file(&self, name: &str, contents: impl AsRef<[u8]>, mode: u32) -> Result {
        Ok(raw::write_file(&self.0.0, name, contents.as_ref(), mode)?)
    }

    /// Puts a file with a secret's value into its root. Needs `file` among the key's uses; the
    /// value does not pass through the component.
    pub fn write_secret(&self, name: &str, value: &Secret, mode: u32) -> Result {
        Ok(raw::write_secret(&self.0.0, name, &value.0, mode)?)
    }

    /// Makes it read-only, from before it is attached.
    pub fn seal(self) -> Result<PendingMount> {
        raw::seal(&self.0.0)?;
        Ok(self.0)
    }
}

impl From<Tmpfs> for PendingMount {
    /// The tmpfs as it is, writable for pods.
    fn from(tmpfs: Tmpfs) -> Self {
        tmpfs.0
    }
}
