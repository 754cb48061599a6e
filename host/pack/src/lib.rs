//! From a crate to a component, and what a component asks for.
//!
//! [`build`] turns a driver's crate into a component that carries its `wasmount.toml`;
//! [`inspect`] reads any component and says what it is, what it exports and what it imports,
//! function by function. There is no WebAssembly engine here: nothing of a component is run or
//! compiled, and whether this host can run it is for `wasmount install` to find out.

mod asks;
mod capability;
mod cargo;
mod component;
mod error;
mod inspect;
pub mod manifest;
mod surface;
mod toolchain;

use std::path::Path;

pub use capability::Capability;
pub use cargo::BuildOptions;
pub use component::pack;
pub use error::{Error, Result, deceives};
pub use inspect::{Import, Inspection, MAX_COMPONENT, inspect};
pub use manifest::{Ask, Manifest, Parameters};
pub use surface::{Interface, capability_of};

/// Builds the crate in a directory and returns its component.
///
/// The crate is a `cdylib` and has `wasmount.toml` beside its Cargo.toml. cargo's own messages
/// go to standard error. What comes out has passed [`inspect`], and asks for exactly what it imports.
pub fn build(directory: &Path, options: &BuildOptions) -> Result<Vec<u8>> {
    let workspace = cargo::Workspace::open(directory)?;
    let package = workspace.package_in(directory)?;
    let mut components = finish(&workspace, vec![package], options)?;
    Ok(components.remove(0))
}

/// Whether there is a toolchain here that can build what is in the directory. The error says
/// what to install.
pub fn check_toolchain(directory: &Path) -> Result<()> {
    toolchain::Toolchain::find(directory).map(drop)
}

/// Builds several packages of one workspace in one go, so that the standard library is built at
/// most once, and returns their components in the order of the names.
pub fn build_packages(
    workspace: &Path,
    packages: &[&str],
    options: &BuildOptions,
) -> Result<Vec<Vec<u8>>> {
    let workspace = cargo::Workspace::open(workspace)?;
    let packages = packages.iter().map(|name| workspace.package(name)).collect::<Result<_>>()?;
    finish(&workspace, packages, options)
}

fn finish(
    workspace: &cargo::Workspace,
    packages: Vec<&cargo::Package>,
    options: &BuildOptions,
) -> Result<Vec<Vec<u8>>> {
    // Every manifest is read first: a mistake in one should not wait for the compiler.
    let manifests: Vec<Manifest> = packages
        .iter()
        .map(|package| Manifest::read(package.directory()))
        .collect::<Result<_>>()?;
    let modules = workspace.build(&packages, options)?;
    let mut components = Vec::with_capacity(modules.len());
    for ((package, manifest), path) in packages.iter().zip(&manifests).zip(&modules) {
        let module = std::fs::read(path)
            .map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        let component = pack(&module, manifest).and_then(|component| {
            asks::check(&inspect(&component)?)?;
            Ok(component)
        });
        components.push(component.map_err(|error| error.during(&package.name))?);
    }
    Ok(components)
}
