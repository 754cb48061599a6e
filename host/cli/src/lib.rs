//! `wasmount`: the operator's and the vendor's tool.
//!
//! One module for each command, and beneath them `layout` (what lies where), `stage`, `remove` and
//! `close` (the only ones that change the plugin directory), `strand` (may it be changed?), `accept` and `installed` (would the driver
//! work?), `usage` and `leftovers` (what does it have on this node?), `used` (what has it done there?), `requested`, `coverage` and `changes` (what
//! is asked for and granted), `consent` (is it what the operator wants?), `trust` and `downgrade` (may this component be installed?). kubelet's calls are no business of this crate: it decides nothing
//! about them.

pub mod accept;
pub mod apply;
pub mod arguments;
pub mod audit;
pub mod build;
pub mod call;
pub mod changes;
pub mod close;
pub mod completions;
pub mod component;
pub mod consent;
pub mod coverage;
pub mod diff;
pub mod doctor;
pub mod downgrade;
pub mod explain;
pub mod finding;
pub mod given;
pub mod granted;
pub mod grants;
pub mod inspect;
pub mod install;
pub mod installed;
pub mod keygen;
pub mod layout;
pub mod leftovers;
pub mod list;
pub mod log;
pub mod new;
pub mod output;
pub mod receipt;
pub mod record;
pub mod recover;
pub mod remove;
pub mod replay;
pub mod report;
pub mod requested;
pub mod rollback;
pub mod served;
pub mod sign;
pub mod stage;
pub mod strand;
pub mod suggest;
pub mod test;
pub mod time;
pub mod trust;
pub mod uninstall;
pub mod usage;
pub mod used;
pub mod verify;

use std::process::ExitCode;

use anyhow::Result;

use arguments::{Arguments, Command, Grants};
use output::Output;

/// Does what the arguments say.
pub fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<ExitCode> {
    match &arguments.command {
        Command::New(arguments) => new::run(arguments, output),
        Command::Build(arguments) => build::run(arguments, output),
        Command::Test(arguments) => test::run(arguments, output),
        Command::Inspect(arguments) => inspect::run(arguments, output),
        Command::Diff(arguments) => return diff::run(arguments, output),
        Command::Install(arguments) => install::run(arguments, output),
        Command::Uninstall(arguments) => uninstall::run(arguments, output),
        Command::List(arguments) => list::run(arguments, output),
        Command::Grants(Grants::Check(arguments)) => grants::check(arguments, output),
        Command::Grants(Grants::Apply(arguments)) => apply::run(arguments, output),
        Command::Grants(Grants::Suggest(arguments)) => suggest::run(arguments, output),
        Command::Rollback(arguments) => rollback::run(arguments, output),
        Command::Call(arguments) => return call::run(arguments, output),
        Command::Audit(arguments) => audit::run(arguments, output),
        Command::Explain(arguments) => explain::run(arguments, output),
        Command::ServeCall => return served::run(),
        Command::Replay(arguments) => replay::run(arguments, output),
        Command::Log(arguments) => log::run(arguments, output),
        Command::Doctor(arguments) => doctor::run(arguments, output),
        Command::Recover(arguments) => recover::run(arguments, output),
        Command::Keygen(arguments) => keygen::run(arguments, output),
        Command::Sign(arguments) => sign::run(arguments, output),
        Command::Verify(arguments) => verify::run(arguments, output),
        Command::Completions(arguments) => completions::run(arguments, output),
    }?;
    Ok(ExitCode::SUCCESS)
}
