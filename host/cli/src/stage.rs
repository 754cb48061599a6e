//! Puts a finished version of a driver where kubelet finds it, all of it or nothing of it.
//!
//! Everything is written and made durable under names that kubelet ignores; one rename(2) then
//! makes it visible, so that kubelet sees one `init` and no half-written driver. What a version
//! consists of, and whether it is any good, is not decided here.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::{COMPONENT, GRANTS, IMAGE, LOCK, RECEIPT, Receipt};
use wasmount_core::call::DriverName;

use crate::layout::{self, DriverDir, Lock, PluginDir, VersionId};
use crate::{remove, usage};

/// How many versions are kept besides the one in use, to go back to.
pub const KEPT_VERSIONS: usize = 2;

/// The files of a version, as they are to lie there.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is the file of that name")]
pub struct Version<'a> {
    pub driver: &'a [u8],
    pub component: &'a [u8],
    pub image: &'a [u8],
    pub grants: &'a [u8],
    pub receipt: &'a [u8],
    pub signature: Option<&'a [u8]>,
}

impl Version<'_> {
    /// Name, contents and mode of each file.
    fn files(&self) -> Vec<(&'static str, &[u8], u32)> {
        let mut files = vec![
            (layout::DRIVER, self.driver, 0o755),
            (COMPONENT, self.component, 0o644),
            (IMAGE, self.image, 0o644),
            (GRANTS, self.grants, 0o644),
            (RECEIPT, self.receipt, 0o644),
            (LOCK, b"", 0o600),
        ];
        files.extend(self.signature.map(|signature| (layout::SIGNATURE, signature, 0o644)));
        files
    }
}

/// What [`install`] did.
#[derive(Debug)]
pub struct Staged {
    /// The version that is now in use.
    pub version: VersionId,
    /// The driver's directory.
    pub directory: PathBuf,
    /// The version that was in use before.
    pub previous: Option<VersionId>,
    /// What could not be tidied up. The installation stands nevertheless.
    pub leftovers: Vec<String>,
}

/// Installs a version of a driver, or upgrades the driver to it.
///
/// `accept` is given the version's directory when it is complete and before it is in use, and
/// refuses it by an error. After any error the driver is what it was before, unless it was the
/// plugin directory that could not be made durable: then the new version is in use.
pub fn install(
    plugins: &PluginDir,
    _lock: &Lock,
    driver: &DriverName,
    version: &Version<'_>,
    accept: &dyn Fn(&Path) -> Result<()>,
) -> Result<Staged> {
    // Under the lock nobody else is staging: what lies here was left by one who was killed.
    let mut leftovers = remove::abandoned_drivers(plugins, driver);
    let target = plugins.driver(driver);
    let mut staged = match State::of(&target)? {
        State::Vacant => create(plugins, driver, &target, version, accept)?,
        State::Ours => upgrade(&target, version, accept)?,
    };
    leftovers.append(&mut staged.leftovers);
    Ok(Staged { leftovers, ..staged })
}

/// What is at a driver's place now.
enum State {
    /// Nothing, or an empty directory.
    Vacant,
    /// A driver that this program installed, perhaps incompletely removed.
    Ours,
}

impl State {
    fn of(driver: &DriverDir) -> Result<Self> {
        let path = driver.path();
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::Vacant),
            other => other.with_context(|| format!("examining {}", path.display()))?,
        };
        if !metadata.is_dir() {
            bail!("{} is in the way: it is not a directory; move it away", path.display());
        }
        if driver.is_ours() {
            let executable = driver.executable();
            return match fs::read_link(&executable) {
                Ok(target) if target == Path::new(layout::EXECUTABLE_TARGET) => Ok(Self::Ours),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::Ours),
                _ => bail!(
                    "{} is not the link to {} that wasmount made; move it away",
                    executable.display(),
                    layout::EXECUTABLE_TARGET
                ),
            };
        }
        let mut entries =
            fs::read_dir(path).with_context(|| format!("examining {}", path.display()))?;
        if entries.next().is_some() {
            bail!(
                "{} holds a driver that wasmount did not install; move it out of the plugin \
                 directory",
                path.display()
            );
        }
        Ok(Self::Vacant)
    }
}

