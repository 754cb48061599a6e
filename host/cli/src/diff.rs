//! `wasmount diff`: what differs between two components, two grants files, or what is installed and
//! either of them. It changes nothing and needs no privilege.
//!
//! It exits with 3 where there is a difference: 1 and 2 are what they are for every command, so that a
//! script never takes a file that it could not read for a difference.

pub mod changes;
pub mod width;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use wasmount_core::bundle::Receipt;
use wasmount_core::bundle::receipt::sha256_hex;
use wasmount_core::call::DriverName;
use wasmount_core::failure::Failure;
use wasmount_core::grants::Grants;
use wasmount_pack::{Inspection, MAX_COMPONENT};

use crate::arguments;
use crate::component::{self, read_at_most};
use crate::grants::GrantsFile;
use crate::installed::{self, Installed};
use crate::layout::PluginDir;
use crate::output::{Output, printable};
use crate::requested;
use crate::trust::signature;
use changes::{About, Change, How};

/// What there is a difference is told by.
const DIFFERS: u8 = 3;

/// How every component begins.
const MAGIC: &[u8] = b"\0asm";

/// One of the two that are compared.
pub struct Side {
    /// As it was named.
    name: String,
    /// The component's digest and what is in it.
    component: Option<(String, Inspection)>,
    /// Which key it says it is signed by; nobody, if there is no signature.
    signed_by: Option<String>,
    /// What it is granted.
    grants: Option<GrantsFile>,
    /// How it was installed, if it is.
    receipt: Option<Receipt>,
}

/// The JSON document.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    old: Named<'a>,
    new: Named<'a>,
    /// Whether nothing differs: of components not even a byte, of grants files nothing that they give,
    /// of what is installed nothing but when and by whom.
    identical: bool,
    /// Whether the new component asks for more than the old one.
    more: bool,
    changes: &'a [Change],
}

/// A side as the document has it.
#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    /// Of the component.
    sha256: Option<&'a str>,
}

/// Compares, and says whether there is a difference.
pub fn run(arguments: &arguments::Diff, output: &mut Output<'_>) -> Result<ExitCode> {
    let plugins = arguments.plugin_dir.as_deref();
    let old = Side::of(&arguments.old, plugins)?;
    let new = Side::of(&arguments.new, plugins)?;
    let changes = between(&old, &new)?;
    let other_code = old.sha256().zip(new.sha256()).is_some_and(|(old, new)| old != new);
    let identical = changes.is_empty() && !other_code;
    if arguments.json {
        let side = |side: &'_ Side| (side.name.clone(), side.sha256().map(str::to_owned));
        let (old, new) = (side(&old), side(&new));
        output.json(&Document {
            old: Named { name: &old.0, sha256: old.1.as_deref() },
            new: Named { name: &new.0, sha256: new.1.as_deref() },
            identical,
            more: changes.iter().any(|change| change.more),
            changes: &changes,
        })?;
    } else if identical {
        output.text(&format!("{} and {} are the same", old.name, new.name))?;
    } else if changes.is_empty() {
        output.text(&format!(
            "{} and {} differ in their code alone: they ask for the same",
            old.name, new.name
        ))?;
    } else {
        output.text(&format!("from {} to {}:\n{}", old.name, new.name, describe(&changes)))?;
    }
    Ok(if identical { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
}

/// Which key a signature says it was made with. Whether it was is for `wasmount verify` to say.
fn signer(path: &Path) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let contents = read_at_most(path, signature::MAX_SIGNATURE)?;
    match signature::Signature::parse(&contents) {
        Ok(signature) => Ok(Some(signature.key.to_string())),
        Err(mistake) => bail!("{} {mistake}; remove it, or get the right one", path.display()),
    }
}

/// All that differs.
fn between(old: &Side, new: &Side) -> Result<Vec<Change>> {
    let mut found = match (&old.component, &new.component) {
        (Some((_, was)), Some((_, is))) => {
            let mut found = changes::between(was, is);
            found.extend(changes::signed(old.signed_by.as_deref(), new.signed_by.as_deref()));
            found
        }
        (None, None) => Vec::new(),
        _ if old.grants.is_some() && new.grants.is_some() => Vec::new(),
        _ => bail!(
            "{} and {} cannot be compared: one is a component, and the other a grants file; see \
             `wasmount grants check --component`",
            old.name,
            new.name
        ),
    };
    match (&old.grants, &new.grants) {
        (Some(old), Some(new)) => found.extend(granted(&old.text, &new.text)),
        (Some(file), None) | (None, Some(file)) => {
            if let (Some((_, old)), Some((_, new))) = (&old.component, &new.component) {
                found.extend(changes::grants(Some(old), new, file));
            }
        }
        (None, None) => {}
    }
    if let (Some(old), Some(new)) = (&old.receipt, &new.receipt) {
        found.extend(changes::installations(old, new));
    }
    Ok(found)
}

fn granted(old: &str, new: &str) -> Vec<Change> {
    let lines = crate::changes::between(old, new);
    let change = |line: &String| {
        let (how, text) = match line.strip_prefix("- ") {
            Some(text) => (How::Removed, text),
            None => (How::Added, line.strip_prefix("+ ").unwrap_or(line)),
        };
        changes::change(About::Grants, how, text, None, None)
    };
    lines.iter().map(change).collect()
}

/// The differences, a line each, and what the marks mean.
pub fn describe(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let Change { about, how, name, before, after, more, super_privileged } = change;
        let mark = if *more { '!' } else { ' ' };
        let sign = match how {
            How::Added => '+',
            How::Removed => '-',
            How::Widened => '>',
            How::Narrowed => '<',
            How::Changed => '~',
        };
        let values = match (before, after) {
            (Some(before), Some(after)) => format!(": {before} -> {after}"),
            (Some(only), None) | (None, Some(only)) => format!(": {only}"),
            (None, None) => String::new(),
        };
        let marked = match super_privileged {
            true => format!("  ({})", requested::MARK),
            false => String::new(),
        };
        let line = format!("{name}{values}{marked}");
        let _ = writeln!(text, "{mark} {:<9} {sign} {}", about.name(), printable(&line));
    }
    if changes.iter().any(|change| change.more) {
        text.push_str("it asks for more than before, by what is marked with `!`\n");
    }
    text
}

