//! A driver that is installed, seen with the eyes of today: its component and the signature that
//! was kept with it, against the present trust directory. Whatever comes of it, the driver stays in
//! force until somebody changes it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::COMPONENT;
use wasmount_core::bundle::receipt::{Receipt, Signature};

use super::Store;
use super::verdict::{Candidate, Names, Objection, Verdict};
use crate::layout::SIGNATURE;

/// How an installed version stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What its receipt says; nothing, if nobody had looked when it was installed.
    pub recorded: Option<Signature>,
    /// What would be thought of it today. That nobody signed it is no objection where that was
    /// allowed.
    pub verdict: Verdict,
}

/// Looks again at a version that is installed in this directory, with this receipt.
pub fn look(store: &Store, version: &Path, receipt: &Receipt) -> Result<Standing> {
    let read = |name: &str| {
        let path = version.join(name);
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    let signature = match &receipt.signature {
        Some(Signature::Signed { .. }) => Some(read(SIGNATURE)?),
        Some(Signature::Unsigned) | None => None,
    };
    let component = read(COMPONENT)?;
    let mut verdict = store.judge(Candidate {
        component: &component,
        signature: signature.as_deref(),
        driver: Some(&receipt.driver),
    });
    verdict.objection = verdict.objection.filter(|it| *it != Objection::Unsigned);
    Ok(Standing { recorded: receipt.signature.clone(), verdict })
}

/// Fails if an installed version must not be put to use again: revoked since, or pinned to something
/// else. A key that is only no longer there is no reason.
pub fn refuse_forbidden(store: &Store, version: &Path, receipt: &Receipt) -> Result<()> {
    let standing = look(store, version, receipt)?;
    match standing.what(store, version, receipt) {
        Some(what) if standing.is_forbidden() => bail!(
            "{what}; go back to another version with --to, or change {}",
            store.policy_path().display()
        ),
        _ => Ok(()),
    }
}

impl Standing {
    /// What is the matter with it now, if something is.
    pub fn what(&self, store: &Store, version: &Path, receipt: &Receipt) -> Option<String> {
        let signature = version.join(SIGNATURE);
        let component = format!("{} {}", receipt.component.name, receipt.component.version);
        let names =
            Names { component: &component, signature: &signature, driver: Some(&receipt.driver) };
        Some(self.verdict.objection.as_ref()?.what(names, store, &self.verdict.digest))
    }

    /// Whether all that is the matter is that the key is not in the directory.
    pub fn is_unknown(&self) -> bool {
        matches!(self.verdict.objection, Some(Objection::UnknownKey(_)))
    }

    /// Whether the operator's decisions of today forbid it: revoked, or pinned to something else.
    pub fn is_forbidden(&self) -> bool {
        matches!(
            self.verdict.objection,
            Some(
                Objection::RevokedDigest
                    | Objection::RevokedKey(_)
                    | Objection::PinnedKeys(..)
                    | Objection::PinnedDigests(_)
            )
        )
    }
}
