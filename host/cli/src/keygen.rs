//! `wasmount keygen`: makes a key pair to sign components with, in minisign's format. The secret one
//! never leaves the file that it is written to.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result, bail};
use minisign::KeyPair;

use crate::arguments;
use crate::output::Output;
use crate::trust::TRUST_DIR;

/// What a secret key's file says of itself.
const COMMENT: &str = "wasmount secret key";

/// Makes the pair, and says what is to be done with each half.
pub fn run(arguments: &arguments::Keygen, output: &mut Output<'_>) -> Result<()> {
    let named = |suffix: &str| {
        let mut path = OsString::from(&arguments.name);
        path.push(suffix);
        PathBuf::from(path)
    };
    let (secret, public) = (named(".key"), named(".pub"));
    // Before anybody thinks of a passphrase.
    for path in [&secret, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(in_the_way(path));
        }
    }
    let pair = match passphrase(arguments, &secret)? {
        Some(passphrase) => KeyPair::generate_encrypted_keypair(Some(passphrase)),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let pair = pair.context("making a key pair")?;
    let written = |what: minisign::Result<String>| what.context("writing a key");
    write(&secret, 0o600, &written(pair.sk.to_box(Some(COMMENT)).map(String::from))?)?;
    let wrote =
        written(pair.pk.to_box().map(String::from)).and_then(|text| write(&public, 0o644, &text));
    if let Err(error) = wrote {
        // A secret key whose public one nobody has is of no use.
        let _ = fs::remove_file(&secret);
        return Err(error);
    }
    output.text(&format!(
        "made a key pair\n  secret   {}  to sign with: keep it, and show it to nobody\n  \
         public   {}  for {TRUST_DIR} of the nodes that trust you",
        secret.display(),
        public.display()
    ))
}

/// Asked for twice on the terminal; none if it is left empty.
fn passphrase(arguments: &arguments::Keygen, secret: &Path) -> Result<Option<String>> {
    if arguments.no_passphrase {
        return Ok(None);
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt)
            .context("asking for the passphrase on the terminal; without one, say --no-passphrase")
    };
    let shown = secret.display();
    let passphrase = ask(format!("passphrase for {shown} (none if left empty): "))?;
    if passphrase.is_empty() {
        return Ok(None);
    }
    if ask(format!("passphrase for {shown}, once more: "))? != passphrase {
        bail!("the two passphrases are not the same; nothing was made");
    }
    Ok(Some(passphrase))
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => in_the_way(path),
        _ => Error::new(error).context(format!("writing {}", path.display())),
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        // Half a key is of no use to anybody, and would be in the way of a whole one.
        .inspect_err(|_| drop(fs::remove_file(path)))
        .with_context(|| format!("writing {}", path.display()))
}

fn in_the_way(path: &Path) -> Error {
    anyhow::anyhow!("{} is there already, and no key is ever overwritten", path.display())
}
