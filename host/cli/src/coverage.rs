//! What a component asks for, held against what the operator gives.
//!
//! It serves people: what is allowed in a call is decided by the driver alone, and more closely
//! than here.

use std::collections::BTreeSet;

use serde::Serialize;
use wasmount_core::grants::{Grants, Use};
use wasmount_pack::{Capability, Import, Inspection};

/// How a capability is written in grants.toml: its section, and its key if it is but one of
/// several there.
pub fn lines(capability: Capability) -> &'static str {
    match capability {
        Capability::State => "[state]",
        Capability::Secrets => "[[secrets]]",
        Capability::Images => "[images]",
        Capability::ImagesCreate => "[images] create = true",
        Capability::ImagesGrow => "[images] grow = true",
        Capability::Devices => "[[devices]]",
        Capability::FilesystemsFormat => "[filesystems] format = true",
        Capability::FilesystemsCheck => "[filesystems] check = true",
        Capability::FilesystemsGrow => "[filesystems] grow = true",
        Capability::MountsBlock => "[mounts.block]",
        Capability::MountsBind => "[mounts.bind]",
        Capability::MountsTmpfs => "[mounts.tmpfs]",
    }
}

/// Whether a capability is given at all.
pub fn is_given(grants: &Grants, capability: Capability) -> bool {
    let images = grants.images.as_ref();
    let filesystems = grants.filesystems.as_ref();
    match capability {
        Capability::State => grants.state,
        Capability::Secrets => !grants.secrets.is_empty(),
        Capability::Images => images.is_some(),
        Capability::ImagesCreate => images.is_some_and(|images| images.create),
        Capability::ImagesGrow => images.is_some_and(|images| images.grow),
        Capability::Devices => !grants.devices.is_empty(),
        Capability::FilesystemsFormat => filesystems.is_some_and(|granted| granted.format),
        Capability::FilesystemsCheck => filesystems.is_some_and(|granted| granted.check),
        Capability::FilesystemsGrow => filesystems.is_some_and(|granted| granted.grow),
        Capability::MountsBlock => grants.block.is_some(),
        Capability::MountsBind => grants.bind,
        Capability::MountsTmpfs => grants.tmpfs.is_some(),
    }
}

/// How the use of a secret that a function needs beyond its capability is written.
fn secret_use(import: &Import) -> Option<(Use, &'static str)> {
    let lines = |used| match used {
        Use::Reveal => "[[secrets]] uses = [\"reveal\"]",
        Use::File => "[[secrets]] uses = [\"file\"]",
    };
    import.secret_use().map(|used| (used, lines(used)))
}

/// How a component's imports and a grants file fit.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Imported functions that will be refused in every call.
    pub missing: Vec<Missing>,
    /// What is given and no import has a use for, as it is written in the file.
    pub unused: Vec<&'static str>,
}

/// An imported function without its grant.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// `interface.function`.
    pub function: String,
    /// What to add to grants.toml.
    pub needs: Vec<&'static str>,
    /// What the vendor wants it for, if it says so.
    pub reason: Option<String>,
}

impl Coverage {
    /// Compares.
    pub fn of(component: &Inspection, grants: &Grants) -> Self {
        let missing = component.imports.iter().filter_map(|import| {
            let mut needs = Vec::new();
            if let Some(capability) = import.capability
                && !is_given(grants, capability)
            {
                needs.push(lines(capability));
            }
            if let Some((wanted, lines)) = secret_use(import)
                && !grants.secrets.iter().any(|secret| secret.uses.contains(&wanted))
            {
                // It says that there has to be `[[secrets]]`.
                needs.retain(|&line| line != self::lines(Capability::Secrets));
                needs.push(lines);
            }
            let asks = &component.manifest.asks;
            let ask = asks.iter().find(|ask| Some(ask.capability) == import.capability);
            (!needs.is_empty()).then(|| Missing {
                function: import.short(),
                needs,
                reason: ask.map(|ask| ask.reason.as_str().to_owned()),
            })
        });
        Self { missing: missing.collect(), unused: unused(component, grants) }
    }
}

