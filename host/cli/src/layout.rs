//! How a driver lies in the plugin directory: the names of its parts, and nothing that changes them.
//!
//! ```text
//! <plugin-dir>/<vendor>~<driver>/
//!   <driver> -> current/wasmount-driver
//!   current -> .versions/.<id>
//!   .versions/.<id>/{wasmount-driver,component.wasm,component.cwasm,grants.toml,receipt.json}
//!   .versions/.<id>/component.wasm.minisig    of a component that is signed
//!   .versions/.<id>/.lock                     which calls hold; of no version of before there was one
//! <plugin-dir>/.wasmount.lock                 while `wasmount` changes something
//! ```
//!
//! kubelet watches this tree and runs `init` for whatever happens to a name in it, unless the
//! name begins with a dot. Hence the dots: what is not finished, or is finished with, has one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use rustix::fs::FlockOperation;
use rustix::io::{Errno, retry_on_intr};
use wasmount_core::bundle::{COMPONENT, GRANTS, IMAGE, LOCK, RECEIPT, receipt};
use wasmount_core::call::DriverName;

/// Where kubelet looks for drivers if it is not told otherwise: upstream, and on OpenShift.
pub const PLUGIN_DIRS: [&str; 2] = [
    "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
    "/etc/kubernetes/kubelet-plugins/volume/exec",
];

/// The driver program.
pub const DRIVER: &str = "wasmount-driver";
/// The signature that the component came with, if it came with one. Nothing that kubelet calls
/// looks at it.
pub const SIGNATURE: &str = "component.wasm.minisig";
/// All files of a version, and no others. The last two are not of every version.
pub const VERSION_FILES: [&str; 7] = [DRIVER, COMPONENT, IMAGE, GRANTS, RECEIPT, SIGNATURE, LOCK];

/// The time of the directory of a version that has never been in use. Of others it is when they were
/// known to be. No file has it by chance: images that are built reproducibly have all at the epoch,
/// or at the second after it.
pub fn never() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

/// The symlink to the version in use.
pub const CURRENT: &str = "current";
/// The directory of all versions.
pub const VERSIONS: &str = ".versions";
/// What `wasmount` locks in the plugin directory. The dot is for kubelet to ignore it.
const PLUGINS_LOCK: &str = ".wasmount.lock";

/// What the symlink that kubelet executes points to.
pub const EXECUTABLE_TARGET: &str = "current/wasmount-driver";

/// kubelet's plugin directory.
#[derive(Clone, Debug)]
pub struct PluginDir(PathBuf);

impl PluginDir {
    /// The one that was named, or the first of [`PLUGIN_DIRS`] that exists. It is never created:
    /// a directory that kubelet does not look into would make a driver that nobody calls.
    pub fn find(named: Option<&Path>) -> Result<Self> {
        let Some(path) = named else {
            return match PLUGIN_DIRS.iter().map(Path::new).find(|path| path.is_dir()) {
                Some(path) => Self::find(Some(path)),
                None => bail!(
                    "no plugin directory: neither {} nor {} exists; name with --plugin-dir \
                     the directory that kubelet's --volume-plugin-dir names",
                    PLUGIN_DIRS[0],
                    PLUGIN_DIRS[1],
                ),
            };
        };
        // The driver's own path has no links in it, as the kernel tells it; checking the files
        // here is to go by the same path. And messages mean the same wherever they are read.
        let path = fs::canonicalize(path)
            .with_context(|| format!("plugin directory {} cannot be used", path.display()))?;
        if !path.is_dir() {
            bail!("plugin directory {} is not a directory", path.display());
        }
        Ok(Self(path))
    }

    /// Its absolute path, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The directory that this driver has or would have.
    pub fn driver(&self, driver: &DriverName) -> DriverDir {
        DriverDir::new(self.0.join(driver.tilde()), driver.name().to_owned())
    }

    /// The drivers in it that wasmount installed, sorted by name.
    pub fn drivers(&self) -> Result<Vec<DriverName>> {
        let reading = || format!("reading {}", self.0.display());
        let mut drivers = Vec::new();
        for entry in fs::read_dir(&self.0).with_context(reading)? {
            let name = entry.with_context(reading)?.file_name();
            // kubelet takes a directory without a tilde for a driver too; wasmount makes none.
            drivers.extend(name.to_str().and_then(|name| name.parse::<DriverName>().ok()));
        }
        drivers.retain(|driver| self.driver(driver).is_ours());
        drivers.sort();
        Ok(drivers)
    }

    /// The directory of a driver that wasmount has installed. An error if it has not.
    pub fn installed(&self, driver: &DriverName) -> Result<DriverDir> {
        let directory = self.driver(driver);
        if !directory.is_ours() {
            bail!(self.lacks(driver));
        }
        Ok(directory)
    }

    /// The installed driver that was named; all of them, if none was.
    pub fn chosen(&self, named: Option<&DriverName>) -> Result<Vec<DriverName>> {
        match named {
            Some(driver) => self.installed(driver).map(|_| vec![driver.clone()]),
            None => self.drivers(),
        }
    }

