//! `cargo xtask dist`: the two static programs and the plugins, in `target/dist`.
//!
//! Beside each of them is a list of what it was built from ([`sbom`]). Every component is built in one go, those of the tests included; only the plugins and the
//! example are shipped. Nothing is built or copied again that has not changed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::cargo::{self, Workspace};
use crate::steps::step;
use crate::{elf, sbom, wasm_target};

/// What the driver program may weigh, in bytes: it is read from disk on every call.
pub(crate) const DRIVER_SIZE_LIMIT: u64 = 4 << 20;

/// Crates that must never be linked into the process that kubelet execs: a compiler, an async
/// runtime, an argument parser.
const BARRED_FROM_DRIVER: &[&str] = &[
    "cranelift-codegen",
    "wasmtime-internal-cranelift",
    "wasmtime-internal-winch",
    "tokio",
    "clap",
];

/// The command.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    ensure!(arguments.is_empty(), "dist takes no arguments");
    let workspace = Workspace::discover()?;
    build(&workspace)?;
    println!("{}", workspace.dist().display());
    Ok(())
}

/// Builds everything that is shipped, and the components of the tests beside it.
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<()> {
    let dist = workspace.dist();
    // First, so that what is missing is said before minutes of building.
    wasm_target::ensure(workspace)?;
    // Two runs of cargo: in one, the compiler that the CLI needs would become a feature of the
    // driver's engine too.
    step("building wasmount-driver", || {
        cargo::run(workspace.build("build", "driver").args(["--package", "wasmount-driver"]))?;
        check_dependencies(workspace)?;
        ship(&workspace.program("driver", "wasmount-driver"), &dist.join("wasmount-driver"))?;
        itemise(workspace, "wasmount-driver", &workspace.triple, &dist.join("wasmount-driver"))?;
        let size = fs::metadata(dist.join("wasmount-driver"))?.len();
        ensure!(size <= DRIVER_SIZE_LIMIT, "wasmount-driver has {size} bytes, which is too many");
        Ok(())
    })?;
    step("building wasmount (with the compiler: this takes minutes the first time)", || {
        cargo::run(workspace.build("build", "release").args(["--package", "wasmount"]))?;
        ship(&workspace.program("release", "wasmount"), &dist.join("wasmount"))?;
        itemise(workspace, "wasmount", &workspace.triple, &dist.join("wasmount"))
    })?;
    step("building the components", || {
        for (name, component) in wasm_target::build(workspace)? {
            let file = format!("{name}.wasm");
            place(&component, &workspace.components().join(&file), 0o644)?;
            if is_shipped(workspace, &name) {
                let shipped = dist.join("plugins").join(&file);
                place(&component, &shipped, 0o644)?;
                itemise(workspace, &name, wasm_target::TARGET, &shipped)?;
            }
        }
        Ok(())
    })
}

/// Builds the driver that tests kill at named points. It is never shipped.
pub(crate) fn build_crash_driver(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    step("building a driver with crash points", || build_driver_with(workspace, "crash-points"))
}

/// Builds the driver that runs native code in the component's place. It is never shipped.
pub(crate) fn build_breakout_driver(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    step("building a driver that is broken out of", || build_driver_with(workspace, "breakout"))
}

/// Where the driver with a feature is left that only tests need.
pub(crate) fn driver_with(workspace: &Workspace, feature: &str) -> PathBuf {
    workspace.target.join(feature).join("wasmount-driver")
}

fn build_driver_with(workspace: &Workspace, feature: &str) -> anyhow::Result<PathBuf> {
    let mut build = workspace.build("build", "release");
    let feature_of_core = format!("wasmount-core/{feature}");
    build.args(["--package", "wasmount-driver", "--features", &feature_of_core]);
    cargo::run(&mut build)?;
    let driver = driver_with(workspace, feature);
    ship(&workspace.program("release", "wasmount-driver"), &driver)?;
    Ok(driver)
}

/// Test guests misbehave on purpose and stay out of what is shipped.
fn is_shipped(workspace: &Workspace, package: &str) -> bool {
    let tests = workspace.root.join("tests");
    workspace
        .guests
        .iter()
        .any(|guest| guest.package == package && !guest.directory.starts_with(&tests))
}

fn check_dependencies(workspace: &Workspace) -> anyhow::Result<()> {
    let mut tree = cargo::cargo();
    tree.current_dir(&workspace.root);
    tree.args(["tree", "--package", "wasmount-driver", "--target", &workspace.triple]);
    tree.args(["--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let tree = String::from_utf8(cargo::output(&mut tree)?)?;
    for name in tree.lines().filter_map(|line| line.split(' ').next()) {
        let barred = BARRED_FROM_DRIVER.contains(&name);
        ensure!(!barred, "wasmount-driver must not depend on {name}");
    }
    Ok(())
}

/// Copies a program after a look at how it is linked: on a node there may be no libc.
fn ship(program: &Path, to: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(program).with_context(|| format!("{} is missing", program.display()))?;
    ensure!(elf::is_static(&bytes)?, "{} is not static", program.display());
    place(&bytes, to, 0o755)
}

/// Puts the list of what was built into a file beside it.
fn itemise(workspace: &Workspace, package: &str, target: &str, of: &Path) -> anyhow::Result<()> {
    let document = sbom::document(workspace, package, target, of)
        .with_context(|| format!("cannot say what is in {}", of.display()))?;
    place(&document, &of.with_extension("cdx.json"), 0o644)
}

/// Writes a file unless it is there already. The new one takes the old one's place in one act,
/// since the old one may be running.
fn place(bytes: &[u8], to: &Path, mode: u32) -> anyhow::Result<()> {
    if fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let written = || {
        let directory = to.parent().context("a file without a directory")?;
        fs::create_dir_all(directory)?;
        let new = tempfile::NamedTempFile::new_in(directory)?;
        fs::write(new.path(), bytes)?;
        fs::set_permissions(new.path(), fs::Permissions::from_mode(mode))?;
        new.persist(to)?;
        anyhow::Ok(())
    };
    written().with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placed_file_is_replaced_whole_and_nothing_is_left_beside() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let to = directory.path().join("deep/to");
        for text in ["one", "one", "two"] {
            place(text.as_bytes(), &to, 0o755).expect("written");
            assert_eq!(fs::read_to_string(&to).expect("readable"), text);
            let mode = fs::metadata(&to).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o755);
        }
        assert_eq!(fs::read_dir(directory.path().join("deep")).expect("there").count(), 1);
    }
}