impl Side {
    /// With nothing in it.
    fn called(named: &str) -> Self {
        Self {
            name: named.to_owned(),
            component: None,
            signed_by: None,
            grants: None,
            receipt: None,
        }
    }

    fn of(named: &str, plugins: Option<&Path>) -> Result<Self> {
        let path = Path::new(named);
        if path.is_file() {
            return Self::file(named, path);
        }
        let (driver, version) = match named.split_once('@') {
            Some((driver, version)) => (driver, Some(version)),
            None => (named, None),
        };
        let driver: DriverName = driver.parse().map_err(|failure: Failure| {
            anyhow::anyhow!(
                "{named} is neither a file nor an installed driver, VENDOR/NAME or \
                 VENDOR/NAME@VERSION: {}",
                failure.message
            )
        })?;
        Self::installed(named, &PluginDir::find(plugins)?, &driver, version)
    }

    fn file(named: &str, path: &Path) -> Result<Self> {
        let bytes = read_at_most(path, MAX_COMPONENT)?;
        if !bytes.starts_with(MAGIC) {
            let grants = Some(GrantsFile::read(path)?);
            return Ok(Self { grants, ..Self::called(named) });
        }
        let inspection = component::inspect(&bytes).with_context(|| named.to_owned())?;
        let component = Some((sha256_hex(&bytes), inspection));
        let signed_by = signer(&signature::beside(path))?;
        Ok(Self { component, signed_by, ..Self::called(named) })
    }

    fn installed(
        named: &str,
        plugins: &PluginDir,
        driver: &DriverName,
        version: Option<&str>,
    ) -> Result<Self> {
        let installed = match version {
            None => Installed::current(plugins, driver)?,
            Some(wanted) => {
                let directory = plugins.driver(driver);
                let current = installed::current(&directory)?;
                let mut versions = directory.versions_but(&current)?;
                versions.insert(0, current);
                versions.retain(|id| id.as_str().starts_with(wanted));
                match versions[..] {
                    [ref id] => Installed::read(&directory, id)?,
                    [] => bail!("there is no version {wanted} of {driver}: see `wasmount list`"),
                    _ => bail!("{wanted} is the beginning of several versions; give more of it"),
                }
            }
        };
        let inspection =
            component::inspect(&installed.component).context("examining what is installed")?;
        let text = installed.bundle.grants_text.clone();
        let grants = Grants::parse(&text).context("reading the grants")?;
        Ok(Self {
            name: named.to_owned(),
            component: Some((sha256_hex(&installed.component), inspection)),
            signed_by: installed.bundle.receipt.signer().map(str::to_owned),
            grants: Some(GrantsFile { text, grants }),
            receipt: Some(installed.bundle.receipt),
        })
    }

    fn sha256(&self) -> Option<&str> {
        self.component.as_ref().map(|(sha256, _)| sha256.as_str())
    }
}
