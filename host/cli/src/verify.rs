//! `wasmount verify`: who signed a component, and whether this node would take it. It asks the very
//! code that `install` asks, and installs nothing.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use wasmount_pack::MAX_COMPONENT;

use crate::arguments;
use crate::component::read_at_most;
use crate::output::Output;
use crate::trust::Store;
use crate::trust::key::KeyId;
use crate::trust::signature::{MAX_SIGNATURE, beside};
use crate::trust::verdict::{Candidate, Names, Verdict};

/// The JSON document.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    file: &'a Path,
    digest: &'a str,
    signature: &'a Path,
    trust_dir: &'a Path,
    driver: Option<String>,
    trusted: bool,
    signed_by: Option<SignedBy<'a>>,
    /// Why it is not trusted, in a word.
    objection: Option<&'static str>,
    /// The same for people, with what to do.
    problem: Option<&'a str>,
}

/// Who signed it. Only what was verified is told.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SignedBy<'a> {
    key_id: KeyId,
    key: &'a str,
    trusted_comment: &'a str,
}

/// Prints what is known of it. Fails if it would not be installed.
pub fn run(arguments: &arguments::Verify, output: &mut Output<'_>) -> Result<()> {
    let file = &arguments.file;
    let path = arguments.signature.clone().unwrap_or_else(|| beside(file));
    let component = read_at_most(file, MAX_COMPONENT)?;
    let signature = match arguments.signature.is_some() || path.symlink_metadata().is_ok() {
        true => Some(read_at_most(&path, MAX_SIGNATURE)?),
        false => None,
    };
    let store = Store::read(arguments.trust_dir.as_deref())?;
    let driver = arguments.driver.as_ref();
    let verdict =
        store.judge(Candidate { component: &component, signature: signature.as_deref(), driver });
    let shown = file.display().to_string();
    let names = Names { component: &shown, signature: &path, driver };
    let Verdict { digest, signer, objection } = &verdict;
    let problem = objection.as_ref().map(|it| it.describe(names, &store, digest));
    if arguments.json {
        output.json(&Document {
            file,
            digest,
            signature: &path,
            trust_dir: &store.path,
            driver: driver.map(ToString::to_string),
            trusted: objection.is_none(),
            signed_by: signer.as_ref().map(|signer| SignedBy {
                key_id: signer.key_id,
                key: &signer.key_name,
                trusted_comment: &signer.trusted_comment,
            }),
            objection: objection.as_ref().map(|it| it.name()),
            problem: problem.as_deref(),
        })?;
    } else {
        output.text(&format!("{shown}\n  digest   {digest}"))?;
        if let Some(signer) = signer {
            output.text(&format!(
                "  signed   with the key {} ({})\n  says     {}",
                signer.key_id, signer.key_name, signer.trusted_comment
            ))?;
        }
        if problem.is_none() {
            let path = store.path.display();
            output.text(&match driver {
                Some(driver) => format!("  trusted  by {path}, as {driver}"),
                None => format!("  trusted  by {path}"),
            })?;
        }
    }
    match problem {
        Some(problem) => bail!("{problem}"),
        None => Ok(()),
    }
}
