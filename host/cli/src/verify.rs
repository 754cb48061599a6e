//! `wasmount verify`: who signed a component, and whether this node would take it. It asks the very
//! code that `install` asks, by the directory that an upgrade would go by, and installs nothing.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;
use wasmount_core::call::DriverName;
use wasmount_pack::MAX_COMPONENT;

use crate::arguments;
use crate::component::read_at_most;
use crate::installed;
use crate::layout::PluginDir;
use crate::output::Output;
use crate::trust::key::KeyId;
use crate::trust::signature::{MAX_SIGNATURE, beside};
use crate::trust::verdict::{Candidate, Names, Verdict};
use crate::trust::{Store, TRUST_DIR};

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

/// Whom the node trusts: as `install` has it, whom it trusts for that driver.
fn store(arguments: &arguments::Verify, output: &mut Output<'_>) -> Result<Store> {
    match (&arguments.trust_dir, &arguments.driver) {
        (None, Some(driver)) => {
            let plugins = PluginDir::find(arguments.plugin_dir.as_deref());
            let installed = match (plugins, &arguments.plugin_dir) {
                (Ok(plugins), _) => installed_with(&plugins, driver, output),
                (Err(error), Some(_)) => return Err(error),
                // Where nothing is installed, as on a vendor's machine, there need not be one.
                (Err(_), None) => None,
            };
            Store::for_driver(driver, None, installed.as_deref())
        }
        (named, _) => Store::read(named.as_deref()),
    }
}

/// The trust directory that a driver is installed with, if it is installed and names one.
fn installed_with(
    plugins: &PluginDir,
    driver: &DriverName,
    output: &mut Output<'_>,
) -> Option<PathBuf> {
    let directory = plugins.installed(driver).ok()?;
    match installed::in_force(&directory) {
        Ok(bundle) => bundle.receipt.trust_dir,
        Err(error) => {
            output.warn(&format!(
                "what {driver} is installed with cannot be read, so the keys of {TRUST_DIR} count, \
                 as for a new driver; name others with --trust-dir: {error:#}"
            ));
            None
        }
    }
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
    let store = store(arguments, output)?;
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
