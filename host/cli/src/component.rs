//! A component file, read and examined once.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
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
        let bytes = read_at_most(path, MAX_COMPONENT)?;
        let inspection =
            wasmount_pack::inspect(&bytes).with_context(|| format!("{}", path.display()))?;
        Ok(Self { bytes, inspection })
    }
}

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
