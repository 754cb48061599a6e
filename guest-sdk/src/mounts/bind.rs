//! Binds of what this volume already has mounted on this node. Needs `[mounts.bind]`.

use super::PendingMount;
use crate::host::mounts_bind as raw;
use crate::{Access, Result};

/// Makes a bind of the root of the volume's device mount. Read-only means that it is never
/// writable in between.
pub fn staged(access: Access) -> Result<PendingMount> {
    Ok(PendingMount(raw::staged(access)?))
}
