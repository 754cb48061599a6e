//! What is to be said of the versions of wasmount and wasmtime that a driver runs on: older than
//! these, with mistakes that are known, or such that nobody can tell. Whether its files belong
//! together is `doctor`'s part.

use semver::{Version, VersionReq};
use wasmount_core::bundle::Receipt;
use wasmount_core::guest::engine::WASMTIME_VERSION;

use super::advisories::{ADVISORIES, Advisory, LOOKED_UP};
use crate::finding::Findings;

/// The version of this wasmount.
const WASMOUNT_VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn examine(receipt: &Receipt, found: &mut Findings) {
    let again = format!("install {} again with this wasmount", receipt.driver);
    let (engine, host) = (&receipt.wasmtime_version, &receipt.host_version);
    match is_older(engine, WASMTIME_VERSION) {
        Some(true) => found.warning(
            "engine-old",
            format!("it runs on wasmtime {engine}, and this wasmount has {WASMTIME_VERSION}"),
            "what was found wrong with the engine since then is not mended in this driver",
            &again,
        ),
        Some(false) => {}
        None => unknown("wasmtime", engine, &again, found),
    }
    for Advisory { id, what, grave, .. } in ADVISORIES.iter().filter(|one| one.is_of(engine)) {
        let what = format!("it runs on wasmtime {engine}, which has {id}: {what}");
        let why = format!(
            "the wall around the component's process is all that stops whoever makes use of it \
             (as it was known in {LOOKED_UP})"
        );
        match grave {
            true => found.error("engine-vulnerable", what, &why, &again),
            false => found.warning("engine-vulnerable", what, &why, &again),
        }
    }
    match is_older(host, WASMOUNT_VERSION) {
        Some(true) => found.warning(
            "host-old",
            format!("wasmount {host} installed it, and this is {WASMOUNT_VERSION}"),
            "what was mended in the driver's program since then is not mended in this driver",
            &again,
        ),
        Some(false) => {}
        None => unknown("wasmount", host, &again, found),
    }
}

/// What cannot be compared may be anything.
fn unknown(of: &str, version: &str, remedy: &str, found: &mut Findings) {
    found.warning(
        "version-unknown",
        format!("its {of} is of version {version:?}, which is no version of {of}'s"),
        "nobody can tell how old it is, and what is known to be wrong with it",
        remedy,
    );
}

impl Advisory {
    fn is_of(&self, engine: &str) -> bool {
        let range = |text: &str| VersionReq::parse(text).expect("a range of the table");
        Version::parse(engine)
            .is_ok_and(|engine| !self.not_in.iter().any(|text| range(text).matches(&engine)))
    }
}

/// Whether a version is lower than another; none if one of the two is no version.
fn is_older(version: &str, than: &str) -> Option<bool> {
    let [version, than] = [version, than].map(|text| Version::parse(text).ok());
    Some(version?.cmp_precedence(&than?).is_lt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    const RECEIPT: &[u8] = include_bytes!("../../../../core/tests/format-1/receipt-signed.json");

    #[test]
    fn every_version_is_what_it_is() {
        use Severity::{Error, Warning};
        let is = WASMOUNT_VERSION;
        for (engine, host, expected) in [
            (WASMTIME_VERSION, is, &[][..]),
            ("49.0.2", "99.0.0", &[]),
            ("48.0.7", is, &[("engine-old", Warning)]),
            ("48.0.3", is, &[("engine-old", Warning), ("engine-vulnerable", Error)]),
            ("36.0.15", is, &[("engine-old", Warning), ("engine-vulnerable", Warning)]),
            ("49.0.1", is, &[("engine-vulnerable", Error)]),
            (WASMTIME_VERSION, "0.0.9", &[("host-old", Warning)]),
            (WASMTIME_VERSION, "0.1.0-rc.1", &[("host-old", Warning)]),
            ("the newest", is, &[("version-unknown", Warning)]),
            (WASMTIME_VERSION, "", &[("version-unknown", Warning)]),
        ] {
            let mut receipt = Receipt::parse(RECEIPT).expect("a receipt");
            engine.clone_into(&mut receipt.wasmtime_version);
            host.clone_into(&mut receipt.host_version);
            let mut found = Findings::default();
            examine(&receipt, &mut found);
            let mut ids: Vec<_> = found.all.iter().map(|one| (one.id, one.severity)).collect();
            ids.dedup();
            assert_eq!(ids, expected, "{engine} {host}");
        }
    }

    #[test]
    fn an_advisory_is_named() {
        let mut receipt = Receipt::parse(RECEIPT).expect("a receipt");
        "48.0.3".clone_into(&mut receipt.wasmtime_version);
        let mut found = Findings::default();
        examine(&receipt, &mut found);
        let named = "which has RUSTSEC-2026-0327: ";
        assert!(found.all.iter().any(|one| one.what.contains(named)), "{found:?}");
    }

    /// What is built in was looked at when the table was.
    #[test]
    fn this_engine_has_nothing_that_is_known() {
        let known = ADVISORIES.iter().filter(|one| one.is_of(WASMTIME_VERSION));
        assert_eq!(known.map(|one| one.id).collect::<Vec<_>>(), Vec::<&str>::new());
    }
}
