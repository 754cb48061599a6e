//! Which entries of `[[secrets]]` are suggested: one for each key that was used, by its name, for what
//! it was used for; the patterns, as far as that is not known or there are too many.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};
use wasmount_core::grants::{Grants, KeyPattern, SecretGrant};
use wasmount_pack::Capability;

use super::narrow::{BEYOND, Narrow};
use super::text::{Fate, Key, Section, list, new, quoted, same};
use crate::diff::width::covers;

/// As many keys of a secret are granted by their names; of more, the patterns stay.
const MAX_KEYS: usize = 32;

/// The uses of keys.
type Keys = BTreeMap<String, BTreeSet<String>>;

impl Narrow<'_> {
    /// Adds the entries of the present file, and those that are to come in their place.
    pub(super) fn secrets(&self, present: &Grants, file: &Table, sections: &mut Vec<Section>) {
        let (stays, reason) = self.fate(Capability::Secrets);
        let used = self.used_keys(present);
        let is_known = self.is_told(Capability::Secrets) && !used.is_empty();
        let wanted = match (stays, is_known) {
            (false, _) => Keys::new(),
            (true, true) if used.len() <= MAX_KEYS => used.clone(),
            (true, is_known) => {
                let needed = |key: &KeyPattern, is: &str| {
                    let mut of_it = used.iter().filter(|(name, _)| key.matches(name));
                    !is_known || of_it.any(|(_, uses)| uses.contains(is))
                };
                self.patterns(present, needed)
            }
        };
        let mut named = BTreeSet::new();
        let entries = file.get("secrets").and_then(Value::as_array).into_iter().flatten();
        for (grant, entry) in present.secrets.iter().zip(entries) {
            let Some(entry) = entry.as_table() else { continue };
            let after = wanted.get(grant.key.text());
            named.extend(after.map(|_| grant.key.text()));
            let is_used = used.keys().any(|key| grant.key.matches(key));
            let why = match (after, stays, is_used) {
                (Some(_), ..) | (None, false, _) => reason.clone(),
                (None, true, true) => "the keys that were used are named below".to_owned(),
                (None, true, false) if is_known => self.never(Capability::Secrets),
                (None, true, false) => BEYOND.to_owned(),
            };
            let keys = entry.iter().map(|(name, value)| match (name.as_str(), after) {
                ("uses", Some(uses)) => {
                    Key { after: Some(listed(grant, uses)), ..same(name, value) }
                }
                _ => same(name, value),
            });
            let fate = if after.is_some() { Fate::Stays } else { Fate::Goes };
            let header = "[[secrets]]".to_owned();
            sections.push(Section { header, fate, reason: why, keys: keys.collect() });
        }
        for (key, uses) in wanted.iter().filter(|(key, _)| !named.contains(key.as_str())) {
            sections.push(Section {
                header: "[[secrets]]".to_owned(),
                fate: Fate::Comes,
                reason: reason.clone(),
                keys: vec![
                    new("key", quoted(key)),
                    new("uses", list(&Vec::from_iter(uses.iter().cloned()))),
                ],
            });
        }
    }

    /// What keys were used for, as far as it is granted and asked for. One that was opened and no
    /// more was to become a file, or what else it is granted for.
    fn used_keys(&self, present: &Grants) -> Keys {
        let recorded = self.values(Capability::Secrets, "keys");
        let mut used = Keys::new();
        for (key, is) in recorded.iter().filter_map(|value| parted(value)) {
            used.entry(key.to_owned()).or_default().insert(is.to_owned());
        }
        let granted = |key: &str, is: &str| {
            let mut uses = present.secret(key).flat_map(|grant| &grant.uses);
            uses.any(|granted| granted.name() == is)
                && self.asked.covers(Capability::Secrets, "keys", &format!("{key} ({is})"))
        };
        for key in &self.used.opened {
            let one = ["file", "reveal"].into_iter().find(|is| granted(key, is));
            let uses = || one.map(str::to_owned).into_iter().collect();
            used.entry(key.clone()).or_insert_with(uses);
        }
        used.iter_mut().for_each(|(key, uses)| uses.retain(|is| granted(key, is)));
        used.retain(|_, uses| !uses.is_empty());
        used
    }

    /// What is both granted and asked for, and needed.
    fn patterns(&self, present: &Grants, needed: impl Fn(&KeyPattern, &str) -> bool) -> Keys {
        let each = present.secrets.iter().flat_map(|grant| {
            grant.uses.iter().map(|is| format!("{} ({})", grant.key.text(), is.name()))
        });
        let granted: BTreeSet<String> = each.collect();
        let asked = self.asked.values(Capability::Secrets, "keys");
        let asked = asked.unwrap_or_else(|| granted.clone());
        let within = |value: &str, others: &BTreeSet<String>| {
            others.iter().any(|other| covers("keys", other, value))
        };
        let mut both: BTreeSet<String> =
            granted.iter().filter(|value| within(value, &asked)).cloned().collect();
        let rest = asked.iter().filter(|value| within(value, &granted) && !within(value, &both));
        let rest: Vec<String> = rest.cloned().collect();
        both.extend(rest);
        let mut kept = Keys::new();
        for (key, is) in both.iter().filter_map(|value| parted(value)) {
            let pattern = KeyPattern::try_from(key.to_owned());
            if pattern.is_ok_and(|pattern| needed(&pattern, is)) {
                kept.entry(key.to_owned()).or_default().insert(is.to_owned());
            }
        }
        kept
    }
}

/// A key and its use, of `KEY (USE)`.
fn parted(value: &str) -> Option<(&str, &str)> {
    value.strip_suffix(')')?.rsplit_once(" (")
}

/// An entry's uses, in its own order; one that it takes over from a pattern comes last.
fn listed(grant: &SecretGrant, uses: &BTreeSet<String>) -> String {
    let own: Vec<String> = grant.uses.iter().map(|is| is.name().to_owned()).collect();
    let kept = own.iter().filter(|is| uses.contains(*is));
    let more = uses.iter().filter(|is| !own.contains(is));
    list(&kept.chain(more).cloned().collect::<Vec<_>>())
}
