//! One driver's review: what its files say, and what the node and the audit log say of it. What
//! cannot be read is a finding, and the rest is told all the same.

use std::fs;

use wasmount_core::bundle::{Bundle, COMPONENT, Receipt, receipt};
use wasmount_core::call::DriverName;
use wasmount_core::grants::{Grants, Isolation as Demand};
use wasmount_core::guest::landlock;
use wasmount_pack::manifest::Ask;
use wasmount_pack::{Capability, Inspection};

use super::findings::{Evidence, functions_of, is_of_interest};
use super::review::{self, Component, Denial, Installed, Isolation, Log, Requested, Review, Row};
use super::settings;
use crate::component;
use crate::doctor::standing::Trusted;
use crate::doctor::{installation, places};
use crate::finding::Findings;
use crate::granted;
use crate::installed;
use crate::layout::PluginDir;
use crate::log::verify;
use crate::requested;
use crate::time::rfc3339;
use crate::used::{self, Used, Uses};

/// What is reviewed with.
pub(super) struct Desk<'a> {
    pub(super) plugins: &'a PluginDir,
    /// Whom this node trusts.
    pub(super) trusted: &'a Trusted,
}

/// Reviews a driver.
pub(super) fn review(desk: &Desk<'_>, driver: &DriverName) -> Review {
    let mut found = Findings::default();
    found.about(driver);
    let mut review = Review {
        driver: driver.to_string(),
        installed: None,
        capabilities: Vec::new(),
        settings: Vec::new(),
        denials: Vec::new(),
        findings: Vec::new(),
    };
    gather(desk, driver, &mut review, &mut found);
    review.findings = found.all;
    review.findings.sort_by_key(|finding| finding.severity);
    review
}

fn gather(desk: &Desk<'_>, driver: &DriverName, review: &mut Review, found: &mut Findings) {
    let plugins = desk.plugins;
    let directory = plugins.driver(driver);
    let version = match installed::current(&directory) {
        Ok(version) => version,
        Err(error) => {
            return found.error(
                "driver-unusable",
                format!("{error:#}"),
                "kubelet cannot call the driver",
                "install the driver again with `wasmount install`",
            );
        }
    };
    let path = directory.version(&version);
    installation::examine(&path, found);
    // It was told with what is wrong with the files.
    let Ok(bundle) = Bundle::read_at(&path) else { return };
    let receipt = &bundle.receipt;
    places::examine_directories(receipt, found);
    desk.trusted.examine(&path, receipt, found);
    let grants = Grants::parse(&bundle.grants_text)
        .ok()
        .filter(|_| receipt::digest(bundle.grants_text.as_bytes()) == receipt.digests.grants);
    if let Some(grants) = &grants {
        installation::examine_needs(grants, found);
        review.settings = settings::of(grants);
    }
    let inspection = inspect(&path.join(COMPONENT), receipt, found);
    let lacking = landlock::lacking();
    let used = examine_log(receipt, found);
    let log = Log { since: used.since.map(rfc3339), calls: used.calls, rotated: used.rotated };
    review.denials = used.denials.iter().map(denial).collect();
    review.capabilities = Capability::ALL
        .into_iter()
        .map(|capability| Row {
            used: used.capabilities.get(&capability).map(uses),
            ..row(capability, inspection.as_ref(), grants.as_ref())
        })
        .filter(is_of_interest)
        .collect();
    Evidence {
        receipt,
        inspection: inspection.as_ref(),
        grants: grants.as_ref(),
        rows: &review.capabilities,
        denials: &review.denials,
        log: &log,
        lacking: lacking.as_deref(),
    }
    .examine(found);
    review.installed = Some(Installed {
        version: version.as_str().to_owned(),
        component: Component {
            name: receipt.component.name.clone(),
            version: receipt.component.version.clone(),
            description: receipt.component.description.clone(),
            digest: receipt.digests.component.clone(),
        },
        exports: receipt.exports.clone(),
        attaching: receipt.attaching(),
        wasmount: receipt.host_version.clone(),
        wasmtime: receipt.wasmtime_version.clone(),
        target_cpu: receipt.target_cpu.clone(),
        source: receipt.source.clone(),
        signature: receipt.signature.clone(),
        grants_source: receipt.grants_source.clone(),
        grants_from: receipt.grants_from,
        installed_by: receipt.installed_by.clone(),
        installed_at: receipt.installed_at.clone(),
        isolation: Isolation {
            demanded: grants.is_some_and(|grants| grants.isolation == Demand::Full),
            lacking,
        },
        log,
    });
}

