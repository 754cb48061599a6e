//! Is what is to be installed older than what is? An old component is as well signed as a new one,
//! and has the mistakes that the new one mended. Going back on purpose is `rollback`'s part.

use anyhow::{Result, bail};
use semver::Version;
use wasmount_core::bundle::Receipt;

/// Fails if a component would take the place of a newer one, or of one that has another name: whoever
/// brings an old release of what was renamed since would get past the versions.
pub fn refuse(before: &Receipt, wanted: &Receipt) -> Result<()> {
    let (driver, name) = (&wanted.driver, &wanted.component.name);
    let (from, to) = (&before.component.version, &wanted.component.version);
    if before.component.name != *name {
        bail!(
            "{driver} has {} {from}, and nobody can tell whether {name} {to} is newer, since it has \
             another name; if it is to take that one's place, say --allow-downgrade",
            before.component.name
        );
    }
    if from == to {
        return Ok(());
    }
    match (parse(from), parse(to)) {
        (Some(older), Some(newer)) if newer.cmp_precedence(&older).is_ge() => Ok(()),
        (Some(_), Some(_)) => bail!(
            "{driver} has {name} {from}, and {to} is older: `wasmount rollback {driver}` goes back \
             to what was there before; --allow-downgrade installs it all the same"
        ),
        _ => bail!(
            "{driver} has {name} {from}, and nobody can tell whether {to} is newer, since only \
             versions such as 1.2.3 can be compared; if it is, say --allow-downgrade"
        ),
    }
}

/// A semantic version, of which the last numbers may be left out.
fn parse(text: &str) -> Option<Version> {
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let missing = 2_usize.saturating_sub(numbers.matches('.').count());
    Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering::{self, Equal, Greater, Less};

    use super::*;

    #[test]
    fn versions_are_compared_as_they_are_meant() {
        let compare =
            |a: &str, b: &str| -> Option<Ordering> { Some(parse(a)?.cmp_precedence(&parse(b)?)) };
        for (a, b, order) in [
            ("1.0.0", "1.0.1", Some(Less)),
            ("1.10", "1.9", Some(Greater)),
            ("1", "1.0.0", Some(Equal)),
            ("1.0-rc.1", "1.0", Some(Less)),
            ("1.0.0-rc.2", "1.0.0-rc.10", Some(Less)),
            ("1.0.0+2", "1.0.0+10", Some(Equal)),
            ("2026.11.21", "2026.9.1", Some(Greater)),
            ("1.2.3.4", "1.2.3.5", None),
            ("2026.09.01", "2026.11.21", None),
            ("v2", "1.0", None),
            ("edition", "1.0", None),
        ] {
            assert_eq!(compare(a, b), order, "{a} {b}");
        }
    }
}
