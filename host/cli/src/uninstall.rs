//! `wasmount uninstall`: a driver goes only when nothing on this node needs it any more.
//!
//! What volumes of it are in use is for the driver's records to say. The records and the log are
//! never removed: they are the operator's evidence, and the next installation's memory.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::Bundle;
use wasmount_core::call::DriverName;
use wasmount_core::grants::Grants;

use crate::arguments;
use crate::close::{Closed, PATIENCE};
use crate::install::require_root;
use crate::installed;
use crate::layout::{self, DriverDir, Lock, PluginDir};
use crate::leftovers::{self, Leftovers};
use crate::output::Output;
use crate::remove;
use crate::usage::{self, InUse, Left};

/// Uninstalls, and says what stays.
pub fn run(arguments: &arguments::Uninstall, output: &mut Output<'_>) -> Result<()> {
    require_root("uninstall")?;
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let (driver, directory) = (&arguments.driver, plugins.driver(&arguments.driver));
    if fs::symlink_metadata(directory.path()).is_err() {
        bail!(plugins.lacks(driver));
    }
    let lock = plugins.lock(|| output.waiting(&plugins))?;
    remove::check_driver(directory.path())?;
    let places = Places::of(&directory, arguments)?;
    let boot_id = usage::boot_id()?;
    let in_use = || {
        let mut volumes = usage::volumes(&places.records, &boot_id, &places.kubelet_root)?;
        // What a call that is under way has on record is not there yet.
        if usage::running(&directory)?.is_empty() {
            places.tell_leftovers(&mut volumes);
        }
        Ok(volumes)
    };
    let mut waiting = |process| output.waiting_for_call(process);
    uninstall(&plugins, &lock, driver, &in_use, PATIENCE, &mut waiting)?;
    output.text(&format!("uninstalled {driver}"))?;
    for (what, path) in [("records", Some(&places.records)), ("audit log", places.log.as_ref())] {
        if let Some(path) = path.filter(|path| path.exists()) {
            output.text(&format!("  left {what} in {}", path.display()))?;
        }
    }
    Ok(())
}

/// What the driver's receipt says of directories.
struct Places {
    records: PathBuf,
    kubelet_root: PathBuf,
    log: Option<PathBuf>,
    /// The driver's own word, if it can be read.
    bundle: Option<Bundle>,
}

impl Places {
    fn of(directory: &DriverDir, arguments: &arguments::Uninstall) -> Result<Self> {
        let (driver, tilde) = (&arguments.driver, arguments.driver.tilde());
        match (installed::in_force(directory), &arguments.data_dir) {
            (Ok(bundle), named) => {
                let receipt = &bundle.receipt;
                if let Some(named) = named.as_ref().filter(|named| **named != receipt.data_dir) {
                    bail!(
                        "the records of {driver} are in {}, as its receipt says, and not in {}; \
                         leave --data-dir out",
                        receipt.data_dir.display(),
                        named.display()
                    );
                }
                Ok(Self {
                    records: receipt.data_dir.join(&tilde),
                    kubelet_root: receipt.kubelet_root.clone(),
                    log: Some(receipt.log_dir.join(format!("{tilde}.jsonl"))),
                    bundle: Some(bundle),
                })
            }
            (Err(_), Some(data_dir)) => {
                let records = data_dir.join(&tilde);
                // Only a receipt can tell a driver that has not been called from a wrong directory.
                if !records.is_dir() {
                    bail!(
                        "{} has no records of {driver}: there is no directory {}; name the \
                         --data-dir that it was installed with, or make the directory if it was \
                         that one and the driver has never been called",
                        data_dir.display(),
                        records.display()
                    );
                }
                let kubelet_root = PathBuf::from("<kubelet root>");
                Ok(Self { records, kubelet_root, log: None, bundle: None })
            }
            (Err(error), None) => Err(error.context(
                "nothing tells where the driver's records are, and so whether volumes are in \
                 use; name the directory with --data-dir (/var/lib/wasmount unless it was \
                 installed otherwise)",
            )),
        }
    }
}

impl Places {
    /// Notes which volumes are on record for what is not there. Where that cannot be found out,
    /// they are in use, as their records say.
    fn tell_leftovers(&self, volumes: &mut [InUse]) {
        let sees = !volumes.is_empty() && leftovers::sees_the_node(&self.kubelet_root);
        let found = self.bundle.as_ref().filter(|_| sees).and_then(|bundle| {
            let grants = Grants::parse(&bundle.grants_text).ok()?;
            Leftovers::find(&bundle.receipt, &grants).ok()
        });
        for remains in found.into_iter().flat_map(|found| found.volumes) {
            for volume in volumes.iter_mut().filter(|volume| volume.volume == remains.volume) {
                volume.left = if remains.is_all { Left::All } else { Left::Some };
            }
        }
    }
}

/// Removes the driver unless it is needed. `in_use` lists the volumes that are in use; it is
/// asked again when nothing can call the driver any more and what was called has ended. If that
/// takes time, `waiting` is told the process. After an error the driver is as it was, unless the
/// error is about removing one of its files.
pub fn uninstall(
    plugins: &PluginDir,
    _lock: &Lock,
    driver: &DriverName,
    in_use: &dyn Fn() -> Result<Vec<InUse>>,
    patience: Duration,
    waiting: &mut dyn FnMut(u32),
) -> Result<()> {
    let directory = plugins.driver(driver);
    remove::check_driver(directory.path())?;
    refuse_if_used(driver, in_use()?)?;
    let mut closed = Closed::close(&directory, patience, waiting)?;
    // A call that was under way may have mounted a volume since.
    refuse_if_used(driver, in_use()?)?;
    closed.for_good();
    // What is left of a call that the kernel was about to run finds nothing, or is kept out.
    remove::driver(directory.path())?;
    let plugins = layout::open_directory(plugins.path()).map(fs::File::from);
    plugins.and_then(|directory| directory.sync_all()).context("making the removal durable")
}

fn refuse_if_used(driver: &DriverName, volumes: Vec<InUse>) -> Result<()> {
    if volumes.is_empty() {
        return Ok(());
    }
    let mut message = match volumes.len() {
        1 => format!("a volume of {} is in use", driver.slash()),
        count => format!("{count} volumes of {} are in use", driver.slash()),
    };
    for volume in &volumes {
        let _ = write!(message, "\n  {}: {}", volume.volume, volume.how.join(", "));
    }
    let driver = driver.slash();
    let left = volumes.iter().filter(|volume| volume.left != Left::Nothing);
    let left: Vec<&str> = left.map(|volume| volume.volume.as_str()).collect();
    if volumes.iter().all(|volume| volume.left == Left::All) {
        let _ = write!(
            message,
            "\nthat is on record only, left by calls that were interrupted; settle it with \
             `wasmount recover {driver} --yes`, then try again"
        );
        bail!(message);
    }
    message.push_str(
        "\nremove the pods and volumes that use the driver, or take them down with \
         `wasmount call`, then try again",
    );
    if !left.is_empty() {
        let _ = write!(
            message,
            "; what interrupted calls left of {} is settled with `wasmount recover {driver} --yes`",
            left.join(", ")
        );
    }
    bail!(message)
}
