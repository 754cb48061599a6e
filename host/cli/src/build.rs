//! `wasmount build`: a crate becomes a component file. How is `wasmount_pack`'s affair.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use wasmount_pack::BuildOptions;

use crate::arguments;
use crate::output::Output;

/// Builds, writes the component, and says what came out.
pub fn run(arguments: &arguments::Build, output: &mut Output<'_>) -> Result<()> {
    let component = wasmount_pack::build(&arguments.dir, &BuildOptions::default())?;
    let inspection = wasmount_pack::inspect(&component).context("examining what was built")?;
    write(&arguments.output, &component)
        .with_context(|| format!("writing {}", arguments.output.display()))?;
    output.text(&format!(
        "{}: {} {}, {} bytes\nnext: wasmount inspect {0}",
        arguments.output.display(),
        inspection.manifest.name,
        inspection.manifest.version,
        component.len()
    ))
}

/// Through a file beside it: whoever reads the component meanwhile has all of the old one.
fn write(path: &Path, component: &[u8]) -> std::io::Result<()> {
    let Some(name) = path.file_name() else {
        return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory));
    };
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(format!(".tmp-{}", std::process::id()));
    let aside = path.with_file_name(aside);
    let written = fs::write(&aside, component).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}
