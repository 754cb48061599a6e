//! Programs that the machine must have, and the Debian packages that bring them.
//!
//! On Debian as root they are installed; anywhere else the error says what to install. Nothing
//! is installed that is there already.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::cargo;
use crate::steps::step;

/// A program by name and the Debian packages, separated by spaces, that bring it.
pub(crate) struct Program(pub(crate) &'static str, pub(crate) &'static str);

/// What the driver runs on a node to make, check and grow ext4.
pub(crate) const EXT4_TOOLS: &[Program] = &[
    Program("mkfs.ext4", "e2fsprogs"),
    Program("e2fsck", "e2fsprogs"),
    Program("resize2fs", "e2fsprogs"),
];

/// What it runs to make xfs and btrfs; the kernel does the rest.
pub(crate) const OTHER_TOOLS: &[Program] =
    &[Program("mkfs.xfs", "xfsprogs"), Program("mkfs.btrfs", "btrfs-progs")];

/// Sees to it that the programs are there.
pub(crate) fn ensure(programs: &[Program], what_for: &str) -> anyhow::Result<()> {
    let mut missing: Vec<&str> = programs
        .iter()
        .filter(|Program(name, _)| find(name).is_none())
        .flat_map(|Program(_, packages)| packages.split(" "))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() { Ok(()) } else { install(&missing, what_for) }
}

/// Installs Debian packages, or says that somebody else has to.
pub(crate) fn install(packages: &[&str], what_for: &str) -> anyhow::Result<()> {
    let list = packages.join(" ");
    if !can_install() {
        bail!(
            "{what_for} needs programs of the Debian packages {list}: install them or their like, \
             or run this as root on Debian"
        );
    }
    step(&format!("installing {list}"), || {
        cargo::run(apt_get().args(["-qq", "update"]))?;
        cargo::run(
            apt_get().args(["-qq", "install", "-y", "--no-install-recommends"]).args(packages),
        )
    })
}

/// Whether [`install`] can do anything here.
pub(crate) fn can_install() -> bool {
    is_root() && Path::new("/etc/debian_version").exists() && find("apt-get").is_some()
}

/// Whether this process may mount.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where a program is: PATH first, then where administration tools are, which an ordinary
/// user's PATH often lacks.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

fn apt_get() -> Command {
    let mut apt_get = Command::new("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}