    /// That a driver is not installed here.
    pub fn lacks(&self, driver: &DriverName) -> String {
        format!("{driver} is not installed in {}: `wasmount list` shows what is", self.0.display())
    }

    /// Makes this process the only `wasmount` that changes the directory, until the value is
    /// dropped. `waiting` is called once if another has to finish first.
    pub fn lock(&self, waiting: impl FnOnce()) -> Result<Lock> {
        let path = self.0.join(PLUGINS_LOCK);
        let what = || format!("locking {}", path.display());
        let mut waiting = Some(waiting);
        loop {
            let file = match open_lock(&path) {
                // What cannot be changed can be looked at.
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                    return Ok(Lock(None));
                }
                file => file.with_context(what)?,
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {
                    waiting.take().into_iter().for_each(|waiting| waiting());
                    retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
                        .with_context(what)?;
                }
                other => other.with_context(what)?,
            }
            // Whoever had it before may have removed it, and then somebody else has another.
            if is_at(&file, &path).with_context(what)? {
                return Ok(Lock(Some((path, file))));
            }
        }
    }
}

/// Opens what is locked, for nobody else but its owner: whoever can open it can keep it locked, and
/// anybody can open the directory.
fn open_lock(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        there => Ok(identity(there?) == identity(file.metadata()?)),
    }
}

/// The right to change a plugin directory, by the file that is locked; none where nothing can be
/// changed. Nothing of it stays.
#[derive(Debug)]
pub struct Lock(Option<(PathBuf, File)>);

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked. One that stays is taken and removed by the next `wasmount`.
        if let Some((path, _file)) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// The directory of one driver.
#[derive(Clone, Debug)]
pub struct DriverDir {
    path: PathBuf,
    executable: String,
}

impl DriverDir {
    /// A driver directory anywhere, such as one that is still being staged.
    pub fn new(path: PathBuf, executable: String) -> Self {
        Self { path, executable }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the symlink that kubelet executes.
    pub fn executable_name(&self) -> &str {
        &self.executable
    }

    /// What kubelet executes.
    pub fn executable(&self) -> PathBuf {
        self.path.join(&self.executable)
    }

    /// The symlink to the version in use.
    pub fn current(&self) -> PathBuf {
        self.path.join(CURRENT)
    }

    /// The directory of all versions.
    pub fn versions(&self) -> PathBuf {
        self.path.join(VERSIONS)
    }

    /// The directory of one version.
    pub fn version(&self, id: &VersionId) -> PathBuf {
        self.versions().join(id.directory())
    }

    /// Which version is in use; none if `current` is missing or is not a link to a version.
    pub fn current_version(&self) -> io::Result<Option<VersionId>> {
        match fs::read_link(self.current()) {
            Ok(target) => Ok(target
                .strip_prefix(VERSIONS)
                .ok()
                .and_then(Path::to_str)
                .and_then(VersionId::from_directory)),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// All versions but one that have been in use, the last that was first.
    pub fn versions_but(&self, present: &VersionId) -> io::Result<Vec<VersionId>> {
        let mut versions = self.dated_versions()?;
        versions.retain(|(time, id)| id != present && *time != never());
        versions.sort_by(|a, b| b.cmp(a));
        Ok(versions.into_iter().map(|(_, id)| id).collect())
    }

    /// The versions that have never been in use.
    pub fn unused_versions(&self) -> io::Result<Vec<VersionId>> {
        // The upgrade to the present one may have been killed before it was noted.
        let current = self.current_version()?;
        let mut versions = self.dated_versions()?;
        versions.retain(|(time, id)| Some(id) != current.as_ref() && *time == never());
        Ok(versions.into_iter().map(|(_, id)| id).collect())
    }

    /// All versions, each with the time of its last use.
    fn dated_versions(&self) -> io::Result<Vec<(SystemTime, VersionId)>> {
        let mut versions = Vec::new();
        for entry in fs::read_dir(self.versions())? {
            let entry = entry?;
            if let Some(id) = entry.file_name().to_str().and_then(VersionId::from_directory) {
                versions.push((entry.metadata()?.modified()?, id));
            }
        }
        Ok(versions)
    }

    /// Whether `wasmount install` made this directory: it holds versions.
    pub fn is_ours(&self) -> bool {
        fs::symlink_metadata(self.versions()).is_ok_and(|metadata| metadata.is_dir())
    }
}

/// The name of a version: the first 16 hexadecimal digits of the SHA-256 of its receipt. As the
/// receipt holds the digests of all else, the name vouches for the whole version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionId(String);

impl VersionId {
    /// The version that has this receipt.
    pub fn of_receipt(receipt: &[u8]) -> Self {
        Self(receipt::id_of(receipt))
    }

    /// Reads the name of a version's directory.
    pub fn from_directory(name: &str) -> Option<Self> {
        let digits = name.strip_prefix('.')?;
        let valid =
            digits.len() == 16 && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(digits.to_owned()))
    }

    /// The name of the version's directory in `.versions`.
    pub fn directory(&self) -> String {
        format!(".{}", self.0)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Opens a directory, for its lock or to make what was done in it durable.
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
