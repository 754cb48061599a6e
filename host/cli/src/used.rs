//! What a driver has made of its grants, as far back as its audit log reaches: which capabilities
//! it used, with which parameters, and what it was refused.
//!
//! The parameters have the names that they have in grants.toml. Nothing is judged here: what is
//! not in the log may have been rotated away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::Value;
use wasmount_core::grants::Size;
use wasmount_pack::{Capability, capability_of};

use crate::log::{Files, Line};

/// How many volumes, or values of a parameter, are listed. The others are counted.
pub const MAX_LISTED: usize = 64;

/// What the log tells.
#[derive(Debug, Default)]
pub struct Used {
    /// The time of the oldest line; none if there is none.
    pub since: Option<SystemTime>,
    /// Whether there were older ones, which rotation has taken away.
    pub rotated: bool,
    /// How many calls there were, and of which operations; the steps of a call on a node that
    /// attaches volumes itself are counted as operations, too.
    pub calls: u64,
    /// How often each operation was asked for, by its name for kubelet.
    pub operations: BTreeMap<String, u64>,
    /// Those of them that succeeded at least once.
    pub succeeded: BTreeSet<String>,
    /// What was used.
    pub capabilities: BTreeMap<Capability, Uses>,
    /// What was refused, the most frequent first.
    pub denials: Vec<Denial>,
    /// How many lines are torn or somebody else's, and were skipped.
    pub skipped: u64,
    /// Every image that was used: volume and name.
    pub images: BTreeSet<(String, String)>,
}

/// How a capability was used.
#[derive(Clone, Debug, PartialEq)]
pub struct Uses {
    /// In how many host calls that were allowed.
    pub count: u64,
    /// When first.
    pub first: SystemTime,
    /// When last.
    pub last: SystemTime,
    /// In which operations, and how often.
    pub operations: BTreeMap<String, u64>,
    /// For which volumes, up to [`MAX_LISTED`].
    pub volumes: BTreeSet<String>,
    /// For how many volumes besides.
    pub more_volumes: u64,
    /// The values that were really used, as in grants.toml, up to [`MAX_LISTED`] of each. Of sizes
    /// and counts, the largest.
    pub parameters: BTreeMap<&'static str, BTreeSet<String>>,
}

/// What was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Denial {
    /// The host call, such as `images.open`.
    pub function: String,
    /// The reason's token, such as `grant:images.names`.
    pub reason: String,
    /// What the component was told the last time.
    pub message: String,
    /// How often.
    pub count: u64,
    /// When last.
    pub last: SystemTime,
    /// For which volumes, up to [`MAX_LISTED`].
    pub volumes: BTreeSet<String>,
}

impl Used {
    /// Reads the log of a driver: the file that is written to, `<log-dir>/<vendor>~<driver>.jsonl`,
    /// and those that rotation has kept. No log is one in which nothing is.
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = Reader::default();
        let mut files = Files::new(path.to_owned());
        let skipped = files.read(&mut |line| reader.take(&line))?;
        let mut used = reader.finish();
        used.skipped = skipped.iter().map(|skipped| skipped.count).sum();
        Ok(used)
    }
}

/// A call whose reply has not been read yet.
#[derive(Default)]
struct Open {
    operation: String,
    volume: String,
    /// All operations that it consisted of so far.
    operations: Vec<String>,
    /// How many files it has written into memory.
    files: u64,
}

