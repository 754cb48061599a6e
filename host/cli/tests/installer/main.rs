//! The installer against real directories, with bytes that only stand for a driver. What such
//! bytes are worth is not tested here.

mod installing;
mod uninstalling;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;
use wasmount_cli::layout::{PluginDir, VersionId};
use wasmount_cli::stage::{self, Staged, Version};
use wasmount_cli::uninstall::uninstall;
use wasmount_cli::usage::InUse;
use wasmount_core::call::DriverName;

/// A plugin directory and a driver's name.
struct Node {
    _directory: TempDir,
    plugins: PluginDir,
    driver: DriverName,
}

impl Node {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let plugins = PluginDir::find(Some(directory.path()))?;
        let driver = "example.com/disk".parse()?;
        Ok(Self { _directory: directory, plugins, driver })
    }

    fn at(&self, path: &str) -> PathBuf {
        self.plugins.path().join(path)
    }

    fn install(&self, receipt: &str) -> Result<Staged> {
        self.install_if(receipt, &|_| Ok(()))
    }

    fn install_if(&self, receipt: &str, accept: &dyn Fn(&Path) -> Result<()>) -> Result<Staged> {
        let version = Version {
            driver: b"driver",
            component: b"component",
            image: b"image",
            grants: b"version = 1\n",
            receipt: receipt.as_bytes(),
            signature: Some(b"signature"),
        };
        let lock = self.plugins.lock(|| {})?;
        stage::install(&self.plugins, &lock, &self.driver, &version, accept)
    }

    fn uninstall(&self, in_use: &dyn Fn() -> Result<Vec<InUse>>) -> Result<()> {
        let lock = self.plugins.lock(|| {})?;
        uninstall(&self.plugins, &lock, &self.driver, in_use, Duration::ZERO, &mut |_| {})
    }

    /// Holds a version as a call does that is not seen by what it runs, such as one of another
    /// container: by a file, or by the directory if that is an older version's, which has no file.
    fn hold(&self, receipt: &str, file: &str) -> Result<File> {
        let version = self.at("example.com~disk/.versions").join(directory_of(receipt));
        let call = File::open(version.join(file))?;
        rustix::fs::flock(&call, rustix::fs::FlockOperation::NonBlockingLockShared)?;
        Ok(call)
    }

    /// Makes a version one of before there was a file to lock.
    fn make_older(&self, receipt: &str) -> Result<()> {
        let version = self.at("example.com~disk/.versions").join(directory_of(receipt));
        Ok(fs::remove_file(version.join(".lock"))?)
    }

    /// Every path below the plugin directory, with its mode or what it links to.
    fn tree(&self) -> Result<BTreeMap<String, String>> {
        fn walk(root: &Path, path: &Path, tree: &mut BTreeMap<String, String>) -> Result<()> {
            for entry in fs::read_dir(path)? {
                let path = entry?.path();
                let metadata = fs::symlink_metadata(&path)?;
                let what = if metadata.is_symlink() {
                    format!("-> {}", fs::read_link(&path)?.display())
                } else {
                    format!("{:o}", metadata.mode())
                };
                tree.insert(path.strip_prefix(root)?.display().to_string(), what);
                if metadata.is_dir() {
                    walk(root, &path, tree)?;
                }
            }
            Ok(())
        }
        let mut tree = BTreeMap::new();
        walk(self.plugins.path(), self.plugins.path(), &mut tree)?;
        Ok(tree)
    }

    /// The versions that are kept.
    fn versions(&self) -> Result<Vec<String>> {
        let mut versions = fs::read_dir(self.at("example.com~disk/.versions"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>>>()?;
        versions.sort();
        Ok(versions)
    }
}

fn directory_of(receipt: &str) -> String {
    VersionId::of_receipt(receipt.as_bytes()).directory()
}

fn expect_error(result: Result<impl Sized>, expected: &str) -> Result<()> {
    match result {
        Ok(_) => bail!("succeeded, instead of: {expected}"),
        Err(error) => assert_eq!(format!("{error:#}"), expected),
    }
    Ok(())
}

fn nobody() -> Result<Vec<InUse>> {
    Ok(Vec::new())
}
