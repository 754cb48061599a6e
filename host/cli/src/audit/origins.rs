//! From where each thing is that is granted: the operator's own file, the manifest that was accepted,
//! what the operator said with that, or what holds where nothing is written.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::{Table, Value};
use wasmount_core::bundle::receipt::GrantsOrigin;
use wasmount_pack::{Capability, Parameters};

use crate::coverage::lines;

/// From where one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Origin {
    /// The operator's own file says it.
    File,
    /// The manifest asks for it, and the operator accepted that.
    Accepted,
    /// The operator said it besides, with `--with`.
    Operator,
    /// The file does not say it.
    Default,
}

impl Origin {
    /// After a value, where it is not from the operator's own file.
    pub(super) fn remark(self) -> &'static str {
        match self {
            Self::File => "",
            Self::Accepted => " (as asked)",
            Self::Operator => " (by the operator)",
            Self::Default => " (default)",
        }
    }
}

/// A grants file, and how it came to be.
pub(super) struct Origins {
    file: Table,
    text: GrantsOrigin,
}

impl Origins {
    /// Of a text that the driver's parser has accepted.
    pub(super) fn of(text: &str, origin: GrantsOrigin) -> Self {
        Self { file: text.parse().unwrap_or_default(), text: origin }
    }

    /// Of a capability that is granted.
    pub(super) fn capability(&self, capability: Capability) -> Origin {
        let lines = lines(capability);
        let (section, key) = lines.split_once(' ').unwrap_or((lines, ""));
        self.key(section, key.split(' ').next().unwrap_or_default())
    }

    /// Of what it is granted with.
    pub(super) fn parameters(
        &self,
        capability: Capability,
        parameters: &Parameters,
    ) -> BTreeMap<&'static str, Origin> {
        let section = lines(capability).split(' ').next().unwrap_or_default();
        parameters.keys().map(|key| (*key, self.key(section, key))).collect()
    }

    /// Of a key of a section, which is written as it is in the file, or is the top of it.
    pub(super) fn key(&self, section: &str, key: &str) -> Origin {
        if !self.is_written(section, key) {
            return Origin::Default;
        }
        match self.text {
            GrantsOrigin::Accepted if is_operators(section, key) => Origin::Operator,
            GrantsOrigin::Accepted => Origin::Accepted,
            GrantsOrigin::File | GrantsOrigin::Nothing => Origin::File,
        }
    }

    fn is_written(&self, section: &str, key: &str) -> bool {
        let names = section.trim_matches(['[', ']']).split('.').filter(|name| !name.is_empty());
        let mut table = &self.file;
        for name in names {
            match table.get(name) {
                Some(Value::Table(inner)) => table = inner,
                // What an entry of a list gives has no key of its own.
                Some(Value::Array(_)) => return true,
                _ => return false,
            }
        }
        key.is_empty() || table.contains_key(key)
    }
}

/// What no manifest can ask for.
fn is_operators(section: &str, key: &str) -> bool {
    matches!((section, key), ("[images]", "directory") | ("[reply]" | "[config]", _))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version = 1\n[reply]\nfailure-exit-code = 0\n[config]\nregion = \"a\"\n\
                        [[secrets]]\nkey = \"a\"\nuses = [\"file\"]\n\
                        [images]\ndirectory = \"/srv\"\nnames = [\"a\"]\ncreate = true\n\
                        [mounts.tmpfs]\nmax-files = 4\n";

    #[test]
    fn each_key_is_from_somewhere() {
        use Origin::{Accepted, Default, File, Operator};
        for (section, key, of_file, of_accepted) in [
            ("", "isolation", Default, Default),
            ("[reply]", "failure-exit-code", File, Operator),
            ("[config]", "region", File, Operator),
            ("[limits]", "memory-mib", Default, Default),
            ("[images]", "directory", File, Operator),
            ("[images]", "names", File, Accepted),
            ("[images]", "max-size", Default, Default),
            ("[mounts.tmpfs]", "max-files", File, Accepted),
            ("[mounts.tmpfs]", "max-size", Default, Default),
            ("[[secrets]]", "keys", File, Accepted),
        ] {
            let origins = [GrantsOrigin::File, GrantsOrigin::Accepted];
            let told = origins.map(|text| Origins::of(TEXT, text).key(section, key));
            assert_eq!(told, [of_file, of_accepted], "{section} {key}");
        }
        let accepted = Origins::of(TEXT, GrantsOrigin::Accepted);
        for (capability, origin) in [
            (Capability::Images, Accepted),
            (Capability::ImagesCreate, Accepted),
            (Capability::MountsTmpfs, Accepted),
            (Capability::Secrets, Accepted),
        ] {
            assert_eq!(accepted.capability(capability), origin, "{capability}");
        }
    }
}
