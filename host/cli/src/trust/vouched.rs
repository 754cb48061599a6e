//! Who vouches for a component that is being installed, or why it is not installed.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::receipt::{self, Signature};

use super::Store;
use super::signature::{MAX_SIGNATURE, beside};
use super::verdict::{Candidate, Names, Objection};
use crate::arguments;

/// What is kept of it with the driver.
#[derive(Debug)]
pub struct Vouched {
    /// The contents of the signature's file.
    pub file: Option<Vec<u8>>,
    /// For the receipt.
    pub recorded: Signature,
}

impl Vouched {
    /// Looks beside the component's file. Fails for whatever the trust directory does not allow,
    /// unless it is only unsigned and the arguments allow that. If they name no directory, it is the
    /// one that the driver is installed with.
    pub fn for_component(
        arguments: &arguments::Install,
        installed: Option<&Path>,
        component: &[u8],
    ) -> Result<Self> {
        let path = beside(&arguments.file);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            opened => {
                let mut contents = Vec::new();
                opened
                    .and_then(|file| file.take(MAX_SIGNATURE as u64 + 1).read_to_end(&mut contents))
                    .with_context(|| format!("reading {}", path.display()))?;
                // What is cut off could make a signature of what is none.
                if contents.len() > MAX_SIGNATURE {
                    bail!("{} is too long for a signature; get it from the vendor", path.display());
                }
                Some(contents)
            }
        };
        let named = arguments.trust_dir.as_deref();
        let store = Store::for_driver(&arguments.driver, named, installed)?;
        let driver = Some(&arguments.driver);
        let candidate = Candidate { component, signature: file.as_deref(), driver };
        let verdict = store.judge(candidate);
        match &verdict.objection {
            Some(Objection::Unsigned) if arguments.allow_unsigned => {}
            Some(objection) => {
                let shown = arguments.file.display().to_string();
                let names = Names { component: &shown, signature: &path, driver };
                bail!("{}", objection.describe(names, &store, &verdict.digest))
            }
            None => {}
        }
        let recorded = match (verdict.signer, &file) {
            (Some(signer), Some(file)) => Signature::Signed {
                key_id: signer.key_id.to_string(),
                key_name: signer.key_name,
                trusted_comment: signer.trusted_comment,
                digest: receipt::digest(file),
            },
            _ => Signature::Unsigned,
        };
        Ok(Self { file, recorded })
    }

    /// For the operator, after "signed".
    pub fn by(&self) -> String {
        match &self.recorded {
            Signature::Signed { key_id, key_name, .. } => {
                format!("with the key {key_id} ({key_name})")
            }
            Signature::Unsigned => "by nobody, which was allowed".to_owned(),
        }
    }
}