/// A new driver: its whole directory is built aside, under the name that it is to have, since a
/// version is examined by its path; then it is renamed into place.
fn create(
    plugins: &PluginDir,
    driver: &DriverName,
    target: &DriverDir,
    version: &Version<'_>,
    accept: &dyn Fn(&Path) -> Result<()>,
) -> Result<Staged> {
    let staging = plugins.path().join(remove::staging_name(&driver.tilde()));
    // Dropped on every way out, and then empty if all went well.
    let _undo = Undo::new(staging.clone(), remove::staging);
    make_directory(&staging)?;
    let aside = DriverDir::new(staging.join(driver.tilde()), driver.name().to_owned());
    make_directory(aside.path())?;
    make_directory(&aside.versions())?;
    let id = VersionId::of_receipt(version.receipt);
    let directory = aside.version(&id);
    write_version(&directory, version)?;
    sync_directory(&aside.versions())?;
    make_symlink(&current_target(&id), &aside.current())?;
    make_symlink(Path::new(layout::EXECUTABLE_TARGET), &aside.executable())?;
    sync_directory(aside.path())?;
    accept(&directory)?;
    fs::rename(aside.path(), target.path())
        .with_context(|| format!("putting {} into place", target.path().display()))?;
    sync_directory(plugins.path())?;
    Ok(Staged {
        version: id,
        directory: target.path().to_owned(),
        previous: None,
        leftovers: Vec::new(),
    })
}

/// An existing driver: the version is built aside in it, and `current` swapped.
fn upgrade(
    target: &DriverDir,
    version: &Version<'_>,
    accept: &dyn Fn(&Path) -> Result<()>,
) -> Result<Staged> {
    let mut leftovers = remove::abandoned_versions(target);
    let previous = target.current_version().context("reading which version is in use")?;
    let id = VersionId::of_receipt(version.receipt);
    let directory = target.version(&id);

    let aside = target.versions().join(remove::staging_name(remove::NEW_VERSION));
    let mut undo = Undo::new(aside.clone(), remove::version);
    write_version(&aside, version)?;
    set_last_use(&aside, layout::never())?;
    let is_new = place_version(&aside, &directory, version)?;
    undo.disarm();
    // A version that is in use already stays, whatever is thought of it.
    let mut undo = Undo::new(directory.clone(), remove::version);
    if !is_new || previous.as_ref() == Some(&id) {
        undo.disarm();
    }
    sync_directory(&target.versions())?;
    accept(&directory)?;
    // If this process is killed, or the last was, it is still known of each version whether it was
    // ever in use: of this one from when it is, of the one before it at the latest now.
    if let Some(before) = previous.as_ref().map(|id| target.version(id)).filter(|it| it.exists()) {
        set_last_use(&before, SystemTime::now())?;
    }
    replace_symlink(&current_target(&id), &target.current())?;
    undo.disarm();
    // Absent only while the driver is closed, or after an uninstallation that was cut short: so it
    // comes last, when it leads somewhere. Present, it is never touched: touching it would be a
    // second event to kubelet.
    if fs::symlink_metadata(target.executable()).is_err() {
        replace_symlink(Path::new(layout::EXECUTABLE_TARGET), &target.executable())?;
    }
    sync_directory(target.path())?;
    let used = set_last_use(&directory, SystemTime::now());
    leftovers.extend(used.err().map(|error| format!("{error:#}")));
    leftovers.append(&mut prune(target, &id, previous.as_ref()));
    Ok(Staged { version: id, directory: target.path().to_owned(), previous, leftovers })
}

/// Renames a finished version to its name, and whether it is there only now. There can be one of
/// that name already if the same receipt was installed within the same second: then that one
/// stays, since calls may be reading it. If it was tampered with, the new files take its place in
/// one step.
fn place_version(aside: &Path, directory: &Path, version: &Version<'_>) -> Result<bool> {
    let what = || format!("putting {} into place", directory.display());
    if fs::symlink_metadata(directory).is_err() {
        return fs::rename(aside, directory).map(|()| true).with_context(what);
    }
    if is_whole(directory, version) {
        return remove::version(aside).map(|()| false).with_context(what);
    }
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, aside, rustix::fs::CWD, directory, flags)
        .with_context(what)?;
    remove::version(aside).map(|()| true).with_context(what)
}

