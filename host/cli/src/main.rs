//! Argument list in, exit code out: the one place that prints an error.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use wasmount_cli::arguments::Arguments;
use wasmount_cli::output::Output;

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
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(err, "wasmount: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
