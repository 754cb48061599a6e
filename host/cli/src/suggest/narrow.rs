//! From the present grants and what was used of them to those that would have been enough, section
//! by section. Nothing gets wider here: every value is one that is granted and that the manifest asks
//! for, or within both. What the log may have left out is kept.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use toml::{Table, Value};
use wasmount_core::call::Operation;
use wasmount_core::decide::operations;
use wasmount_core::grants::{Grants, ImagePattern, Size};
use wasmount_core::kernel::filesystems::{BlockOption, Filesystem};
use wasmount_pack::{Ask, Capability, Import};

use super::patterns::{self, Patterns};
use super::text::{Fate, Key, Section, inline, kept, list, new, quoted, same};
use crate::diff::width::covers;
use crate::time::rfc3339;
use crate::used::{Used, Uses};

/// The operations that take down.
pub(super) const TAKING_DOWN: [Operation; 3] =
    [Operation::Unmount, Operation::UnmountDevice, Operation::Detach];

/// Why what is granted and was used is suggested to go all the same.
pub(super) const BEYOND: &str = "the manifest does not ask for it";

/// What the component asks for.
pub(super) struct Asked<'a> {
    pub(super) imports: &'a BTreeSet<Import>,
    pub(super) asks: &'a [Ask],
    /// The operations that were never seen.
    pub(super) unseen: &'a [&'static str],
}

