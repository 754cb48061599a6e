//! What differs between two components, as their reviewer reads it: what is asked for, of what and
//! why, what can be called, what volumes can set. An upgrade asks for consent by the same list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use wasmount_core::bundle::Receipt;
use wasmount_core::grants::Limits;
use wasmount_pack::{Ask, Capability, Inspection, Parameters};

use super::width::compare;
use crate::coverage::{self, Coverage};
use crate::granted;
use crate::grants::GrantsFile;
use crate::requested;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// What it is about.
    pub about: About,
    /// How it differs.
    pub how: How,
    /// Whose it is: a capability and its parameter, an interface, a function, an option, a key.
    pub name: String,
    /// What it was, if anything.
    pub before: Option<String>,
    /// What it is, if anything.
    pub after: Option<String>,
    /// Whether the component asks for more by it.
    pub more: bool,
    /// Whether what is new is super-privileged.
    pub super_privileged: bool,
}

/// What a difference is about, in the order that they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// The component's name, version and description.
    Component,
    /// What it asks for.
    Asks,
    /// Why it asks for it.
    Reasons,
    /// The operations that it can be called for.
    Exports,
    /// The host's functions that it can call.
    Imports,
    /// What it needs in `[limits]`.
    Limits,
    /// What volumes can set.
    Options,
    /// What kubelet is told of its volumes.
    Kubelet,
    /// What grants.toml gives, or would have to.
    Grants,
    /// How it was installed: the driver's program, and what `install` was told of the node.
    Installation,
}

/// How something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It allows more than it did, and all that it did.
    Widened,
    /// It allows less than it did, and nothing else.
    Narrowed,
    /// It is another.
    Changed,
}

impl Change {
    /// Whether something super-privileged that was asked for already is asked for further.
    pub fn is_wider_and_super_privileged(&self) -> bool {
        let of_a_parameter = self.name.contains(' ');
        self.about == About::Asks && self.more && self.super_privileged && of_a_parameter
    }

    /// Whether it takes back an ask of what is imported all the same: then nothing bounds it any more,
    /// and nobody says what it is for.
    fn is_unbounded_in(&self, component: &Inspection) -> bool {
        self.about == About::Asks
            && self.how == How::Removed
            && component.imports.iter().any(|import| {
                import.capability.is_some_and(|capability| capability.to_string() == self.name)
            })
    }
}

impl About {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Asks => "asks",
            Self::Reasons => "reasons",
            Self::Exports => "exports",
            Self::Imports => "imports",
            Self::Limits => "limits",
            Self::Options => "options",
            Self::Kubelet => "kubelet",
            Self::Grants => "grants",
            Self::Installation => "installed",
        }
    }
}

/// The differences between two components.
pub fn between(old: &Inspection, new: &Inspection) -> Vec<Change> {
    let mut changes = Vec::new();
    let (was, is) = (&old.manifest, &new.manifest);
    for (name, before, after) in [
        ("name", was.name.as_str(), is.name.as_str()),
        ("version", was.version.as_str(), is.version.as_str()),
        ("description", was.description.as_str(), is.description.as_str()),
    ] {
        changes.extend(replaced(About::Component, name, before, after));
    }
    let first = changes.len();
    asks(&was.asks, &is.asks, &mut changes);
    for change in changes[first..].iter_mut().filter(|change| change.is_unbounded_in(new)) {
        change.more = true;
    }
    let names = |inspection: &Inspection| -> BTreeMap<String, bool> {
        inspection.exports.iter().map(|export| (export.to_string(), true)).collect()
    };
    listed(About::Exports, &names(old), &names(new), &mut changes);
    let names = |inspection: &Inspection| -> BTreeMap<String, bool> {
        let foreign = inspection.foreign.iter().map(|name| (name.clone(), true));
        let own = inspection.imports.iter();
        own.map(|import| (import.short(), import.capability.is_some())).chain(foreign).collect()
    };
    let first = changes.len();
    listed(About::Imports, &names(old), &names(new), &mut changes);
    for change in changes[first..].iter_mut().filter(|change| change.more) {
        let import = new.imports.iter().find(|import| import.short() == change.name);
        change.super_privileged = import.is_some_and(|import| import.super_privileged().is_some());
    }
    limits(old, new, &mut changes);
    options(old, new, &mut changes);
    for (name, before, after) in [
        ("fs-group", was.fs_group, is.fs_group),
        ("selinux-relabel", was.selinux_relabel, is.selinux_relabel),
        ("supports-metrics", was.supports_metrics, is.supports_metrics),
    ] {
        changes.extend(replaced(About::Kubelet, name, &before.to_string(), &after.to_string()));
    }
    changes
}

