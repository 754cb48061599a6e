//! The directory that a call is about. There is one, and no other can be reached.

use crate::host::target as raw;
use crate::{PendingMount, Result};

/// The directory that a call is about: a pod's, or the node's for the volume's device.
#[derive(Debug)]
pub struct MountTarget<'a>(pub(crate) &'a raw::MountTarget);

impl MountTarget<'_> {
    /// Whether something is mounted on the directory now.
    pub fn is_mounted(&self) -> Result<bool> {
        Ok(self.0.is_mounted()?)
    }

    /// Puts a mount on the directory once the call has succeeded: the last thing that happens.
    /// Once a call.
    pub fn attach(&self, pending: impl Into<PendingMount>) -> Result {
        Ok(self.0.attach(pending.into().0)?)
    }

    /// Takes the volume's mount off the directory. Nothing mounted is success. Only in a call
    /// that tears down.
    pub fn unmount(&self) -> Result {
        Ok(self.0.unmount()?)
    }
}
