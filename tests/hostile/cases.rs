//! The cases, as their tables have them: what a component does, in which operation, and how that ends.

use std::fs;

use serde::Deserialize;

use crate::script::Statement;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

/// What a component does in one operation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// In words.
    pub(crate) name: String,
    /// kubelet's name of the operation. What comes before it with a volume was done.
    #[serde(rename = "in")]
    pub(crate) operation: String,
    /// The node that `attach` is about.
    #[serde(default = "this_node")]
    pub(crate) node: String,
    /// Whether the volume is read-only.
    #[serde(default)]
    pub(crate) readonly: bool,
    /// What the component does, see `script.rs`.
    pub(crate) calls: Vec<String>,
    /// The function that it is about, if not the last.
    pub(crate) of: Option<String>,
    /// What a line of the log says then.
    pub(crate) logged: Option<String>,
    /// How the operation fails: code, reason and message. Where it is the host that takes down,
    /// `host:` and then the reason and message that it took the component's end for. None for what
    /// others have done before, which stays.
    pub(crate) says: Option<String>,
}

fn this_node() -> String {
    "node-1".to_owned()
}

impl Case {
    /// What it does.
    pub(crate) fn script(&self) -> Vec<Statement> {
        self.calls.iter().map(|line| Statement::parse(line)).collect()
    }

    /// What kubelet has done with the volume before, and how it takes that back.
    pub(crate) fn before(&self) -> &'static [(&'static str, &'static str)] {
        const ATTACH: (&str, &str) = ("attach", "detach");
        const WAIT: (&str, &str) = ("waitforattach", "unmountdevice");
        const STAGE: (&str, &str) = ("mountdevice", "unmountdevice");
        const PUBLISH: (&str, &str) = ("mount", "unmount");
        match self.operation.as_str() {
            // What fails to detach would keep the image for good.
            "attach" | "detach" => &[],
            "waitforattach" | "isattached" | "expandvolume" => &[ATTACH],
            "mountdevice" => &[ATTACH, WAIT],
            // Most of what a pod can have needs no device.
            "mount" if !self.calls.iter().any(|line| line.contains("mounts-bind")) => &[],
            "mount" | "unmountdevice" | "expandfs" => &[ATTACH, STAGE],
            "unmount" => &[ATTACH, STAGE, PUBLISH],
            other => panic!("no operation is called {other}"),
        }
    }

    /// Whether another case can be tried on the same volume after it, as nothing has changed, and can
    /// be told from it.
    pub(crate) fn shares(&self, next: &Self) -> bool {
        let tell = |case: &Self| (case.operation.clone(), case.readonly);
        matches!(self.operation.as_str(), "waitforattach" | "mountdevice")
            && tell(self) == tell(next)
    }

    /// Whether the host then does what the component should, so that the node is as it was before
    /// that was set up.
    pub(crate) fn takes_down(&self) -> bool {
        matches!(self.operation.as_str(), "unmount" | "unmountdevice")
    }

    /// The function that it is about.
    pub(crate) fn function(&self) -> String {
        if let Some(of) = &self.of {
            return of.clone();
        }
        let mut calls = self.script().into_iter().rev().map(|statement| statement.name);
        calls.find(|name| name.contains('.')).unwrap_or_else(|| panic!("{}: no call", self.name))
    }
}

/// The cases, operation by operation; those that are no more than the circumstances first.
pub(crate) fn cases() -> Vec<Case> {
    let mut files: Vec<_> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/hostile/cases"))
        .expect("the tables")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a table");
        let table: Table =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        cases.extend(table.case);
    }
    cases.sort_by_key(|case| case.says.as_ref().map(|_| (case.operation.clone(), case.readonly)));
    cases
}