#[derive(Default)]
struct Reader {
    used: Used,
    open: HashMap<String, Open>,
    denials: BTreeMap<(String, String), Denial>,
    /// The largest of a capability's sizes and counts.
    largest: BTreeMap<(Capability, &'static str), u64>,
}

impl Reader {
    fn take(&mut self, line: &Line) {
        if self.used.since.is_none() {
            self.used.since = Some(line.time());
            self.used.rotated = line.fields.get("seq").and_then(Value::as_u64) != Some(0);
        }
        match line.kind.as_str() {
            "call" => {
                let operation = line.text_of("operation").unwrap_or_default().to_owned();
                let volume = line.text_of("volume").unwrap_or_default().to_owned();
                self.count(&operation);
                let operations = vec![operation.clone()];
                let open = Open { operation, volume, operations, files: 0 };
                self.open.insert(line.call.clone(), open);
            }
            // From here on, the lines of the call are of this operation.
            "step" => {
                let operation = line.text_of("operation").unwrap_or_default().to_owned();
                let open = self.open.entry(line.call.clone()).or_default();
                if open.operation != operation {
                    open.operation.clone_from(&operation);
                    open.operations.push(operation.clone());
                    open.files = 0;
                    self.count(&operation);
                }
            }
            "host-call" => self.host_call(line),
            // What the host does where the grants let it, unasked.
            "host-act" if line.text_of("act") == Some("grow") => {
                if let Some(kind) = line.text_of("fs_type") {
                    let uses = self.uses(Capability::FilesystemsGrow, line);
                    add(uses, "types", kind);
                }
            }
            "reply" => {
                self.used.calls += 1;
                let open = self.open.remove(&line.call).unwrap_or_default();
                if line.text_of("status") == Some("Success") {
                    self.used.succeeded.extend(open.operations);
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, operation: &str) {
        *self.used.operations.entry(operation.to_owned()).or_default() += 1;
    }

    fn host_call(&mut self, line: &Line) {
        let Some(request) = line.fields.get("request").and_then(Value::as_object) else { return };
        let text = |key: &str| request.get(key).and_then(Value::as_str);
        let number = |key: &str| request.get(key).and_then(Value::as_u64);
        let Some(function) = text("call") else { return };
        if line.text_of("decision") != Some("allowed") {
            return self.denied(function, line);
        }
        let Some(capability) = capability_of(function) else { return };
        let uses = self.uses(capability, line);
        match capability {
            Capability::Images | Capability::ImagesCreate | Capability::ImagesGrow => {
                // Whoever creates or grows an image needs the section as well.
                let uses = match capability {
                    Capability::Images => uses,
                    _ => self.uses(Capability::Images, line),
                };
                if let Some(directory) = text("directory") {
                    add(uses, "directory", directory);
                }
                if let Some(name) = text("name").or_else(|| text("image")) {
                    add(uses, "names", name);
                    let volume = self.open.get(&line.call).map(|open| open.volume.clone());
                    self.used.images.insert((volume.unwrap_or_default(), name.to_owned()));
                }
                self.largest(Capability::Images, "max-size", number("size"));
            }
            Capability::Secrets => {
                if let ("secret.reveal", Some(key)) = (function, text("secret")) {
                    add(uses, "keys", &format!("{key} (reveal)"));
                }
            }
            Capability::Devices => {
                if let (Some(rule), Some(id)) = (text("rule"), text("id")) {
                    add(uses, "rules", rule);
                    add(uses, "id", &format!("{rule}: {id}"));
                }
            }
            Capability::FilesystemsFormat
            | Capability::FilesystemsCheck
            | Capability::FilesystemsGrow => {
                if let Some(kind) = text("fs_type") {
                    add(uses, "types", kind);
                }
            }
            Capability::MountsBlock => {
                if let Some(kind) = text("fs_type") {
                    add(uses, "filesystems", kind);
                }
                let options = request.get("options").and_then(Value::as_array);
                for option in options.into_iter().flatten().filter_map(Value::as_str) {
                    add(uses, "options", option);
                }
            }
            Capability::MountsTmpfs => {
                if let ("mounts-tmpfs.write-secret", Some(key)) = (function, text("secret")) {
                    let uses = self.uses(Capability::Secrets, line);
                    add(uses, "keys", &format!("{key} (file)"));
                }
                let written = function.starts_with("mounts-tmpfs.write-").then(|| {
                    let open = self.open.entry(line.call.clone()).or_default();
                    open.files += 1;
                    open.files
                });
                self.largest(capability, "max-files", written);
                self.largest(capability, "max-size", number("size"));
            }
            Capability::MountsBind | Capability::State => {}
        }
    }

    /// The uses of a capability, of which the line is one more.
    fn uses(&mut self, capability: Capability, line: &Line) -> &mut Uses {
        let time = line.time();
        let uses = self.used.capabilities.entry(capability).or_insert_with(|| Uses {
            count: 0,
            first: time,
            last: time,
            operations: BTreeMap::new(),
            volumes: BTreeSet::new(),
            more_volumes: 0,
            parameters: BTreeMap::new(),
        });
        uses.count += 1;
        uses.first = uses.first.min(time);
        uses.last = uses.last.max(time);
        if let Some(open) = self.open.get(&line.call) {
            *uses.operations.entry(open.operation.clone()).or_default() += 1;
            uses.volumes.insert(open.volume.clone());
        }
        uses
    }

    fn largest(&mut self, capability: Capability, key: &'static str, number: Option<u64>) {
        if let Some(number) = number {
            let largest = self.largest.entry((capability, key)).or_default();
            *largest = number.max(*largest);
        }
    }

    fn denied(&mut self, function: &str, line: &Line) {
        let reason = line.text_of("reason").unwrap_or_default();
        let key = (function.to_owned(), reason.to_owned());
        let denial = self.denials.entry(key).or_insert_with(|| Denial {
            function: function.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            count: 0,
            last: line.time(),
            volumes: BTreeSet::new(),
        });
        denial.count += 1;
        denial.last = denial.last.max(line.time());
        denial.message = line.text_of("message").unwrap_or_default().to_owned();
        if let Some(open) = self.open.get(&line.call).filter(|_| denial.volumes.len() < MAX_LISTED)
        {
            denial.volumes.insert(open.volume.clone());
        }
    }

    fn finish(mut self) -> Used {
        for ((capability, key), largest) in &self.largest {
            if let Some(uses) = self.used.capabilities.get_mut(capability) {
                let shown = match *key {
                    "max-size" => Size::of(*largest).to_string(),
                    _ => largest.to_string(),
                };
                add(uses, key, &shown);
            }
        }
        for uses in self.used.capabilities.values_mut() {
            let listed = |set: &mut BTreeSet<String>| {
                let more = set.len().saturating_sub(MAX_LISTED);
                *set = std::mem::take(set).into_iter().take(MAX_LISTED).collect();
                more as u64
            };
            uses.more_volumes = listed(&mut uses.volumes);
            for values in uses.parameters.values_mut() {
                listed(values);
            }
        }
        self.used.denials = self.denials.into_values().collect();
        self.used.denials.sort_by_key(|denial| std::cmp::Reverse(denial.count));
        self.used
    }
}

fn add(uses: &mut Uses, key: &'static str, value: &str) {
    uses.parameters.entry(key).or_default().insert(value.to_owned());
}

#[cfg(test)]
mod tests;
