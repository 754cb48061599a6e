//! A component file, read and examined once.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use wasmount_core::failure::Failure;
use wasmount_core::guest::apart::{Bounds, apart};
use wasmount_pack::{Inspection, MAX_COMPONENT};

/// A component, with what it says of itself and asks for.
#[derive(Debug)]
pub struct Component {
    /// The file.
    pub bytes: Vec<u8>,
    /// What is in it.
    pub inspection: Inspection,
}

impl Component {
    /// Reads a file. An error says why it cannot be a driver.
    pub fn read(path: &Path) -> Result<Self> {
        Self::examine(read_at_most(path, MAX_COMPONENT)?, path)
    }

    /// Examines what was read from a file.
    pub fn examine(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        let inspection = inspect(&bytes).with_context(|| format!("{}", path.display()))?;
        Ok(Self { bytes, inspection })
    }
}

/// What a component takes to be read at most: its types are what is costly.
const READING: Bounds = Bounds { cpu_seconds: 60, memory_bytes: 1 << 30, result_bytes: 16 << 20 };

/// Examines a component's bytes, in a process that has nothing to lose. This one has to have no other
/// thread.
pub fn inspect(bytes: &[u8]) -> Result<Inspection> {
    let read = || {
        serde_json::to_vec(&wasmount_pack::inspect(bytes))
            .map_err(|error| Failure::io(WHAT, &error.into()))
    };
    let inspected = apart(WHAT, READING, || Ok(()), |()| read())?;
    let inspected: wasmount_pack::Result<Inspection> =
        serde_json::from_slice(&inspected).context("what is said of it cannot be true")?;
    Ok(inspected?)
}

const WHAT: &str = "reading the component";

/// Reads a file that is not longer than so many bytes.
pub fn read_at_most(path: &Path, most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        // One byte more than is allowed tells a file that is too long from one that just fits.
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("reading {}", path.display()))?;
    if bytes.len() > most {
        bail!("{} is longer than {most} bytes", path.display());
    }
    Ok(bytes)
}
