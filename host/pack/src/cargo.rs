//! Building core modules with cargo, one invocation for all of them. Making components of them
//! comes after.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::toolchain::Toolchain;

/// How guests are built.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// cargo's profile; by default `guest` if the workspace defines it, else `release`.
    pub profile: Option<String>,
    /// cargo's target directory; by default cargo's own choice.
    pub target_dir: Option<PathBuf>,
}

/// A workspace (or a crate that is one by itself) and the toolchain to build it with.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    packages: Vec<Package>,
    toolchain: Toolchain,
}

/// A package of a workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// The name in its Cargo.toml.
    pub(crate) name: String,
    /// What cargo's messages call it.
    id: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

/// What `cargo metadata` prints (cargo-metadata(1), "JSON format").
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

/// A line of `--message-format=json` (The Cargo Book, "External tools").
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// As much of a workspace's Cargo.toml as says whether it defines a profile.
#[derive(Deserialize)]
struct Profiles {
    #[serde(default)]
    profile: toml::Table,
}

impl Package {
    /// The directory of its Cargo.toml.
    pub(crate) fn directory(&self) -> &Path {
        self.manifest_path.parent().expect("a Cargo.toml lies in a directory")
    }

    fn is_cdylib(&self) -> bool {
        self.targets.iter().any(Target::is_cdylib)
    }
}

impl Target {
    fn is_cdylib(&self) -> bool {
        self.crate_types.iter().any(|kind| kind == "cdylib")
    }
}

impl Workspace {
    /// The workspace that a directory belongs to.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        if !directory.join("Cargo.toml").is_file() {
            return Err(Error::new(format!("{}: there is no Cargo.toml", directory.display())));
        }
        let toolchain = Toolchain::find(directory)?;
        let output = toolchain
            .cargo(directory)
            .args(["metadata", "--format-version=1", "--no-deps"])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Error::new(format!("cargo cannot be run: {error}")))?;
        if !output.status.success() {
            return Err(Error::new(format!(
                "cargo metadata failed in {}; its messages are above",
                directory.display()
            )));
        }
        let metadata: Metadata = serde_json::from_slice(&output.stdout)
            .map_err(|error| Error::new(format!("cargo metadata: {error}")))?;
        Ok(Self { root: metadata.workspace_root, packages: metadata.packages, toolchain })
    }

    /// The package of this name.
    pub(crate) fn package(&self, name: &str) -> Result<&Package> {
        self.packages.iter().find(|package| package.name == name).ok_or_else(|| {
            Error::new(format!("{}: there is no package `{name}`", self.root.display()))
        })
    }

    /// The package whose Cargo.toml lies in this directory.
    pub(crate) fn package_in(&self, directory: &Path) -> Result<&Package> {
        let wanted = directory
            .canonicalize()
            .map_err(|error| Error::new(format!("{}: {error}", directory.display())))?;
        self.packages
            .iter()
            .find(|package| package.directory().canonicalize().is_ok_and(|path| path == wanted))
            .ok_or_else(|| {
                Error::new(format!(
                    "{}: this is a workspace and not a package; name the directory of one",
                    directory.display()
                ))
            })
    }

    /// Builds packages and returns the path of each one's core module, in the same order.
    pub(crate) fn build(
        &self,
        packages: &[&Package],
        options: &BuildOptions,
    ) -> Result<Vec<PathBuf>> {
        if let Some(package) = packages.iter().find(|package| !package.is_cdylib()) {
            return Err(Error::new(format!(
                "{}: it is not a cdylib; add `crate-type = [\"cdylib\"]` to [lib] in its \
                 Cargo.toml",
                package.name
            )));
        }
        let mut command = self.toolchain.build(&self.root);
        command.args(["--lib", "--message-format=json-render-diagnostics", "--profile"]);
        command.arg(self.profile(options)?);
        for package in packages {
            command.args(["--package", &package.name]);
        }
        if let Some(directory) = &options.target_dir {
            command.arg("--target-dir").arg(directory);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Error::new(format!("cargo cannot be run: {error}")))?;
        let stdout = child.stdout.take().expect("it was asked for");
        // All is read even after an error: a cargo whose pipe is closed would fail for that.
        let modules = modules(BufReader::new(stdout), packages);
        let status = child
            .wait()
            .map_err(|error| Error::new(format!("cargo cannot be awaited: {error}")))?;
        if !status.success() {
            return Err(Error::new("cargo build failed; its messages are above"));
        }
        modules
            .map_err(|error| Error::new(format!("cargo build's messages: {error}")))?
            .into_iter()
            .zip(packages)
            .map(|(path, package)| {
                path.ok_or_else(|| {
                    Error::new(format!("{}: cargo reports no module of it", package.name))
                })
            })
            .collect()
    }

    fn profile(&self, options: &BuildOptions) -> Result<String> {
        if let Some(profile) = &options.profile {
            return Ok(profile.clone());
        }
        let path = self.root.join("Cargo.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        let file: Profiles = toml::from_str(&text)
            .map_err(|error| Error::new(format!("{}: {}", path.display(), error.message())))?;
        let own = file.profile.contains_key("guest");
        Ok(if own { "guest" } else { "release" }.to_owned())
    }
}

/// The module that each package has among cargo's messages.
fn modules(stream: impl BufRead, packages: &[&Package]) -> std::io::Result<Vec<Option<PathBuf>>> {
    let mut modules = vec![None; packages.len()];
    for line in stream.split(b'\n') {
        // Build scripts cannot write here, but a later cargo may say what is not known yet.
        let Ok(message) = serde_json::from_slice::<Message>(&line?) else { continue };
        if message.reason != "compiler-artifact" || !message.target.is_some_and(|t| t.is_cdylib()) {
            continue;
        }
        let Some(index) = packages.iter().position(|package| package.id == message.package_id)
        else {
            continue;
        };
        let is_wasm = |path: &PathBuf| path.extension().is_some_and(|end| end == "wasm");
        modules[index] = message.filenames.into_iter().find(is_wasm);
    }
    Ok(modules)
}
