//! What a component's manifest asks for, in the words that operators are shown wherever they are.

use std::collections::BTreeSet;

use wasmount_pack::manifest::VolumeOption;
use wasmount_pack::{Capability, Inspection, Parameters};

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
