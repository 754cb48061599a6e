//! From the present grants and what was used of them to those that would have been enough, section
//! by section. Nothing gets wider here: every value is one that is granted, or within it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use toml::{Table, Value};
use wasmount_core::call::{Operation, VolumeName};
use wasmount_core::decide::operations;
use wasmount_core::grants::{Grants, ImagePattern, Size};
use wasmount_pack::{Capability, Import};

use super::text::{Fate, Key, Section, bare, inline, quoted};
use crate::time::rfc3339;
use crate::used::{Used, Uses};

/// As many keys of a secret are granted by their names; of more, the patterns stay.
const MAX_KEYS: usize = 32;

/// The operations that take down.
const TAKING_DOWN: [Operation; 3] =
    [Operation::Unmount, Operation::UnmountDevice, Operation::Detach];

/// What the component asks for.
pub(super) struct Asked<'a> {
    pub(super) imports: &'a BTreeSet<Import>,
    /// The operations that were never seen.
    pub(super) unseen: &'a [&'static str],
}

impl Asked<'_> {
    fn is_imported(&self, capability: Capability) -> bool {
        self.imports.iter().any(|import| import.capability == Some(capability))
    }

    /// The operation, never seen, that takes down and may need a capability.
    fn taking_down(&self, capability: Capability) -> Option<&'static str> {
        let functions: Vec<&Import> =
            self.imports.iter().filter(|import| import.capability == Some(capability)).collect();
        let unseen = TAKING_DOWN.iter().find(|operation| {
            let may = |import: &&Import| {
                let name = match import.function.contains('.') {
                    true => import.function.clone(),
                    false => format!("{}.{}", import.interface, import.function),
                };
                operations(&name).is_none_or(|phases| phases.contains(operation))
            };
            // What writes is not needed to take down, whatever operation it may be called in.
            let reads = !matches!(capability, Capability::ImagesCreate | Capability::ImagesGrow);
            reads && self.unseen.contains(&operation.name()) && functions.iter().any(may)
        });
        unseen.map(|operation| operation.name())
    }
}

struct Narrow<'a> {
    used: &'a Used,
    asked: &'a Asked<'a>,
    /// For reasons: what was never used since when.
    since: String,
}

/// The sections of the present file, in the order of docs/grants.md, with what is suggested.
pub(super) fn sections(text: &str, used: &Used, asked: &Asked<'_>) -> Result<Vec<Section>> {
    let present = Grants::parse(text).context("the present grants cannot be used")?;
    let file: Table = toml::from_str(text).context("reading the present grants")?;
    let since = used.since.map(day).unwrap_or_default();
    let narrow = Narrow { used, asked, since };
    let mut sections = vec![kept("", &file, &["version", "isolation"])];
    for name in ["reply", "config", "limits"] {
        if let Some(Value::Table(table)) = file.get(name) {
            let keys: Vec<&str> = table.keys().map(String::as_str).collect();
            sections.push(kept(&format!("[{name}]"), table, &keys));
        }
    }
    let table = |name: &str| file.get(name).and_then(Value::as_table);
    let mount = |name: &str| table("mounts").and_then(|mounts| mounts.get(name)?.as_table());
    if let Some(table) = table("state") {
        sections.push(narrow.whole("[state]", table, Capability::State));
    }
    narrow.secrets(&present, &file, &mut sections);
    if let Some(table) = table("images") {
        sections.push(narrow.images(&present, table));
    }
    narrow.devices(&file, &mut sections);
    if let Some(table) = table("filesystems") {
        sections.push(narrow.filesystems(table));
    }
    if let Some(table) = mount("block") {
        sections.push(narrow.block(table));
    }
    if let Some(table) = mount("bind") {
        sections.push(narrow.whole("[mounts.bind]", table, Capability::MountsBind));
    }
    if let Some(table) = mount("tmpfs") {
        sections.push(narrow.tmpfs(&present, table));
    }
    Ok(sections)
}

