//! Which driver this is: the installed version's directory, and the files in it that are to be
//! believed.
//!
//! A version's directory is named after the digest of its receipt, and the receipt holds the
//! digests of everything else. So whoever changed a file after installation is found out, even
//! if only by accident: against malice stand the owners and modes that `trust` checks. The
//! image's digest is checked over the very bytes that are loaded, which happens in the guest
//! process and not here. Nothing here is ever written.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::call::DriverName;
use crate::failure::{Code, Failure};
use crate::observe;

pub mod receipt;
pub mod trust;

pub use receipt::Receipt;
use trust::Trust;

/// What the installation recorded.
pub const RECEIPT: &str = "receipt.json";
/// What the operator granted.
pub const GRANTS: &str = "grants.toml";
/// The component as the vendor shipped it.
pub const COMPONENT: &str = "component.wasm";
/// The component compiled for this machine.
pub const IMAGE: &str = "component.cwasm";
/// What a call locks to keep its version. It is empty, and only root can open it, since whoever can
/// open a file can lock it: a stranger's lock would keep every call out.
pub const LOCK: &str = ".lock";

/// The longest receipt, in bytes. The imports are what it has most of.
const MAX_RECEIPT: u64 = 256 * 1024;

/// The longest grants file, in bytes.
const MAX_GRANTS: u64 = 256 * 1024;

/// What this process runs: see proc(5).
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// What every change of an installed file is mended by.
const REMEDY: &str = "reinstall the driver with `wasmount install`";

/// Whose the installed files are.
const ROOT: Trust = Trust::root(REMEDY);

/// An installed version of a driver. Holds its directory open, so that an upgrade meanwhile does
/// not mix versions.
#[derive(Debug)]
pub struct Bundle {
    dir: OwnedFd,
    trust: Trust,
    /// The version's directory, for messages.
    pub path: PathBuf,
    /// The version: the first 16 hexadecimal digits of the receipt's SHA-256.
    pub id: String,
    /// The driver, as the receipt has it.
    pub driver: DriverName,
    /// What was installed.
    pub receipt: Receipt,
    /// The text of the grants file.
    pub grants_text: String,
    /// The full version of the engine that is to load the image, where one is.
    engine: Option<String>,
    /// Whether the component was found to be what the receipt says.
    verified: Cell<bool>,
    /// Keeps the version where it is, in a call.
    _in_use: Option<OwnedFd>,
}

impl Bundle {
    /// The version that this process was executed from, with everything checked that can be
    /// without reading component and image: see [`open_at`](Self::open_at). For as long as it lives,
    /// `wasmount` does not remove the version.
    pub fn open(expected_engine: &str) -> Result<Self, Failure> {
        let path = own_directory()?;
        let opened = ROOT.directory(&path).and_then(|dir| {
            // Before the first file is looked at: what is locked later may be half removed.
            let in_use = use_version(&dir)?;
            let bundle = Self::within(dir, &path, ROOT)?.checked(expected_engine)?;
            Ok(Self { _in_use: in_use, ..bundle })
        });
        opened.map_err(|failure| if was_removed() { removed() } else { failure })
    }

    /// A version by its directory's absolute path, without symbolic links: `current` has to be
    /// resolved. Receipt and grants are what was installed, for the driver whose directory this
    /// is, and the image was compiled by the WebAssembly engine of the full version
    /// `expected_engine`.
    pub fn open_at(path: &Path, expected_engine: &str) -> Result<Self, Failure> {
        Self::trusting(path, ROOT)?.checked(expected_engine)
    }

    /// The version that this process was executed from, for `init`: receipt and grants are
    /// root's and readable, and no more is asked.
    pub fn open_for_init() -> Result<Self, Failure> {
        Self::trusting(&own_directory()?, ROOT)
    }

    /// The same by the directory's absolute path, for programs that show what is installed.
    pub fn read_at(path: &Path) -> Result<Self, Failure> {
        Self::trusting(path, ROOT)
    }

    /// The compiled component, open for reading, and its SHA-256 as 64 hexadecimal digits in lower
    /// case. Whoever loads it compares the digest with that of the bytes they read.
    pub fn image(&self) -> Result<(File, &str), Failure> {
        let compiled_by = &self.receipt.wasmtime_version;
        if let Some(runs) = self.engine.as_ref().filter(|runs| *runs != compiled_by) {
            let image = self.path.join(IMAGE);
            let message = format!(
                "{} was compiled by wasmtime {compiled_by}, and this driver runs wasmtime {runs}; \
                 {REMEDY}",
                image.display(),
            );
            return Err(Failure::new(Code::FailedPrecondition, "engine-version", message));
        }
        let file = self.trust.file(&self.dir, &self.path, IMAGE)?;
        Ok((file, self.receipt.digests.image_hex()))
    }

    /// Reads the whole component and compares it with the receipt, once.
    pub fn verify_component(&self) -> Result<(), Failure> {
        if self.verified.get() {
            return Ok(());
        }
        let file = self.trust.file(&self.dir, &self.path, COMPONENT)?;
        let digest = receipt::digest_of(file).map_err(|error| {
            Failure::io(format_args!("reading {}", self.path.join(COMPONENT).display()), &error)
        })?;
        self.same(COMPONENT, &digest, &self.receipt.digests.component)?;
        self.verified.set(true);
        Ok(())
    }