impl Asked<'_> {
    fn is_imported(&self, capability: Capability) -> bool {
        self.imports.iter().any(|import| import.capability == Some(capability))
    }

    /// The values that the manifest asks for; none if it does not say. Then that is all of them.
    pub(super) fn values(&self, capability: Capability, key: &str) -> Option<BTreeSet<String>> {
        let ask = self.asks.iter().find(|ask| ask.capability == capability)?;
        let mut parameters = ask.parameters();
        (!parameters.is_empty()).then(|| parameters.remove(key).unwrap_or_default())
    }

    /// Whether the manifest asks for as much as a value.
    pub(super) fn covers(&self, capability: Capability, key: &str, value: &str) -> bool {
        let asked = self.values(capability, key);
        asked.is_none_or(|asked| asked.iter().any(|asked| covers(key, asked, value)))
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

pub(super) struct Narrow<'a> {
    pub(super) used: &'a Used,
    pub(super) asked: &'a Asked<'a>,
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
    narrow.devices(&present, &file, &mut sections);
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
    /// What was made of a capability that the component has, or that the host makes use of itself.
    fn uses(&self, capability: Capability) -> Option<&Uses> {
        let uses = self.used.capabilities.get(&capability).filter(|uses| uses.count > 0);
        uses.filter(|uses| self.asked.is_imported(capability) || uses.by_host > 0)
    }

    /// Whether the log tells of all that a capability was used with.
    pub(super) fn is_told(&self, capability: Capability) -> bool {
        self.uses(capability).is_none_or(|uses| uses.omitted == 0)
    }

    /// The values that were used; none where that is not known.
    pub(super) fn values(&self, capability: Capability, key: &str) -> BTreeSet<String> {
        let uses = self.uses(capability).filter(|uses| uses.omitted == 0);
        uses.and_then(|uses| uses.parameters.get(key)).cloned().unwrap_or_default()
    }

    /// Whether a capability is to stay, and why.
    pub(super) fn fate(&self, capability: Capability) -> (bool, String) {
        match self.uses(capability) {
            Some(uses) if uses.by_host == uses.count => {
                return (true, format!("{}, by the host itself", used(uses)));
            }
            _ if !self.asked.is_imported(capability) => {
                return (false, "the component does not ask for it".to_owned());
            }
            _ if !self.asked.asks.iter().any(|ask| ask.capability == capability) => {
                return (false, BEYOND.to_owned());
            }
            Some(uses) => return (true, used(uses)),
            None => {}
        }
        match self.asked.taking_down(capability) {
            Some(operation) => {
                (true, format!("never used since {}, but {operation} may need it", self.since))
            }
            None => (false, self.never(capability)),
        }
    }

    /// That it was not used, in words.
    pub(super) fn never(&self, capability: Capability) -> String {
        let failed = self.used.capabilities.get(&capability).map_or(0, |uses| uses.failed);
        match failed {
            0 => format!("never used since {}", self.since),
            _ => format!("asked for since {}, and never with success", self.since),
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

    fn images(&self, present: &Grants, table: &Table) -> Section {
        let mut section = self.section("[images]", Capability::Images);
        let granted = present.images.as_ref();
        let asked = self.asked.values(Capability::Images, "names").map(|asked| {
            asked.into_iter().filter_map(|text| ImagePattern::try_from(text).ok()).collect()
        });
        let patterns = Patterns {
            present: granted.map(|images| images.names.clone()).unwrap_or_default(),
            asked,
        };
        let names = match self.is_told(Capability::Images) {
            true => patterns.narrowest(&self.used.images),
            false => patterns.both(),
        };
        if section.fate == Fate::Stays && names.is_empty() {
            (section.fate, section.reason) = (Fate::Goes, BEYOND.to_owned());
        }
        let size = self.size(Capability::Images, granted.map(|images| images.max_size.bytes()));
        for (name, value) in table {
            let key = same(name, value);
            section.keys.push(match name.as_str() {
                "names" => Key { after: Some(list(&names)), ..key },
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

    fn devices(&self, present: &Grants, file: &Table, sections: &mut Vec<Section>) {
        let rules = self.values(Capability::Devices, "rules");
        let entries = file.get("devices").and_then(Value::as_array).into_iter().flatten();
        for (grant, entry) in present.devices.iter().zip(entries) {
            let Some(entry) = entry.as_table() else { continue };
            let mut section = self.whole("[[devices]]", entry, Capability::Devices);
            if section.fate == Fate::Stays && !rules.is_empty() && !rules.contains(&grant.rule) {
                section.fate = Fate::Goes;
                section.reason = format!("never used since {}", self.since);
            }
            if section.fate == Fate::Stays
                && !self.asked.covers(Capability::Devices, "rules", &grant.rule)
            {
                (section.fate, section.reason) = (Fate::Goes, BEYOND.to_owned());
            }
            let used = self.used.devices.iter().filter(|(rule, ..)| *rule == grant.rule);
            let used: Vec<(&str, &str)> =
                used.map(|(_, volume, id)| (volume.as_str(), id.as_str())).collect();
            let narrower = patterns::ids(&used, grant.id.text());
            if let Some(id) = narrower.filter(|_| self.is_told(Capability::Devices)) {
                for key in section.keys.iter_mut().filter(|key| key.name == "id") {
                    key.after = Some(quoted(&id));
                }
            }
            sections.push(section);
        }
    }

    fn filesystems(&self, table: &Table) -> Section {
        use Capability::{FilesystemsCheck, FilesystemsFormat, FilesystemsGrow};
        let each = [FilesystemsFormat, FilesystemsCheck, FilesystemsGrow];
        let staying: Vec<Capability> =
            each.into_iter().filter(|capability| self.fate(*capability).0).collect();
        let types: BTreeSet<String> = match each.iter().all(|capability| self.is_told(*capability))
        {
            true => each.iter().flat_map(|capability| self.values(*capability, "types")).collect(),
            false => BTreeSet::new(),
        };
        let asked = |kind: &str| {
            staying.iter().any(|capability| {
                let by_host = self.uses(*capability).is_some_and(|uses| uses.by_host > 0);
                by_host || self.asked.covers(*capability, "types", kind)
            })
        };
        let types =
            table.get("types").map(|value| chosen(value, &types, asked)).unwrap_or_default();
        let (fate, reason) = match (staying.is_empty(), types.is_empty()) {
            (false, false) => (Fate::Stays, "what was made, checked or grown".to_owned()),
            (false, true) => (Fate::Goes, BEYOND.to_owned()),
            (true, _) => (Fate::Goes, format!("never used since {}", self.since)),
        };
        let header = "[filesystems]".to_owned();
        let mut section = Section { header, fate, reason, keys: Vec::new() };
        for (name, value) in table {
            let key = same(name, value);
            section.keys.push(match name.as_str() {
                "types" => Key { after: Some(list(&types)), ..key },
                "format" => self.flag(FilesystemsFormat, key),
                "check" => self.flag(FilesystemsCheck, key),
                "grow" => self.flag(FilesystemsGrow, key),
                _ => key,
            });
        }
        section
    }

    fn block(&self, table: &Table) -> Section {
        const OF: Capability = Capability::MountsBlock;
        let mut section = self.section("[mounts.block]", OF);
        let mut types = Vec::new();
        if let Some(value) = table.get("filesystems") {
            types = chosen(value, &self.values(OF, "filesystems"), |kind| {
                self.asked.covers(OF, "filesystems", kind)
            });
        }
        if section.fate == Fate::Stays && types.is_empty() {
            (section.fate, section.reason) = (Fate::Goes, BEYOND.to_owned());
        }
        let kinds: Vec<Filesystem> =
            types.iter().filter_map(|kind| Filesystem::parse(kind).ok()).collect();
        for (name, value) in table {
            let key = same(name, value);
            section.keys.push(match name.as_str() {
                "filesystems" => Key { after: Some(list(&types)), ..key },
                // None of them is needed to mount.
                "options" if value.as_array().is_some_and(|list| !list.is_empty()) => {
                    let used = self.values(OF, "options");
                    let mut options = texts(value);
                    options.retain(|option| {
                        let is_used = used.contains(option) || !self.is_told(OF);
                        let is_one = |kind: &Filesystem| BlockOption::parse(*kind, option).is_ok();
                        is_used
                            && self.asked.covers(OF, "options", option)
                            && kinds.iter().any(is_one)
                    });
                    let after = (!options.is_empty()).then(|| list(&options));
                    let goes = after.is_none().then(|| format!("never used since {}", self.since));
                    Key { after, reason: goes.unwrap_or_default(), ..key }
                }
                _ => key,
            });
        }
        section
    }

    fn tmpfs(&self, present: &Grants, table: &Table) -> Section {
        const OF: Capability = Capability::MountsTmpfs;
        let mut section = self.section("[mounts.tmpfs]", OF);
        let granted = present.tmpfs.as_ref();
        let size = self.size(OF, granted.map(|tmpfs| tmpfs.max_size.bytes()));
        let number = |values: BTreeSet<String>| values.first().and_then(|text| text.parse().ok());
        let used: Option<u64> = number(self.values(OF, "max-files"));
        let asked: Option<u64> = self.asked.values(OF, "max-files").and_then(number);
        let most = granted.map(|tmpfs| tmpfs.max_files.get());
        let files = [used, asked.filter(|asked| Some(*asked) < most)].into_iter().flatten().min();
        let files = files.map(|files| files.min(most.unwrap_or(files)).to_string());
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

    /// The next power of two over the largest size that was used, or what is granted or asked for if
    /// that is less; none where what is granted is to stay.
    fn size(&self, capability: Capability, granted: Option<u64>) -> Option<String> {
        let bytes = |values: BTreeSet<String>| {
            Some(Size::try_from(values.into_iter().next()?).ok()?.bytes())
        };
        let asked = self.asked.values(capability, "max-size").and_then(bytes);
        let asked = asked.filter(|asked| Some(*asked) < granted);
        let used = bytes(self.values(capability, "max-size"));
        let used = used.and_then(u64::checked_next_power_of_two);
        let size = [used, asked].into_iter().flatten().min()?;
        Some(quoted(&Size::of(size.min(granted.unwrap_or(size))).to_string()))
    }
}

/// Those of a list that were used and are asked for, in its order; if none was used, all that are
/// asked for.
fn chosen(value: &Value, used: &BTreeSet<String>, asked: impl Fn(&str) -> bool) -> Vec<String> {
    let mut entries = texts(value);
    entries.retain(|entry| asked(entry));
    let mut chosen = entries.clone();
    chosen.retain(|entry| used.contains(entry));
    if chosen.is_empty() { entries } else { chosen }
}

fn texts(value: &Value) -> Vec<String> {
    let entries = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    entries.map(str::to_owned).collect()
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
    let omitted = match uses.omitted {
        0 => "",
        _ => ", and not all of it is in the log",
    };
    format!("used {times}{by}, last {}{omitted}", day(uses.last))
}

fn day(time: std::time::SystemTime) -> String {
    rfc3339(time)[..10].to_owned()
}