/// Lines of the file in few words: each section once, its keys after it.
pub fn in_short(lines: &[&str]) -> String {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines {
        let (section, key) = line.split_once(' ').unwrap_or((line, ""));
        let key = key.split(' ').next().filter(|key| !key.is_empty());
        match sections.last_mut().filter(|last| last.0 == section) {
            Some(last) => last.1.extend(key),
            None => sections.push((section, Vec::from_iter(key))),
        }
    }
    let shown = sections.iter().map(|(section, keys)| match keys[..] {
        [] => (*section).to_owned(),
        _ => format!("{section} {}", keys.join("+")),
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

/// What a component asks for, as it would be granted.
pub fn asked(component: &Inspection) -> Vec<&'static str> {
    let asked = |&capability: &Capability| {
        component.imports.iter().any(|import| import.capability == Some(capability))
    };
    Capability::ALL.into_iter().filter(asked).map(lines).collect()
}

/// What is given, as it is written in the file.
pub fn given(grants: &Grants) -> Vec<&'static str> {
    Capability::ALL
        .into_iter()
        .filter(|&capability| is_given(grants, capability))
        .map(lines)
        .collect()
}

fn unused(component: &Inspection, grants: &Grants) -> Vec<&'static str> {
    let mut used: BTreeSet<Capability> =
        component.imports.iter().filter_map(|import| import.capability).collect();
    if used.contains(&Capability::ImagesCreate) || used.contains(&Capability::ImagesGrow) {
        used.insert(Capability::Images);
    }
    if component.imports.iter().any(|import| secret_use(import).is_some()) {
        used.insert(Capability::Secrets);
    }
    // The host itself grows a filesystem before a writable mount, where that is granted.
    if used.contains(&Capability::MountsBlock) {
        used.insert(Capability::FilesystemsGrow);
    }
    let unused = |&capability: &Capability| {
        // Where `[images]` is of no use, its keys need no mention.
        let within = matches!(capability, Capability::ImagesCreate | Capability::ImagesGrow);
        is_given(grants, capability)
            && !used.contains(&capability)
            && (!within || used.contains(&Capability::Images))
    };
    Capability::ALL.into_iter().filter(unused).map(lines).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn component(imports: &[(&str, &str, Option<Capability>)]) -> Inspection {
        let manifest = "name = \"x\"\nversion = \"1\"\ndescription = \"x\"\n\
                        [[asks]]\ncapability = \"images.create\"\nreason = \"for new volumes\"\n";
        let imports = imports.iter().map(|&(interface, function, capability)| Import {
            interface: interface.to_owned(),
            function: function.to_owned(),
            capability,
        });
        Inspection {
            manifest: wasmount_pack::Manifest::parse(manifest).expect("it is valid"),
            exports: BTreeSet::new(),
            imports: imports.collect(),
            foreign: BTreeSet::new(),
        }
    }

    #[test]
    fn lines_in_short() {
        for (lines, expected) in [
            (&[][..], "nothing"),
            (&["[state]"], "[state]"),
            (&["[images]", "[images] create = true"], "[images] create"),
            (
                &["[filesystems] format = true", "[filesystems] grow = true", "[mounts.bind]"],
                "[filesystems] format+grow, [mounts.bind]",
            ),
        ] {
            assert_eq!(in_short(lines), expected);
        }
    }

    #[test]
    fn what_is_missing_and_what_is_unused() {
        const NONE: &str = "version = 1\n";
        const IMAGES: &str = "version = 1\n[images]\ndirectory = \"/i\"\nnames = [\"*\"]\n";
        const CREATE: &str =
            "version = 1\n[images]\ndirectory = \"/i\"\nnames = [\"*\"]\ncreate = true\n";
        const SECRETS: &str = "version = 1\n[reply]\nfailure-exit-code = 0\n\
                               [[secrets]]\nkey = \"k\"\nuses = [\"file\"]\n";
        const GROW: &str = "version = 1\n[filesystems]\ntypes = [\"ext4\"]\ngrow = true\n\
                            [mounts.block]\nfilesystems = [\"ext4\"]\n";
        let log = ("log", "write", None);
        let open = ("images", "open", Some(Capability::Images));
        let create = ("images", "create", Some(Capability::ImagesCreate));
        let reveal = ("secrets", "secret.reveal", Some(Capability::Secrets));
        let file = ("mounts-tmpfs", "write-secret", Some(Capability::MountsTmpfs));
        let block = ("mounts-block", "mount", Some(Capability::MountsBlock));
        for (imports, grants, missing, unused) in [
            (&[][..], NONE, &[][..], &[][..]),
            (&[log], NONE, &[], &[]),
            (
                &[open, create],
                NONE,
                &[
                    "images.create: [images] create = true (for new volumes)",
                    "images.open: [images]",
                ],
                &[],
            ),
            (&[create], IMAGES, &["images.create: [images] create = true (for new volumes)"], &[]),
            (&[create], CREATE, &[], &[]),
            (&[open], CREATE, &[], &["[images] create = true"]),
            (&[], CREATE, &[], &["[images]"]),
            (&[reveal], NONE, &["secrets.secret.reveal: [[secrets]] uses = [\"reveal\"]"], &[]),
            (&[reveal], SECRETS, &["secrets.secret.reveal: [[secrets]] uses = [\"reveal\"]"], &[]),
            (
                &[file],
                NONE,
                &["mounts-tmpfs.write-secret: [mounts.tmpfs], [[secrets]] uses = [\"file\"]"],
                &[],
            ),
            (&[file], SECRETS, &["mounts-tmpfs.write-secret: [mounts.tmpfs]"], &[]),
            (&[], SECRETS, &[], &["[[secrets]]"]),
            (&[block], GROW, &[], &[]),
            (&[log], GROW, &[], &["[filesystems] grow = true", "[mounts.block]"]),
        ] {
            let parsed = Grants::parse(grants).expect("the grants are valid");
            let coverage = Coverage::of(&component(imports), &parsed);
            let found: Vec<String> = coverage
                .missing
                .iter()
                .map(|missing| {
                    let reason = missing.reason.as_ref().map(|reason| format!(" ({reason})"));
                    let needs = missing.needs.join(", ");
                    format!("{}: {needs}{}", missing.function, reason.unwrap_or_default())
                })
                .collect();
            assert_eq!(found, missing, "{grants}");
            assert_eq!(coverage.unused, unused, "{grants}");
        }
    }
}
