//! `wasmount sign`: puts a signature beside a component, for whoever has the public key. What it
//! says of the component beside is for people; it is the bytes that are signed.

use std::fs::{self, File};
use std::io::{Cursor, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use minisign::{PublicKey, SecretKey, SecretKeyBox};
use wasmount_core::bundle::receipt;

use crate::arguments;
use crate::component::{Component, read_at_most};
use crate::output::Output;
use crate::time::rfc3339;
use crate::trust::signature::{Signature, beside};

/// What a signature's file says of itself.
const COMMENT: &str = "signature by wasmount sign";

/// The longest secret key, in bytes.
const MAX_SECRET_KEY: usize = 4 * 1024;

/// Signs, and says what and where.
pub fn run(arguments: &arguments::Sign, output: &mut Output<'_>) -> Result<()> {
    let component = Component::read(&arguments.file)?;
    let manifest = &component.inspection.manifest;
    let (name, version) = (&manifest.name, &manifest.version);
    let digest = receipt::digest(&component.bytes);
    let key = secret_key(&arguments.key, output)?;
    let public = PublicKey::from_secret_key(&key).context("reading the secret key")?;
    let now = rfc3339(SystemTime::now());
    let comment = format!("name:{name} version:{version} digest:{digest} signed:{now}");
    let bytes = Cursor::new(&component.bytes);
    let signature = minisign::sign(Some(&public), &key, bytes, Some(&comment), Some(COMMENT))
        .context("signing")?
        .into_string();
    let id = Signature::parse(signature.as_bytes()).ok().context("reading the signature")?.key;
    let path = beside(&arguments.file);
    put(&path, &signature).with_context(|| format!("writing {}", path.display()))?;
    output.text(&format!(
        "signed {name} {version}\n  digest   {digest}\n  with     the key {id}\n  in       {}",
        path.display()
    ))
}

/// Reads the secret key, and asks for its passphrase on the terminal if it has one.
fn secret_key(path: &Path, output: &mut Output<'_>) -> Result<SecretKey> {
    use base64::Engine as _;
    /// How a key without a passphrase is marked, and one that is encrypted by scrypt.
    const PLAIN: &[u8] = &[0, 0];
    const ENCRYPTED: &[u8] = b"Sc";
    let shown = path.display();
    let text = String::from_utf8(read_at_most(path, MAX_SECRET_KEY)?).unwrap_or_default();
    let encoded = text.lines().nth(1).unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    let key = match bytes.get(2..4) {
        Some(PLAIN) => SecretKeyBox::from(text).into_unencrypted_secret_key(),
        Some(ENCRYPTED) => {
            let passphrase = rpassword::prompt_password(format!("passphrase of {shown}: "))
                .with_context(|| format!("asking for the passphrase of {shown} on the terminal"))?;
            SecretKeyBox::from(text).into_secret_key(Some(passphrase))
        }
        _ => bail!("{shown} is not a secret key of minisign's; `wasmount keygen` makes one"),
    };
    let read_by_others = fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o077 != 0);
    if read_by_others {
        output.warn(&format!("others can read {shown}, and sign in your name: chmod 600 {shown}"));
    }
    key.with_context(|| format!("{shown} cannot be used"))
}

/// Writes a file whole, in the place of one that is there.
fn put(path: &Path, text: &str) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".tmp-{}", std::process::id()));
    // What is there already, a link to somewhere else perhaps, is not written to.
    let mut file = File::create_new(&aside)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&aside, path))
        .inspect_err(|_| drop(fs::remove_file(&aside)))?;
    Ok(())
}
