//! Finds a Rust toolchain here that can build for `wasm32-unknown-unknown`: one that has the target, or
//! else one that has the standard library's sources and can build it for the target. Nothing is
//! installed or downloaded; where none will do, the error says what to install.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// What guests are built for: it has no operating system, so a guest imports nothing but what
/// its code asks for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// The linker for the target, which comes with rustup's toolchains and not with Debian's.
const LINKER: &str = "rust-lld";

/// A toolchain that can build guests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    cargo: OsString,
    rustc: OsString,
    /// Whether the standard library has to be built too, and where the linker is if it is not
    /// one of the toolchain's own.
    build_std: bool,
    linker: Option<PathBuf>,
}

/// A `cargo` and the `rustc` that belongs to it.
struct Candidate {
    cargo: OsString,
    rustc: OsString,
    sysroot: PathBuf,
}

impl Toolchain {
    /// The best toolchain for what lies in a directory: the user's own if it will do, then the
    /// system's.
    pub(crate) fn find(directory: &Path) -> Result<Self> {
        // Under cargo, `CARGO` is the one that runs; a wrapper may have set `RUSTC`.
        let own = |variable, name: &str| env::var_os(variable).unwrap_or_else(|| name.into());
        let candidates: Vec<Candidate> = [
            (own("CARGO", "cargo"), own("RUSTC", "rustc")),
            ("/usr/bin/cargo".into(), "/usr/bin/rustc".into()),
        ]
        .into_iter()
        .filter_map(|(cargo, rustc)| Candidate::new(cargo, rustc, directory))
        .collect();
        Self::choose(&candidates).ok_or_else(|| {
            Error::new(format!(
                "no Rust toolchain here can build for {TARGET}; run `rustup target add {TARGET}` \
                 or, where rustup cannot, on Debian as root `apt-get install \
                 --no-install-recommends rustc-web cargo-web rust-web-src`"
            ))
        })
    }

    /// A cargo command of this toolchain for a directory. Its standard input is nothing.
    pub(crate) fn cargo(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(directory).stdin(std::process::Stdio::null());
        command.env("RUSTC", &self.rustc);
        command
    }

    /// A `cargo build` for the target.
    pub(crate) fn build(&self, directory: &Path) -> Command {
        let mut command = self.cargo(directory);
        command.args(["build", "--target", TARGET]);
        // Flags of the host's build would reach the guest; there are
        // `CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS` for flags that are meant for it.
        for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
            command.env_remove(variable);
        }
        if self.build_std {
            // Building the standard library is an unstable feature of cargo, and these
            // toolchains are stable ones.
            command.args(["-Z", "build-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(linker) = &self.linker {
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        command
    }

    fn choose(candidates: &[Candidate]) -> Option<Self> {
        let with_target = candidates
            .iter()
            .find_map(|candidate| candidate.has_target().then(|| candidate.toolchain(false, None)));
        with_target.or_else(|| {
            let sources = candidates.iter().find(|candidate| candidate.has_sources())?;
            if sources.linker().is_some() {
                return Some(sources.toolchain(true, None));
            }
            let linker = candidates.iter().find_map(Candidate::linker).or_else(linker_on_path)?;
            Some(sources.toolchain(true, Some(linker)))
        })
    }
}

impl Candidate {
    fn new(cargo: OsString, rustc: OsString, directory: &Path) -> Option<Self> {
        let output = Command::new(&rustc)
            .args(["--print", "sysroot"])
            .current_dir(directory)
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let sysroot = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
        Some(Self { cargo, rustc, sysroot })
    }

    fn toolchain(&self, build_std: bool, linker: Option<PathBuf>) -> Toolchain {
        Toolchain { cargo: self.cargo.clone(), rustc: self.rustc.clone(), build_std, linker }
    }

    fn has_target(&self) -> bool {
        self.sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
    }

    fn has_sources(&self) -> bool {
        self.sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
    }

    /// The toolchain's own linker: `lib/rustlib/<host>/bin/rust-lld`.
    fn linker(&self) -> Option<PathBuf> {
        std::fs::read_dir(self.sysroot.join("lib/rustlib"))
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(LINKER)))
            .find(|path| path.is_file())
    }
}

fn linker_on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(LINKER))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sysroot with these files and directories in it.
    fn candidate(name: &str, paths: &[&str]) -> (tempfile::TempDir, Candidate) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let sysroot = directory.path().to_owned();
        for path in paths {
            let path = sysroot.join("lib/rustlib").join(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        (directory, Candidate { cargo: name.into(), rustc: name.into(), sysroot })
    }

    #[test]
    fn the_target_is_preferred_then_the_sources_with_any_linker() {
        const STD: &str = "wasm32-unknown-unknown/lib/libstd.rlib";
        const SOURCES: &str = "src/rust/library/std/Cargo.toml";
        const LLD: &str = "x86_64-unknown-linux-gnu/bin/rust-lld";
        type Row<'a> = (&'a [&'a str], &'a [&'a str], Option<(&'a str, bool, bool)>);
        let table: [Row<'_>; 6] = [
            (&[STD], &[STD], Some(("own", false, false))),
            (&[LLD], &[STD], Some(("system", false, false))),
            (&[SOURCES, LLD], &[STD], Some(("system", false, false))),
            (&[SOURCES, LLD], &[SOURCES], Some(("own", true, false))),
            (&[LLD], &[SOURCES], Some(("system", true, true))),
            (&[LLD], &[LLD], None),
        ];
        for (own, system, expected) in table {
            let (_own, own) = candidate("own", own);
            let (_system, system) = candidate("system", system);
            let chosen = Toolchain::choose(&[own, system]);
            let chosen = chosen.as_ref().map(|chosen| {
                let name = chosen.cargo.to_str().expect("as above");
                (name, chosen.build_std, chosen.linker.is_some())
            });
            assert_eq!(chosen, expected);
        }
    }
}