/// What the log says of the past, and whether it can be believed.
fn examine_log(receipt: &Receipt, found: &mut Findings) -> Used {
    const WHY: &str = "what the driver is said to have done may not be all, or not true";
    let driver = &receipt.driver;
    let remedy = || format!("find out who changed it; `wasmount log verify {driver}` says more");
    match verify::broken(receipt) {
        Ok(None) => {}
        Ok(Some(broken)) => {
            let what = format!("the audit log is not in order: {broken}");
            found.error("log-broken", what, WHY, remedy());
        }
        Err(error) => {
            let what = format!("the audit log cannot be checked: {error:#}");
            found.error("log-broken", what, WHY, remedy());
        }
    }
    let path = receipt.log_dir.join(format!("{}.jsonl", driver.tilde()));
    Used::read(&path).unwrap_or_else(|error| {
        let what = format!("the audit log cannot be read: {error:#}");
        found.error("log-broken", what, WHY, remedy());
        Used::default()
    })
}

fn uses(uses: &Uses) -> review::Used {
    let mut volumes: Vec<String> = uses.volumes.iter().cloned().collect();
    if uses.more_volumes > 0 {
        volumes.push(format!("and {} more", uses.more_volumes));
    }
    review::Used {
        count: uses.count,
        first: rfc3339(uses.first),
        last: rfc3339(uses.last),
        operations: uses.operations.keys().cloned().collect(),
        volumes,
        parameters: uses.parameters.clone(),
    }
}

fn denial(denial: &used::Denial) -> Denial {
    Denial {
        function: denial.function.clone(),
        reason: denial.reason.clone(),
        message: denial.message.clone(),
        count: denial.count,
        last: rfc3339(denial.last),
        volumes: denial.volumes.iter().cloned().collect(),
    }
}

/// What the component asks for, if it is the one that was installed.
fn inspect(path: &std::path::Path, receipt: &Receipt, found: &mut Findings) -> Option<Inspection> {
    // That it is missing or was changed was told with what is wrong with the files.
    let bytes = fs::read(path).ok()?;
    if receipt::digest(&bytes) != receipt.digests.component {
        return None;
    }
    match component::inspect(&bytes) {
        Ok(inspection) => Some(inspection),
        Err(error) => {
            found.error(
                "component-unreadable",
                format!("{}: {error:#}", path.display()),
                "it cannot be told what the component asks for",
                "install the driver again with this wasmount",
            );
            None
        }
    }
}

fn row(capability: Capability, inspection: Option<&Inspection>, grants: Option<&Grants>) -> Row {
    let requested = inspection.and_then(|inspection| {
        let functions = functions_of(inspection, capability);
        let asks = &inspection.manifest.asks;
        let ask = asks.iter().find(|ask| ask.capability == capability);
        (!functions.is_empty() || ask.is_some()).then(|| Requested {
            reason: ask.map(|ask| ask.reason.to_string()),
            functions,
            parameters: ask.map(Ask::parameters).unwrap_or_default(),
        })
    });
    Row {
        capability,
        super_privileged: inspection
            .is_some_and(|inspection| requested::is_super_privileged(inspection, capability))
            || grants.is_some_and(|grants| settings::is_super_privileged(grants, capability)),
        requested,
        granted: grants.and_then(|grants| granted::of(grants, capability)),
        used: None,
    }
}
