//! `wasmount recover`: settles what an interrupted call left, where kubelet makes no other that
//! would.
//!
//! It shows by itself; with `--yes` it calls the installed driver, as kubelet would, for what is on
//! record and not on the node. So the volume's turn, the component's say and the host's last word
//! are those of any other call, and nothing here mounts or unmounts. What is on record and there
//! is in use, and is never touched, unless it was set up for a pod and no pod has it. From the
//! first look to the last call, kubelet cannot call the driver, or it might mount what was just
//! found not to be.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use serde::Serialize;
use serde_json::Value;
use wasmount_core::bundle::Bundle;
use wasmount_core::grants::Grants;

use crate::arguments;
use crate::close::Closed;
use crate::layout::{DRIVER, PluginDir};
use crate::leftovers::{self, Leftovers, Missing, Remains};
use crate::output::{Output, printable};

/// How long calls that are under way are waited for. kubelet's others fail meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// The JSON document.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    driver: String,
    /// What is on record and not on the node.
    remains: Vec<Shown>,
    /// What is on the node and on no record: the operator's to judge.
    unrecorded: Vec<String>,
}

#[derive(Serialize)]
struct Shown {
    volume: String,
    what: String,
    /// The call of the driver that settles it.
    call: [String; 2],
}

/// Shows what remains, or settles it.
pub fn run(arguments: &arguments::Recover, output: &mut Output<'_>) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root can look into the driver's records; try `sudo wasmount recover …`");
    }
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let directory = plugins.installed(&arguments.driver)?;
    // Nor does an installation open the driver meanwhile.
    let _lock = arguments.yes.then(|| plugins.lock(|| output.waiting(&plugins))).transpose()?;
    // Whatever leads to it: a process that was killed while it settled may have left it closed.
    let version = directory.current_version()?.with_context(|| {
        format!(
            "{} is not a link to a version; install the driver again",
            directory.current().display()
        )
    })?;
    let version = directory.version(&version);
    let mut found = look(arguments, &version)?;
    let is_closed = !directory.executable().exists();
    let mut waiting = |process| output.waiting_for_call(process);
    let closed = (arguments.yes && (is_closed || !found.volumes.is_empty()))
        .then(|| Closed::close(&directory, PATIENCE, &mut waiting))
        .transpose()?
        .map(Closed::for_calls_of_ours);
    if closed.is_some() {
        found = look(arguments, &version)?;
    }
    if arguments.json {
        return output.json(&document(arguments, &found));
    }
    for line in describe(&found) {
        output.text(&line)?;
    }
    if found.volumes.is_empty() {
        return output.text("nothing is on record that is not on the node");
    }
    let Some(closed) = closed else {
        return output.text("nothing was changed; --yes makes these calls");
    };
    let failed = settle(&closed, &version.join(DRIVER), &found, output)?;
    match (failed, look(arguments, &version)?.volumes.len()) {
        (0, 0) => output.text("nothing remains"),
        (0, left) => bail!("there is still something left of {left} volumes; run it again"),
        (failed, _) => bail!("{failed} calls failed; `wasmount log --failed` shows why"),
    }
}

fn look(arguments: &arguments::Recover, version: &Path) -> Result<Leftovers> {
    let bundle = Bundle::read_at(version).map_err(Error::new)?;
    if !leftovers::sees_the_node(&bundle.receipt.kubelet_root) {
        bail!(
            "this is not the node's own mount namespace, and what is mounted on the node cannot be \
             seen from here; run it on the node: `nsenter --target 1 --mount wasmount recover …`"
        );
    }
    let grants = Grants::parse(&bundle.grants_text).context("reading the driver's grants")?;
    let mut found = Leftovers::find(&bundle.receipt, &grants)?;
    if let Some(volume) = &arguments.volume {
        found.volumes.retain(|remains| remains.volume == *volume);
        found.mounts.retain(|path| path.file_name().is_some_and(|name| name == volume.as_str()));
        found.loops.clear();
    }
    Ok(found)
}

/// Makes the calls; how many failed.
fn settle(
    closed: &Closed,
    driver: &Path,
    found: &Leftovers,
    output: &mut Output<'_>,
) -> Result<usize> {
    let mut failed = 0;
    for missing in found.volumes.iter().flat_map(|remains| &remains.missing) {
        let (operation, path) = missing.settled_by();
        closed.go_on()?;
        let mut call = Command::new(driver);
        let reply = call.arg(operation).arg(path).stdin(Stdio::null()).output();
        let reply = reply.with_context(|| format!("executing {}", driver.display()))?;
        let reply: Value = serde_json::from_slice(&reply.stdout).unwrap_or_default();
        let told = |field: &str| reply[field].as_str().map(printable);
        let status = told("status").unwrap_or_else(|| "no reply".to_owned());
        failed += usize::from(status != "Success");
        let message = told("message").map(|message| format!(": {message}")).unwrap_or_default();
        output.text(&format!("{operation} {}: {status}{message}", path.display()))?;
    }
    Ok(failed)
}

fn describe(found: &Leftovers) -> Vec<String> {
    let mut lines = Vec::new();
    for Remains { volume, missing, .. } in &found.volumes {
        lines.push(format!("volume {}", printable(volume)));
        for missing in missing {
            let (operation, path) = missing.settled_by();
            lines.push(format!("  on record as {}", missing.describe()));
            lines.push(format!("    settled by {operation} {}", path.display()));
        }
    }
    for (path, error) in &found.unreadable {
        lines.push(format!("{} cannot be read, and is left alone: {error:#}", path.display()));
    }
    lines.extend(unrecorded(found).into_iter().map(|what| format!("{what}: it is left alone")));
    lines
}

fn unrecorded(found: &Leftovers) -> Vec<String> {
    let mounts =
        found.mounts.iter().map(|path| format!("{} is mounted, and on no record", path.display()));
    let loops = found.loops.iter().map(|device| {
        let (node, image) = (device.node.display(), device.image.display());
        format!("{node} is attached to {image}, and on no record")
    });
    mounts.chain(loops).collect()
}

fn document(arguments: &arguments::Recover, found: &Leftovers) -> Document {
    let shown = |volume: &str, missing: &Missing| {
        let (operation, path) = missing.settled_by();
        Shown {
            volume: volume.to_owned(),
            what: missing.describe(),
            call: [operation.to_owned(), path.display().to_string()],
        }
    };
    let remains = found
        .volumes
        .iter()
        .flat_map(|remains| remains.missing.iter().map(|missing| shown(&remains.volume, missing)));
    Document {
        driver: arguments.driver.to_string(),
        remains: remains.collect(),
        unrecorded: unrecorded(found),
    }
}
