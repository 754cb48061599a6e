//! What a reviewer should look at in what a driver has done: grants that it never used, calls that it
//! was refused, and what the audit log cannot tell. What is written down about it is for `findings`.

use std::collections::{BTreeMap, BTreeSet};

use wasmount_core::call::DriverName;

use super::review::{Denial, Row};
use crate::coverage::lines;
use crate::finding::Findings;
use crate::time::rfc3339;
use crate::used::{self, Used};

/// The parameters that are lists of names, of which each can be taken away by itself.
const LISTS: [&str; 5] = ["types", "filesystems", "options", "rules", "keys"];

/// What the findings are drawn from.
pub(super) struct Deeds<'a> {
    pub(super) driver: &'a DriverName,
    /// The version that is in force.
    pub(super) version: &'a str,
    pub(super) rows: &'a [Row],
    pub(super) denials: &'a [Denial],
    pub(super) used: &'a Used,
}

impl Deeds<'_> {
    /// All that there is to say.
    pub(super) fn examine(&self, found: &mut Findings) {
        self.examine_log(found);
        self.examine_use(found);
        self.examine_isolation(found);
        for (denial, shown) in self.used.denials.iter().zip(self.denials) {
            self.examine_denial(denial, shown, found);
        }
    }

    fn examine_log(&self, found: &mut Findings) {
        let omitted = &self.used.omitted;
        if omitted.functions.is_empty() {
            return;
        }
        let functions = omitted.functions.iter().map(|(name, count)| format!("{name} {count}"));
        found.warning(
            "log-incomplete",
            format!(
                "calls have asked for more than the audit log has room for, and of these host calls \
                 it has no more than how many there were: {}",
                functions.collect::<Vec<_>>().join(", ")
            ),
            "with what they were made nobody knows, and a component may want it so",
            format!("see `wasmount log --call {}`, and ask the vendor", omitted.last),
        );
    }

    /// What this version never used, though it was called: another had other grants, or asked for
    /// other things. Of what was used, single names.
    fn examine_use(&self, found: &mut Findings) {
        let Some(calls) = self.used.versions.get(self.version) else { return };
        let count = match calls.count {
            1 => "in one call".to_owned(),
            count => format!("in {count} calls"),
        };
        let mut note = |what: String| {
            found.note(
                "grant-unused",
                format!("{what} {count} of this version since {}", rfc3339(calls.first)),
                "what is not needed is only of use to whoever takes the component over",
                format!("if it stays so: `wasmount grants suggest {}`", self.driver),
            );
        };
        let asked = |row: &&Row| row.granted.is_some() && row.requested.is_some();
        for row in self.rows.iter().filter(asked) {
            match &row.used {
                Some(used) if used.by_this_version > 0 => {}
                Some(used) if used.failed > 0 => {
                    note(format!(
                        "{} was asked for, and never with success,",
                        lines(row.capability)
                    ));
                }
                _ => note(format!("{} was never used", lines(row.capability))),
            }
        }
        for ((section, key), names) in self.unused_names() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let were = if names.len() == 1 { "was" } else { "were" };
            note(format!("{section} {key} {} {were} never used", names.join(", ")));
        }
    }

    /// The names that are granted and were not used by any of the capabilities that a list is for, by
    /// section and key.
    fn unused_names(&self) -> BTreeMap<(&'static str, &'static str), BTreeSet<String>> {
        let mut unused = BTreeMap::new();
        let section = |row: &Row| lines(row.capability).split(' ').next().unwrap_or_default();
        for row in self.rows {
            let (Some(granted), Some(_)) = (&row.granted, &row.used) else { continue };
            for key in LISTS {
                let users = self.rows.iter().filter(|other| section(other) == section(row));
                let users: Vec<_> = users.filter_map(|row| row.used.as_ref()).collect();
                // Of what the log or its summary has left out, nobody knows the name.
                if users.iter().any(|used| used.omitted > 0 || used.more.contains_key(key)) {
                    continue;
                }
                let used: BTreeSet<&String> =
                    users.iter().filter_map(|used| used.parameters.get(key)).flatten().collect();
                let names = granted.parameters.get(key).into_iter().flatten();
                // What fits a pattern is nobody's to name.
                let names = names.filter(|name| !name.contains('*') && !used.contains(name));
                let names: BTreeSet<String> = names.cloned().collect();
                if !names.is_empty() {
                    unused.insert((section(row), key), names);
                }
            }
        }
        unused
    }

    fn examine_isolation(&self, found: &mut Findings) {
        for (lacked, calls) in &self.used.partly_isolated {
            found.note(
                "isolation-was-partial",
                format!(
                    "{} calls were made {lacked}, the last {}",
                    calls.count,
                    rfc3339(calls.last)
                ),
                "the wall between the component's process and the node had that much less to it then",
                "boot a kernel with all of the wall, and grant `isolation = \"full\"`",
            );
        }
    }

    fn examine_denial(&self, denial: &used::Denial, shown: &Denial, found: &mut Findings) {
        let times = match shown.count {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        let Denial { function, reason, last, .. } = shown;
        let what =
            format!("{function} was refused {times}, last {last} ({reason}): {}", shown.told());
        let log = format!("see `wasmount log {} --failed`", self.driver);
        if denial.is_of_grants() {
            let why =
                "the component tried what it may not do: it lacks a grant, or it should not try";
            return found.warning("use-denied", what, why, log);
        }
        found.note(
            "use-not-possible",
            what,
            "the volume, or what was asked for it, was not such that it could be done; no grant \
             would change that",
            format!("nothing, if the volume came to work all the same; {log}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::used::Calls;

    /// What no call can be brought to on a kernel that has all of the wall.
    #[test]
    fn calls_behind_less_of_the_wall_are_told() {
        let at = SystemTime::UNIX_EPOCH;
        let calls = Calls { count: 3, first: at, last: at };
        let mut used = Used::default();
        used.partly_isolated.insert("without landlock-scopes".to_owned(), calls);
        let driver = "example.com/x".parse().expect("a driver's name");
        let deeds = Deeds { driver: &driver, version: "0", rows: &[], denials: &[], used: &used };
        let mut found = Findings::default();
        deeds.examine(&mut found);
        let told: Vec<_> = found.all.iter().map(|found| (found.id, &found.what[..])).collect();
        let what = "3 calls were made without landlock-scopes, the last 1970-01-01T00:00:00Z";
        assert_eq!(told, [("isolation-was-partial", what)]);
    }
}
