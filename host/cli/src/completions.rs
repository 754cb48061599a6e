//! `wasmount completions`: what a shell has to know to complete this program's arguments.

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::arguments::{self, Arguments};
use crate::output::Output;

/// Prints the shell's script.
pub fn run(arguments: &arguments::Completions, output: &mut Output<'_>) -> Result<()> {
    let shell = match arguments.shell {
        arguments::Shell::Bash => Shell::Bash,
        arguments::Shell::Zsh => Shell::Zsh,
        arguments::Shell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "wasmount", &mut script);
    output.text(std::str::from_utf8(&script).context("the script is not UTF-8")?)
}
