//! Whether a version that is staged would work: looked at before kubelet can call it, with the
//! eyes of the driver itself.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Error, Result};
use wasmount_core::bundle::Bundle;

use crate::layout::DRIVER;

/// A version is put to use only if the driver will believe its files, and runs. `engine` is the
/// full version of the engine that the driver has.
pub fn version(directory: &Path, engine: &str) -> Result<()> {
    let what = "the driver would not work, and is not installed";
    Bundle::open_at(directory, engine)
        .and_then(|bundle| bundle.verify_component())
        .context(what)?;
    try_init(&directory.join(DRIVER)).context(what)
}

/// Has the driver answer `init`, as kubelet will at once.
pub fn try_init(driver: &Path) -> Result<()> {
    let reply = Command::new(driver)
        .arg("init")
        .stdin(Stdio::null())
        .output()
        .with_context(|| "the driver program cannot be executed")?;
    let status = serde_json::from_slice::<serde_json::Value>(&reply.stdout);
    let status = status.as_ref().ok().and_then(|reply| reply["status"].as_str());
    if status == Some("Success") && reply.stderr.is_empty() && reply.status.success() {
        return Ok(());
    }
    let mut said = String::from_utf8_lossy(&reply.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&reply.stderr));
    let shown: String = said.trim().chars().filter(|c| !c.is_control()).take(500).collect();
    Err(Error::msg(if shown.is_empty() {
        format!("the driver program answers `init` with nothing ({})", reply.status)
    } else {
        format!("the driver program answers `init` with: {shown}")
    }))
}