impl Narrow<'_> {
    fn uses(&self, capability: Capability) -> Option<&Uses> {
        let uses = self.used.capabilities.get(&capability);
        uses.filter(|_| self.asked.is_imported(capability))
    }

    fn values(&self, capability: Capability, key: &str) -> BTreeSet<String> {
        let values = self.uses(capability).and_then(|uses| uses.parameters.get(key));
        values.cloned().unwrap_or_default()
    }

    /// Whether a capability is to stay, and why.
    fn fate(&self, capability: Capability) -> (bool, String) {
        if !self.asked.is_imported(capability) {
            return (false, "the component does not ask for it".to_owned());
        }
        if let Some(uses) = self.uses(capability) {
            return (true, used(uses));
        }
        match self.asked.taking_down(capability) {
            Some(operation) => {
                (true, format!("never used since {}, but {operation} may need it", self.since))
            }
            None => (false, format!("never used since {}", self.since)),
        }
    }

    fn section(&self, header: &str, capability: Capability) -> Section {
        let (stays, reason) = self.fate(capability);
        let fate = if stays { Fate::Stays } else { Fate::Goes };
        Section { header: header.to_owned(), fate, reason, keys: Vec::new() }
    }

    fn whole(&self, header: &str, table: &Table, capability: Capability) -> Section {
        let section = self.section(header, capability);
        Section { keys: table.iter().map(|(name, value)| same(name, value)).collect(), ..section }
    }

    fn secrets(&self, present: &Grants, file: &Table, sections: &mut Vec<Section>) {
        let entries = file.get("secrets").and_then(Value::as_array).into_iter().flatten();
        let mut by_key: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for value in self.values(Capability::Secrets, "keys") {
            let parsed = value.strip_suffix(')').and_then(|value| value.rsplit_once(" ("));
            if let Some((key, is)) = parsed {
                by_key.entry(key.to_owned()).or_default().insert(is.to_owned());
            }
        }
        let by_name = by_key.len() <= MAX_KEYS;
        let (stays, reason) = self.fate(Capability::Secrets);
        let mut named = BTreeSet::new();
        for (grant, entry) in present.secrets.iter().zip(entries) {
            let Some(entry) = entry.as_table() else { continue };
            let fits: BTreeSet<&String> = by_key
                .iter()
                .filter(|(key, _)| grant.key.matches(key))
                .flat_map(|(_, is)| is)
                .collect();
            let uses = grant.uses.iter().map(|is| is.name().to_owned());
            let kept: Vec<String> = uses.filter(|is| fits.contains(is)).collect();
            let is_name = grant.key.is_name();
            // Nothing was used and something may be needed: it stays as it is.
            let unknown = stays && by_key.is_empty();
            let stays = unknown || (!kept.is_empty() && (is_name || !by_name));
            if is_name && stays {
                named.insert(grant.key.text().to_owned());
            }
            let after = (!unknown).then(|| list(&kept));
            let fate = if stays { Fate::Stays } else { Fate::Goes };
            let never = format!("never used since {}", self.since);
            let why = match (stays, fits.is_empty()) {
                (true, _) => reason.clone(),
                (false, true) => never,
                (false, false) => "the keys that were used are named below".to_owned(),
            };
            let keys = entry.iter().map(|(name, value)| match name.as_str() {
                "uses" => Key {
                    after: after.clone().or_else(|| Some(inline(value))),
                    ..same(name, value)
                },
                _ => same(name, value),
            });
            sections.push(Section {
                header: "[[secrets]]".to_owned(),
                fate,
                reason: why,
                keys: keys.collect(),
            });
        }
        for (key, is) in by_key.iter().filter(|(key, _)| by_name && !named.contains(*key)) {
            let granted = present.secret(key).flat_map(|grant| &grant.uses);
            let granted: BTreeSet<&str> = granted.map(|is| is.name()).collect();
            let is: Vec<String> =
                is.iter().filter(|is| granted.contains(is.as_str())).cloned().collect();
            if is.is_empty() {
                continue;
            }
            sections.push(Section {
                header: "[[secrets]]".to_owned(),
                fate: Fate::Comes,
                reason: reason.clone(),
                keys: vec![new("key", quoted(key)), new("uses", list(&is))],
            });
        }
    }

    fn images(&self, present: &Grants, table: &Table) -> Section {
        let mut section = self.section("[images]", Capability::Images);
        let granted = present.images.as_ref();
        let patterns = granted.map(|images| images.names.as_slice()).unwrap_or_default();
        let size = self.size(Capability::Images, granted.map(|images| images.max_size.bytes()));
        for (name, value) in table {
            let key = same(name, value);
            section.keys.push(match name.as_str() {
                "names" if !self.used.images.is_empty() => {
                    Key { after: Some(list(&names(&self.used.images, patterns))), ..key }
                }
                "create" => self.flag(Capability::ImagesCreate, key),
                "grow" => self.flag(Capability::ImagesGrow, key),
                "max-size" => Key { after: size.clone().or(key.after), ..key },
                _ => key,
            });
        }
        if let (Some(size), false) = (size, table.contains_key("max-size")) {
            section.keys.push(new("max-size", size));
        }
        section
    }

    fn devices(&self, file: &Table, sections: &mut Vec<Section>) {
        let rules = self.values(Capability::Devices, "rules");
        let entries = file.get("devices").and_then(Value::as_array).into_iter().flatten();
        for entry in entries.filter_map(Value::as_table) {
            let rule = entry.get("rule").and_then(Value::as_str).unwrap_or_default();
            let mut section = self.whole("[[devices]]", entry, Capability::Devices);
            if section.fate == Fate::Stays && !rules.is_empty() && !rules.contains(rule) {
                section.fate = Fate::Goes;
                section.reason = format!("never used since {}", self.since);
            }
            sections.push(section);
        }
    }

    fn filesystems(&self, table: &Table) -> Section {
        use Capability::{FilesystemsCheck, FilesystemsFormat, FilesystemsGrow};
        let each = [FilesystemsFormat, FilesystemsCheck, FilesystemsGrow];
        let types: BTreeSet<String> =
            each.iter().flat_map(|capability| self.values(*capability, "types")).collect();
        let stays = each.iter().any(|capability| self.fate(*capability).0);
        let mut section = Section {
            header: "[filesystems]".to_owned(),
            fate: if stays { Fate::Stays } else { Fate::Goes },
            reason: match stays {
                true => "what was made, checked or grown".to_owned(),
                false => format!("never used since {}", self.since),
            },
            keys: Vec::new(),
        };
        for (name, value) in table {
            let key = same(name, value);
            section.keys.push(match name.as_str() {
                "types" => Key { after: Some(granted(value, &types)), ..key },
                "format" => self.flag(FilesystemsFormat, key),
                "check" => self.flag(FilesystemsCheck, key),
                "grow" => self.flag(FilesystemsGrow, key),
                _ => key,
            });
        }
        section
    }

    fn block(&self, table: &Table) -> Section {
        let mut section = self.section("[mounts.block]", Capability::MountsBlock);
        for (name, value) in table {
            let values = self.values(Capability::MountsBlock, name);
            let key = same(name, value);
            section.keys.push(match name.as_str() {
                "filesystems" => Key { after: Some(granted(value, &values)), ..key },
                // None of them is needed to mount.
                "options" if value.as_array().is_some_and(|list| !list.is_empty()) => {
                    let after = granted_or_none(value, &values);
                    let goes = after.is_none().then(|| format!("never used since {}", self.since));
                    Key { after, reason: goes.unwrap_or_default(), ..key }
                }
                _ => key,
            });
        }
        section
    }

    fn tmpfs(&self, present: &Grants, table: &Table) -> Section {
        let mut section = self.section("[mounts.tmpfs]", Capability::MountsTmpfs);
        let granted = present.tmpfs.as_ref();
        let size = self.size(Capability::MountsTmpfs, granted.map(|tmpfs| tmpfs.max_size.bytes()));
        let files = self.values(Capability::MountsTmpfs, "max-files").into_iter().next();
        for (name, after) in [("max-size", size), ("max-files", files)] {
            let before = table.get(name).map(inline);
            let after = after.or_else(|| before.clone());
            section.keys.push(Key { name: name.to_owned(), before, after, reason: String::new() });
        }
        section
    }

    /// A key that is `true` or not there.
    fn flag(&self, capability: Capability, key: Key) -> Key {
        if key.before.as_deref() != Some("true") {
            return key;
        }
        let (stays, reason) = self.fate(capability);
        Key { after: key.after.filter(|_| stays), reason, ..key }
    }

    /// The next power of two over the largest size that was used, or what is granted if that is
    /// less.
    fn size(&self, capability: Capability, granted: Option<u64>) -> Option<String> {
        let used = self.values(capability, "max-size").into_iter().next()?;
        let used = Size::try_from(used).ok()?.bytes().checked_next_power_of_two()?;
        let size = Size::of(used.min(granted.unwrap_or(used)));
        Some(quoted(&size.to_string()))
    }
}