    fn trusting(path: &Path, trust: Trust) -> Result<Self, Failure> {
        Self::within(trust.directory(path)?, path, trust)
    }

    fn within(dir: OwnedFd, path: &Path, trust: Trust) -> Result<Self, Failure> {
        let bytes = trust.read(&dir, path, RECEIPT, MAX_RECEIPT)?;
        let receipt = Receipt::parse(&bytes).map_err(|mistake| {
            let file = path.join(RECEIPT);
            let message = format!("{} cannot be used: {mistake}; {REMEDY}", file.display());
            Failure::new(Code::FailedPrecondition, "receipt-invalid", message)
        })?;
        let grants = trust.read(&dir, path, GRANTS, MAX_GRANTS)?;
        let grants_text = String::from_utf8(grants).map_err(|_| {
            let file = path.join(GRANTS);
            let message = format!("{} is not valid UTF-8; {REMEDY}", file.display());
            Failure::new(Code::FailedPrecondition, "file-changed", message)
        })?;
        let (driver, id) = (receipt.driver.clone(), receipt::id_of(&bytes));
        Ok(Self {
            dir,
            trust,
            path: path.to_owned(),
            id,
            driver,
            receipt,
            grants_text,
            engine: None,
            verified: Cell::new(false),
            _in_use: None,
        })
    }

    fn checked(mut self, expected_engine: &str) -> Result<Self, Failure> {
        let named = self.path.file_name().and_then(|name| name.to_str());
        if named.and_then(|name| name.strip_prefix('.')) != Some(&self.id) {
            let file = self.path.join(RECEIPT);
            let message = format!("{} was changed after installation; {REMEDY}", file.display());
            return Err(Failure::new(Code::FailedPrecondition, "file-changed", message));
        }
        let grants = receipt::digest(self.grants_text.as_bytes());
        self.same(GRANTS, &grants, &self.receipt.digests.grants)?;
        // kubelet goes by the directory's name, and so do the paths that it passes.
        if driver_of(&self.path).as_ref() != Some(&self.driver) {
            let message = format!(
                "{} is not in a directory {} though it was installed as {}; {REMEDY}",
                self.path.display(),
                self.driver.tilde(),
                self.driver,
            );
            return Err(Failure::new(Code::FailedPrecondition, "driver-name", message));
        }
        self.engine = Some(expected_engine.to_owned());
        Ok(self)
    }

    fn same(&self, name: &str, found: &str, installed: &str) -> Result<(), Failure> {
        if found == installed {
            return Ok(());
        }
        let file = self.path.join(name);
        let message = format!("{} was changed after installation; {REMEDY}", file.display());
        Err(Failure::new(Code::FailedPrecondition, "file-changed", message))
    }
}

/// The driver that this process was installed as, by its place alone: for messages when nothing
/// else can be read.
pub fn own_driver_name() -> Option<DriverName> {
    driver_of(&own_directory().ok()?)
}

/// Tells whoever would remove the version that there is a call in it: a shared lock, where they
/// take an exclusive one. Never waits.
fn use_version(dir: &OwnedFd) -> Result<Option<OwnedFd>, Failure> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(dir, LOCK, flags, Mode::empty()) {
        // The version is of before there was such a file, and then its directory is what is locked.
        // Or it is gone, which the first file tells.
        Err(Errno::NOENT) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(dir, ".", flags, Mode::empty())
        }
        opened => opened,
    };
    // Another user than root, as in kube-controller-manager, is seen by what it runs alone.
    let Ok(lock) = opened else { return Ok(None) };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => Err(removed()),
        // A filesystem without locks. That this process runs is seen all the same.
        Err(_) => Ok(None),
    }
}

/// Whether this process's executable has been removed since it was started.
fn was_removed() -> bool {
    let link = std::fs::read_link(OWN_EXECUTABLE);
    link.is_ok_and(|path| path.as_os_str().as_bytes().ends_with(b" (deleted)"))
}

fn removed() -> Failure {
    let message = "the driver was removed or replaced while the call began; nothing was done, and \
                   kubelet will try again";
    Failure::new(Code::Aborted, "version-removed", message)
}

/// The directory of this process's executable. The kernel has resolved all symbolic links in
/// it: the driver's own and `current`.
fn own_directory() -> Result<PathBuf, Failure> {
    if let Some(version) = observe::version() {
        return Ok(version);
    }
    let executable = std::fs::read_link(OWN_EXECUTABLE).map_err(|error| {
        Failure::io(
            format_args!("reading {OWN_EXECUTABLE}, for which /proc has to be mounted"),
            &error,
        )
    })?;
    let directory = executable.parent().unwrap_or(Path::new("/"));
    Ok(directory.to_owned())
}

/// `<vendor>~<driver>` of `<vendor>~<driver>/.versions/.<id>`.
fn driver_of(version: &Path) -> Option<DriverName> {
    version.parent()?.parent()?.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests;
