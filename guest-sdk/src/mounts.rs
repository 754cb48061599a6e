//! Mounts that are made and are not attached anywhere yet: one module for each kind, since each is
//! granted on its own. Where one goes is [`MountTarget`](crate::MountTarget)'s part.

pub mod bind;
pub mod block;
pub mod tmpfs;

use crate::host::mounts as raw;

/// A mount that is made and is not attached anywhere yet. Dropped, it is gone.
#[derive(Debug)]
pub struct PendingMount(pub(crate) raw::PendingMount);
