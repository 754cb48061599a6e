//! Reads the lines of the audit log, one after the other, and adds up what they tell. Lines of calls
//! that run at the same time are mixed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};
use wasmount_core::grants::Size;
use wasmount_pack::{Capability, capability_of};

use super::{Calls, Denial, MAX_MESSAGES, OMITTED, Used, Uses};
use crate::log::Line;

/// A call whose reply has not been read yet. What a call's first line says is unknown where rotation
/// has taken that away.
#[derive(Default)]
struct Open {
    operation: Option<String>,
    volume: Option<String>,
    version: Option<String>,
    isolation: Option<String>,
    /// All operations that it consisted of so far.
    operations: Vec<String>,
    /// Those of them in which the component made a host call.
    asked: BTreeSet<String>,
    /// Those of them in which it failed.
    failed: BTreeSet<String>,
    /// How many files it has written into memory.
    files: u64,
}

/// What has been read so far.
#[derive(Default)]
pub(super) struct Reader {
    used: Used,
    open: HashMap<String, Open>,
    denials: BTreeMap<(String, String), Denial>,
    /// The largest of a capability's sizes and counts.
    largest: BTreeMap<(Capability, &'static str), u64>,
}

impl Reader {
    /// One more line.
    pub(super) fn take(&mut self, line: &Line) {
        if self.used.since.is_none() {
            self.used.since = Some(line.time());
            self.used.rotated = line.fields.get("seq").and_then(Value::as_u64) != Some(0);
        }
        let text = |field: &str| line.text_of(field).map(str::to_owned);
        match line.kind.as_str() {
            "call" => {
                let operation = text("operation").unwrap_or_default();
                let open = Open {
                    operation: Some(operation.clone()),
                    volume: text("volume"),
                    version: text("version"),
                    isolation: text("isolation"),
                    operations: vec![operation.clone()],
                    ..Open::default()
                };
                self.open.insert(line.call.clone(), open);
                self.count(operation);
            }
            // From here on, the lines of the call are of this operation.
            "step" => {
                let operation = text("operation").unwrap_or_default();
                let open = self.open.entry(line.call.clone()).or_default();
                if open.operation.as_ref() != Some(&operation) {
                    open.operation = Some(operation.clone());
                    open.operations.push(operation.clone());
                    open.files = 0;
                    self.count(operation);
                }
            }
            "host-call" => self.host_call(line),
            // What the host does where the grants let it, unasked.
            "host-act" if line.text_of("act") == Some("grow") => {
                if let Some(kind) = line.text_of("fs_type") {
                    let uses = self.uses(Capability::FilesystemsGrow, line, 1);
                    uses.by_host += 1;
                    add(uses, "types", kind);
                }
            }
            "component-failed" => {
                let open = self.open.entry(line.call.clone()).or_default();
                open.failed.extend(open.operation.clone());
            }
            "reply" => self.reply(line),
            _ => {}
        }
    }

    fn count(&mut self, operation: String) {
        *self.used.operations.entry(operation).or_default() += 1;
    }

    fn reply(&mut self, line: &Line) {
        if let Some(omitted) = line.fields.get("omitted").and_then(Value::as_object) {
            self.omitted(omitted, line);
        }
        self.used.calls += 1;
        let time = line.time();
        let open = self.open.remove(&line.call).unwrap_or_default();
        if let Some(version) = line.text_of("version") {
            let calls = self.used.versions.entry(version.to_owned());
            calls.or_insert_with(|| Calls::one(time)).add(time);
        }
        if let Some(lacked) = open.isolation.filter(|isolation| isolation != "full") {
            let calls = self.used.partly_isolated.entry(lacked);
            calls.or_insert_with(|| Calls::one(time)).add(time);
        }
        if line.text_of("status") == Some("Success") {
            let served = open.asked.difference(&open.failed).cloned();
            self.used.served.extend(served);
            self.used.succeeded.extend(open.operations);
        }
    }

    /// What a call had no room for in the log: what came of it, and how often, by function.
    fn omitted(&mut self, omitted: &Map<String, Value>, line: &Line) {
        for (came, functions) in omitted {
            for (function, count) in functions.as_object().into_iter().flatten() {
                let count = count.as_u64().unwrap_or_default();
                *self.used.omitted.functions.entry(function.clone()).or_default() += count;
                self.used.omitted.last.clone_from(&line.call);
                match came.as_str() {
                    "allowed" => {
                        for capability in capabilities(function) {
                            self.uses(capability, line, count).omitted += count;
                        }
                    }
                    "failed" => {
                        for capability in capabilities(function) {
                            self.entry(capability, line).failed += count;
                        }
                    }
                    _ => {
                        let message = "the call had logged too much for it to be told";
                        self.denied(function, OMITTED, message, line, count);
                    }
                }
            }
        }
    }

    fn host_call(&mut self, line: &Line) {
        let Some(request) = line.fields.get("request").and_then(Value::as_object) else { return };
        let Some(function) = request.get("call").and_then(Value::as_str) else { return };
        let open = self.open.entry(line.call.clone()).or_default();
        open.asked.extend(open.operation.clone());
        let reason = line.text_of("reason");
        if line.text_of("decision") != Some("allowed") {
            let message = line.text_of("message").unwrap_or_default();
            self.denied(function, reason.unwrap_or_default(), message, line, 1);
        } else if reason.is_some() {
            for capability in capabilities(function) {
                self.entry(capability, line).failed += 1;
            }
        } else {
            for capability in capabilities(function) {
                self.uses(capability, line, 1);
            }
            self.parameters(function, request, line);
        }
    }

