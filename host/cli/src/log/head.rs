//! `wasmount log head`: the heads of logs as a document to keep elsewhere, and such a document read
//! again. Only what is out of root's reach on the node shows that root has rewritten a log.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use wasmount_core::audit::head::Head;
use wasmount_core::call::DriverName;

use super::each::Each;
use super::snapshot::take_head;
use crate::arguments;
use crate::component::read_at_most;
use crate::layout::PluginDir;
use crate::output::Output;

/// The version of the document.
const VERSION: u64 = 1;

/// The longest document that is read, in bytes: thousands of drivers.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// Prints the heads.
pub(super) fn run(arguments: &arguments::LogHead, output: &mut Output<'_>) -> Result<()> {
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let drivers = match &arguments.driver {
        Some(driver) => vec![driver.clone()],
        None => plugins.drivers()?,
    };
    let each = Each::find(&drivers, output, |driver, output| {
        let receipt = super::receipt(&plugins, driver)?;
        let log = receipt.log_dir.join(super::file_name(driver));
        let head = take_head(&log, &Head::path(&receipt.data_dir, &driver.tilde()))?;
        if head.is_err() {
            output.warn(&format!(
                "the log of {driver} has no head; the driver's next call makes one"
            ));
        }
        Ok(head.ok().map(|head| {
            let mut entry = head.to_json();
            entry["driver"] = json!(driver.slash());
            entry
        }))
    })?;
    let heads: Vec<&Value> = each.found.iter().flatten().collect();
    if heads.is_empty() {
        bail!("there is no head to print");
    }
    output.json(&json!({ "v": VERSION, "heads": heads }))?;
    each.is_all()
}

/// What was printed earlier.
#[derive(Debug)]
pub(super) struct Exported {
    heads: Vec<(String, Head)>,
}

impl Exported {
    /// Reads a document.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = read_at_most(path, MAX_DOCUMENT)?;
        Self::parse(&bytes)
            .with_context(|| format!("{} is not what `wasmount log head` prints", path.display()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        if document["v"] != VERSION {
            return None;
        }
        let heads = document["heads"].as_array()?.iter().map(|entry| {
            let driver = entry["driver"].as_str()?.to_owned();
            Some((driver, Head::parse(entry.to_string().as_bytes())?))
        });
        Some(Self { heads: heads.collect::<Option<_>>()? })
    }

    /// The head of a driver's log; none if the document has none of it.
    pub(super) fn of(&self, driver: &DriverName) -> Option<&Head> {
        self.heads.iter().find(|(name, _)| *name == driver.slash()).map(|(_, head)| head)
    }

    /// The names of all drivers that the document has a head of.
    pub(super) fn drivers(&self) -> impl Iterator<Item = &str> {
        self.heads.iter().map(|(name, _)| name.as_str())
    }
}
