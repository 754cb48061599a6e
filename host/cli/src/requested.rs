//! What a component's manifest asks for, and what it is granted of that, in the words that operators are
//! shown wherever they are.

use std::collections::BTreeSet;

use wasmount_core::grants::{Grants, Limits};
use wasmount_pack::manifest::VolumeOption;
use wasmount_pack::{Capability, Inspection, Parameters};

use crate::granted;
use crate::output::{columns, printable};

/// What marks whatever nobody should grant without having thought about it.
pub const MARK: &str = "super-privileged";

/// The parameters in a line: `names {volume}.img, *.img; max-size 1Ti`.
pub fn in_words(parameters: &Parameters) -> String {
    let words = parameters.iter().map(|(key, values)| {
        let values: Vec<String> = values.iter().map(|value| plain(value)).collect();
        format!("{key} {}", values.join(", "))
    });
    words.collect::<Vec<_>>().join("; ")
}

/// The text, between quotes if it could be taken for several.
fn plain(text: &str) -> String {
    let is_one = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic() && !b"\",;".contains(&b));
    if is_one { text.to_owned() } else { format!("{text:?}") }
}

/// Whether a capability that is imported is to be marked: by itself, or for how the component uses it.
pub fn is_super_privileged(component: &Inspection, capability: Capability) -> bool {
    super_privileged(component).iter().any(|name| {
        name.strip_prefix(&capability.to_string())
            .is_some_and(|rest| rest.is_empty() || rest == ".reveal")
    })
}

/// All that is super-privileged of what is asked for or imported, by the names that it is accepted by.
pub fn super_privileged(component: &Inspection) -> BTreeSet<String> {
    let asked = component.manifest.asks.iter().filter_map(|ask| ask.super_privileged());
    let imported = component.imports.iter().filter_map(|import| import.super_privileged());
    asked.chain(imported).collect()
}

/// What a volume's option can be, in a line.
pub fn option_in_words(option: &VolumeOption) -> String {
    let mut words = Vec::new();
    if option.required {
        words.push("required".to_owned());
    }
    if !option.values.is_empty() {
        let values: Vec<String> = option.values.iter().map(|value| plain(value.as_str())).collect();
        words.push(format!("one of {}", values.join(", ")));
    }
    if let Some(default) = &option.default {
        words.push(format!("by default {}", plain(default.as_str())));
    }
    words.join("; ")
}

/// What is asked for beside what is granted, each line indented; and of whom it is not known, what is
/// imported. Nothing where there is nothing of either.
pub fn table(component: &Inspection, grants: &Grants) -> String {
    let mut rows = Vec::new();
    for capability in Capability::ALL {
        let ask = component.manifest.asks.iter().find(|ask| ask.capability == capability);
        let imported = component.imports.iter().any(|import| import.capability == Some(capability));
        let given = granted::of(grants, capability);
        let requested = match (ask.is_some(), imported) {
            (true, _) => "yes",
            (false, true) => "unexplained",
            (false, false) if given.is_none() => continue,
            (false, false) => "no",
        };
        let granted = if given.is_some() { "yes" } else { "no" };
        let marked = is_super_privileged(component, capability) && (ask.is_some() || imported);
        let mark = if marked { MARK } else { "" };
        rows.push([
            capability.to_string(),
            requested.to_owned(),
            granted.to_owned(),
            mark.to_owned(),
        ]);
        let asked = ask.map(|ask| ask.parameters()).unwrap_or_default();
        let given = given.unwrap_or_default();
        let keys: BTreeSet<&str> = asked.keys().chain(given.keys()).copied().collect();
        for key in keys {
            let values = |parameters: &Parameters| {
                let values = parameters.get(key).into_iter().flatten().map(|value| plain(value));
                printable(&values.collect::<Vec<_>>().join(", "))
            };
            rows.push([format!("  {key}"), values(&asked), values(&given), String::new()]);
        }
    }
    limits(component, grants, &mut rows);
    if rows.is_empty() {
        return String::new();
    }
    let mut table = vec![["", "REQUESTED", "GRANTED", ""]];
    table.extend(rows.iter().map(|row| row.each_ref().map(String::as_str)));
    columns(&table).lines().map(|line| format!("  {line}\n")).collect()
}

/// What is needed and given of `[limits]`, where either is not as usual.
fn limits(component: &Inspection, grants: &Grants, rows: &mut Vec<[String; 4]>) {
    let (needed, default) = (component.manifest.limits.parameters(), Limits::default());
    if needed.is_empty() && grants.limits == default {
        return;
    }
    rows.push(["limits", "", "", ""].map(str::to_owned));
    let given = &grants.limits;
    for (key, given) in
        [("memory-mib", given.memory_mib.get()), ("cpu-seconds", given.cpu_seconds.get())]
    {
        let needed = needed.get(key).map(u64::to_string).unwrap_or_default();
        rows.push([format!("  {key}"), needed, given.to_string(), String::new()]);
    }
}
