//! Argument list in, exit code out: the one place that prints an error.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use wasmount_cli::arguments::{Arguments, Command, Grants};
use wasmount_cli::output::{Output, printable};

/// What failed was said.
const FAILED: u8 = 1;
/// The arguments make no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let text = error.render().to_string();
            // Nothing can be done about a stream that nobody reads.
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    let _ = write!(out, "{text}");
                    ExitCode::SUCCESS
                }
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                    let _ = write!(err, "{text}");
                    ExitCode::from(USAGE)
                }
                _ => {
                    let _ = write!(err, "wasmount: {}", text.trim_start_matches("error: "));
                    ExitCode::from(USAGE)
                }
            };
        }
    };
    match wasmount_cli::run(&arguments, &mut Output { out: &mut out, err: &mut err }) {
        Ok(code) => code,
        // Whoever reads has seen enough, as in `wasmount log | head`.
        Err(error) if is_broken_pipe(&error) && !is_verdict(&arguments.command) => {
            ExitCode::SUCCESS
        }
        Err(error) if is_broken_pipe(&error) => ExitCode::from(FAILED),
        Err(error) => {
            // What failed may be said in words of a file's that somebody else has written.
            let lines: Vec<_> = format!("{error:#}").lines().map(printable).collect();
            let _ = writeln!(err, "wasmount: {}", lines.join("\n"));
            ExitCode::from(FAILED)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether the exit code of a command is an answer that may not have been found when nobody read on.
/// (`audit` and `replay` have it before they print.)
fn is_verdict(command: &Command) -> bool {
    match command {
        Command::Log(log) => log.whole.is_some(),
        Command::Grants(Grants::Check(_))
        | Command::Test(_)
        | Command::Diff(_)
        | Command::Doctor(_)
        | Command::Verify(_) => true,
        _ => false,
    }
}
