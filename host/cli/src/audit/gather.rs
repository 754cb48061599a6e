//! One driver's review: what its files say, and what the node and the audit log say of it. What
//! cannot be read is a finding, and the rest is told all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use wasmount_core::bundle::{Bundle, COMPONENT, Receipt, receipt};
use wasmount_core::call::DriverName;
use wasmount_core::grants::{Grants, Isolation as Demand};
use wasmount_core::guest::landlock;
use wasmount_pack::manifest::Ask;
use wasmount_pack::{Capability, Inspection, Parameters};

use super::deeds::Deeds;
use super::findings::{Evidence, functions_of, is_of_interest};
use super::origins::Origins;
use super::review::{
    self, Component, Denial, Granted, Installed, Isolation, Known, Log, Requested, Review, Row,
    VOLUMES,
};
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

/// How many volumes, or values of a parameter, are listed. The others are counted.
const MAX_LISTED: usize = 64;

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
        known: Known::default(),
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
    }
    let inspection = inspect(&path.join(COMPONENT), receipt, found);
    let grants_origin = crate::receipt::grants_origin(receipt);
    let origins = Origins::of(&bundle.grants_text, grants_origin);
    let given = grants.as_ref().map(|grants| (grants, &origins));
    if let Some((grants, origins)) = given {
        review.settings = settings::of(grants, origins, inspection.as_ref());
    }
    let lacking = landlock::lacking();
    let used = examine_log(receipt, found);
    review.known =
        Known { requested: inspection.is_some(), granted: given.is_some(), used: used.is_some() };
    let used = used.unwrap_or_default();
    let log = Log { since: used.since.map(rfc3339), calls: used.calls, rotated: used.rotated };
    review.denials = used.denials.iter().map(denial).collect();
    let version_id = version.as_str();
    review.capabilities = Capability::ALL
        .into_iter()
        .map(|capability| Row {
            used: used.capabilities.get(&capability).map(|of| uses(of, version_id)),
            ..row(capability, inspection.as_ref(), given)
        })
        .filter(is_of_interest)
        .collect();
    Evidence {
        receipt,
        inspection: inspection.as_ref(),
        grants: grants.as_ref(),
        rows: &review.capabilities,
        lacking: lacking.as_deref(),
    }
    .examine(found);
    Deeds {
        driver: &receipt.driver,
        version: version_id,
        rows: &review.capabilities,
        denials: &review.denials,
        used: &used,
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
        grants_origin,
        installed_by: receipt.installed_by.clone(),
        installed_at: receipt.installed_at.clone(),
        isolation: Isolation {
            demanded: grants.is_some_and(|grants| grants.isolation == Demand::Full),
            lacking,
        },
        log,
    });
}

/// What the log says of the past, if it can be read, and whether it can be believed.
fn examine_log(receipt: &Receipt, found: &mut Findings) -> Option<Used> {
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
    Used::read(&path)
        .inspect_err(|error| {
            let what = format!("the audit log cannot be read: {error:#}");
            found.error("log-broken", what, WHY, remedy());
        })
        .ok()
}

fn uses(uses: &Uses, version: &str) -> review::Used {
    let mut more = BTreeMap::new();
    let (volumes, more_volumes) = listed(&uses.volumes);
    let mut parameters = Parameters::new();
    for (key, values) in &uses.parameters {
        let (values, left) = listed(values);
        parameters.insert(*key, values.into_iter().collect());
        more.extend((left > 0).then_some((*key, left)));
    }
    more.extend((more_volumes > 0).then_some((VOLUMES, more_volumes)));
    review::Used {
        count: uses.count,
        failed: uses.failed,
        by_this_version: uses.versions.get(version).copied().unwrap_or_default(),
        omitted: uses.omitted,
        first: rfc3339(uses.first),
        last: rfc3339(uses.last),
        operations: uses.operations.keys().cloned().collect(),
        volumes,
        parameters,
        more,
    }
}

fn denial(denial: &used::Denial) -> Denial {
    let (volumes, more_volumes) = listed(&denial.volumes);
    Denial {
        function: denial.function.clone(),
        reason: denial.reason.clone(),
        messages: denial.messages.clone(),
        more_messages: denial.more_messages,
        count: denial.count,
        last: rfc3339(denial.last),
        volumes,
        more_volumes,
    }
}

/// As many as are listed, and how many there are besides.
fn listed(all: &BTreeSet<String>) -> (Vec<String>, usize) {
    let listed = all.iter().take(MAX_LISTED).cloned().collect();
    (listed, all.len().saturating_sub(MAX_LISTED))
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

/// A capability, as it is requested and granted.
pub(super) fn row(
    capability: Capability,
    inspection: Option<&Inspection>,
    given: Option<(&Grants, &Origins)>,
) -> Row {
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
            || given.is_some_and(|(grants, _)| settings::is_super_privileged(grants, capability)),
        requested,
        granted: given.and_then(|(grants, origins)| {
            let parameters = granted::of(grants, capability)?;
            Some(Granted {
                origin: origins.capability(capability),
                origins: origins.parameters(capability, &parameters),
                parameters,
            })
        }),
        used: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn long_lists_are_cut_and_it_is_said() {
        let many: BTreeSet<String> = (0..100).map(|n| format!("pv-{n:03}")).collect();
        let used = uses(
            &Uses {
                count: 100,
                failed: 2,
                omitted: 0,
                by_host: 0,
                first: UNIX_EPOCH,
                last: UNIX_EPOCH,
                operations: BTreeMap::new(),
                versions: BTreeMap::from([("before".to_owned(), 100)]),
                volumes: many.clone(),
                parameters: BTreeMap::from([("names", many)]),
            },
            "now",
        );
        assert_eq!(used.more, BTreeMap::from([("names", 36), (VOLUMES, 36)]));
        assert_eq!((used.volumes.len(), used.parameters["names"].len()), (64, 64));
        assert!(used.volumes().ends_with("pv-063, and 36 more"), "{}", used.volumes());
        let row = Row { used: Some(used), ..row(Capability::Images, None, None) };
        assert!(row.cells("names")[2].ends_with("pv-063, and 36 more"), "{:?}", row.cells("names"));
        let summary = &row.summary(Known { requested: true, granted: true, used: true })[2];
        let expected = "100 times, last 1970-01-01T00:00:00Z; failed 2 times; not by this version";
        assert_eq!(summary, expected);
    }
}
