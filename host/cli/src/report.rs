//! What is said of a version that was just put to use, by whichever command.

use anyhow::Result;
use wasmount_core::bundle::receipt::Attaching;
use wasmount_core::grants::Grants;
use wasmount_pack::Inspection;

use crate::coverage::Coverage;
use crate::grants;
use crate::output::Output;
use crate::requested;
use crate::stage::Staged;

/// The version.
pub struct Report<'a> {
    /// Its component.
    pub inspection: &'a Inspection,
    /// What it is granted.
    pub grants: &'a Grants,
    /// Who attaches its volumes.
    pub attaching: Attaching,
    /// How it got there.
    pub staged: &'a Staged,
}

impl Report<'_> {
    /// Prints where it is, what it asks for and what it was granted.
    pub fn print(&self, output: &mut Output<'_>) -> Result<()> {
        let Staged { version, directory, previous, leftovers } = self.staged;
        for leftover in leftovers {
            output.warn(&format!("something old could not be tidied up: {leftover}"));
        }
        output.text(&format!("  at       {}", directory.display()))?;
        output.text(&format!("  version  {}", version.as_str()))?;
        if let Some(previous) = previous.as_ref().filter(|id| *id != version) {
            output.text(&format!("  before   {} (kept)", previous.as_str()))?;
        }
        let exports: Vec<&str> =
            self.inspection.exports.iter().map(|export| export.name()).collect();
        output.text(&format!("  exports  {}", exports.join(", ")))?;
        if self.attaching != Attaching::Nobody {
            output.text(&format!("  attach   {}", self.attaching.by()))?;
        }
        let table = requested::table(self.inspection, self.grants);
        if table.is_empty() {
            return output
                .text("  asks     for nothing that has to be granted, and is granted nothing");
        }
        output.text(&table)
    }

    /// Warns of what the component imports and is not granted.
    pub fn warn(&self, output: &mut Output<'_>) {
        for (key, needed) in self.inspection.manifest.limits.parameters() {
            let granted = match key {
                "memory-mib" => self.grants.limits.memory_mib.get(),
                _ => self.grants.limits.cpu_seconds.get(),
            };
            if granted < needed {
                output.warn(&format!(
                    "the component says that it needs {key} = {needed} of [limits], and has {granted}"
                ));
            }
        }
        let coverage = Coverage::of(self.inspection, self.grants);
        if !coverage.missing.is_empty() {
            output.warn(&grants::describe_missing(&coverage));
        }
    }
}
