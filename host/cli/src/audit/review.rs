//! What a reviewer is told of one driver: plain data, the same in every format. Texts that a vendor
//! or a volume's user wrote are in it as they are; each format makes them harmless in its own way.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wasmount_core::bundle::receipt::{Attaching, GrantsFrom, GrantsOrigin, Signature};
use wasmount_pack::{Capability, Parameters};

use super::origins::Origin;
use crate::finding::Finding;

/// Everything about one driver.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Review {
    pub(super) driver: String,
    /// None if not even its receipt can be read; a finding says why.
    pub(super) installed: Option<Installed>,
    /// Which of the three columns could be read.
    pub(super) known: Known,
    /// What is requested, granted or used, in the order of docs/grants.md.
    pub(super) capabilities: Vec<Row>,
    /// The settings of the grants file that give nothing away.
    pub(super) settings: Vec<Setting>,
    /// What the driver was refused.
    pub(super) denials: Vec<Denial>,
    /// The worst first.
    pub(super) findings: Vec<Finding>,
}

/// What could be read. What could not is told by a finding, and is neither yes nor no.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Known {
    /// The component.
    pub(super) requested: bool,
    /// The grants.
    pub(super) granted: bool,
    /// The audit log.
    pub(super) used: bool,
}

/// What was installed, by whom, and what holds it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Installed {
    pub(super) version: String,
    pub(super) component: Component,
    pub(super) exports: Vec<String>,
    pub(super) attaching: Attaching,
    pub(super) wasmount: String,
    pub(super) wasmtime: String,
    pub(super) target_cpu: String,
    pub(super) source: String,
    /// Who vouched for the component when it was installed; none if nobody had been asked.
    pub(super) signature: Option<Signature>,
    pub(super) grants_source: String,
    /// By what the grants hold; none in receipts of before that was kept.
    pub(super) grants_from: Option<GrantsFrom>,
    /// How their text came to be, whatever brought it into this version.
    pub(super) grants_origin: GrantsOrigin,
    pub(super) installed_by: String,
    pub(super) installed_at: String,
    pub(super) isolation: Isolation,
    pub(super) log: Log,
}

/// The component.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub(super) digest: String,
}

/// What of the wall is there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Isolation {
    /// Whether the grants have the driver not run where any of it is missing.
    pub(super) demanded: bool,
    /// What this node's kernel lacks.
    pub(super) lacking: Option<String>,
}

/// How far back it is known what the driver did.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Log {
    /// RFC 3339; none if there is nothing in the log.
    pub(super) since: Option<String>,
    pub(super) calls: u64,
    /// Whether earlier lines have been rotated away.
    pub(super) rotated: bool,
}

/// One capability: requested, granted, used.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Row {
    pub(super) capability: Capability,
    /// Whether it reaches further than others: it is never given without being named.
    pub(super) super_privileged: bool,
    pub(super) requested: Option<Requested>,
    pub(super) granted: Option<Granted>,
    pub(super) used: Option<Used>,
}

/// That the component asks for it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Requested {
    /// The vendor's; none if the manifest does not mention it.
    pub(super) reason: Option<String>,
    /// The host's functions that the component imports for it, `interface.function`.
    pub(super) functions: Vec<String>,
    pub(super) parameters: Parameters,
}

/// That the component may use it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Granted {
    pub(super) origin: Origin,
    pub(super) parameters: Parameters,
    /// Of each of the parameters.
    pub(super) origins: BTreeMap<&'static str, Origin>,
}

/// That it was made use of, as the audit log tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Used {
    /// How often it was done; 0 if it was only tried.
    pub(super) count: u64,
    /// How often the host was to, and could not.
    pub(super) failed: u64,
    /// How many of `count` this version of the driver made.
    pub(super) by_this_version: u64,
    /// How many of `count` the log has no more of than their number.
    pub(super) omitted: u64,
    /// RFC 3339.
    pub(super) first: String,
    /// RFC 3339.
    pub(super) last: String,
    pub(super) operations: Vec<String>,
    pub(super) volumes: Vec<String>,
    pub(super) parameters: Parameters,
    /// How many values each list, by its key, has no room for.
    pub(super) more: BTreeMap<&'static str, usize>,
}

/// A setting.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Setting {
    /// Such as `[limits] memory-mib`.
    pub(super) key: String,
    pub(super) value: String,
    pub(super) origin: Origin,
    /// What the component asks for, if it says so.
    pub(super) requested: Option<String>,
}

