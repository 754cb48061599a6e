//! `wasmount doctor`: what is not as it should be on this node, why that matters and what to do.
//!
//! It looks and repairs nothing: each remedy is the operator's decision. What it looks for is what
//! would make a call fail or lose data later, found while nobody waits for a volume.

pub(crate) mod installation;
pub(crate) mod node;
pub(crate) mod places;
pub(crate) mod standing;

use anyhow::{Result, bail};
use serde::Serialize;
use wasmount_core::bundle::Bundle;
use wasmount_core::call::DriverName;
use wasmount_core::grants::Grants;
use wasmount_core::journal::record::Mistake;

use crate::arguments;
use crate::finding::{Finding, Findings, Severity};
use crate::layout::PluginDir;
use crate::leftovers::{Leftovers, Missing};
use crate::output::Output;
use crate::{installed, usage};
use standing::Trusted;

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether there is no error.
    ok: bool,
    findings: &'a [Finding],
}

/// Examines the node and its drivers. Fails if there is an error among what it finds.
pub fn run(arguments: &arguments::Doctor, output: &mut Output<'_>) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root can look at all that is to be looked at; try `sudo wasmount doctor`");
    }
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let drivers = plugins.chosen(arguments.driver.as_ref())?;
    let mut found = Findings::default();
    node::examine(&plugins, &mut found);
    let trusted = Trusted::read(arguments.trust_dir.as_deref(), &mut found);
    for driver in &drivers {
        found.about(driver);
        examine(&plugins, driver, &trusted, &mut found);
    }
    let errors = found.count(Severity::Error);
    if arguments.json {
        output.json(&Document { ok: errors == 0, findings: &found.all })?;
    } else {
        for text in found.text() {
            output.text(&text)?;
        }
        let count = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        output.text(&format!(
            "examined the node and {}: {}, {}",
            count(drivers.len(), "driver"),
            count(errors, "error"),
            count(found.count(Severity::Warning), "warning")
        ))?;
    }
    match errors {
        0 => Ok(()),
        1 => bail!("1 error found"),
        _ => bail!("{errors} errors found"),
    }
}

fn examine(plugins: &PluginDir, driver: &DriverName, trusted: &Trusted, found: &mut Findings) {
    const UNCALLABLE: &str = "kubelet cannot call the driver, and every volume of it fails";
    let directory = plugins.driver(driver);
    let version = match installed::current(&directory) {
        Ok(version) => directory.version(&version),
        Err(error) => {
            let remedy = "install the driver again with `wasmount install`";
            return found.error("driver-unusable", format!("{error:#}"), UNCALLABLE, remedy);
        }
    };
    installation::examine(&version, found);
    let bundle = match Bundle::read_at(&version) {
        Ok(bundle) => bundle,
        // It was told with what is wrong with the files.
        Err(_) => return,
    };
    trusted.examine(&version, &bundle.receipt, found);
    places::examine(&bundle.receipt, found);
    let Ok(grants) = Grants::parse(&bundle.grants_text) else { return };
    installation::examine_needs(&grants, found);
    let busy = usage::running(&directory).is_ok_and(|running| !running.is_empty());
    match Leftovers::find(&bundle.receipt, &grants) {
        Ok(leftovers) => examine_leftovers(driver, &leftovers, busy, found),
        Err(error) => found.error(
            "leftovers-unknown",
            format!("it cannot be seen what is left of volumes: {error:#}"),
            "what an interrupted call has left is not known",
            "find out why, and run `wasmount doctor` again",
        ),
    }
}

fn examine_leftovers(driver: &DriverName, left: &Leftovers, busy: bool, found: &mut Findings) {
    for (path, error) in &left.unreadable {
        let (what, remedy) = match error.downcast_ref::<Mistake>() {
            Some(mistake) => (mistake.what().to_owned(), mistake.remedy()),
            None => (format!("{error:#}"), "find out why, and leave the record where it is"),
        };
        found.error(
            "record-unreadable",
            format!("the record {} cannot be read: {what}", path.display()),
            "every call for its volume fails, and nobody knows what the volume has on this node",
            remedy,
        );
    }
    let running = if busy { " (a call is under way, and may be about to change that)" } else { "" };
    for volume in &left.volumes {
        let name = &volume.volume;
        for missing in &volume.missing {
            found.warning(
                "record-stale",
                format!("volume {name} is on record as {}{running}", missing.describe()),
                match missing {
                    Missing::AnyPod(_) => {
                        "the node was booted or a call was interrupted; no other node may have the \
                         volume until a pod has had it here, or it is settled"
                    }
                    _ => "a call was interrupted; the volume counts as in use until it is settled",
                },
                format!(
                    "kubelet's next call for it settles it; if none will come: \
                     `wasmount recover {driver} {name} --yes`"
                ),
            );
        }
    }
    for path in &left.mounts {
        found.warning(
            "mount-unrecorded",
            format!("{} is mounted, and on no record{running}", path.display()),
            "nobody but kubelet knows of it: a volume's record was removed, or somebody else \
             mounted it",
            format!(
                "if no pod uses it: `wasmount call {driver} {} {}`",
                if path.iter().any(|part| part == "pods") { "unmount" } else { "unmountdevice" },
                path.display()
            ),
        );
    }
    for device in &left.loops {
        found.warning(
            "loop-unrecorded",
            format!(
                "{} is attached to {}, and on no record{running}",
                device.node.display(),
                device.image.display()
            ),
            "its image cannot be attached again on this node, nor be given to another",
            format!("if it is mounted nowhere: `losetup -d {}`", device.node.display()),
        );
    }
}
