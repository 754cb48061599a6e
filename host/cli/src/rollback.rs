//! `wasmount rollback`: goes back to a program that was installed before.
//!
//! Only the program goes back, which is driver and component: what it is granted stays as the
//! operator last decided, unless the decision itself is to be undone; and directories and node
//! name stay what they are, since the records of volumes are found by them, and so does the trust
//! directory. What was gone back from is kept, and so the next rollback returns to it.

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::Receipt;
use wasmount_core::bundle::receipt::GrantsFrom;
use wasmount_core::grants::Grants;

use crate::arguments;
use crate::changes;
use crate::component;
use crate::install::require_root;
use crate::installed::Installed;
use crate::layout::{DriverDir, PluginDir, VersionId};
use crate::output::Output;
use crate::receipt::{self, Renewed};
use crate::report::Report;
use crate::stage;
use crate::strand;
use crate::trust::{Store, again};

/// Goes back, and says to what.
pub fn run(arguments: &arguments::Rollback, output: &mut Output<'_>) -> Result<()> {
    require_root("rollback")?;
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let lock = plugins.lock(|| output.waiting(&plugins))?;
    let driver = &arguments.driver;
    let present = Installed::current(&plugins, driver)?;
    let directory = plugins.driver(driver);
    let earlier = Installed::read(&directory, &choose(arguments, &directory, &present.id)?)
        .context("the version to go back to cannot be used")?;
    let installed = receipt::trust_dir(&present.bundle.receipt, &earlier.bundle.receipt);
    let store = Store::for_driver(driver, arguments.trust_dir.as_deref(), installed)?;
    again::refuse_forbidden(&store, &earlier.bundle.path, &earlier.bundle.receipt)?;
    let kept = if arguments.with_grants { &earlier } else { &present };
    let text = &kept.bundle.grants_text;
    let receipt = receipt::renew(&Renewed {
        program: &earlier.bundle.receipt,
        present: &present.bundle.receipt,
        grants: text,
        grants_source: kept.bundle.receipt.grants_source.clone(),
        grants_from: match arguments.with_grants {
            true => GrantsFrom::RolledBack,
            false => GrantsFrom::Kept,
        },
        grants_origin: receipt::grants_origin(&kept.bundle.receipt),
    })?;
    let settings = Receipt::parse(&receipt).context("reading the receipt")?;
    let closed = strand::make_way(&directory, &present.bundle.receipt, &settings, output)?;
    let staged = earlier.install(&plugins, &lock, &receipt, text)?;
    drop(closed);
    drop(lock);

    let inspection = component::inspect(&earlier.component).context("examining the component")?;
    let manifest = &inspection.manifest;
    output.text(&format!("rolled back {driver} to {} {}", manifest.name, manifest.version))?;
    for change in changes::between(&present.bundle.grants_text, text) {
        output.text(&format!("  {change}"))?;
    }
    let grants = Grants::parse(text).context("reading the grants")?;
    let report = Report {
        inspection: &inspection,
        grants: &grants,
        attaching: settings.attaching(),
        staged: &staged,
    };
    report.print(output)?;
    report.warn(output);
    Ok(())
}

/// The version that was named, or the newest with another program; with its grants, the newest.
fn choose(
    arguments: &arguments::Rollback,
    directory: &DriverDir,
    present: &VersionId,
) -> Result<VersionId> {
    let driver = &arguments.driver;
    let kept = directory.versions_but(present).context("reading which versions are kept")?;
    if let Some(wanted) = &arguments.to {
        let mut named = kept.into_iter().filter(|id| id.as_str().starts_with(wanted.as_str()));
        return match (named.next(), named.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => {
                bail!("no version {wanted} of {driver} is kept: `wasmount list` shows which are")
            }
            (Some(_), Some(_)) => {
                bail!("{wanted} is the beginning of several versions; give more of it")
            }
        };
    }
    let program = stage::program(&directory.version(present));
    // One whose removal was cut short is nothing to go back to.
    let kept = kept.into_iter().map(|id| (stage::program(&directory.version(&id)), id));
    let kept: Vec<_> = kept.filter(|(program, _)| program.is_some()).collect();
    let newest = kept.first().map(|(_, id)| id.clone());
    if arguments.with_grants {
        return newest
            .with_context(|| format!("no version of {driver} but the present one is kept"));
    }
    let other = kept.into_iter().find(|(other, _)| *other != program);
    match (other, newest) {
        (Some((_, id)), _) => Ok(id),
        (None, Some(same)) => bail!(
            "the versions of {driver} that are kept have the same program, and other grants; \
             --with-grants goes back to those of {}",
            same.as_str()
        ),
        (None, None) => bail!("no version of {driver} but the present one is kept"),
    }
}
