//! A toolchain for `wasm32-unknown-unknown`, and the workspace's components built with it.
//!
//! What a usable toolchain is, and how a component is built, is wasmount-pack's knowledge, which
//! `wasmount build` shares. Here is only how to get one on a fresh machine.

use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::cargo::{self, Workspace};
use crate::packages;
use crate::steps::step;

/// What components are built for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's toolchain that matches the standard library's sources beside it: with both, the
/// library can be built for the target where rustup cannot bring it.
const DEBIAN: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// Sees to it that there is a toolchain: one that is there, else by rustup, else by Debian.
pub(crate) fn ensure(workspace: &Workspace) -> anyhow::Result<()> {
    let check = || wasmount_pack::check_toolchain(&workspace.root);
    if check().is_ok() {
        return Ok(());
    }
    if packages::find("rustup").is_some() {
        let added = step(&format!("adding the target {TARGET}"), || {
            cargo::run(Command::new("rustup").args(["target", "add", TARGET]))
        });
        // A rustup without a network, or that is not in charge of this toolchain, is not the end.
        if added.is_ok() && check().is_ok() {
            return Ok(());
        }
    }
    if packages::can_install() {
        packages::install(DEBIAN, "building components")?;
    }
    check().context("components cannot be built")
}

/// Builds every guest of the workspace in one go. Returns each one's name with its component.
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let names: Vec<&str> = workspace.guests.iter().map(|guest| guest.package.as_str()).collect();
    ensure!(!names.is_empty(), "no package of the workspace has a wasmount.toml");
    let options = wasmount_pack::BuildOptions::default();
    let components = wasmount_pack::build_packages(&workspace.root, &names, &options)?;
    Ok(names.into_iter().map(str::to_string).zip(components).collect())
}
