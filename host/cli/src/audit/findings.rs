//! What a reviewer should look at, each with why and what to do. What is wrong with the files is
//! found by the code that `doctor` finds it with; here is what they say. What was done is for `deeds`.

mod advisories;
mod given;
mod versions;
mod width;

use wasmount_core::bundle::Receipt;
use wasmount_core::bundle::receipt::Signature;
use wasmount_core::grants::{Grants, Isolation};
use wasmount_pack::{Capability, Inspection};

use super::review::Row;
use crate::coverage::Coverage;
use crate::finding::Findings;

/// What the findings are drawn from.
pub(super) struct Evidence<'a> {
    pub(super) receipt: &'a Receipt,
    /// None if the component cannot be read: it was told why.
    pub(super) inspection: Option<&'a Inspection>,
    /// The same.
    pub(super) grants: Option<&'a Grants>,
    pub(super) rows: &'a [Row],
    /// What this node's kernel lacks of the wall.
    pub(super) lacking: Option<&'a str>,
}

impl Evidence<'_> {
    /// All that there is to say.
    pub(super) fn examine(&self, found: &mut Findings) {
        versions::examine(self.receipt, found);
        examine_signature(self.receipt.signature.as_ref(), found);
        if let (Some(inspection), Some(grants)) = (self.inspection, self.grants) {
            width::examine_asks(inspection, found);
            width::examine_coverage(&Coverage::of(inspection, grants), found);
            width::examine_limits(inspection, grants, found);
        }
        for row in self.rows {
            width::examine_width(row, found);
        }
        if let Some(grants) = self.grants {
            given::examine_patterns(grants, found);
            given::examine_secrets(grants, found);
            examine_isolation(grants, self.lacking, found);
        }
    }
}

fn examine_signature(signature: Option<&Signature>, found: &mut Findings) {
    let (what, why) = match signature {
        Some(Signature::Signed { .. }) => return,
        Some(Signature::Unsigned) => (
            "the component is not signed",
            "whoever installed it allowed that; nobody vouches for where it is from",
        ),
        None => (
            "nobody looked for a signature when the component was installed",
            "nobody vouches for where it is from",
        ),
    };
    found.warning(
        "unsigned",
        what,
        why,
        "ask the vendor for a signature, and install it again without --allow-unsigned",
    );
}

fn examine_isolation(grants: &Grants, lacking: Option<&str>, found: &mut Findings) {
    match (grants.isolation, lacking) {
        // With `full` the driver does not run, which was told with its needs.
        (Isolation::Full, _) => {}
        (Isolation::Available, Some(lacking)) => found.warning(
            "isolation-partial",
            format!("this kernel lacks {lacking}"),
            "the wall between the component's process and the node has that much less to it",
            "boot a newer kernel, or one with `landlock` in its `lsm=`",
        ),
        (Isolation::Available, None) => found.note(
            "isolation-not-demanded",
            "the grants do not demand all of the wall",
            "on a node with an older kernel the driver would run behind less of it",
            "if all nodes are like this one: `isolation = \"full\"` in grants.toml",
        ),
    }
}

/// The capabilities that are asked for by somebody or given.
pub(super) fn is_of_interest(row: &Row) -> bool {
    row.requested.is_some() || row.granted.is_some() || row.used.is_some()
}

/// The function's capability among those that are asked for.
pub(super) fn functions_of(inspection: &Inspection, capability: Capability) -> Vec<String> {
    let imports = inspection.imports.iter().filter(|import| import.capability == Some(capability));
    imports.map(|import| format!("{}.{}", import.interface, import.function)).collect()
}

#[cfg(test)]
mod tests;
