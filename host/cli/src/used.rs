//! What a driver has made of its grants, as far back as its audit log reaches: which capabilities
//! it used, with which parameters, what failed, and what it was refused.
//!
//! The parameters have the names that they have in grants.toml. Nothing is judged here, and nothing
//! is cut short: what is not in the log may have been rotated away, and what a list has no room for
//! is for whoever shows it to say.

mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use wasmount_pack::Capability;

use crate::log::Files;
use reader::Reader;

/// How many different messages of the same refusal are kept. The others are counted.
pub const MAX_MESSAGES: usize = 8;

/// The reason of refusals that the log has no line for, and so no other.
pub const OMITTED: &str = "omitted";

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
    /// Those that did so by the component: it made a host call, and did not fail. Taking down succeeds
    /// without it.
    pub served: BTreeSet<String>,
    /// The calls that each version of the driver served, by its id.
    pub versions: BTreeMap<String, Calls>,
    /// The calls that were behind less than the whole wall, by what it lacked.
    pub partly_isolated: BTreeMap<String, Calls>,
    /// What was used.
    pub capabilities: BTreeMap<Capability, Uses>,
    /// What was refused, the most frequent first.
    pub denials: Vec<Denial>,
    /// What the log has no line for, since a call had logged too much.
    pub omitted: Omitted,
    /// How many lines are torn or somebody else's, and were skipped.
    pub skipped: u64,
    /// Every image that was used: volume and name.
    pub images: BTreeSet<(String, String)>,
    /// Every device that was looked for: rule, volume and id.
    pub devices: BTreeSet<(String, String, String)>,
    /// Every key of a secret that was opened, whatever was done with it then.
    pub opened: BTreeSet<String>,
}

/// Some calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// How many.
    pub count: u64,
    /// When the first of them ended.
    pub first: SystemTime,
    /// And the last.
    pub last: SystemTime,
}

/// How a capability was used.
#[derive(Clone, Debug, PartialEq)]
pub struct Uses {
    /// How often the host did what it was asked for.
    pub count: u64,
    /// How often it was allowed to, and could not.
    pub failed: u64,
    /// How many of `count` the log has no line for: with what, nobody knows.
    pub omitted: u64,
    /// How many of `count` the host did unasked.
    pub by_host: u64,
    /// When first.
    pub first: SystemTime,
    /// When last.
    pub last: SystemTime,
    /// In which operations, and how often.
    pub operations: BTreeMap<String, u64>,
    /// How many of `count` each version of the driver made.
    pub versions: BTreeMap<String, u64>,
    /// For which volumes.
    pub volumes: BTreeSet<String>,
    /// The values that were really used, as in grants.toml. Of sizes and counts, the largest.
    pub parameters: BTreeMap<&'static str, BTreeSet<String>>,
}

/// What was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Denial {
    /// The host call, such as `images.open`.
    pub function: String,
    /// The reason's token, such as `grant:images.names`; [`OMITTED`] if nobody knows.
    pub reason: String,
    /// What the component was told, the first [`MAX_MESSAGES`] that differ.
    pub messages: Vec<String>,
    /// How often it was told something else.
    pub more_messages: u64,
    /// How often.
    pub count: u64,
    /// When last.
    pub last: SystemTime,
    /// For which volumes.
    pub volumes: BTreeSet<String>,
}

/// Host calls without a line in the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Omitted {
    /// How many there were of each function.
    pub functions: BTreeMap<String, u64>,
    /// The last call that had such.
    pub last: String,
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

impl Denial {
    /// Whether it was for want of a grant, or for breaking the rules, as far as is known. All else
    /// depends on the volume, and is met in the best of lives.
    pub fn is_of_grants(&self) -> bool {
        let reason = self.reason.as_str();
        reason.starts_with("grant:") || ["component-fault", OMITTED].contains(&reason)
    }
}

impl Calls {
    pub(crate) fn one(time: SystemTime) -> Self {
        Self { count: 0, first: time, last: time }
    }

    pub(crate) fn add(&mut self, time: SystemTime) {
        self.count += 1;
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }
}

#[cfg(test)]
mod tests;
