//! What no node can be brought to: another kernel, a component that `wasmount build` does not make, a
//! receipt of before anybody was asked.

use std::collections::BTreeSet;

use wasmount_core::bundle::receipt::GrantsOrigin;
use wasmount_pack::{Import, Manifest};

use super::super::gather;
use super::super::origins::Origins;
use super::*;

const RECEIPT: &[u8] = include_bytes!("../../../../core/tests/format-1/receipt-signed.json");

const MANIFEST: &str = "name = \"x\"\nversion = \"1.0.0\"\ndescription = \"x\"\n\
                        [[asks]]\ncapability = \"state\"\nreason = \"to remember\"\n";

/// A receipt of this wasmount's.
fn receipt() -> Receipt {
    let mut receipt = Receipt::parse(RECEIPT).expect("a receipt");
    env!("CARGO_PKG_VERSION").clone_into(&mut receipt.host_version);
    wasmount_core::guest::engine::WASMTIME_VERSION.clone_into(&mut receipt.wasmtime_version);
    receipt
}

fn component(manifest: &str, imports: &[(&str, &str, Capability)]) -> Inspection {
    let imports = imports.iter().map(|&(interface, function, capability)| Import {
        interface: interface.to_owned(),
        function: function.to_owned(),
        capability: Some(capability),
    });
    Inspection {
        manifest: Manifest::parse(manifest).expect("a manifest"),
        exports: BTreeSet::new(),
        imports: imports.collect(),
        foreign: BTreeSet::new(),
    }
}

/// What is found of them, by the id and the beginning of what is said.
fn found(
    receipt: &Receipt,
    inspection: &Inspection,
    grants: &str,
    lacking: Option<&str>,
) -> Vec<(&'static str, String)> {
    let text = format!("version = 1\n{grants}");
    let grants = Grants::parse(&text).expect(grants);
    let origins = Origins::of(&text, GrantsOrigin::File);
    let rows: Vec<Row> = Capability::ALL
        .into_iter()
        .map(|capability| gather::row(capability, Some(inspection), Some((&grants, &origins))))
        .filter(is_of_interest)
        .collect();
    let mut found = Findings::default();
    Evidence { receipt, inspection: Some(inspection), grants: Some(&grants), rows: &rows, lacking }
        .examine(&mut found);
    found.all.into_iter().map(|finding| (finding.id, finding.what)).collect()
}

fn ids(found: &[(&'static str, String)]) -> Vec<&'static str> {
    found.iter().map(|(id, _)| *id).collect()
}

const STATE: (&str, &str, Capability) = ("state", "get", Capability::State);

#[test]
fn what_is_found_of_kernels_and_asks() {
    let bind = ("mounts-bind", "staged", Capability::MountsBind);
    let full = "isolation = \"full\"\n[state]\n";
    for (imports, grants, lacking, expected) in [
        (&[STATE][..], full, None, &[][..]),
        (&[], full, None, &["ask-unused", "grant-beyond-request"]),
        (&[STATE, bind], &format!("{full}[mounts.bind]\n"), None, &["ask-unexplained"]),
        (&[STATE], "[state]\n", Some("landlock-scopes"), &["isolation-partial"]),
        (&[STATE], "[state]\n", None, &["isolation-not-demanded"]),
    ] {
        let found = found(&receipt(), &component(MANIFEST, imports), grants, lacking);
        assert_eq!(ids(&found), expected, "{grants} {lacking:?}");
    }
}

#[test]
fn nobody_vouches_in_two_ways() {
    let what = |signature| {
        let receipt = Receipt { signature, ..receipt() };
        let grants = "isolation = \"full\"\n[state]\n";
        found(&receipt, &component(MANIFEST, &[STATE]), grants, None)
    };
    let one = |what: &str| vec![("unsigned", what.to_owned())];
    assert_eq!(what(Some(Signature::Unsigned)), one("the component is not signed"));
    let none = "nobody looked for a signature when the component was installed";
    assert_eq!(what(None), one(none));
}

/// Every parameter that is granted is held against what is asked for, and not only those that are.
#[test]
fn what_is_granted_is_no_wider_than_what_is_asked_for() {
    let manifest = format!(
        "{MANIFEST}[[asks]]\ncapability = \"mounts.block\"\nreason = \"a\"\nfilesystems = [\"ext4\"]\n\
         [[asks]]\ncapability = \"images\"\nreason = \"a\"\nnames = [\"{{volume}}.img\"]\n\
         max-size = \"1Gi\"\n[limits]\ncpu-seconds = 20\n"
    );
    let imports = [
        STATE,
        ("mounts-block", "mount", Capability::MountsBlock),
        ("images", "open", Capability::Images),
    ];
    let component = component(&manifest, &imports);
    let wider = |key: &str| format!("gives {key}");
    for (options, names, size, memory, seconds, expected) in [
        ("", "{volume}.img", "1Gi", 64, 20, &[][..]),
        ("", "{volume}.img", "512Mi", 1, 1, &[]),
        (
            "\"discard\"",
            "{volume}.img",
            "1Gi",
            64,
            20,
            &["options discard, and the component asks for none"],
        ),
        ("", "{volume}.raw", "1Gi", 64, 20, &["names {volume}.raw, "]),
        ("", "{volume}.img", "2Gi", 64, 20, &["max-size 2Gi, and the component asks for 1Gi"]),
        (
            "",
            "{volume}.img",
            "1Gi",
            1024,
            21,
            &[
                "memory-mib 1024, and the component asks for 64",
                "cpu-seconds 21, and the component asks for 20",
            ],
        ),
    ] {
        let grants = format!(
            "isolation = \"full\"\n[state]\n[limits]\nmemory-mib = {memory}\ncpu-seconds = {seconds}\n\
             [images]\ndirectory = \"/srv\"\nnames = [{names:?}]\nmax-size = {size:?}\n\
             [mounts.block]\nfilesystems = [\"ext4\"]\noptions = [{options}]\n"
        );
        let found = found(&receipt(), &component, &grants, None);
        let matches = found.iter().zip(expected).all(|((id, what), beyond)| {
            *id == "grant-wider-than-request" && what.contains(&wider(beyond))
        });
        assert!(matches && found.len() == expected.len(), "{found:?} is not {expected:?}");
    }
}
