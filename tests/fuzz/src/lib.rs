//! What reads bytes that nobody has checked, and what holds of it for every input: a target each.
//!
//! A target panics where something does not hold. `cargo xtask fuzz` has libFuzzer look for such
//! inputs; an ordinary test goes through those that are known: the seeds, which a target makes of
//! the tables and files that other tests have or keeps in `seeds/`, and in `regressions/` what was
//! ever found.

mod targets;

use std::fs;
use std::path::PathBuf;

pub use targets::TARGETS;

/// Something that reads untrusted bytes.
#[derive(Debug)]
pub struct Target {
    /// The name of its file in `src/targets`.
    pub name: &'static str,
    /// Tries one input.
    pub holds: fn(&[u8]),
    /// Inputs to begin with, as far as they are not in `seeds/`.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    /// The target of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// All inputs that are known, with names for people.
    pub fn inputs(&self) -> Vec<(String, Vec<u8>)> {
        let made = (self.seeds)().into_iter().enumerate();
        let mut inputs: Vec<_> =
            made.map(|(number, bytes)| (format!("seed {number}"), bytes)).collect();
        for directory in ["seeds", "regressions"] {
            let below = root().join("tests/fuzz").join(directory).join(self.name);
            // Not every target has some.
            for entry in fs::read_dir(below).into_iter().flatten().flatten() {
                let bytes = fs::read(entry.path()).expect("readable");
                inputs.push((entry.path().display().to_string(), bytes));
            }
        }
        inputs
    }
}

/// The workspace's directory.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
