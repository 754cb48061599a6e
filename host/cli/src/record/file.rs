//! The file that calls are recorded in: a new one, or one that holds a recording already.

use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::OFlags;
use wasmount_recording::{MAX_RECORDING, Recording};

/// What a new file begins with.
const HEAD: &str = "\
# Calls of a driver, recorded by `wasmount call --record`. `wasmount replay` plays them again, and each
# [[call]] can stand in a driver's tests/calls.toml. Secrets are [secret], also in the encodings that programs
# usually put them in. A part of one, or what a component that was revealed one has made of it otherwise, is as
# it was, and so are options of volumes and settings of the operator: read it before you pass it on.
";

/// A file to append to.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    file: fs::File,
    /// Its length, in bytes.
    length: usize,
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
        let read = Read::take(&mut file, MAX_RECORDING + 1).read_to_string(&mut text);
        read.with_context(|| format!("reading {name}"))?;
        let file = Self { path: path.to_owned(), file, length: text.len() };
        file.has_room(0)?;
        if let (false, Err(error)) = (text.is_empty(), Recording::parse(&text)) {
            bail!("{name} is no recording, and is left as it is: {error}");
        }
        Ok(file)
    }

    /// Appends a call, whole, unless nobody could read the file any more then.
    pub(super) fn append(&mut self, text: &str) -> Result<()> {
        Recording::parse(text).context("it has come out as no recording")?;
        let head = if self.length == 0 { HEAD } else { "" };
        self.has_room(head.len() + text.len())?;
        let written = self.file.write_all(format!("{head}{text}").as_bytes());
        written.with_context(|| format!("writing {}", self.path.display()))
    }

    fn has_room(&self, more: usize) -> Result<()> {
        if (self.length + more) as u64 > MAX_RECORDING {
            bail!(
                "{} would be longer than the {MAX_RECORDING} bytes that are read of a recording; use another file",
                self.path.display()
            );
        }
        Ok(())
    }
}
