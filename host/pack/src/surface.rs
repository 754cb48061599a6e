//! `wit/` as far as reading a component needs it: which interfaces and functions there are, and
//! which of them need a grant. A test holds it against `wit/` itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmount_core::grants::Use;

use crate::capability::Capability;

/// The package's name.
pub(crate) const PACKAGE: &str = "wasmount:driver";

/// One of the interfaces that a driver can export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// A volume that pods can use.
    Volume,
    /// A volume whose device is mounted once a node.
    Device,
    /// A volume that is given to one node before it can be used there.
    Attacher,
    /// A volume that can grow.
    Expander,
}

impl Interface {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Volume, Self::Device, Self::Attacher, Self::Expander];

    /// Its name in `wit/`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Device => "device",
            Self::Attacher => "attacher",
            Self::Expander => "expander",
        }
    }

    /// The functions that a component exporting it has.
    pub(crate) fn functions(self) -> &'static [&'static str] {
        match self {
            Self::Volume => &["mount", "unmount"],
            Self::Device => &["mount-device", "unmount-device"],
            Self::Attacher => &["attach", "detach", "wait-for-attach", "is-attached"],
            Self::Expander => &["expand-volume", "expand-fs"],
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether there is an interface of this name to import.
pub(crate) fn can_import(interface: &str) -> bool {
    IMPORTS.iter().any(|&(name, _)| name == interface)
}

/// What a function that can be imported needs from the operator. None if there is no such
/// function, `Some(None)` if it needs nothing.
pub(crate) fn needs(interface: &str, function: &str) -> Option<Option<Capability>> {
    let (_, functions) = IMPORTS.iter().find(|&&(name, _)| name == interface)?;
    let (_, capability) = functions.iter().find(|&&(name, _)| name == function)?;
    Some(*capability)
}

/// The functions that need a capability, as `interface.function`.
pub(crate) fn needing(capability: Capability) -> impl Iterator<Item = String> {
    let of = move |&(interface, functions): &(&'static str, &'static [Function])| {
        let functions = functions.iter().filter(move |(_, needed)| *needed == Some(capability));
        functions.map(move |(function, _)| format!("{interface}.{function}"))
    };
    IMPORTS.iter().flat_map(of)
}

/// The function that makes this use of a secret, as `interface.function`.
pub(crate) fn using(used: Use) -> &'static str {
    match used {
        Use::Reveal => "secrets.secret.reveal",
        Use::File => "mounts-tmpfs.write-secret",
    }
}

/// What a host call needs, by the name that it has in the audit log and in recordings:
/// `interface.function`, or `resource.method`.
#[must_use]
pub fn capability_of(host_call: &str) -> Option<Capability> {
    IMPORTS.iter().find_map(|&(interface, functions)| {
        let function = host_call.strip_prefix(interface).and_then(|rest| rest.strip_prefix('.'));
        let is = |name: &str| Some(name) == function || name == host_call;
        functions.iter().find(|(name, _)| is(name)).and_then(|(_, capability)| *capability)
    })
}

/// A function and what it needs. What is done with a handle needs what the handle was had with.
type Function = (&'static str, Option<Capability>);

const IMPORTS: &[(&str, &[Function])] = &[
    ("types", &[]),
    (
        "volumes",
        &[
            ("volume.name", None),
            ("volume.option", None),
            ("volume.options", None),
            ("volume.fs-type", None),
            ("volume.access", None),
            ("volume.fs-group", None),
            ("volume.pod", None),
            ("volume-record.option", None),
            ("volume-record.options", None),
            ("volume-record.fs-type", None),
            ("volume-record.access", None),
        ],
    ),
    ("log", &[("write", None)]),
    ("config", &[("get", None), ("node-name", None)]),
    (
        "state",
        &[
            ("get", Some(Capability::State)),
            ("put", Some(Capability::State)),
            ("delete", Some(Capability::State)),
        ],
    ),
    (
        "secrets",
        &[
            ("secret.reveal", Some(Capability::Secrets)),
            ("open", Some(Capability::Secrets)),
            ("keys", Some(Capability::Secrets)),
        ],
    ),
    ("clock", &[("now", None), ("monotonic", None), ("sleep", None)]),
    ("random", &[("bytes", None)]),
    ("mounts", &[]),
    (
        "target",
        &[
            ("mount-target.is-mounted", None),
            ("mount-target.attach", None),
            ("mount-target.unmount", None),
        ],
    ),
    (
        "devices",
        &[
            ("block-device.identity", None),
            ("block-device.size", None),
            ("block-device.is-read-only", None),
            ("block-device.probe", None),
            ("find", Some(Capability::Devices)),
            ("wait", Some(Capability::Devices)),
        ],
    ),
    (
        "filesystems",
        &[
            ("format", Some(Capability::FilesystemsFormat)),
            ("check", Some(Capability::FilesystemsCheck)),
            ("grow", Some(Capability::FilesystemsGrow)),
        ],
    ),
    ("mounts-block", &[("mount", Some(Capability::MountsBlock))]),
    ("mounts-bind", &[("staged", Some(Capability::MountsBind))]),
    (
        "mounts-tmpfs",
        &[
            ("create", Some(Capability::MountsTmpfs)),
            ("write-file", Some(Capability::MountsTmpfs)),
            ("write-secret", Some(Capability::MountsTmpfs)),
            ("seal", Some(Capability::MountsTmpfs)),
        ],
    ),
    (
        "images",
        &[
            ("image.size", Some(Capability::Images)),
            ("image.grow", Some(Capability::ImagesGrow)),
            ("image.lease", Some(Capability::Images)),
            ("image.holder", Some(Capability::Images)),
            ("image.attach", Some(Capability::Images)),
            ("open", Some(Capability::Images)),
            ("create", Some(Capability::ImagesCreate)),
            ("attached", Some(Capability::Images)),
            ("detach", Some(Capability::Images)),
            ("release", Some(Capability::Images)),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::readable;
    use wit_parser::{Resolve, WorldItem};

    #[test]
    fn the_tables_are_what_wit_says() {
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_path(wit).expect("wit/ is well formed");
        let world = &resolve.worlds[resolve.packages[package].worlds["driver"]];
        let listed = |items: &wit_parser::IndexMap<_, WorldItem>| -> Vec<_> {
            items
                .values()
                .map(|item| {
                    let WorldItem::Interface { id, .. } = item else { panic!("an interface") };
                    let interface = &resolve.interfaces[*id];
                    let mut functions: Vec<_> =
                        interface.functions.keys().map(|name| readable(name)).collect();
                    functions.sort();
                    (interface.name.clone().expect("named"), functions)
                })
                .collect()
        };
        let ours = |functions: Vec<&str>| {
            let mut functions: Vec<_> = functions.into_iter().map(str::to_owned).collect();
            functions.sort();
            functions
        };
        let imports: Vec<_> = IMPORTS
            .iter()
            .map(|(name, list)| {
                ((*name).to_owned(), ours(list.iter().map(|&(name, _)| name).collect()))
            })
            .collect();
        let exports: Vec<_> = Interface::ALL
            .iter()
            .map(|interface| (interface.name().to_owned(), ours(interface.functions().to_vec())))
            .collect();
        assert_eq!(listed(&world.imports), imports);
        assert_eq!(listed(&world.exports), exports);
    }
}