    /// With what a function was called.
    fn parameters(&mut self, function: &str, request: &Map<String, Value>, line: &Line) {
        let text = |key: &str| request.get(key).and_then(Value::as_str);
        let number = |key: &str| request.get(key).and_then(Value::as_u64);
        let Some(capability) = capability_of(function) else { return };
        let volume = self.open.get(&line.call).and_then(|open| open.volume.clone());
        match capability {
            Capability::Images | Capability::ImagesCreate | Capability::ImagesGrow => {
                let uses = self.entry(Capability::Images, line);
                if let Some(directory) = text("directory") {
                    add(uses, "directory", directory);
                }
                if let Some(name) = text("name").or_else(|| text("image")) {
                    add(uses, "names", name);
                    self.used.images.extend(volume.map(|volume| (volume, name.to_owned())));
                }
                self.largest(Capability::Images, "max-size", number("size"));
            }
            Capability::Secrets => {
                self.used.opened.extend(text("key").map(str::to_owned));
                if let ("secret.reveal", Some(key)) = (function, text("secret")) {
                    add(self.entry(capability, line), "keys", &format!("{key} (reveal)"));
                }
            }
            Capability::Devices => {
                if let (Some(rule), Some(id)) = (text("rule"), text("id")) {
                    let uses = self.entry(capability, line);
                    add(uses, "rules", rule);
                    add(uses, "id", &format!("{rule}: {id}"));
                    let device = (rule.to_owned(), volume.unwrap_or_default(), id.to_owned());
                    self.used.devices.insert(device);
                }
            }
            Capability::FilesystemsFormat
            | Capability::FilesystemsCheck
            | Capability::FilesystemsGrow => {
                if let Some(kind) = text("fs_type") {
                    add(self.entry(capability, line), "types", kind);
                }
            }
            Capability::MountsBlock => {
                let uses = self.entry(capability, line);
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
                    add(self.entry(Capability::Secrets, line), "keys", &format!("{key} (file)"));
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

    /// What is known of a capability's uses, which the line adds to.
    fn entry(&mut self, capability: Capability, line: &Line) -> &mut Uses {
        let time = line.time();
        let uses = self.used.capabilities.entry(capability).or_insert_with(|| Uses {
            count: 0,
            failed: 0,
            omitted: 0,
            by_host: 0,
            first: time,
            last: time,
            operations: BTreeMap::new(),
            versions: BTreeMap::new(),
            volumes: BTreeSet::new(),
            parameters: BTreeMap::new(),
        });
        uses.first = uses.first.min(time);
        uses.last = uses.last.max(time);
        uses
    }

    /// The same, of which the line is so many more.
    fn uses(&mut self, capability: Capability, line: &Line, count: u64) -> &mut Uses {
        let open = self.open.get(&line.call);
        let [operation, volume, version] = [
            open.and_then(|open| open.operation.clone()),
            open.and_then(|open| open.volume.clone()),
            open.and_then(|open| open.version.clone()),
        ];
        let uses = self.entry(capability, line);
        uses.count += count;
        if let Some(operation) = operation {
            *uses.operations.entry(operation).or_default() += count;
        }
        if let Some(version) = version {
            *uses.versions.entry(version).or_default() += count;
        }
        uses.volumes.extend(volume);
        uses
    }

    fn largest(&mut self, capability: Capability, key: &'static str, number: Option<u64>) {
        if let Some(number) = number {
            let largest = self.largest.entry((capability, key)).or_default();
            *largest = number.max(*largest);
        }
    }

    fn denied(&mut self, function: &str, reason: &str, message: &str, line: &Line, count: u64) {
        let key = (function.to_owned(), reason.to_owned());
        let denial = self.denials.entry(key).or_insert_with(|| Denial {
            function: function.to_owned(),
            reason: reason.to_owned(),
            messages: Vec::new(),
            more_messages: 0,
            count: 0,
            last: line.time(),
            volumes: BTreeSet::new(),
        });
        denial.count += count;
        denial.last = denial.last.max(line.time());
        if !denial.messages.iter().any(|known| known == message) {
            match denial.messages.len() < MAX_MESSAGES {
                true => denial.messages.push(message.to_owned()),
                false => denial.more_messages += count,
            }
        }
        let open = self.open.get(&line.call);
        denial.volumes.extend(open.and_then(|open| open.volume.clone()));
    }

    /// All that was read.
    pub(super) fn finish(mut self) -> Used {
        for ((capability, key), largest) in &self.largest {
            if let Some(uses) = self.used.capabilities.get_mut(capability) {
                let shown = match *key {
                    "max-size" => Size::of(*largest).to_string(),
                    _ => largest.to_string(),
                };
                add(uses, key, &shown);
            }
        }
        self.used.denials = self.denials.into_values().collect();
        self.used.denials.sort_by_key(|denial| std::cmp::Reverse(denial.count));
        self.used
    }
}

/// The capabilities that a function is a use of.
fn capabilities(function: &str) -> Vec<Capability> {
    let mut all = Vec::from_iter(capability_of(function));
    match all.first() {
        // Whoever creates or grows an image needs the section as well.
        Some(Capability::ImagesCreate | Capability::ImagesGrow) => all.push(Capability::Images),
        Some(Capability::MountsTmpfs) if function == "mounts-tmpfs.write-secret" => {
            all.push(Capability::Secrets);
        }
        _ => {}
    }
    all
}

fn add(uses: &mut Uses, key: &'static str, value: &str) {
    uses.parameters.entry(key).or_default().insert(value.to_owned());
}
