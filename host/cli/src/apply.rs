//! `wasmount grants apply`: gives an installed driver other grants, and changes nothing else of it.
//!
//! What kubelet calls changes in one step, and is a whole new version of the driver: nothing that
//! is installed is ever written to.

use anyhow::{Context as _, Result};
use wasmount_core::bundle::receipt::{GrantsFrom, GrantsOrigin};

use crate::arguments;
use crate::changes;
use crate::component;
use crate::grants::GrantsFile;
use crate::install::require_root;
use crate::installed::Installed;
use crate::layout::PluginDir;
use crate::output::Output;
use crate::receipt::{self, Renewed};
use crate::report::Report;

/// Applies the file, and says what it changes.
pub fn run(arguments: &arguments::GrantsApply, output: &mut Output<'_>) -> Result<()> {
    if !arguments.dry_run {
        require_root("grants apply")?;
    }
    let file = GrantsFile::read(&arguments.file)?;
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    // Who only asks need not be root, and nobody else can have the lock.
    let lock = (!arguments.dry_run).then(|| plugins.lock(|| output.waiting(&plugins)));
    let lock = lock.transpose()?;
    let present = Installed::current(&plugins, &arguments.driver)?;
    let driver = &arguments.driver;
    if present.bundle.grants_text == file.text {
        return output.text(&format!("{driver} is granted this already"));
    }
    let mut changes = changes::between(&present.bundle.grants_text, &file.text);
    if changes.is_empty() {
        changes.push("(another text, which grants the same)".to_owned());
    }
    let Some(lock) = lock else {
        output.text(&format!("this would change what {driver} is granted:"))?;
        return changes.iter().try_for_each(|change| output.text(&format!("  {change}")));
    };
    let receipt = receipt::renew(&Renewed {
        program: &present.bundle.receipt,
        present: &present.bundle.receipt,
        grants: &file.text,
        grants_source: receipt::origin(&arguments.file),
        grants_from: GrantsFrom::File,
        grants_origin: GrantsOrigin::File,
    })?;
    let staged = present.install(&plugins, &lock, &receipt, &file.text)?;
    drop(lock);
    let inspection = component::inspect(&present.component).context("examining the component")?;
    output.text(&format!("changed what {driver} is granted"))?;
    changes.iter().try_for_each(|change| output.text(&format!("  {change}")))?;
    let report = Report {
        inspection: &inspection,
        grants: &file.grants,
        attaching: present.bundle.receipt.attaching(),
        staged: &staged,
    };
    report.print(output)?;
    report.warn(output);
    Ok(())
}
