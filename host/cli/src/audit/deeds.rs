//! What a reviewer should look at in what a driver has done: grants that it never used, calls that it
//! was refused, and what the audit log cannot tell. What is written down about it is for `findings`.

use wasmount_core::call::DriverName;

use super::review::{Denial, Row};
use crate::coverage::lines;
use crate::finding::Findings;
use crate::time::rfc3339;
use crate::used::{self, Used};

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
        for row in self.rows {
            self.examine_use(row, found);
        }
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
    /// other things.
    fn examine_use(&self, row: &Row, found: &mut Findings) {
        let of_it = row.used.as_ref();
        let is_used = of_it.is_some_and(|used| used.by_this_version > 0);
        if row.granted.is_none() || row.requested.is_none() || is_used {
            return;
        }
        let Some(calls) = self.used.versions.get(self.version) else { return };
        let failed = match of_it.map_or(0, |used| used.failed) {
            0 => "",
            _ => " but without success",
        };
        found.note(
            "grant-unused",
            format!(
                "{} was never used{failed} in {} calls of this version since {}",
                lines(row.capability),
                calls.count,
                rfc3339(calls.first)
            ),
            "what is not needed is only of use to whoever takes the component over",
            format!("if it stays so: `wasmount grants suggest {}`", self.driver),
        );
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
