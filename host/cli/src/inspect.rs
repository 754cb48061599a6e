//! `wasmount inspect`: what a component is and everything it can ever ask of a node, for whoever
//! is to decide what to grant. What a vendor wrote was made harmless to a terminal before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Serialize;
use wasmount_core::bundle::receipt::sha256_hex;
use wasmount_pack::{Capability, Inspection};

use crate::arguments;
use crate::component::Component;
use crate::output::{Output, wrap};
use crate::requested;

/// The JSON document.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    /// Of the file, in hexadecimal.
    sha256: &'a str,
    bytes: usize,
    #[serde(flatten)]
    inspection: &'a Inspection,
    /// Imported, and the manifest gives no reason for it.
    unexplained: Vec<Capability>,
    /// The manifest asks for it, and it is not imported.
    unused: Vec<Capability>,
    /// What of it all has to be named to be accepted, by that name.
    super_privileged: BTreeSet<String>,
}

/// Prints what is in the file.
pub fn run(arguments: &arguments::Inspect, output: &mut Output<'_>) -> Result<()> {
    let component = Component::read(&arguments.file)?;
    let sha256 = sha256_hex(&component.bytes);
    let inspection = &component.inspection;
    if arguments.json {
        return output.json(&Document {
            sha256: &sha256,
            bytes: component.bytes.len(),
            inspection,
            unexplained: inspection.unexplained().into_iter().collect(),
            unused: inspection.unused().into_iter().collect(),
            super_privileged: requested::super_privileged(inspection),
        });
    }
    let text = describe(inspection, component.bytes.len(), &sha256);
    output.text(&text.context("writing the description")?)
}

fn describe(
    inspection: &Inspection,
    bytes: usize,
    sha256: &str,
) -> Result<String, std::fmt::Error> {
    let manifest = &inspection.manifest;
    let yes = |yes| if yes { "yes" } else { "no" };
    let mut text = String::new();
    writeln!(text, "{} {}: {}", manifest.name, manifest.version, manifest.description)?;
    writeln!(text, "  sha256   {sha256} ({bytes} bytes)")?;
    writeln!(text, "  exports  {}", join(&inspection.exports))?;
    let exports = |name| inspection.exports.iter().any(|export| export.name() == name);
    match (exports("attacher"), exports("device")) {
        (true, _) => {
            writeln!(text, "  attach   by the cluster; with `install --node-only`, on the node")?;
        }
        (false, true) => writeln!(text, "  attach   on the node, within mount")?,
        (false, false) => {}
    }
    writeln!(
        text,
        "  kubelet  sets the group of files: {}; SELinux relabelling: {}; metrics: {}",
        yes(manifest.fs_group),
        yes(manifest.selinux_relabel),
        yes(manifest.supports_metrics)
    )?;

    let mut functions: BTreeMap<Option<Capability>, Vec<String>> = BTreeMap::new();
    for import in &inspection.imports {
        let name = format!("{}.{}", import.interface, import.function);
        functions.entry(import.capability).or_default().push(name);
    }
    let free = functions.remove(&None).unwrap_or_default();
    if functions.is_empty() {
        writeln!(text, "\nit asks for nothing that has to be granted")?;
    } else {
        writeln!(text, "\nit asks for, and does only as far as grants.toml allows:")?;
    }
    for (capability, functions) in &functions {
        let Some(capability) = *capability else { continue };
        let ask = manifest.asks.iter().find(|ask| ask.capability == capability);
        match requested::is_super_privileged(inspection, capability) {
            true => writeln!(text, "    {capability}  ({})", requested::MARK)?,
            false => writeln!(text, "    {capability}")?,
        }
        writeln!(text, "{}", wrap("for", functions.iter().map(String::as_str), ", "))?;
        let parameters = ask.map(|ask| requested::in_words(&ask.parameters())).unwrap_or_default();
        if !parameters.is_empty() {
            writeln!(text, "{}", wrap("of", parameters.split(' '), " "))?;
        }
        let reason = ask.map_or("(the vendor does not say)", |ask| ask.reason.as_str());
        writeln!(text, "{}", wrap("why", reason.split(' '), " "))?;
    }
    if !free.is_empty() {
        writeln!(text, "\nit uses what needs no grant:")?;
        writeln!(text, "{}", wrap("", free.iter().map(String::as_str), ", "))?;
    }
    let limits = manifest.limits.parameters();
    if !limits.is_empty() {
        let limits = limits.iter().map(|(key, number)| format!("{key} {number}"));
        writeln!(text, "\nit needs in [limits]: {}", join(limits))?;
    }
    if !manifest.options.is_empty() {
        writeln!(text, "\nvolumes can set:")?;
        for option in &manifest.options {
            writeln!(text, "    {}", option.name)?;
            let description = option.description.as_str();
            writeln!(text, "{}", wrap("", description.split(' '), " "))?;
            let words = requested::option_in_words(option);
            if !words.is_empty() {
                writeln!(text, "{}", wrap("is", words.split(' '), " "))?;
            }
        }
    }
    let unused = inspection.unused();
    if !unused.is_empty() {
        writeln!(text, "\nit gives reasons for what it never does: {}", join(&unused))?;
    }
    if !inspection.foreign.is_empty() {
        writeln!(text, "\nit cannot run, since it imports what wasmount does not have:")?;
        for foreign in &inspection.foreign {
            writeln!(text, "  {foreign}")?;
        }
    }
    Ok(text)
}

fn join(items: impl IntoIterator<Item = impl ToString>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
