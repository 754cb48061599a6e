//! What an operator has to say before a component is installed that asks for something: of a new driver,
//! whether it is granted that; of an upgrade, whether it may be, if it asks for more than what is installed.
//!
//! Arguments that say what is granted say all that. Else somebody at a terminal is asked, and where nobody
//! is, nobody has agreed: a new driver is granted nothing, and the upgrade is refused. Nothing is changed
//! here, and what an upgrade is granted stays what it was.

use std::fs;
use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::receipt::digest;
use wasmount_core::bundle::{Bundle, COMPONENT};
use wasmount_pack::Inspection;
use wasmount_pack::manifest::Operators;

use crate::arguments;
use crate::component::{self, Component};
use crate::diff;
use crate::diff::changes;
use crate::given::{Given, Missing};
use crate::layout::{DriverDir, VersionId};
use crate::output::{Output, wrap};
use crate::requested;

/// What was agreed to, and with what installed.
#[derive(Debug)]
pub struct Agreed {
    /// What the driver is granted; none if it is what it was granted before.
    pub given: Option<Given>,
    /// What was installed then.
    beside: Option<VersionId>,
}

/// Finds out, and fails if an upgrade is not agreed to.
pub fn obtain(
    arguments: &arguments::Install,
    component: &Component,
    directory: &DriverDir,
    output: &mut Output<'_>,
) -> Result<Agreed> {
    let beside = present(directory);
    let mut given = Given::named(arguments, component)?;
    if given.is_none() {
        match &beside {
            Some(version) => upgrade(arguments, component, directory, version, output)?,
            None if directory.is_ours() => {}
            None if is_at_terminal() => given = new(arguments, component, output)?,
            None => {}
        }
    }
    Ok(Agreed { given, beside })
}

impl Agreed {
    /// Fails if something else was installed since.
    pub fn holds(&self, directory: &DriverDir) -> Result<()> {
        if self.given.is_none() && present(directory) != self.beside {
            bail!("another version was installed meanwhile; look at that, and try again");
        }
        Ok(())
    }
}

fn present(directory: &DriverDir) -> Option<VersionId> {
    directory.current_version().ok().flatten()
}

fn is_at_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Fails if the component asks for more than what is installed, and nobody says that it may.
fn upgrade(
    arguments: &arguments::Install,
    component: &Component,
    directory: &DriverDir,
    version: &VersionId,
    output: &mut Output<'_>,
) -> Result<()> {
    let Some(old) = installed(directory, version, component)? else { return Ok(()) };
    let changes = changes::between(&old, &component.inspection);
    if !changes.iter().any(|change| change.more) {
        return Ok(());
    }
    let (was, is) = (&old.manifest, &component.inspection.manifest);
    let told = format!(
        "{} {} asks for more than {} {}, which is installed as {}:\n{}",
        is.name,
        is.version,
        was.name,
        was.version,
        arguments.driver,
        diff::describe(&changes)
    );
    let stays = "nothing was changed, and what is installed stays in force";
    if !is_at_terminal() {
        bail!(
            "{told}{stays}; agree by saying what it is granted: --grants FILE, --no-grants or \
             --accept-requested"
        );
    }
    output.progress(told.trim_end());
    match answer("install it? What is granted stays as it is [y/N] ", output)?.as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("not agreed to: {stays}"),
    }
}

/// What is installed; none if it is this component, or what it is granted cannot be believed, which is
/// told by whoever would keep that.
fn installed(
    directory: &DriverDir,
    version: &VersionId,
    component: &Component,
) -> Result<Option<Inspection>> {
    let path = directory.version(version);
    let Ok(receipt) = Bundle::read_at(&path).map(|bundle| bundle.receipt) else { return Ok(None) };
    let Ok(bundle) = Bundle::open_at(&path, &receipt.wasmtime_version) else { return Ok(None) };
    if receipt.digests.component == digest(&component.bytes) {
        return Ok(None);
    }
    let read = || -> Result<Inspection> {
        bundle.verify_component()?;
        component::inspect(&fs::read(path.join(COMPONENT))?)
    };
    read().map(Some).context(
        "whether it asks for more than what is installed cannot be told; say what it is granted, with \
         --grants FILE, --no-grants or --accept-requested",
    )
}

/// Asks whether a new driver is granted what it asks for. None is no.
fn new(
    arguments: &arguments::Install,
    component: &Component,
    output: &mut Output<'_>,
) -> Result<Option<Given>> {
    let manifest = &component.inspection.manifest;
    if manifest.asks.is_empty() {
        return Ok(None);
    }
    output.progress(&format!("{} {} asks for:", manifest.name, manifest.version));
    for ask in &manifest.asks {
        let mark =
            ask.super_privileged().map_or(String::new(), |_| format!("  ({})", requested::MARK));
        output.progress(&format!("    {}{mark}", ask.capability));
        let parameters = requested::in_words(&ask.parameters());
        if !parameters.is_empty() {
            output.progress(&wrap("of", parameters.split(' '), " "));
        }
        output.progress(&wrap("why", ask.reason.as_str().split(' '), " "));
    }
    let missing = match Missing::of(manifest, &[], &Operators::default()) {
        Ok(missing) => missing,
        Err(error) => {
            output.progress(&format!("nothing is granted: {error:#}"));
            return Ok(None);
        }
    };
    if !matches!(answer("grant that, exactly as it asks? [y/N] ", output)?.as_str(), "y" | "yes") {
        output.progress("nothing is granted");
        return Ok(None);
    }
    let mut accept = Vec::new();
    for (name, reason) in missing.unnamed {
        let question =
            format!("{name} is {}: {reason}\n  type `{name}` to grant it: ", requested::MARK);
        if answer(&question, output)? != name {
            output.progress("nothing is granted, since that is not");
            return Ok(None);
        }
        accept.push(name);
    }
    let mut operators = Operators::default();
    for key in missing.unknown {
        let value = answer(&format!("{key}, which only you know: "), output)?;
        let said = arguments::operators(&format!("{key}={value}"));
        operators.add(said.map_err(|error| anyhow::anyhow!("{key}: {error}"))?);
    }
    Given::accepted(arguments, component, &accept, &operators).map(Some)
}

fn answer(question: &str, output: &mut Output<'_>) -> Result<String> {
    write!(output.err, "{question}").and_then(|()| output.err.flush()).context("asking")?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("reading the answer")?;
    if !line.ends_with('\n') {
        // The terminal was closed, or Ctrl-D: what follows begins on a line of its own.
        output.progress("");
    }
    Ok(line.trim().to_owned())
}
