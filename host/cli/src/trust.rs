//! Whom this node takes components from: a directory of public keys, and a policy beside them.
//!
//! ```text
//! /etc/wasmount/trust/
//!   NAME.pub      a minisign public key; NAME is the operator's word for whose it is
//!   policy.toml   pins and revocations; need not be there
//! ```
//!
//! It is looked at by `install`, `rollback`, `verify` and `doctor`, and by nothing that kubelet calls:
//! what is installed stays in force, whatever becomes of keys. Nothing here asks a network.

pub mod again;
pub mod key;
pub mod policy;
pub mod signature;
pub mod verdict;
pub mod vouched;

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Dir, Mode, OFlags};
use wasmount_core::bundle::trust::Trust;
use wasmount_core::call::DriverName;

use key::{KeyId, TrustedKey};
use policy::Policy;

/// Where the trust directory is if it is not named.
pub const TRUST_DIR: &str = "/etc/wasmount/trust";

/// The policy's file.
pub const POLICY: &str = "policy.toml";

/// What public keys end in.
const PUBLIC_KEY: &str = ".pub";

/// The most public keys.
const MAX_KEYS: usize = 256;

/// The longest public key, in bytes.
const MAX_KEY: u64 = 4 * 1024;

/// The longest policy, in bytes.
const MAX_POLICY: u64 = 256 * 1024;

/// Files of the trust directory are believed as installed ones are: if they could be only root's.
const ROOT: Trust = Trust::root("look at what is in it, and let only root write to it");

/// What the trust directory says.
#[derive(Clone, Debug)]
pub struct Store {
    /// The directory.
    pub path: PathBuf,
    /// Its keys, sorted by name; no two have the same identifier.
    pub keys: Vec<TrustedKey>,
    /// Its policy.
    pub policy: Policy,
}

impl Store {
    /// Reads the directory that is named, or [`TRUST_DIR`]. Whoever has not made that one trusts
    /// nobody, and revokes nothing.
    pub fn read(named: Option<&Path>) -> Result<Self> {
        let path = named.unwrap_or(Path::new(TRUST_DIR));
        let path = std::path::absolute(path)
            .with_context(|| format!("trust directory {} cannot be used", path.display()))?;
        if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            if named.is_none() {
                return Ok(Self { path, keys: Vec::new(), policy: Policy::default() });
            }
            bail!(
                "trust directory {} is not there; make it, and put the public keys there that are \
                 trusted",
                path.display()
            );
        }
        let read = || Self::read_in(&ROOT.directory(&path)?, &path);
        read().with_context(|| format!("trust directory {} cannot be used", path.display()))
    }

    /// Reads the directory that is named, or else the one that the driver is installed with, if that
    /// is any but [`TRUST_DIR`].
    pub fn for_driver(
        driver: &DriverName,
        named: Option<&Path>,
        installed: Option<&Path>,
    ) -> Result<Self> {
        let store = Self::read(named.or(installed));
        match (named, installed) {
            (None, Some(_)) => store.with_context(|| {
                format!(
                    "{driver} is installed with a trust directory that cannot be used now; name \
                     another with --trust-dir"
                )
            }),
            _ => store,
        }
    }

    /// Whose key that is.
    pub fn key(&self, id: KeyId) -> Option<&TrustedKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The policy's file.
    pub fn policy_path(&self) -> PathBuf {
        self.path.join(POLICY)
    }

    fn read_in(directory: &OwnedFd, path: &Path) -> Result<Self> {
        let mut store = Self { path: path.to_owned(), keys: Vec::new(), policy: Policy::default() };
        for name in names(directory, path)? {
            if name == POLICY {
                let text = ROOT.read(directory, path, &name, MAX_POLICY)?;
                let text = String::from_utf8(text).ok().with_context(|| {
                    format!("{} is not valid UTF-8", store.policy_path().display())
                })?;
                store.policy = Policy::parse(&text).map_err(|mistake| {
                    anyhow::anyhow!("{}: {mistake}", store.policy_path().display())
                })?;
            } else if name.ends_with(PUBLIC_KEY) {
                let contents = ROOT.read(directory, path, &name, MAX_KEY)?;
                store.add(&name, &contents)?;
            } else {
                // What was meant to revoke something must not be overlooked for its name.
                bail!(
                    "{} is neither {POLICY} nor NAME{PUBLIC_KEY}; move it away",
                    path.join(&name).display()
                );
            }
        }
        Ok(store)
    }

    /// Two keys of one identifier cannot be told apart by a signature, a pin or a revocation.
    fn add(&mut self, name: &str, contents: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let Some(key) = TrustedKey::parse(name, contents) else {
            bail!("{} is not a minisign public key; put the vendor's there", path.display());
        };
        if let Some(other) = self.key(key.id) {
            bail!(
                "{} and {name} have the same identifier, {}; keep the one that is the vendor's",
                self.path.join(&other.name).display(),
                key.id
            );
        }
        if self.keys.len() == MAX_KEYS {
            bail!("{} has more than {MAX_KEYS} keys", self.path.display());
        }
        self.keys.push(key);
        Ok(())
    }
}

/// What is in the directory, sorted, but for what an editor hides there.
fn names(directory: &OwnedFd, path: &Path) -> Result<Vec<String>> {
    let reading = || format!("reading {}", path.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listed = rustix::fs::openat(directory, ".", flags, Mode::empty());
    let listed = listed.and_then(Dir::new).with_context(reading)?;
    let mut names = Vec::new();
    for entry in listed {
        let name = entry.with_context(reading)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