/// Whether a directory is what [`write_version`] makes of a version.
fn is_whole(directory: &Path, version: &Version<'_>) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let is_ours = |path: &Path, mode: u32| {
        fs::symlink_metadata(path).is_ok_and(|metadata| {
            metadata.uid() == user
                && metadata.mode() & 0o7777 == mode
                && (metadata.is_file() || path == directory)
        })
    };
    is_ours(directory, 0o755)
        && version.files().iter().all(|(name, contents, mode)| {
            let path = directory.join(name);
            is_ours(&path, *mode) && fs::read(&path).is_ok_and(|found| found == *contents)
        })
}

/// Removes all versions but the one in use, the one before it, and, up to [`KEPT_VERSIONS`], the
/// newest others: first those with another program, since a change of the grants must not take
/// away what an upgrade is rolled back to. What is left of a version whose removal was cut short is
/// none to keep. One that a call still runs stays until the next time.
/// Returns what could not be removed.
fn prune(driver: &DriverDir, current: &VersionId, previous: Option<&VersionId>) -> Vec<String> {
    let Ok(mut others) = driver.versions_but(current) else {
        return Vec::new();
    };
    let in_use = program(&driver.version(current));
    others.sort_by_cached_key(|id| {
        let program = program(&driver.version(id));
        (program.is_none(), Some(id) != previous, program == in_use)
    });
    let removed = others.iter().skip(KEPT_VERSIONS).map(|id| {
        let directory = driver.version(id);
        match usage::vacate(&directory)? {
            Some(_vacant) => remove::version(&directory),
            None => Ok(()),
        }
    });
    removed.filter_map(|result| result.err().map(|error| format!("{error:#}"))).collect()
}

/// Which program a version has, by the digests of driver and component; none if its receipt
/// cannot be read.
pub fn program(version: &Path) -> Option<[String; 2]> {
    let receipt = Receipt::parse(&fs::read(version.join(RECEIPT)).ok()?).ok()?;
    Some([receipt.digests.driver, receipt.digests.component])
}

fn current_target(id: &VersionId) -> PathBuf {
    Path::new(layout::VERSIONS).join(id.directory())
}

fn write_version(directory: &Path, version: &Version<'_>) -> Result<()> {
    make_directory(directory)?;
    for (name, contents, mode) in version.files() {
        write_file(&directory.join(name), contents, mode)?;
    }
    sync_directory(directory)
}

/// Modes are set explicitly: kube-controller-manager reads the files as another user, whatever
/// the umask of the operator's shell is.
fn write_file(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(contents)?;
        file.sync_all()
    };
    write().with_context(|| format!("writing {}", path.display()))
}

fn make_directory(path: &Path) -> Result<()> {
    let make = || {
        DirBuilder::new().mode(0o755).create(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    };
    make().with_context(|| format!("making {}", path.display()))
}

fn make_symlink(target: &Path, path: &Path) -> Result<()> {
    symlink(target, path).with_context(|| format!("making {}", path.display()))
}

/// Makes `path` a link to `target` in one step, whatever it was.
fn replace_symlink(target: &Path, path: &Path) -> Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).expect("the names are ours");
    let aside = path.with_file_name(remove::staging_name(name));
    make_symlink(target, &aside)?;
    fs::rename(&aside, path).with_context(|| {
        let _ = fs::remove_file(&aside);
        format!("putting {} into place", path.display())
    })
}

/// When a version was last in use, as its directory's time says.
fn set_last_use(version: &Path, time: SystemTime) -> Result<()> {
    let set = || {
        let directory = File::from(layout::open_directory(version)?);
        directory.set_modified(time)?;
        directory.sync_all()
    };
    set().with_context(|| format!("setting the time of {}", version.display()))
}

fn sync_directory(path: &Path) -> Result<()> {
    let sync = || File::from(layout::open_directory(path)?).sync_all();
    sync().with_context(|| format!("making {} durable", path.display()))
}

/// Removes what was staged unless it came into use.
struct Undo {
    path: Option<PathBuf>,
    remove: fn(&Path) -> Result<()>,
}

impl Undo {
    fn new(path: PathBuf, remove: fn(&Path) -> Result<()>) -> Self {
        Self { path: Some(path), remove }
    }

    fn disarm(&mut self) {
        self.path = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // What remains is swept up by the next installation; the error that led here counts.
            let _ = (self.remove)(&path);
        }
    }
}
