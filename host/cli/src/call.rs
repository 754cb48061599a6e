//! `wasmount call`: runs an installed driver the way kubelet does, for trying things out.
//!
//! This process becomes the driver's, so reply and exit code are the driver's own; or, to trace it,
//! waits for the driver and then tells what the audit log says of that call. To be recorded a call is
//! not made here but in `record`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Error, Result, bail};

use crate::arguments;
use crate::layout::PluginDir;
use crate::log::trace::Trace;
use crate::output::Output;
use crate::record;

/// Returns only to trace, or if the driver could not be executed.
pub fn run(arguments: &arguments::Call, output: &mut Output<'_>) -> Result<ExitCode> {
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let executable = plugins.driver(&arguments.driver).executable();
    let driver_arguments =
        arguments.arguments.iter().map(|argument| expand(argument)).collect::<Result<Vec<_>>>()?;
    if arguments.trace || arguments.record.is_some() {
        warn_of_secrets(&arguments.arguments, output);
    }
    if let Some(file) = &arguments.record {
        return record::run(arguments, driver_arguments, file, output);
    }
    // kubelet gives a driver no input, and its own environment and working directory.
    let mut command = Command::new(&executable);
    command.args(driver_arguments).stdin(Stdio::null());
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::msg(plugins.lacks(&arguments.driver)),
        io::ErrorKind::ArgumentListTooLong => Error::msg(
            "an argument is longer than the 128 KiB that Linux allows; kubelet could not make \
             this call either",
        ),
        _ => Error::new(error).context(format!("executing {}", executable.display())),
    };
    if !arguments.trace {
        return Err(failed(command.exec()));
    }
    let is_init = arguments.arguments.first().is_some_and(|operation| operation == "init");
    let trace = Trace::begin(&plugins, &arguments.driver)?;
    let mut child = command.spawn().map_err(failed)?;
    let status = child.wait().context("waiting for the driver")?;
    if is_init {
        output.progress("`init` is answered without the audit log: there is nothing to tell");
    } else {
        match trace.tell(child.id())? {
            Some(story) => output.progress(story.trim_end()),
            None => output.warn(
                "the audit log tells nothing of this call: the driver could not read its own \
                 files, or not write to the log; `wasmount doctor` may know why",
            ),
        }
    }
    // As a shell has it for a driver that a signal ended.
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Warns of a secret that whoever looks at the list of processes can read for as long as this one waits
/// for the call: the driver overwrites its arguments, and this does not.
pub(crate) fn warn_of_secrets(arguments: &[OsString], output: &mut Output<'_>) {
    const SECRET: &[u8] = b"kubernetes.io/secret/";
    let has = |text: &[u8]| text.windows(SECRET.len()).any(|window| window == SECRET);
    if arguments.iter().any(|argument| has(argument.as_bytes())) {
        output.warn(
            "a secret is in the arguments, where the list of processes shows it to everybody; write the \
             JSON to a file that only you can read, and give @FILE in its place",
        );
    }
}

/// What an argument stands for: `@FILE` for what is in the file, without the newline that editors
/// put at its end; anything else for itself.
pub(crate) fn expand(argument: &OsStr) -> Result<OsString> {
    let Some(file) = argument.as_bytes().strip_prefix(b"@") else {
        return Ok(argument.to_owned());
    };
    let file = Path::new(OsStr::from_bytes(file));
    let mut contents = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    if contents.last() == Some(&b'\n') {
        contents.pop();
    }
    if contents.contains(&0) {
        bail!("{} holds a NUL byte, which no argument can", file.display());
    }
    Ok(OsString::from_vec(contents))
}
