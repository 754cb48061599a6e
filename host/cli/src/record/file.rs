//! The file that calls are recorded in: a new one, or one that holds a recording already.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::OFlags;
use wasmount_recording::Recording;

/// What a new file begins with.
const HEAD: &str = "\
# Calls of a driver, recorded by `wasmount call --record`. `wasmount replay` plays them again, and each
# [[call]] can stand in a driver's tests/calls.toml. Secrets are [secret]; options of volumes and settings of
# the operator are as they were.
";

/// A file to append to.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    file: fs::File,
    is_new: bool,
}

impl File {
    /// Opens it before the call is made: afterwards it would be too late to say that it cannot be.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let mut options = fs::OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        let mut file = options.open(path).with_context(|| format!("opening {name}"))?;
        if !file.metadata().with_context(|| format!("examining {name}"))?.is_file() {
            bail!("{name} is not a regular file");
        }
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| format!("reading {name}"))?;
        let is_new = text.is_empty();
        if let (false, Err(error)) = (is_new, Recording::parse(&text)) {
            bail!("{name} is no recording, and is left as it is: {error}");
        }
        Ok(Self { path: path.to_owned(), file, is_new })
    }

    /// Appends a call, whole.
    pub(super) fn append(&mut self, text: &str) -> Result<()> {
        let head = if self.is_new { HEAD } else { "" };
        let written = self.file.write_all(format!("{head}{text}").as_bytes());
        written.with_context(|| format!("writing {}", self.path.display()))
    }
}
