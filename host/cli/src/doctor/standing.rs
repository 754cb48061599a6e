//! Whether each driver's component would still be taken by the trust directory of today.

use std::path::Path;

use wasmount_core::bundle::Receipt;

use crate::finding::Findings;
use crate::trust::{Store, again};

/// Whom the node trusts.
pub(crate) struct Trusted {
    /// By the directory that was named, or the usual one; none if it cannot be used.
    store: Option<Store>,
    /// Whether it was named. Else a driver is judged by the directory that it was installed by.
    is_named: bool,
}

impl Trusted {
    /// Reads the directory.
    pub(crate) fn read(named: Option<&Path>, found: &mut Findings) -> Self {
        Self { store: store(named, found), is_named: named.is_some() }
    }

    /// What is decided of a component that is installed. Whatever that is, the driver stays in force.
    pub(crate) fn examine(&self, version: &Path, receipt: &Receipt, found: &mut Findings) {
        let own = receipt.trust_dir.as_deref().filter(|_| !self.is_named);
        let own = own.map(|directory| store(Some(directory), found));
        if let Some(store) = own.as_ref().unwrap_or(&self.store) {
            examine(store, version, receipt, found);
        }
    }
}

fn examine(store: &Store, version: &Path, receipt: &Receipt, found: &mut Findings) {
    // Files that cannot be read were told with what is wrong with the files.
    let Ok(standing) = again::look(store, version, receipt) else { return };
    let Some(what) = standing.what(store, version, receipt) else { return };
    if standing.is_forbidden() {
        found.error(
            "component-forbidden",
            what,
            "it is not to be used any more, and serves calls until it is replaced",
            format!("install a component that {} allows", store.policy_path().display()),
        );
    } else {
        found.warning(
            "component-unvouched",
            what,
            "it could not be installed again as it is, and serves calls all the same",
            match standing.is_unknown() {
                true => {
                    format!(
                        "put the vendor's key into {}, or install another",
                        store.path.display()
                    )
                }
                false => "install it again, with the signature that the vendor made".to_owned(),
            },
        );
    }
}

fn store(named: Option<&Path>, found: &mut Findings) -> Option<Store> {
    match Store::read(named) {
        Ok(store) => Some(store),
        Err(error) => {
            found.error(
                "trust-unusable",
                format!("{error:#}"),
                "no driver can be installed, and nobody sees what is revoked",
                "put that right, and run `wasmount doctor` again",
            );
            None
        }
    }
}
