//! What a reviewer should look at, each with why and what to do. What is wrong with the files is
//! found by the code that `doctor` finds it with; here is what they say. What was done is for `deeds`.

use wasmount_core::bundle::Receipt;
use wasmount_core::bundle::receipt::Signature;
use wasmount_core::grants::{Grants, Isolation, Size, Use};
use wasmount_core::guest::engine::WASMTIME_VERSION;
use wasmount_pack::{Capability, Inspection};

use super::review::Row;
use crate::coverage::{Coverage, Missing, lines};
use crate::finding::Findings;

/// What the findings are drawn from.
pub(super) struct Evidence<'a> {
    pub(super) receipt: &'a Receipt,
    /// None if the component cannot be read: it was told why.
    pub(super) inspection: Option<&'a Inspection>,
    /// The same.
    pub(super) grants: Option<&'a Grants>,
    pub(super) rows: &'a [Row],
    /// What this node's kernel lacks of the wall.
    pub(super) lacking: Option<&'a str>,
}

/// Words that are in the names of settings that ought to be secrets.
const SECRETIVE: [&str; 5] = ["password", "passwd", "secret", "token", "credential"];

impl Evidence<'_> {
    /// All that there is to say.
    pub(super) fn examine(&self, found: &mut Findings) {
        self.examine_versions(found);
        self.examine_signature(found);
        if let (Some(inspection), Some(grants)) = (self.inspection, self.grants) {
            examine_asks(inspection, found);
            examine_coverage(&Coverage::of(inspection, grants), found);
        }
        for row in self.rows {
            examine_width(row, found);
        }
        if let Some(grants) = self.grants {
            examine_patterns(grants, found);
            examine_secrets(grants, found);
            self.examine_isolation(grants, found);
        }
    }

    fn examine_versions(&self, found: &mut Findings) {
        let installed = &self.receipt.wasmtime_version;
        if is_older(installed, WASMTIME_VERSION) {
            found.warning(
                "engine-old",
                format!(
                    "it runs on wasmtime {installed}, and this wasmount has {WASMTIME_VERSION}"
                ),
                "what was found wrong with the engine since then is not mended in this driver",
                format!("install {} again with this wasmount", self.receipt.driver),
            );
        }
    }

    fn examine_signature(&self, found: &mut Findings) {
        let (what, why) = match &self.receipt.signature {
            Some(Signature::Signed { .. }) => return,
            Some(Signature::Unsigned) => (
                "the component is not signed",
                "whoever installed it allowed that; nobody vouches for where it is from",
            ),
            None => (
                "nobody looked for a signature when the component was installed",
                "nobody vouches for where it is from",
            ),
        };
        found.warning(
            "unsigned",
            what,
            why,
            "ask the vendor for a signature, and install it again without --allow-unsigned",
        );
    }

    fn examine_isolation(&self, grants: &Grants, found: &mut Findings) {
        match (grants.isolation, self.lacking) {
            // With `full` the driver does not run, which was told with its needs.
            (Isolation::Full, _) => {}
            (Isolation::Available, Some(lacking)) => found.warning(
                "isolation-partial",
                format!("this kernel lacks {lacking}"),
                "the wall between the component's process and the node has that much less to it",
                "boot a newer kernel, or one with `landlock` in its `lsm=`",
            ),
            (Isolation::Available, None) => found.note(
                "isolation-not-demanded",
                "the grants do not demand all of the wall",
                "on a node with an older kernel the driver would run behind less of it",
                "if all nodes are like this one: `isolation = \"full\"` in grants.toml",
            ),
        }
    }
}

fn examine_asks(inspection: &Inspection, found: &mut Findings) {
    for capability in inspection.unexplained() {
        found.warning(
            "ask-unexplained",
            format!("the component imports what needs {capability}, and its manifest does not ask for it"),
            "nobody says what it is for",
            "ask the vendor for a component that was made by `wasmount build`",
        );
    }
    for capability in inspection.unused() {
        found.note(
            "ask-unused",
            format!("the manifest asks for {capability}, and the component never imports it"),
            "it cannot be used, whatever is granted",
            "ask the vendor for a component that was made by `wasmount build`",
        );
    }
}

