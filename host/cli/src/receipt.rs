//! The receipt of an installation: everything about it that is not a file's contents. The driver
//! takes its settings from it, and people see by it what was installed, from where, by whom.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use wasmount_core::bundle::Receipt;
use wasmount_core::bundle::receipt::{
    self, Capabilities, Digests, GrantsFrom, GrantsOrigin, Signature,
};
use wasmount_core::guest::compiler::Cpu;
use wasmount_core::guest::engine::WASMTIME_VERSION;
use wasmount_pack::{Inspection, Manifest};

use crate::arguments;
use crate::component::Component;
use crate::install::settings::Settings;
use crate::time::rfc3339;

/// What the receipt is about.
pub struct Contents<'a> {
    /// The driver program.
    pub driver: &'a [u8],
    /// The component.
    pub component: &'a Component,
    /// The component compiled.
    pub image: &'a [u8],
    /// The CPU that it was compiled for.
    pub cpu: Cpu,
    /// The text of the grants file.
    pub grants: &'a str,
    /// Where it came from.
    pub grants_source: &'a str,
    /// By what it holds.
    pub grants_from: GrantsFrom,
    /// How their text came to be.
    pub grants_origin: GrantsOrigin,
    /// Who vouches for the component.
    pub signature: &'a Signature,
    /// What the node is like.
    pub settings: &'a Settings,
}

/// What a receipt says in place of a grants file, where there was none.
pub const NO_FILE: &str = "none";

/// What begins where grants came from that a manifest was accepted for. Files begin with a slash.
pub const MANIFEST: &str = "the manifest of ";

/// Writes the receipt. Its bytes have passed the very check that the driver makes.
pub fn write(arguments: &arguments::Install, contents: &Contents<'_>) -> Result<Vec<u8>> {
    let inspection = &contents.component.inspection;
    let manifest = &inspection.manifest;
    let settings = contents.settings.clone();
    let receipt = Receipt {
        version: receipt::VERSION,
        driver: arguments.driver.clone(),
        host_version: env!("CARGO_PKG_VERSION").to_owned(),
        wasmtime_version: WASMTIME_VERSION.to_owned(),
        target_cpu: contents.cpu.name().to_owned(),
        digests: Digests {
            driver: receipt::digest(contents.driver),
            component: receipt::digest(&contents.component.bytes),
            image: receipt::digest(contents.image),
            grants: receipt::digest(contents.grants.as_bytes()),
        },
        exports: exports(inspection),
        imports: inspection.imports.iter().map(ToString::to_string).collect(),
        capabilities: capabilities(manifest),
        component: receipt::Component {
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            description: manifest.description.to_string(),
        },
        kubelet_root: settings.kubelet_root,
        data_dir: settings.data_dir,
        run_dir: settings.run_dir,
        log_dir: settings.log_dir,
        node_name: settings.node_name,
        node_only: arguments.node_only,
        signature: Some(contents.signature.clone()),
        trust_dir: settings.trust_dir,
        source: origin(&arguments.file),
        grants_source: contents.grants_source.to_owned(),
        grants_from: Some(contents.grants_from),
        grants_origin: Some(contents.grants_origin),
        installed_by: user(),
        installed_at: rfc3339(SystemTime::now()),
    };
    checked(&receipt)
}

/// The interfaces that a component exports, as a receipt has them.
pub fn exports(inspection: &Inspection) -> Vec<String> {
    inspection.exports.iter().map(ToString::to_string).collect()
}

/// What its manifest says of mounted volumes.
pub fn capabilities(manifest: &Manifest) -> Capabilities {
    Capabilities {
        fs_group: manifest.fs_group,
        selinux_relabel: manifest.selinux_relabel,
        supports_metrics: manifest.supports_metrics,
    }
}

/// What the receipt is about of a version that is installed again with something changed.
pub struct Renewed<'a> {
    /// The receipt of the program.
    pub program: &'a Receipt,
    /// The receipt that holds now: directories, node name and whom to trust are the node's, not the
    /// program's.
    pub present: &'a Receipt,
    /// The text of the grants file.
    pub grants: &'a str,
    /// Where it came from.
    pub grants_source: String,
    /// By what it holds.
    pub grants_from: GrantsFrom,
    /// How their text came to be.
    pub grants_origin: GrantsOrigin,
}

