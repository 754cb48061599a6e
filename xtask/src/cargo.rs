//! The workspace as cargo knows it, and how cargo is called for what is shipped.
//!
//! Everything that is shipped or tested is built with one profile, one target and one set of
//! flags, so that tests run what is shipped and nothing is built twice.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

/// Where things are, and for what machine they are built.
pub(crate) struct Workspace {
    /// The directory of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, wherever CARGO_TARGET_DIR put it.
    pub(crate) target: PathBuf,
    /// This machine's target triple.
    pub(crate) triple: String,
    /// The members that have a `wasmount.toml`: packages to be built as components.
    pub(crate) guests: Vec<Guest>,
}

/// A package that is built for WebAssembly.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The cargo package's name.
    pub(crate) package: String,
    /// The directory of its Cargo.toml.
    pub(crate) directory: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

impl Workspace {
    /// Asks cargo and rustc.
    pub(crate) fn discover() -> anyhow::Result<Workspace> {
        // The variable is set by `cargo run`; the constant serves a program that is run by hand.
        let own = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let mut metadata = cargo();
        metadata.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
        metadata.arg(own.join("Cargo.toml"));
        let metadata: Metadata = serde_json::from_slice(&output(&mut metadata)?)
            .context("cargo metadata did not print what it should")?;
        let mut guests: Vec<Guest> = metadata
            .packages
            .into_iter()
            .filter_map(|Package { name, manifest_path }| {
                let directory = manifest_path.parent()?.to_path_buf();
                let is_guest = directory.join("wasmount.toml").is_file();
                is_guest.then_some(Guest { package: name, directory })
            })
            .collect();
        guests.sort_by(|a, b| a.package.cmp(&b.package));
        Ok(Workspace {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            triple: host_triple()?,
            guests,
        })
    }

    /// Where `cargo xtask dist` leaves what is shipped.
    pub(crate) fn dist(&self) -> PathBuf {
        self.target.join("dist")
    }

    /// Where every component is left, those of the tests included.
    pub(crate) fn components(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// A program of the last build with this profile for [`Workspace::build`].
    pub(crate) fn program(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(&self.triple).join(profile).join(name)
    }

    /// `cargo <command>` with an optimised profile, linked statically. The target is
    /// named although it is this machine's own, because only then cargo keeps the flags away
    /// from build scripts and procedural macros, which cannot be static.
    pub(crate) fn build(&self, command: &str, profile: &str) -> Command {
        let mut cargo = cargo();
        cargo.current_dir(&self.root);
        cargo.args([command, "--profile", profile, "--target", &self.triple]);
        let (name, value) = static_flags(&self.triple, |name| std::env::var_os(name));
        cargo.env(name, value);
        cargo
    }
}

/// Runs a program to its end. What it prints goes to this program's stderr.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = name(command);
    let stderr = rustix::io::dup(std::io::stderr())?;
    command.stdin(Stdio::null()).stdout(stderr);
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}

/// Runs a program to its end and returns what it printed on stdout.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let name = name(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(output.status.success(), "{name} failed ({})", output.status);
    Ok(output.stdout)
}

/// The cargo that runs us, free of what `cargo run` adds to the environment for us alone.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env_remove("LD_LIBRARY_PATH");
    cargo
}

fn host_triple() -> anyhow::Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let version = String::from_utf8(version).context("rustc -vV printed no text")?;
    match version.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(triple) if triple.contains("linux") => Ok(triple.to_string()),
        Some(triple) => bail!("wasmount runs on Linux; rustc here builds for {triple}"),
        None => bail!("rustc -vV names no host"),
    }
}

/// The variable that cargo takes target flags from, and its value with ours added: the first in
/// force of the three, since cargo looks at one of them only.
fn static_flags(triple: &str, variable: impl Fn(&str) -> Option<OsString>) -> (String, OsString) {
    let of_target =
        format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_uppercase().replace(['-', '.'], "_"));
    let (name, separator) = if variable("CARGO_ENCODED_RUSTFLAGS").is_some() {
        ("CARGO_ENCODED_RUSTFLAGS".to_string(), "\u{1f}")
    } else if variable("RUSTFLAGS").is_some_and(|flags| !flags.is_empty()) {
        ("RUSTFLAGS".to_string(), " ")
    } else {
        (of_target, " ")
    };
    let mut value = variable(&name).unwrap_or_default();
    if !value.is_empty() {
        value.push(separator);
    }
    value.push(["-C", "target-feature=+crt-static"].join(separator));
    (name, value)
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(first) = command.get_args().next() {
        name = format!("{name} {}", first.to_string_lossy());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_user_are_kept() {
        let own = "-C target-feature=+crt-static";
        let encoded = "-C\u{1f}target-feature=+crt-static";
        let target = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS";
        let set: [&[(&str, &str)]; 5] = [
            &[],
            &[(target, "-g")],
            &[("RUSTFLAGS", "")],
            &[("RUSTFLAGS", "-g"), (target, "-x")],
            &[("CARGO_ENCODED_RUSTFLAGS", "-g"), ("RUSTFLAGS", "-x")],
        ];
        let expected = [
            (target, own.to_string()),
            (target, format!("-g {own}")),
            (target, own.to_string()),
            ("RUSTFLAGS", format!("-g {own}")),
            ("CARGO_ENCODED_RUSTFLAGS", format!("-g\u{1f}{encoded}")),
        ];
        for (set, (name, value)) in set.into_iter().zip(expected) {
            let look = |wanted: &str| {
                set.iter().find(|(name, _)| *name == wanted).map(|(_, value)| OsString::from(value))
            };
            let got = static_flags("x86_64-unknown-linux-gnu", look);
            assert_eq!(got, (name.to_string(), OsString::from(value)), "{set:?}");
        }
    }
}
