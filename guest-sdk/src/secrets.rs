//! The keys of the secret that the volume refers to. There are some in `mount` only.

use crate::Result;
use crate::host::secrets as raw;

/// Opens one key. Needs an entry of `[[secrets]]` that it fits. A key that the secret lacks is
/// `not-found`.
pub fn open(key: &str) -> Result<Secret> {
    Ok(Secret(raw::open(key)?))
}

/// The names of the secret's keys, sorted; none without any `[[secrets]]`. Not each of them has to
/// be granted: [`open`] tells.
#[must_use]
pub fn keys() -> Vec<String> {
    raw::keys()
}

/// One key of the secret. Holding it does not show what is in it:
/// [`Tmpfs::write_secret`](crate::mounts::tmpfs::Tmpfs::write_secret) uses it unseen.
#[derive(Debug)]
pub struct Secret(pub(crate) raw::Secret);

impl Secret {
    /// The value itself. Needs `reveal` among the uses that the grants give for this key.
    pub fn reveal(&self) -> Result<Vec<u8>> {
        Ok(self.0.reveal()?)
    }
}