impl Setting {
    /// The value, and all that is to be said of it.
    pub(super) fn shown(&self) -> String {
        let asked = self.requested.as_ref().map(|asked| format!(", where {asked} is asked for"));
        format!("{}{}{}", self.value, self.origin.remark(), asked.unwrap_or_default())
    }
}

/// A host call that was refused, as often as it was for the same reason.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Denial {
    pub(super) function: String,
    pub(super) reason: String,
    /// What the component was told, each text once.
    pub(super) messages: Vec<String>,
    /// How often it was told something else.
    pub(super) more_messages: u64,
    pub(super) count: u64,
    /// RFC 3339.
    pub(super) last: String,
    pub(super) volumes: Vec<String>,
    /// For how many volumes besides.
    pub(super) more_volumes: usize,
}

impl Row {
    /// Every parameter that any of the three columns has a value for.
    pub(super) fn keys(&self) -> BTreeSet<&'static str> {
        let requested = self.requested.iter().flat_map(|requested| requested.parameters.keys());
        let granted = self.granted.iter().flat_map(|granted| granted.parameters.keys());
        let used = self.used.iter().flat_map(|used| used.parameters.keys());
        requested.chain(granted).chain(used).copied().collect()
    }

    /// The three cells of a parameter; empty where there is no value.
    pub(super) fn cells(&self, key: &str) -> [String; 3] {
        let shown = |parameters: Option<&Parameters>, more: usize| {
            let values = parameters.and_then(|parameters| parameters.get(key));
            values.map(|values| listed(values, more))
        };
        let more = self.used.as_ref().and_then(|used| used.more.get(key).copied());
        let granted = self.granted.as_ref();
        // Where it is from is said where that is not from where the capability is.
        let apart = granted.and_then(|granted| {
            granted.origins.get(key).filter(|origin| **origin != granted.origin)
        });
        let remark = apart.map_or("", |origin| origin.remark());
        [
            shown(self.requested.as_ref().map(|requested| &requested.parameters), 0),
            shown(granted.map(|granted| &granted.parameters), 0).map(|values| values + remark),
            shown(self.used.as_ref().map(|used| &used.parameters), more.unwrap_or_default()),
        ]
        .map(Option::unwrap_or_default)
    }

    /// The three cells of the capability itself.
    pub(super) fn summary(&self, known: Known) -> [String; 3] {
        let cell = |known: bool, text: String| if known { text } else { NOT_KNOWN.to_owned() };
        let requested = if self.requested.is_some() { "yes" } else { "no" }.to_owned();
        let granted = match &self.granted {
            Some(granted) => format!("yes{}", granted.origin.remark()),
            None => "no".to_owned(),
        };
        let used = match &self.used {
            Some(used) => used.summary(),
            None => "never".to_owned(),
        };
        [cell(known.requested, requested), cell(known.granted, granted), cell(known.used, used)]
    }
}

/// In a cell, where nobody can tell.
const NOT_KNOWN: &str = "not known";

impl Used {
    fn summary(&self) -> String {
        let Self { count, failed, last, .. } = self;
        let done = match count {
            0 => "never".to_owned(),
            1 => format!("once, {last}"),
            count => format!("{count} times, last {last}"),
        };
        let failed = match failed {
            0 => String::new(),
            1 => "; failed once".to_owned(),
            failed => format!("; failed {failed} times"),
        };
        let before = match (self.by_this_version, count) {
            (0, 1..) => "; not by this version",
            _ => "",
        };
        let omitted = match self.omitted {
            0 => String::new(),
            omitted => format!("; {omitted} of them are not in the log"),
        };
        format!("{done}{failed}{before}{omitted}")
    }

    /// The volumes.
    pub(super) fn volumes(&self) -> String {
        listed(&self.volumes, self.more.get(VOLUMES).copied().unwrap_or_default())
    }
}

impl Denial {
    /// What the component was told.
    pub(super) fn told(&self) -> String {
        match self.more_messages {
            0 => self.messages.join("; "),
            more => format!("{}; and {more} times something else", self.messages.join("; ")),
        }
    }

    /// The volumes.
    pub(super) fn volumes(&self) -> String {
        listed(&self.volumes, self.more_volumes)
    }
}

/// The key of what a list of volumes has no room for.
pub(super) const VOLUMES: &str = "volumes";

fn listed<'a>(values: impl IntoIterator<Item = &'a String>, more: usize) -> String {
    let values: Vec<&str> = values.into_iter().map(String::as_str).collect();
    match more {
        0 => values.join(", "),
        more => format!("{}, and {more} more", values.join(", ")),
    }
}
