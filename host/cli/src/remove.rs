//! Takes away what `stage` put there: file by file, each by a name that `stage` gives, and never
//! anything else. A directory that holds something unknown stays, and the error names it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::{LOCK, RECEIPT};
use wasmount_core::call::DriverName;

use crate::layout::{self, DriverDir, PluginDir, VersionId};

/// What a version that is being built is called, in place of its id.
pub(crate) const NEW_VERSION: &str = "new";

/// The name under which something is built before it is renamed to `name`.
pub(crate) fn staging_name(name: &str) -> String {
    format!(".{name}.tmp-{}", std::process::id())
}

/// Removes a version's directory. One that is not there is removed already.
pub(crate) fn version(directory: &Path) -> Result<()> {
    let mut plan = Plan::default();
    plan.version(directory)?;
    plan.carry_out()
}

/// Removes a driver's directory, either all of it or, if it holds something unknown, nothing.
/// One that is not there is removed already.
///
/// What kubelet executes goes first, so that nothing is called that is half gone, and the
/// directory last. It is not renamed away beforehand: kubelet takes a renamed directory for a
/// changed driver, and calls its `init` in vain ever after.
pub(crate) fn driver(directory: &Path) -> Result<()> {
    let mut plan = Plan::default();
    plan.driver(directory)?;
    plan.carry_out()
}

/// Fails if [`driver`] would, because of something unknown.
pub(crate) fn check_driver(directory: &Path) -> Result<()> {
    let mut plan = Plan::default();
    plan.driver(directory)?;
    plan.check()
}

/// Removes a directory in which a driver was staged, with what may still be of the driver.
pub(crate) fn staging(directory: &Path) -> Result<()> {
    let mut plan = Plan::default();
    for (path, name, file_type) in entries(directory)? {
        if file_type.is_dir() && name.parse::<DriverName>().is_ok() {
            plan.driver(&path)?;
        } else {
            plan.unknown.push(path);
        }
    }
    plan.steps.push(Step::Directory(directory.to_owned()));
    plan.carry_out()
}

/// Removes what killed installations of this driver left in the plugin directory. Returns what
/// could not be removed.
pub(crate) fn abandoned_drivers(plugins: &PluginDir, driver: &DriverName) -> Vec<String> {
    abandoned(plugins.path(), &driver.tilde(), staging)
}

/// Removes what killed upgrades left in the driver's directory, versions that were complete and
/// have never been in use among it. Returns what could not be removed.
pub(crate) fn abandoned_versions(driver: &DriverDir) -> Vec<String> {
    let link =
        |path: &Path| fs::remove_file(path).with_context(|| format!("removing {}", path.display()));
    let mut failed = abandoned(&driver.versions(), NEW_VERSION, version);
    failed.append(&mut abandoned(driver.path(), layout::CURRENT, link));
    failed.append(&mut abandoned(driver.path(), driver.executable_name(), link));
    let unused = driver.unused_versions().unwrap_or_default();
    let removed = unused.iter().map(|id| version(&driver.version(id)));
    failed.extend(removed.filter_map(Result::err).map(|error| format!("{error:#}")));
    failed
}

fn abandoned(directory: &Path, name: &str, remove: impl Fn(&Path) -> Result<()>) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(|found| is_staging(found, name)))
        .filter_map(|entry| remove(&entry.path()).err())
        .map(|error| format!("{error:#}"))
        .collect()
}

/// Whether [`staging_name`] gives this name in some process.
fn is_staging(found: &str, name: &str) -> bool {
    found
        .strip_prefix('.')
        .and_then(|rest| rest.strip_prefix(name))
        .and_then(|rest| rest.strip_prefix(".tmp-"))
        .is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|c| c.is_ascii_digit()))
}

/// What is to be removed, in this order, and what stands in the way.
#[derive(Default)]
struct Plan {
    steps: Vec<Step>,
    unknown: Vec<PathBuf>,
}

enum Step {
    File(PathBuf),
    Directory(PathBuf),
}

impl Plan {
    fn driver(&mut self, directory: &Path) -> Result<()> {
        let mut versions = None;
        let mut links = Vec::new();
        for (path, name, file_type) in entries(directory)? {
            if name == layout::VERSIONS && file_type.is_dir() {
                versions = Some(path);
            } else if file_type.is_symlink()
                && fs::read_link(&path)
                    .is_ok_and(|target| target == Path::new(layout::EXECUTABLE_TARGET))
            {
                self.steps.push(Step::File(path));
            } else if file_type.is_symlink()
                && (name == layout::CURRENT || is_staging(&name, layout::CURRENT))
            {
                links.push(Step::File(path));
            } else {
                self.unknown.push(path);
            }
        }
        self.steps.append(&mut links);
        if let Some(versions) = versions {
            for (path, name, file_type) in entries(&versions)? {
                let ours =
                    VersionId::from_directory(&name).is_some() || is_staging(&name, NEW_VERSION);
                if ours && file_type.is_dir() {
                    self.version(&path)?;
                } else {
                    self.unknown.push(path);
                }
            }
            self.steps.push(Step::Directory(versions));
        }
        self.steps.push(Step::Directory(directory.to_owned()));
        Ok(())
    }

    fn version(&mut self, directory: &Path) -> Result<()> {
        let (mut ours, unknown): (Vec<_>, Vec<_>) =
            entries(directory)?.into_iter().partition(|(_, name, file_type)| {
                layout::VERSION_FILES.contains(&name.as_str()) && !file_type.is_dir()
            });
        self.unknown.extend(unknown.into_iter().map(|(path, ..)| path));
        // Without its receipt, nobody takes what is left for a version. The lock keeps calls out for
        // as long as there is anything to find.
        ours.sort_by_key(|(_, name, _)| (name != RECEIPT, name == LOCK));
        self.steps.extend(ours.into_iter().map(|(path, ..)| Step::File(path)));
        self.steps.push(Step::Directory(directory.to_owned()));
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let Some(first) = self.unknown.first() else {
            return Ok(());
        };
        let others = match self.unknown.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        bail!("{}{others} is not of wasmount's making; move it away", first.display());
    }

    fn carry_out(self) -> Result<()> {
        self.check()?;
        for step in &self.steps {
            let (path, removed) = match step {
                Step::File(path) => (path, fs::remove_file(path)),
                Step::Directory(path) => (path, fs::remove_dir(path)),
            };
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.with_context(|| format!("removing {}", path.display()))?,
            }
        }
        Ok(())
    }
}

/// Path, name and type of what is in a directory, sorted; nothing if there is no such directory.
/// A name that is not UTF-8 is given with replacement characters, and so is none of ours.
fn entries(directory: &Path) -> Result<Vec<(PathBuf, String, fs::FileType)>> {
    let read = || -> io::Result<Vec<_>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push((entry.path(), name, entry.file_type()?));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.with_context(|| format!("reading {}", directory.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stops_being_one_first_and_keeps_calls_out_until_last() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in layout::VERSION_FILES {
            fs::write(directory.path().join(name), "").expect("written");
        }
        let mut plan = Plan::default();
        plan.version(directory.path()).expect("it can be read");
        let names: Vec<_> = plan
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::File(path) => path.file_name()?.to_str(),
                Step::Directory(_) => None,
            })
            .collect();
        assert_eq!((names.first(), names.last()), (Some(&RECEIPT), Some(&LOCK)));
        assert_eq!(names.len(), layout::VERSION_FILES.len());
    }
}
