//! Patterns that are as narrow as what was used: names of images that are bound to their volumes, and
//! the ids of devices. Users chose these names; what of them means something in a pattern makes none.

use std::collections::BTreeSet;

use wasmount_core::call::VolumeName;
use wasmount_core::grants::{IdPattern, ImagePattern};

use crate::diff::width::covers;

/// As many patterns as a grants file may have.
const MAX_PATTERNS: usize = 64;

/// Which names images may have.
pub(super) struct Patterns {
    pub(super) present: Vec<ImagePattern>,
    /// What the manifest asks for; none if it does not say.
    pub(super) asked: Option<Vec<ImagePattern>>,
}

impl Patterns {
    /// Patterns bound to the volume that cover all images that were used, or else those of the
    /// present patterns that did.
    pub(super) fn narrowest(&self, used: &BTreeSet<(String, String)>) -> Vec<String> {
        let both = self.both();
        let matched = |volume: &str, name: &str| {
            let volume = volume.parse::<VolumeName>().ok()?;
            let pattern = |text: &&String| ImagePattern::try_from((*text).clone()).ok();
            let fits = |text: &&String| pattern(text).is_some_and(|is| is.matches(&volume, name));
            both.iter().find(fits).cloned()
        };
        // A name that no pattern allows any more is not to be allowed again.
        let narrow = |(volume, name): &(String, String)| {
            let bound = bound(volume, name).filter(|pattern| {
                ImagePattern::try_from(pattern.clone()).is_ok() && self.allow(pattern)
            });
            bound.or_else(|| matched(volume, name))
        };
        let mut names = distinct(used.iter().filter_map(narrow));
        if names.len() > MAX_PATTERNS {
            names = distinct(used.iter().filter_map(|(volume, name)| matched(volume, name)));
        }
        if names.is_empty() { both } else { names }
    }

    /// The present patterns that are asked for, and what is asked for within the others.
    pub(super) fn both(&self) -> Vec<String> {
        let texts = |all: &[ImagePattern]| -> Vec<String> {
            all.iter().map(|pattern| pattern.text().to_owned()).collect()
        };
        let mut both = texts(&self.present);
        both.retain(|text| self.allow(text));
        for text in self.asked.iter().flat_map(|asked| texts(asked)) {
            let is_new = !both.iter().any(|is| covers("names", is, &text));
            if is_new && self.allow(&text) && both.len() < MAX_PATTERNS {
                both.push(text);
            }
        }
        both
    }

    /// Whether there are no names in a pattern but such as are granted and asked for.
    fn allow(&self, text: &str) -> bool {
        let within = |all: &[ImagePattern]| all.iter().any(|is| covers("names", is.text(), text));
        within(&self.present) && self.asked.as_deref().is_none_or(within)
    }
}

/// A pattern for the devices that were used, if there is one within the present one: bound to the
/// volume where all were, or else with what they begin with, up to the end of a word.
pub(super) fn ids(used: &[(&str, &str)], present: &str) -> Option<String> {
    let valid = |pattern: &String| {
        IdPattern::try_from(pattern.clone()).is_ok() && covers("names", present, pattern)
    };
    let of_volumes: BTreeSet<Option<String>> =
        used.iter().map(|(volume, id)| bound(volume, id)).collect();
    if let [Some(pattern)] = Vec::from_iter(of_volumes).as_slice()
        && valid(pattern)
    {
        return Some(pattern.clone());
    }
    // A log that somebody changed may hold what the driver lets nobody have; no pattern allows that,
    // and texts are cut at bytes below.
    if !used.iter().all(|(_, id)| id.is_ascii()) {
        return None;
    }
    let (_, first) = used.first()?;
    let begins = used.iter().fold(*first, |begins, (_, id)| {
        let same = begins.bytes().zip(id.bytes()).take_while(|(a, b)| a == b).count();
        &begins[..same]
    });
    let word = begins.rfind(|c: char| !c.is_alphanumeric()).map_or(0, |at| at + 1);
    Some(format!("{}*", &begins[..word])).filter(valid)
}

/// The name with `{volume}` in place of the volume's, where that stands for itself.
fn bound(volume: &str, name: &str) -> Option<String> {
    let at = name.find(volume).filter(|_| !volume.is_empty() && !name.contains(['{', '}', '*']))?;
    let (before, after) = (&name[..at], &name[at + volume.len()..]);
    let apart = !before.ends_with(|c: char| c.is_alphanumeric())
        && !after.starts_with(|c: char| c.is_alphanumeric());
    apart.then(|| format!("{before}{{volume}}{after}"))
}

fn distinct(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    all.filter(|text| seen.insert(text.clone())).collect()
}