/// Whether another key has signed it, or one of the two is not signed.
pub fn signed(before: Option<&str>, after: Option<&str>) -> Option<Change> {
    let by = |key: Option<&str>| key.map_or("by nobody".to_owned(), |key| format!("by {key}"));
    replaced(About::Component, "signed", &by(before), &by(after))
}

/// How two installations differ, but for what is in them and who made them.
pub fn installations(old: &Receipt, new: &Receipt) -> Vec<Change> {
    let of = |receipt: &Receipt| {
        let path = |path: &Path| path.display().to_string();
        [
            ("wasmount", receipt.host_version.clone()),
            ("wasmtime", receipt.wasmtime_version.clone()),
            ("program", receipt.digests.driver.clone()),
            ("target-cpu", receipt.target_cpu.clone()),
            ("attached", receipt.attaching().by().to_owned()),
            ("kubelet-root", path(&receipt.kubelet_root)),
            ("data-dir", path(&receipt.data_dir)),
            ("run-dir", path(&receipt.run_dir)),
            ("log-dir", path(&receipt.log_dir)),
            ("node-name", receipt.node_name.clone()),
        ]
    };
    let pairs = of(old).into_iter().zip(of(new));
    pairs
        .filter_map(|((name, was), (_, is))| replaced(About::Installation, name, &was, &is))
        .collect()
}

/// What a grants file would have to have, or need no more, for the new component.
pub fn grants(old: Option<&Inspection>, new: &Inspection, file: &GrantsFile) -> Vec<Change> {
    let grants = &file.grants;
    let lines = |coverage: &Coverage| -> BTreeSet<String> {
        let needs = coverage.missing.iter().flat_map(|missing| &missing.needs);
        needs.map(|line| (*line).to_owned()).collect()
    };
    let before = old.map(|old| Coverage::of(old, grants));
    let after = Coverage::of(new, grants);
    let known = before.as_ref().map(lines).unwrap_or_default();
    let mut changes: Vec<Change> = lines(&after)
        .difference(&known)
        .map(|line| change(About::Grants, How::Added, line, None, None))
        .collect();
    for ask in &new.manifest.asks {
        let Some(given) = granted::of(grants, ask.capability) else { continue };
        let asked = |old: &Inspection| {
            let mut asks = old.manifest.asks.iter();
            Some(asks.find(|old| old.capability == ask.capability)?.parameters())
        };
        let asked = old.and_then(asked).unwrap_or_default();
        for (key, values) in ask.parameters() {
            let given = given.get(key).cloned().unwrap_or_default();
            // What the operator has not given of what was asked for already is decided.
            let decided = asked.get(key).is_some_and(|asked| !compare(key, asked, &values).1);
            if compare(key, &given, &values).1 && !decided {
                let name = format!("{} {key}", coverage::lines(ask.capability));
                let (before, after) = (join(&given), join(&values));
                changes.push(change(About::Grants, How::Widened, &name, before, after));
            }
        }
    }
    let given = [
        ("memory-mib", grants.limits.memory_mib.get()),
        ("cpu-seconds", grants.limits.cpu_seconds.get()),
    ];
    for ((key, given), (_, needed)) in given.into_iter().zip(needs(new)) {
        let known = old.is_some_and(|old| needs(old).contains(&(key, needed)));
        if given < needed && !known {
            let name = format!("[limits] {key}");
            let (before, after) = (Some(given.to_string()), Some(needed.to_string()));
            changes.push(change(About::Grants, How::Widened, &name, before, after));
        }
    }
    let unused = before.map(|before| before.unused).unwrap_or_default();
    let unused = after.unused.iter().filter(|line| !unused.contains(line));
    changes.extend(unused.map(|line| change(About::Grants, How::Removed, line, None, None)));
    changes
}

