//! Whether one value of a parameter allows all that another does: a name, a pattern, the most of something.
//! By it an upgrade asks for consent, a grant is wider than what is asked for, and a suggestion is not.

use std::collections::BTreeSet;

use wasmount_core::grants::Size;

use super::changes::How;

/// How the values of a parameter differ, and whether there is more in the new ones.
pub fn compare(key: &str, old: &BTreeSet<String>, new: &BTreeSet<String>) -> (How, bool) {
    let beyond = |values: &BTreeSet<String>, others: &BTreeSet<String>| {
        values.iter().any(|value| !others.iter().any(|other| covers(key, other, value)))
    };
    match (beyond(new, old), beyond(old, new)) {
        (true, false) => (How::Widened, true),
        (false, true) => (How::Narrowed, false),
        (more, _) => (How::Changed, more),
    }
}

/// Whether one value allows all that another does.
pub fn covers(key: &str, wide: &str, narrow: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    let size = |text: &str| Size::try_from(text.to_owned()).ok();
    match key {
        "max-size" => size(wide) >= size(narrow),
        "max-files" | "memory-mib" | "cpu-seconds" => number(wide) >= number(narrow),
        "names" => fits(wide, narrow),
        // A key and its use.
        "keys" => match (wide.rsplit_once(' '), narrow.rsplit_once(' ')) {
            (Some((wide, use_of_wide)), Some((narrow, use_of_narrow))) => {
                use_of_wide == use_of_narrow && fits(wide, narrow)
            }
            _ => wide == narrow,
        },
        _ => wide == narrow,
    }
}

/// Whether a pattern matches whatever another one does. What is around the `*` of the wide one is
/// literal, and so it is in each text that the narrow one matches if it is in the narrow one itself.
fn fits(wide: &str, narrow: &str) -> bool {
    match wide.split_once('*') {
        None => wide == narrow,
        Some((before, after)) => {
            narrow.len() >= before.len() + after.len()
                && narrow.starts_with(before)
                && narrow.ends_with(after)
        }
    }
}
