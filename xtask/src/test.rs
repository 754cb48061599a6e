//! `cargo xtask test`: builds what is shipped, the hostile guests, a driver with crash points and one
//! that is broken out of, then runs every test of the workspace against it, and libFuzzer for a moment.
//!
//! Tests find what was built by the variables below and never build anything themselves. With
//! `--vm`, or under CI, those that need a kernel of their own follow in a virtual machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::ensure;

use crate::cargo::Workspace;
use crate::dist;
use crate::fuzz;
use crate::packages::{self, Program};
use crate::steps::step;
use crate::vm;

/// The directory with `wasmount`, `wasmount-driver` and `plugins/`.
const DIST: &str = "WASMOUNT_DIST";
/// The directory with every component, those of the tests included.
const COMPONENTS: &str = "WASMOUNT_COMPONENTS";
/// A `wasmount-driver` that can be told to die at a named crash point.
const CRASH_DRIVER: &str = "WASMOUNT_CRASH_DRIVER";
/// A `wasmount-driver` that can be told to run native code in the component's place.
const BREAKOUT_DRIVER: &str = "WASMOUNT_BREAKOUT_DRIVER";

/// What tests run besides what is built here.
const TOOLS: &[Program] = &[Program("losetup", "mount"), Program("jq", "jq")];

/// What makes the contents that are never to be overwritten, each by the tool that people use. The
/// tools of MD and LVM2 are not among them: they bring services along and look at all disks.
const FOREIGN_TOOLS: &[Program] = &[
    Program("mkfs.minix", "util-linux"),
    Program("mkswap", "util-linux"),
    Program("sfdisk", "fdisk"),
    Program("mkfs.vfat", "dosfstools"),
    Program("mkfs.ntfs", "ntfs-3g"),
    Program("mkfs.f2fs", "f2fs-tools"),
    Program("cryptsetup", "cryptsetup-bin"),
    Program("mksquashfs", "squashfs-tools"),
    Program("genisoimage", "genisoimage"),
];

/// What shows the page of `wasmount audit`, with letters to show it in.
const BROWSER: &[Program] = &[Program("chromium", "chromium fonts-dejavu-core")];

/// The command. Arguments but `--vm` go to `cargo test` as they are.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (vm, arguments) = match arguments {
        [first, rest @ ..] if first == "--vm" => (true, rest),
        all => (std::env::var_os("CI").is_some_and(|ci| ci == "true"), all),
    };
    let workspace = Workspace::discover()?;
    let crash_driver = build(&workspace)?;
    step("running the tests", || {
        // What cargo test prints is this command's own result, and belongs on stdout.
        let mut test = cargo_test(&workspace, &crash_driver);
        let status = test.args(arguments).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "cargo test says so above");
        Ok(())
    })?;
    // Whoever names tests wants those.
    if arguments.is_empty() {
        fuzz::smoke(&workspace)?;
    }
    if vm { vm::run(&workspace, &crash_driver) } else { Ok(()) }
}

/// Installs and builds all that tests need. Returns the driver with crash points.
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    if packages::is_root() {
        packages::ensure(packages::EXT4_TOOLS, "testing as root")?;
        packages::ensure(packages::OTHER_TOOLS, "testing as root")?;
        packages::ensure(TOOLS, "testing as root")?;
        packages::ensure(FOREIGN_TOOLS, "testing as root")?;
        packages::ensure(BROWSER, "testing as root")?;
    }
    // First, since the shipped driver is then what is left where cargo puts all.
    let crash_driver = dist::build_crash_driver(workspace)?;
    dist::build_breakout_driver(workspace)?;
    dist::build(workspace)?;
    Ok(crash_driver)
}

/// `cargo test`, with what was built in its environment.
pub(crate) fn cargo_test(workspace: &Workspace, crash_driver: &Path) -> Command {
    let mut test = workspace.build("test", "release");
    test.env(DIST, workspace.dist());
    test.env(COMPONENTS, workspace.components());
    test.env(CRASH_DRIVER, crash_driver);
    test.env(BREAKOUT_DRIVER, dist::driver_with(workspace, "breakout"));
    test
}