fn asks(old: &[Ask], new: &[Ask], changes: &mut Vec<Change>) {
    let mut reasons = Vec::new();
    for capability in Capability::ALL {
        let find = |asks: &[Ask]| asks.iter().find(|ask| ask.capability == capability).cloned();
        let name = capability.to_string();
        match (find(old), find(new)) {
            (None, None) => {}
            (None, Some(ask)) => {
                let after = Some(requested::in_words(&ask.parameters()));
                let super_privileged = ask.super_privileged().is_some();
                let more = Change {
                    more: true,
                    super_privileged,
                    ..change(About::Asks, How::Added, &name, None, after)
                };
                changes.push(more);
                reasons.push(change(
                    About::Reasons,
                    How::Added,
                    &name,
                    None,
                    Some(ask.reason.to_string()),
                ));
            }
            (Some(ask), None) => {
                let before = Some(requested::in_words(&ask.parameters()));
                changes.push(change(About::Asks, How::Removed, &name, before, None));
            }
            (Some(was), Some(is)) => {
                let first = changes.len();
                parameters(&name, &was.parameters(), &is.parameters(), changes);
                for change in changes[first..].iter_mut().filter(|change| change.more) {
                    change.super_privileged = is.super_privileged().is_some();
                }
                let (before, after) = (was.reason.as_str(), is.reason.as_str());
                reasons.extend(replaced(About::Reasons, &name, before, after));
            }
        }
    }
    changes.append(&mut reasons);
}

/// The parameters of one capability. One who says nothing of them asks for everything.
fn parameters(capability: &str, old: &Parameters, new: &Parameters, changes: &mut Vec<Change>) {
    let keys: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    for key in keys {
        let name = format!("{capability} {key}");
        let (was, is) = (old.get(key), new.get(key));
        let (how, more) = match (was, is) {
            _ if was == is => continue,
            (None, _) if old.is_empty() => (How::Narrowed, false),
            (_, None) if new.is_empty() => (How::Widened, true),
            (None, _) => (How::Added, true),
            (_, None) => (How::Removed, false),
            (Some(was), Some(is)) => compare(key, was, is),
        };
        let (before, after) = (was.and_then(join), is.and_then(join));
        changes.push(Change { more, ..change(About::Asks, how, &name, before, after) });
    }
}

/// What a component needs of `[limits]`, stated or not.
fn needs(component: &Inspection) -> [(&'static str, u64); 2] {
    let (default, stated) = (Limits::default(), component.manifest.limits.parameters());
    [("memory-mib", default.memory_mib.get()), ("cpu-seconds", default.cpu_seconds.get())]
        .map(|(key, default)| (key, stated.get(key).copied().unwrap_or(default)))
}

fn limits(old: &Inspection, new: &Inspection, changes: &mut Vec<Change>) {
    for ((name, was), (_, is)) in needs(old).into_iter().zip(needs(new)) {
        let how = match is.cmp(&was) {
            std::cmp::Ordering::Less => How::Narrowed,
            std::cmp::Ordering::Equal => continue,
            std::cmp::Ordering::Greater => How::Widened,
        };
        let (before, after) = (Some(was.to_string()), Some(is.to_string()));
        let limit = change(About::Limits, how, name, before, after);
        changes.push(Change { more: is > was, ..limit });
    }
}

fn options(old: &Inspection, new: &Inspection, changes: &mut Vec<Change>) {
    let of = |inspection: &Inspection| -> BTreeMap<String, String> {
        let words = inspection.manifest.options.iter().map(|option| {
            let can_be = requested::option_in_words(option);
            let separator = if can_be.is_empty() { "" } else { "; " };
            (option.name.to_string(), format!("{}{separator}{can_be}", option.description))
        });
        words.collect()
    };
    let (was, is) = (of(old), of(new));
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for name in names {
        let (before, after) = (was.get(name).cloned(), is.get(name).cloned());
        let how = match (&before, &after) {
            _ if before == after => continue,
            (None, _) => How::Added,
            (_, None) => How::Removed,
            _ => How::Changed,
        };
        changes.push(change(About::Options, how, name, before, after));
    }
}

/// Names that come and go; each with whether there is more where it is.
fn listed(
    about: About,
    old: &BTreeMap<String, bool>,
    new: &BTreeMap<String, bool>,
    changes: &mut Vec<Change>,
) {
    for (name, more) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        changes.push(Change { more: *more, ..change(about, How::Added, name, None, None) });
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.push(change(about, How::Removed, name, None, None));
    }
}

fn replaced(about: About, name: &str, before: &str, after: &str) -> Option<Change> {
    let texts = (Some(before.to_owned()), Some(after.to_owned()));
    (before != after).then(|| change(about, How::Changed, name, texts.0, texts.1))
}

/// A difference by which nothing more is asked for.
pub fn change(
    about: About,
    how: How,
    name: &str,
    before: Option<String>,
    after: Option<String>,
) -> Change {
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (before, after) = (said(before), said(after));
    Change {
        about,
        how,
        name: name.to_owned(),
        before,
        after,
        more: false,
        super_privileged: false,
    }
}

fn join(values: &BTreeSet<String>) -> Option<String> {
    Some(Vec::from_iter(values.iter().map(String::as_str)).join(", "))
}
