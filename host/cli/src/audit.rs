//! `wasmount audit`: what a driver asks for, what it may do here and what it has done, side by side,
//! who says so, and what a reviewer should look at. It changes nothing, and decides nothing: what is
//! allowed in a call is the driver's to say.

mod deeds;
mod findings;
mod gather;
mod html;
mod origins;
mod picture;
mod review;
mod sarif;
mod settings;
mod text;

use std::time::SystemTime;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::arguments::{self, AuditFormat};
use crate::doctor::node;
use crate::doctor::standing::Trusted;
use crate::finding::{Finding, Findings, Severity};
use crate::layout::PluginDir;
use crate::output::Output;
use crate::time::rfc3339;
use gather::Desk;
use review::Review;

/// The JSON document, which docs/audit.schema.json describes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    /// The version of the format.
    version: u32,
    /// The version of wasmount.
    wasmount: &'static str,
    node: String,
    /// RFC 3339.
    made_at: String,
    /// What is to be said of the node, whichever driver it is.
    findings: Vec<Finding>,
    drivers: Vec<Review>,
}

/// Reviews the drivers. Fails if there is a finding as severe as `--fail-on`.
pub fn run(arguments: &arguments::Audit, output: &mut Output<'_>) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root can read what drivers have done; try `sudo wasmount audit`");
    }
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let drivers = plugins.chosen(arguments.driver.as_ref())?;
    let mut found = Findings::default();
    let trusted = Trusted::read(arguments.trust_dir.as_deref(), &mut found);
    node::examine_plugin_dir(plugins.path(), &mut found);
    let desk = Desk { plugins: &plugins, trusted: &trusted };
    let document = Document {
        version: 1,
        wasmount: env!("CARGO_PKG_VERSION"),
        node: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        made_at: rfc3339(SystemTime::now()),
        findings: found.all,
        drivers: drivers.iter().map(|driver| gather::review(&desk, driver)).collect(),
    };
    let written = match arguments.format {
        AuditFormat::Text => output.text(&text::of(&document)),
        AuditFormat::Json => output.json(&document),
        AuditFormat::Sarif => output.json(&sarif::of(&document)),
        AuditFormat::Html => output.text(&html::of(&document)),
    };
    // Whoever has not read on wants to know all the same.
    arguments.fail_on.map_or(Ok(()), |severity| fail_on(&document, severity))?;
    written
}

impl Document {
    /// How many findings there are of a severity.
    fn count(&self, severity: Severity) -> usize {
        self.findings().filter(|finding| finding.severity == severity).count()
    }

    /// All of them, the node's first.
    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(self.drivers.iter().flat_map(|driver| &driver.findings))
    }

    /// How many there are of each.
    fn counts(&self) -> String {
        let count = |severity: Severity| match self.count(severity) {
            1 => format!("1 {}", severity.name()),
            count => format!("{count} {}s", severity.name()),
        };
        [Severity::Error, Severity::Warning, Severity::Note].map(count).join(", ")
    }
}

fn fail_on(document: &Document, severity: Severity) -> Result<()> {
    let severe = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        // The worst come first.
        .filter(|found| *found <= severity)
        .any(|found| document.count(found) > 0);
    if severe {
        bail!("found {}, with --fail-on {}", document.counts(), severity.name());
    }
    Ok(())
}
