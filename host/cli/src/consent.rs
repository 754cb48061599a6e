//! What an operator has to say before a component is installed that asks for something: of a new driver,
//! whether it is granted that; of an upgrade, whether it may be, if it asks for more than what is installed
//! or somebody else vouches for it. What an upgrade changes is shown in any case.
//!
//! Arguments that say what is granted say all that, but for one thing: whoever takes over what is asked for
//! has to say so anew where something super-privileged is wider than it was. Else somebody at a terminal is asked, and where nobody
//! is, nobody has agreed: a new driver is granted nothing, and the upgrade is refused. Nothing is changed
//! here, and what an upgrade is granted stays what it was.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::receipt::{GrantsFrom, Receipt};
use wasmount_core::bundle::{Bundle, COMPONENT};
use wasmount_pack::Inspection;
use wasmount_pack::manifest::Operators;

use crate::arguments;
use crate::component::{self, Component};
use crate::diff;
use crate::diff::changes::{self, Change};
use crate::given::{Given, Missing};
use crate::layout::{DriverDir, VersionId};
use crate::output::{Output, wrap};
use crate::requested;
use crate::trust::vouched::Vouched;

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
    vouched: &Vouched,
    directory: &DriverDir,
    output: &mut Output<'_>,
) -> Result<Agreed> {
    let beside = present(directory);
    let mut given = Given::named(arguments, component)?;
    match &beside {
        Some(version) => {
            let named = given.as_ref().map(|given| given.from);
            let upgrade = Upgrade { arguments, component, vouched, named };
            upgrade.agree(&directory.version(version), output)?;
        }
        None if given.is_some() || directory.is_ours() => {}
        None if is_at_terminal() => given = new(arguments, component, output)?,
        None => {}
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

/// A component that is to take the place of another.
struct Upgrade<'a> {
    arguments: &'a arguments::Install,
    component: &'a Component,
    vouched: &'a Vouched,
    /// By what the arguments say that it is granted something, if they do.
    named: Option<GrantsFrom>,
}

impl Upgrade<'_> {
    /// Shows what it changes. Fails if somebody has to agree to that, and nobody does.
    fn agree(&self, installed: &Path, output: &mut Output<'_>) -> Result<()> {
        let Some((receipt, old)) = self.before(installed)? else { return Ok(()) };
        let (was, is) = (receipt.signer(), self.vouched.recorded.key_id());
        let mut changes = changes::between(&old, &self.component.inspection);
        changes.extend(changes::signed(was, is));
        if changes.is_empty() {
            return Ok(());
        }
        let manifest = &self.component.inspection.manifest;
        let told = format!(
            "{} {} takes the place of {} {}, which is installed as {}:\n{}",
            manifest.name,
            manifest.version,
            old.manifest.name,
            old.manifest.version,
            self.arguments.driver,
            diff::describe(&changes)
        );
        let stays = "nothing was changed, and what is installed stays in force";
        let wider = self.named == Some(GrantsFrom::Accepted)
            && changes.iter().any(Change::is_wider_and_super_privileged);
        if wider && !self.arguments.accept_wider {
            bail!(
                "{told}what is super-privileged is asked for further than before; {stays}; agree by \
                 --accept-wider, or say what it is granted by --grants FILE"
            );
        }
        // Whoever had nobody to vouch for it has lost nothing.
        let by_another = was.is_some() && was != is;
        if self.named.is_some() || !by_another && !changes.iter().any(|change| change.more) {
            output.progress(told.trim_end());
            return Ok(());
        }
        let by_another = if by_another { "who signed it is another than before\n" } else { "" };
        if !is_at_terminal() {
            bail!(
                "{told}{by_another}{stays}; agree by saying what it is granted: --grants FILE, \
                 --no-grants or --accept-requested"
            );
        }
        output.progress(format!("{told}{by_another}").trim_end());
        match answer("install it? What is granted stays as it is [y/N] ", output)?.as_str() {
            "y" | "yes" => Ok(()),
            _ => bail!("not agreed to: {stays}"),
        }
    }

    /// What is installed; none if what it is granted cannot be believed, which is told by whoever would
    /// keep that.
    fn before(&self, path: &Path) -> Result<Option<(Receipt, Inspection)>> {
        let Ok(receipt) = Bundle::read_at(path).map(|bundle| bundle.receipt) else {
            return Ok(None);
        };
        let Ok(bundle) = Bundle::open_at(path, &receipt.wasmtime_version) else { return Ok(None) };
        let read = || -> Result<Inspection> {
            bundle.verify_component()?;
            component::inspect(&fs::read(path.join(COMPONENT))?)
        };
        match read() {
            Ok(inspection) => Ok(Some((receipt, inspection))),
            Err(_) if self.named.is_some() => Ok(None),
            Err(error) => Err(error.context(
                "whether it asks for more than what is installed cannot be told; say what it is granted, \
                 with --grants FILE, --no-grants or --accept-requested",
            )),
        }
    }
}

/// Asks whether a new driver is granted what it asks for. None is no.
fn new(
    arguments: &arguments::Install,
    component: &Component,
    output: &mut Output<'_>,
) -> Result<Option<Given>> {
    let manifest = &component.inspection.manifest;
    if manifest.asks.is_empty() && manifest.limits.parameters().is_empty() {
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
    for (key, needed) in manifest.limits.parameters() {
        output.progress(&format!("    limits {key} {needed}"));
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