/// Writes the receipt of a version that is installed again.
pub fn renew(renewed: &Renewed<'_>) -> Result<Vec<u8>> {
    let Renewed { program, present, grants, grants_source, grants_from, grants_origin } = renewed;
    let mut receipt = Receipt {
        kubelet_root: present.kubelet_root.clone(),
        data_dir: present.data_dir.clone(),
        run_dir: present.run_dir.clone(),
        log_dir: present.log_dir.clone(),
        node_name: present.node_name.clone(),
        node_only: present.node_only,
        trust_dir: trust_dir(present, program).map(Path::to_owned),
        grants_source: grants_source.clone(),
        grants_from: program.grants_from.map(|_| *grants_from),
        grants_origin: program.grants_origin.map(|_| *grants_origin),
        installed_by: user(),
        installed_at: rfc3339(SystemTime::now()),
        ..(*program).clone()
    };
    receipt.digests.grants = receipt::digest(grants.as_bytes());
    checked(&receipt)
}

/// Whom the node trusts: whom it trusted when the present version was installed, which is by the usual
/// directory if none is named there. Where nobody had looked at that version, as no older `wasmount`
/// did, the program tells.
pub fn trust_dir<'a>(present: &'a Receipt, program: &'a Receipt) -> Option<&'a Path> {
    let nobody_looked = present.signature.is_none();
    let said = |receipt: &'a Receipt| receipt.trust_dir.as_deref();
    said(present).or_else(|| said(program).filter(|_| nobody_looked))
}

fn checked(receipt: &Receipt) -> Result<Vec<u8>> {
    let bytes = receipt.to_bytes();
    Receipt::parse(&bytes).context("writing the receipt")?;
    Ok(bytes)
}

/// How the text of a receipt's grants came to be. Older ones say so by where it came from.
pub fn grants_origin(receipt: &Receipt) -> GrantsOrigin {
    receipt.grants_origin.unwrap_or_else(|| match receipt.grants_source.as_str() {
        NO_FILE => GrantsOrigin::Nothing,
        source if source.starts_with(MANIFEST) => GrantsOrigin::Accepted,
        _ => GrantsOrigin::File,
    })
}

/// Where a file came from, as a text.
pub fn origin(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string()
}

/// Who is at work: the user that logged in, if the kernel has kept track of it. Environment
/// variables would say whatever somebody wrote there.
fn user() -> String {
    const NOT_LOGGED_IN: &str = "4294967295";
    let user = rustix::process::getuid();
    match fs::read_to_string("/proc/self/loginuid") {
        Ok(login) if login != NOT_LOGGED_IN => format!("uid {user}, logged in as uid {login}"),
        _ => format!("uid {user}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIPT: &[u8] = include_bytes!("../../core/tests/format-1/receipt-with-provenance.json");

    #[test]
    fn older_receipts_say_how_their_grants_came_to_be() {
        use GrantsOrigin::{Accepted, File, Nothing};
        for (source, said, origin) in [
            ("/root/grants.toml", None, File),
            ("the manifest of /root/x.wasm", None, Accepted),
            ("none", None, Nothing),
            ("/root/grants.toml", Some(Accepted), Accepted),
        ] {
            let receipt = Receipt {
                grants_source: source.to_owned(),
                grants_origin: said,
                ..Receipt::parse(RECEIPT).expect("a receipt")
            };
            assert_eq!(grants_origin(&receipt), origin, "{source}");
        }
    }

    #[test]
    fn a_program_says_whom_to_trust_only_where_nobody_else_has() {
        let receipt = |signature: Option<Signature>, trust_dir: Option<&str>| Receipt {
            signature,
            trust_dir: trust_dir.map(Into::into),
            ..Receipt::parse(RECEIPT).expect("a receipt")
        };
        let looked = Some(Signature::Unsigned);
        let program = receipt(looked.clone(), Some("/program"));
        for (signature, present, trusted) in [
            (&looked, Some("/present"), Some("/present")),
            (&looked, None, None),
            (&None, Some("/present"), Some("/present")),
            (&None, None, Some("/program")),
        ] {
            let present = receipt(signature.clone(), present);
            assert_eq!(trust_dir(&present, &program), trusted.map(Path::new));
        }
    }
}
