//! `wasmount call`: runs an installed driver the way kubelet does, for trying things out.
//!
//! This process becomes the driver's, so reply and exit code are the driver's own.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Error, Result, bail};

use crate::arguments;
use crate::layout::PluginDir;

/// Does not return if the driver could be executed.
pub fn run(arguments: &arguments::Call) -> Result<Infallible> {
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let executable = plugins.driver(&arguments.driver).executable();
    let driver_arguments =
        arguments.arguments.iter().map(|argument| expand(argument)).collect::<Result<Vec<_>>>()?;
    // kubelet gives a driver no input, and its own environment and working directory.
    let error = Command::new(&executable).args(driver_arguments).stdin(Stdio::null()).exec();
    Err(match error.kind() {
        io::ErrorKind::NotFound => Error::msg(format!(
            "{} is not installed in {}: `wasmount list` shows what is",
            arguments.driver.slash(),
            plugins.path().display()
        )),
        io::ErrorKind::ArgumentListTooLong => Error::msg(
            "an argument is longer than the 128 KiB that Linux allows; kubelet could not make \
             this call either",
        ),
        _ => Error::new(error).context(format!("executing {}", executable.display())),
    })
}

/// What an argument stands for: `@FILE` for what is in the file, without the newline that editors
/// put at its end; anything else for itself.
fn expand(argument: &OsStr) -> Result<OsString> {
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
