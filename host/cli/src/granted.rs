//! What a grants file gives, in the shape that requested and used have, too: capabilities with
//! parameters, by the keys of grants.toml.

use std::collections::BTreeSet;

use wasmount_core::grants::{DeviceRule, Grants, Size};
use wasmount_core::kernel::filesystems::Filesystem;
use wasmount_pack::{Capability, Parameters};

use crate::coverage;

/// What is granted of a capability; none if it is not.
pub fn of(grants: &Grants, capability: Capability) -> Option<Parameters> {
    coverage::is_given(grants, capability).then(|| parameters(grants, capability))
}

fn parameters(grants: &Grants, capability: Capability) -> Parameters {
    let types = || {
        let types = grants.filesystems.iter().flat_map(|granted| &granted.types);
        Parameters::from([("types", names(types))])
    };
    match capability {
        Capability::State
        | Capability::MountsBind
        | Capability::ImagesCreate
        | Capability::ImagesGrow => Parameters::new(),
        Capability::Secrets => Parameters::from([("keys", secrets(grants))]),
        Capability::Images => grants.images.iter().fold(Parameters::new(), |mut all, images| {
            all.insert("directory", one(images.directory.path().display()));
            all.insert("names", images.names.iter().map(|name| name.text().to_owned()).collect());
            all.insert("max-size", one(images.max_size));
            all
        }),
        Capability::Devices => {
            let each = |value: fn(&DeviceRule) -> String| {
                grants.devices.iter().map(value).collect::<BTreeSet<_>>()
            };
            Parameters::from([
                ("rules", each(|device| device.rule.clone())),
                ("path", each(|device| format!("{}: {}", device.rule, device.path.text()))),
                ("id", each(|device| format!("{}: {}", device.rule, device.id.text()))),
                (
                    "verify",
                    each(|device| {
                        let verify = &device.verify;
                        let attribute = verify.attribute.path().display();
                        format!("{}: {attribute} = {}", device.rule, verify.value.text())
                    }),
                ),
            ])
        }
        Capability::FilesystemsFormat
        | Capability::FilesystemsCheck
        | Capability::FilesystemsGrow => types(),
        Capability::MountsBlock => grants.block.iter().fold(Parameters::new(), |mut all, block| {
            all.insert("filesystems", names(&block.filesystems));
            if !block.options.is_empty() {
                all.insert("options", block.options.iter().cloned().collect());
            }
            all
        }),
        Capability::MountsTmpfs => grants.tmpfs.iter().fold(Parameters::new(), |mut all, tmpfs| {
            all.insert("max-size", one(Size::of(tmpfs.max_size.bytes())));
            all.insert("max-files", one(tmpfs.max_files.get()));
            all
        }),
    }
}

fn secrets(grants: &Grants) -> BTreeSet<String> {
    let each = grants.secrets.iter().flat_map(|secret| {
        let key = secret.key.text();
        secret.uses.iter().map(move |is| format!("{key} ({})", is.name()))
    });
    each.collect()
}

fn names<'a>(types: impl IntoIterator<Item = &'a Filesystem>) -> BTreeSet<String> {
    types.into_iter().map(|kind| kind.name().to_owned()).collect()
}

fn one(value: impl ToString) -> BTreeSet<String> {
    BTreeSet::from([value.to_string()])
}