fn examine_coverage(coverage: &Coverage, found: &mut Findings) {
    for unused in &coverage.unused {
        found.warning(
            "grant-beyond-request",
            format!("{unused} is granted, and the component has no use for it"),
            "a later version could use it without asking",
            "take it out of grants.toml, and `wasmount grants apply` the rest",
        );
    }
    for Missing { function, needs, .. } in &coverage.missing {
        found.note(
            "grant-missing",
            format!("{function} will be refused in every call"),
            "the component imports it, and it is not granted",
            format!("if it is to be: {}", needs.join(" and ")),
        );
    }
}

/// A grant that is wider than the vendor asks for. What is asked for without saying how far is the
/// operator's to bound.
fn examine_width(row: &Row, found: &mut Findings) {
    let (Some(requested), Some(granted)) = (&row.requested, &row.granted) else { return };
    for (key, asked) in &requested.parameters {
        let given = granted.get(key).into_iter().flatten();
        let beyond: Vec<&str> = given
            .filter(|given| !asked.iter().any(|asked| covers(key, asked, given)))
            .map(String::as_str)
            .collect();
        if !beyond.is_empty() {
            let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
            found.warning(
                "grant-wider-than-request",
                format!(
                    "{} gives {key} {}, and the component asks for {}",
                    lines(row.capability),
                    beyond.join(", "),
                    asked.join(", ")
                ),
                "a later version could use it without asking",
                format!("give no more of `{key}` than is asked for"),
            );
        }
    }
}

/// Whether what is asked for is at least what is given: a name, a pattern with a `*`, or the most of
/// something.
fn covers(key: &str, asked: &str, given: &str) -> bool {
    let most = |text: &str| Some(Size::try_from(text.to_owned()).ok()?.bytes());
    match key {
        "max-size" => most(given) <= most(asked),
        "max-files" => given.parse::<u64>().ok() <= asked.parse().ok(),
        _ => match asked.split_once('*') {
            None => asked == given,
            Some((before, after)) => {
                given.len() >= before.len() + after.len()
                    && given.starts_with(before)
                    && given.ends_with(after)
            }
        },
    }
}

fn examine_patterns(grants: &Grants, found: &mut Findings) {
    for name in grants.images.iter().flat_map(|images| &images.names) {
        let text = name.text();
        if text.contains('*') && !text.contains("{volume}") {
            found.warning(
                "pattern-wide",
                format!("[images] names = {text:?} fits images of more than one volume"),
                "whoever may write a volume's options chooses which image it is",
                "bind it to the volume, as `{volume}.img` is, unless volumes share a naming scheme on purpose",
            );
        }
    }
    for secret in grants.secrets.iter().filter(|secret| !secret.key.is_name()) {
        found.note(
            "pattern-wide",
            format!("[[secrets]] key = {:?} fits every key like it", secret.key.text()),
            "keys that are added to a secret later are given, too",
            "name the keys, if they are known",
        );
    }
    for device in &grants.devices {
        let id = device.id.text();
        if id == "*" {
            found.warning(
                "pattern-wide",
                format!("[[devices]] rule {:?} fits every id", device.rule),
                "whoever may write a volume's options chooses which device of this kind it is",
                "begin the pattern with what the ids of such volumes begin with, such as `vol-*`",
            );
        }
    }
}

fn examine_secrets(grants: &Grants, found: &mut Findings) {
    if !grants.secrets.is_empty() && grants.failure_exit_code() != 0 {
        found.warning(
            "secrets-logged",
            "secrets are granted, and [reply] failure-exit-code is 1",
            "kubelet logs all arguments of a call that fails so, secrets included",
            "`failure-exit-code = 0` in [reply]",
        );
    }
    let revealed = grants.secrets.iter().filter(|secret| secret.uses.contains(&Use::Reveal));
    for secret in revealed {
        found.note(
            "secret-revealed",
            format!("the component is shown the value of the secret's key {:?}", secret.key.text()),
            "what it is shown it can keep, for as long as the call takes, and send where it may write",
            "grant `file` alone, if the component only passes it on",
        );
    }
    for key in grants.config.keys() {
        let lower = key.to_lowercase();
        if SECRETIVE.iter().any(|word| lower.contains(word)) {
            found.warning(
                "setting-secretive",
                format!("[config] has a setting called {key:?}"),
                "grants.toml can be read by everybody on the node",
                "if it is a secret: take it out, renew it, and give it as a volume's secret",
            );
        }
    }
}