/// Patterns bound to the volume that cover all images that were used, or else those of the present
/// patterns that did.
fn names(images: &BTreeSet<(String, String)>, present: &[ImagePattern]) -> Vec<String> {
    let mut names = Vec::new();
    for (volume, name) in images {
        let allowed = |volume: &str, name: &str| {
            let volume = volume.parse::<VolumeName>().ok();
            volume.is_some_and(|volume| present.iter().any(|is| is.matches(&volume, name)))
        };
        let bound = bound(volume, name).filter(|pattern| {
            // Whatever the volume is called, it was allowed before.
            ["a", "0-9.z"].iter().all(|other| allowed(other, &pattern.replace("{volume}", other)))
        });
        let matched = || {
            let volume = volume.parse::<VolumeName>().ok()?;
            let matched = present.iter().find(|pattern| pattern.matches(&volume, name));
            matched.map(|pattern| pattern.text().to_owned())
        };
        // A name that no pattern allows any more is not to be allowed again.
        let pattern = bound.or_else(matched);
        if let Some(pattern) = pattern.filter(|pattern| !names.contains(pattern)) {
            names.push(pattern);
        }
    }
    if names.is_empty() {
        names = present.iter().map(|pattern| pattern.text().to_owned()).collect();
    }
    names
}

/// The name with `{volume}` in place of the volume's, where that stands for itself.
fn bound(volume: &str, name: &str) -> Option<String> {
    let at = name.find(volume).filter(|_| !volume.is_empty())?;
    let (before, after) = (&name[..at], &name[at + volume.len()..]);
    let apart = !before.ends_with(|c: char| c.is_alphanumeric())
        && !after.starts_with(|c: char| c.is_alphanumeric());
    apart.then(|| format!("{before}{{volume}}{after}"))
}

