//! What a grants file says besides what it gives, and how far what it gives reaches.

use wasmount_core::grants::{Grants, Isolation, Use};
use wasmount_pack::{Capability, Inspection};

use super::origins::Origins;
use super::review::Setting;

/// Words that are in the names of settings that ought to be secrets.
const SECRETIVE: [&str; 5] = ["password", "passwd", "secret", "token", "credential"];

/// In place of a value that a reviewer's ticket should not hold.
const WITHHELD: &str = "(withheld)";

/// What else the file says, beside what the component asks for.
pub(super) fn of(
    grants: &Grants,
    origins: &Origins,
    inspection: Option<&Inspection>,
) -> Vec<Setting> {
    let needs = inspection.map(|inspection| inspection.manifest.limits.parameters());
    let setting = |section: &str, key: &str, value: String| Setting {
        key: format!("{section} {key}").trim_start().to_owned(),
        requested: needs
            .as_ref()
            .filter(|_| section == "[limits]")
            .and_then(|needs| Some(needs.get(key)?.to_string())),
        origin: origins.key(section, key),
        value,
    };
    let isolation = match grants.isolation {
        Isolation::Available => "available",
        Isolation::Full => "full",
    };
    let limits = &grants.limits;
    let mut settings = vec![
        setting("", "isolation", isolation.to_owned()),
        setting("[reply]", "failure-exit-code", grants.failure_exit_code().to_string()),
        setting("[limits]", "memory-mib", limits.memory_mib.get().to_string()),
        setting("[limits]", "cpu-seconds", limits.cpu_seconds.get().to_string()),
    ];
    settings.extend(grants.config.iter().map(|(key, value)| {
        let shown = if is_secretive(key) { WITHHELD } else { value };
        setting("[config]", key, shown.to_owned())
    }));
    settings
}

/// Whether a setting of this name ought to be a secret.
pub(super) fn is_secretive(key: &str) -> bool {
    let lower = key.to_lowercase();
    SECRETIVE.iter().any(|word| lower.contains(word))
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

#[cfg(test)]
mod tests {
    use wasmount_core::bundle::receipt::GrantsOrigin;

    use super::*;

    #[test]
    fn what_ought_to_be_a_secret_is_withheld() {
        let text = "version = 1\n[config]\nAPI-Token = \"hunter2\"\nregion = \"eu\"\n";
        let grants = Grants::parse(text).expect("valid");
        let settings = of(&grants, &Origins::of(text, GrantsOrigin::File), None);
        let config: Vec<_> = settings
            .iter()
            .filter(|setting| setting.key.starts_with("[config]"))
            .map(|setting| (setting.key.as_str(), setting.value.as_str()))
            .collect();
        assert_eq!(config, [("[config] API-Token", WITHHELD), ("[config] region", "eu")]);
    }
}
