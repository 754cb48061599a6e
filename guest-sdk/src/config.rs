//! What the operator set for this driver in `[config]` of grants.toml. Needs no grant.

use crate::host::config as raw;
use crate::{Error, Result};

/// The value of one of the settings.
#[must_use]
pub fn get(key: &str) -> Option<String> {
    raw::get(key)
}

/// Like [`get`], for a setting that the driver cannot do without. Its absence is
/// `failed-precondition` with reason `missing-setting`.
pub fn require(key: &str) -> Result<String> {
    get(key).ok_or_else(|| {
        Error::failed_precondition(
            "missing-setting",
            format!("the setting `{key}` is missing; set it in [config] of grants.toml"),
        )
    })
}

/// The name of the node this runs on, as Kubernetes knows it.
#[must_use]
pub fn node_name() -> String {
    raw::node_name()
}