fn kept(header: &str, table: &Table, names: &[&str]) -> Section {
    let keys = names.iter().filter_map(|name| table.get(*name).map(|value| same(name, value)));
    let keys = keys.collect();
    Section { header: header.to_owned(), fate: Fate::Stays, reason: String::new(), keys }
}

fn same(name: &str, value: &Value) -> Key {
    let value = Some(inline(value));
    Key { name: bare(name), before: value.clone(), after: value, reason: String::new() }
}

fn new(name: &str, value: String) -> Key {
    Key { name: name.to_owned(), before: None, after: Some(value), reason: String::new() }
}

/// Those of a list that were used, in its order; all, if none was.
fn granted(list: &Value, used: &BTreeSet<String>) -> String {
    granted_or_none(list, used).unwrap_or_else(|| inline(list))
}

fn granted_or_none(list: &Value, used: &BTreeSet<String>) -> Option<String> {
    let entries = list.as_array()?.iter().filter_map(Value::as_str);
    let kept: Vec<String> = entries.filter(|e| used.contains(*e)).map(str::to_owned).collect();
    (!kept.is_empty()).then(|| self::list(&kept))
}

fn list(entries: &[String]) -> String {
    let entries: Vec<String> = entries.iter().map(|entry| quoted(entry)).collect();
    format!("[{}]", entries.join(", "))
}

fn used(uses: &Uses) -> String {
    let times = match uses.count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    let operations: Vec<&str> = uses.operations.keys().map(String::as_str).collect();
    let by = if operations.is_empty() {
        String::new()
    } else {
        format!(" by {}", operations.join(", "))
    };
    format!("used {times}{by}, last {}", day(uses.last))
}

fn day(time: std::time::SystemTime) -> String {
    rfc3339(time)[..10].to_owned()
}
