//! Debian's kernel for virtual machines: unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::cargo;

/// A kernel and its modules.
pub(super) struct Kernel {
    /// What is booted.
    pub(super) image: PathBuf,
    /// Where `lib/modules` is.
    pub(super) root: PathBuf,
    /// The release, as in `lib/modules/RELEASE`.
    pub(super) release: String,
}

impl Kernel {
    /// The kernel that is in the directory already, or the one that Debian has now.
    pub(super) fn fetch(directory: &Path) -> anyhow::Result<Kernel> {
        let root = directory.join("kernel");
        if !root.is_dir() {
            let unpacked = tempfile::tempdir_in(directory)?;
            download(unpacked.path())?;
            fs::rename(unpacked.path().join("root"), &root)?;
        }
        let mut releases = fs::read_dir(root.join("lib/modules"))?;
        let release = releases.next().context("the kernel package has no modules")??.file_name();
        let release = release.into_string().ok().context("a kernel release that is not text")?;
        Ok(Kernel { image: root.join("boot").join(format!("vmlinuz-{release}")), root, release })
    }
}

fn download(into: &Path) -> anyhow::Result<()> {
    let name = match package() {
        Ok(name) => name,
        // A machine that has never asked Debian knows no packages.
        Err(_) => {
            cargo::run(Command::new("apt-get").args(["-qq", "update"]))?;
            package()?
        }
    };
    let mut apt_get = Command::new("apt-get");
    // Unpacked by root into its own directory, it needs no other user to fetch it.
    apt_get.args(["-qq", "-o", "APT::Sandbox::User=root", "download", &name]).current_dir(into);
    cargo::run(&mut apt_get).context("Debian's kernel package cannot be downloaded")?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let package = fs::read_dir(into)?.flatten().map(|entry| entry.path()).find(is_package);
    let package = package.context("apt-get download left no package")?;
    cargo::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(into.join("root")))
}

/// What the package that always names the newest kernel depends on.
fn package() -> anyhow::Result<String> {
    let mut depends = Command::new("apt-cache");
    depends.args(["depends", "--important", "linux-image-cloud-amd64"]);
    let depends = String::from_utf8(cargo::output(&mut depends)?)?;
    let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    Ok(format!("linux-image-{}", name.context("Debian's cloud kernel is not to be had here")?))
}
