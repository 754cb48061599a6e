//! `wasmount grants suggest`: the narrowest grants under which what the audit log has of a driver
//! would have been allowed. They are within those that it has, and within what its manifest asks for;
//! nothing is applied.
//!
//! What is in no log is not known to be needed: operations that were never seen are told, and what
//! taking down may need is kept until it was seen.

mod narrow;
mod patterns;
mod secrets;
mod text;

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::receipt::Attaching;
use wasmount_core::grants::Grants;

use crate::arguments;
use crate::component;
use crate::installed::Installed;
use crate::layout::PluginDir;
use crate::log;
use crate::output::Output;
use crate::time::rfc3339;
use crate::used::Used;
use narrow::TAKING_DOWN;

/// A log that reaches back less tells little of what a driver needs.
const SHORT: Duration = Duration::from_secs(7 * 86_400);

/// The operations of each interface that a driver can export, by their names for kubelet.
const OPERATIONS: &[(&str, &[&str])] = &[
    ("volume", &["mount", "unmount"]),
    ("device", &["mountdevice", "unmountdevice"]),
    ("attacher", &["attach", "waitforattach", "isattached", "detach"]),
    ("expander", &["expandvolume", "expandfs"]),
];

/// Suggests.
pub fn run(arguments: &arguments::GrantsSuggest, output: &mut Output<'_>) -> Result<()> {
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let driver = &arguments.driver;
    let present = Installed::current(&plugins, driver)?;
    let directory = log::log_dir(&plugins, driver)?;
    let used = Used::read(&directory.join(log::file_name(driver)))?;
    let Some(since) = used.since.filter(|_| used.calls > 0) else {
        bail!("the audit log has no call of {driver}, so nothing is known of what it needs");
    };
    let inspection = component::inspect(&present.component).context("examining the component")?;
    let receipt = &present.bundle.receipt;
    let node_only = receipt.attaching() == Attaching::Node;
    let unseen = unseen(&used, &receipt.exports, node_only);
    let asked = narrow::Asked {
        imports: &inspection.imports,
        asks: &inspection.manifest.asks,
        unseen: &unseen,
    };
    let before = &present.bundle.grants_text;
    let sections = narrow::sections(before, &used, &asked)?;
    let after = text::file(&sections, &format!("{driver}, by its calls since {}", rfc3339(since)));
    // What is printed is to be applied as it is.
    Grants::parse(&after)
        .context("what would be suggested is no valid grants file; this is a bug in wasmount")?;
    warn(&used, since, &unseen, output);
    if arguments.toml {
        return output.text(&after);
    }
    output.text(&text::diff(&sections))?;
    if sections.iter().all(|section| !section.changes()) {
        return output.text(&format!("{driver} has used all that it is granted"));
    }
    output.progress(&format!(
        "to take this over: `wasmount grants suggest {driver} --toml > FILE`, read it, and \
         `wasmount grants apply {driver} FILE`"
    ));
    Ok(())
}

/// Operations of the driver that have never succeeded as far as the log reaches. Taking down succeeds
/// whatever becomes of the component, and where there is nothing to do: what it needs for it was
/// seen if it was asked and did not fail.
fn unseen(used: &Used, exports: &[String], node_only: bool) -> Vec<&'static str> {
    let exports = |interface: &str| exports.iter().any(|export| export == interface);
    let was_seen = |interface: &str, operation: &str| {
        let takes_down = TAKING_DOWN.iter().any(|of| of.name() == operation);
        match takes_down && exports(interface) {
            true => used.served.contains(operation),
            false => used.succeeded.contains(operation),
        }
    };
    // The host mounts for pods what a driver mounts on the node.
    let exported = OPERATIONS.iter().filter(|(of, _)| exports(of) || *of == "volume");
    let of = exported.flat_map(|(of, operations)| operations.iter().map(move |name| (*of, *name)));
    let of = of.filter(|(_, operation)| !(node_only && *operation == "isattached"));
    of.filter(|(of, operation)| !was_seen(of, operation)).map(|(_, operation)| operation).collect()
}

fn warn(used: &Used, since: SystemTime, unseen: &[&str], output: &mut Output<'_>) {
    let back = SystemTime::now().duration_since(since).unwrap_or_default();
    if back < SHORT {
        output.warn(&format!(
            "the log reaches back only to {}{}: what is needed less often is not in it",
            rfc3339(since),
            if used.rotated { ", since older lines were rotated away" } else { "" }
        ));
    }
    if !unseen.is_empty() {
        output.warn(&format!(
            "in the log, the component never succeeded with: {}; what only they need is suggested \
             to go, but for what taking down may need",
            unseen.join(", ")
        ));
    }
    if !used.omitted.functions.is_empty() {
        output.warn(
            "calls have asked for more than the log has room for; what they asked for by functions \
             that it has not all of is kept as it is",
        );
    }
    if used.skipped > 0 {
        output.warn(&format!(
            "{} lines of the log are torn or somebody else's; `wasmount log verify` tells more",
            used.skipped
        ));
    }
}

#[cfg(test)]
mod tests;
