//! `wasmount test`: a component against calls on record. It runs as the driver would run it, in a
//! process without privileges and within the usual limits; only the host's answers are on record.
//! What the grants would say is not asked: a recording says it.

pub(crate) mod play;
pub(crate) mod words;

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use wasmount_core::guest::compiler::{self, Cpu};
use wasmount_recording::Recording;

use crate::arguments;
use crate::component::Component;
use crate::output::{Output, printable};

/// Plays every call of every recording, and says which went otherwise.
pub fn run(arguments: &arguments::Test, output: &mut Output<'_>) -> Result<()> {
    let component = Component::read(&arguments.file)?;
    // A mistake in one should not wait for the compiler.
    let recordings: Vec<Recording> =
        arguments.recordings.iter().map(|path| Recording::read(path)).collect::<Result<_, _>>()?;
    let calls = recordings.iter().map(|recording| recording.calls.len()).sum();
    let mut guests = play::Guests::start(calls)?;
    let manifest = &component.inspection.manifest;
    output.progress(&format!("compiling {} {} for this machine", manifest.name, manifest.version));
    let image = compiler::compile(&component.bytes, Cpu::Native)
        .with_context(|| format!("{}", arguments.file.display()))?;
    let image = play::Image::new(&image).context("keeping the compiled component")?;
    let (mut played, mut failed) = (0, 0);
    for (path, recording) in arguments.recordings.iter().zip(&recordings) {
        output.text(&format!("{}:", path.display()))?;
        for call in &recording.calls {
            played += 1;
            let mut text = String::new();
            match play::play(guests.next(&image)?, call)?.0 {
                None => write!(text, "  ok      {}", printable(&call.name))?,
                Some(mismatch) => {
                    failed += 1;
                    write!(text, "  FAILED  {}", printable(&call.name))?;
                    for line in mismatch.to_string().lines() {
                        write!(text, "\n        {}", printable(line))?;
                    }
                }
            }
            output.text(&text)?;
        }
    }
    if failed > 0 {
        bail!("{failed} of {played} calls did not go as recorded");
    }
    output.text(&format!("{played} calls went as recorded"))
}