/// Whether a version is lower than another, both as wasmtime has them: `48.0.8`.
fn is_older(version: &str, than: &str) -> bool {
    let numbers = |text: &str| {
        text.split('.').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<_>>>()
    };
    match (numbers(version), numbers(than)) {
        (Some(version), Some(than)) => version < than,
        _ => false,
    }
}

/// The capabilities that are asked for by somebody or given.
pub(super) fn is_of_interest(row: &Row) -> bool {
    row.requested.is_some() || row.granted.is_some() || row.used.is_some()
}

/// The function's capability among those that are asked for.
pub(super) fn functions_of(inspection: &Inspection, capability: Capability) -> Vec<String> {
    let imports = inspection.imports.iter().filter(|import| import.capability == Some(capability));
    imports.map(|import| format!("{}.{}", import.interface, import.function)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wasmount_pack::{Import, Manifest};

    use super::*;

    const RECEIPT: &[u8] = include_bytes!("../../../core/tests/format-1/receipt-signed.json");

    /// What no node can be brought to: another engine, another kernel, a component that
    /// `wasmount build` does not make.
    #[test]
    fn what_is_found_of_engines_kernels_and_asks() {
        let manifest = "name = \"x\"\nversion = \"1.0.0\"\ndescription = \"x\"\n\
                        [[asks]]\ncapability = \"state\"\nreason = \"to remember\"\n";
        let import = |interface: &str, function: &str, capability| Import {
            interface: interface.to_owned(),
            function: function.to_owned(),
            capability: Some(capability),
        };
        let state = import("state", "get", Capability::State);
        let bind = import("mounts-bind", "staged", Capability::MountsBind);
        for (wasmtime, imports, lacking, ids) in [
            (WASMTIME_VERSION, vec![state.clone()], None, &[][..]),
            ("48.0.7", vec![state.clone()], None, &["engine-old"]),
            ("47.1.0", vec![state.clone()], None, &["engine-old"]),
            ("49.0.0", vec![state.clone()], None, &[]),
            (WASMTIME_VERSION, vec![], None, &["ask-unused", "grant-beyond-request"]),
            (WASMTIME_VERSION, vec![state.clone(), bind], None, &["ask-unexplained"]),
            (WASMTIME_VERSION, vec![state], Some("landlock-scopes"), &["isolation-partial"]),
        ] {
            let mut receipt = Receipt::parse(RECEIPT).expect("a receipt");
            wasmtime.clone_into(&mut receipt.wasmtime_version);
            let inspection = Inspection {
                manifest: Manifest::parse(manifest).expect("a manifest"),
                exports: BTreeSet::new(),
                imports: imports.into_iter().collect(),
                foreign: BTreeSet::new(),
            };
            let demand = if lacking.is_some() { "" } else { "isolation = \"full\"\n" };
            let grants = format!("version = 1\n{demand}[state]\n[mounts.bind]\n");
            // What is granted for nothing is not what this is about.
            let grants = match inspection.imports.len() {
                2 => grants,
                _ => grants.replace("[mounts.bind]\n", ""),
            };
            let mut found = Findings::default();
            Evidence {
                receipt: &receipt,
                inspection: Some(&inspection),
                grants: Some(&Grants::parse(&grants).expect("grants")),
                rows: &[],
                lacking,
            }
            .examine(&mut found);
            let found: Vec<&str> = found.all.iter().map(|finding| finding.id).collect();
            assert_eq!(found, ids, "{wasmtime} {lacking:?}");
        }
    }

    #[test]
    fn what_is_asked_for_covers_what_is_given() {
        for (key, asked, given, covered) in [
            ("names", "{volume}.img", "{volume}.img", true),
            ("names", "*.img", "{volume}.img", true),
            ("names", "{volume}.img", "*.img", false),
            ("keys", "* (file)", "password (file)", true),
            ("keys", "* (file)", "password (reveal)", false),
            ("max-size", "1Gi", "512Mi", true),
            ("max-size", "1Gi", "2Gi", false),
            ("max-files", "32", "4", true),
            ("max-files", "4", "32", false),
        ] {
            assert_eq!(covers(key, asked, given), covered, "{key} {asked} {given}");
        }
    }
}
