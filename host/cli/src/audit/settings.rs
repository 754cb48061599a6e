//! What a grants file says besides what it gives, and how far what it gives reaches.

use wasmount_core::grants::{Grants, Isolation, Use};
use wasmount_pack::Capability;

use super::review::Setting;

/// What else the file says.
pub(super) fn of(grants: &Grants) -> Vec<Setting> {
    let setting = |key: &str, value: String| Setting { key: key.to_owned(), value };
    let isolation = match grants.isolation {
        Isolation::Available => "available",
        Isolation::Full => "full",
    };
    let mut settings = vec![
        setting("isolation", isolation.to_owned()),
        setting("[reply] failure-exit-code", grants.failure_exit_code().to_string()),
        setting("[limits] memory-mib", grants.limits.memory_mib.get().to_string()),
        setting("[limits] cpu-seconds", grants.limits.cpu_seconds.get().to_string()),
    ];
    let config = grants.config.iter();
    settings.extend(config.map(|(key, value)| setting(&format!("[config] {key}"), value.clone())));
    settings
}

/// Whether more is given with a capability than with others, as it is granted: of secrets, to see
/// their values.
pub(super) fn is_super_privileged(grants: &Grants, capability: Capability) -> bool {
    match capability {
        Capability::Secrets => {
            grants.secrets.iter().any(|secret| secret.uses.contains(&Use::Reveal))
        }
        _ => capability.is_super_privileged(),
    }
}
