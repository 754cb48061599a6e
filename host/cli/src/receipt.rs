//! The receipt of an installation: everything about it that is not a file's contents. The driver
//! takes its settings from it, and people see by it what was installed, from where, by whom.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use wasmount_core::bundle::Receipt;
use wasmount_core::bundle::receipt::{self, Capabilities, Digests};
use wasmount_core::call::NodeName;
use wasmount_core::failure::Failure;
use wasmount_core::guest::compiler::Cpu;
use wasmount_core::guest::engine::WASMTIME_VERSION;

use crate::arguments;
use crate::component::Component;

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
}

/// Writes the receipt. Its bytes have passed the very check that the driver makes.
pub fn write(arguments: &arguments::Install, contents: &Contents<'_>) -> Result<Vec<u8>> {
    let inspection = &contents.component.inspection;
    let manifest = &inspection.manifest;
    let node_name = match &arguments.node_name {
        Some(name) => name.clone(),
        None => host_name()?,
    };
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
        exports: inspection.exports.iter().map(ToString::to_string).collect(),
        imports: inspection.imports.iter().map(ToString::to_string).collect(),
        capabilities: Capabilities {
            fs_group: manifest.fs_group,
            selinux_relabel: manifest.selinux_relabel,
            supports_metrics: manifest.supports_metrics,
        },
        component: receipt::Component {
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            description: manifest.description.to_string(),
        },
        kubelet_root: arguments.kubelet_root.clone(),
        data_dir: arguments.data_dir.clone(),
        run_dir: arguments.run_dir.clone(),
        log_dir: arguments.log_dir.clone(),
        node_name: node_name.to_string(),
        source: origin(&arguments.file),
        grants_source: arguments.grants.as_deref().map_or_else(|| "none".to_owned(), origin),
        installed_by: user(),
        installed_at: rfc3339(SystemTime::now()),
    };
    let bytes = receipt.to_bytes();
    Receipt::parse(&bytes).context("writing the receipt")?;
    Ok(bytes)
}

/// Where a file came from, as a text.
fn origin(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string()
}

/// What kubelet takes for the node's name unless a cloud provider or the operator says otherwise.
fn host_name() -> Result<NodeName> {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().trim().to_lowercase();
    name.parse()
        .map_err(|failure: Failure| anyhow::Error::msg(failure.message))
        .context("the host name cannot be the node's; name the node with --node-name")
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

/// A time as RFC 3339 has it, in UTC and to the second.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, seconds) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 1 March of the year 0, so that a leap day is the last of its year;
    // 400 years have 146,097 days. After H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_247_999, "2026-11-21T07:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
