//! What the grants say that somebody should look at, whoever asks for it: patterns that fit more than
//! one volume's, secrets, settings that ought to be secrets.

use wasmount_core::grants::{Grants, Use};

use super::super::settings;
use crate::finding::Findings;

const VOLUME: &str = "{volume}";

/// Fewer letters than this, and a pattern for ids says next to nothing of them.
const LETTERS: usize = 3;

pub(super) fn examine_patterns(grants: &Grants, found: &mut Findings) {
    for name in grants.images.iter().flat_map(|images| &images.names).map(|name| name.text()) {
        let said = format!("[images] names = {name:?}");
        match name.contains(VOLUME) {
            false if name.contains('*') => wide(
                format!("{said} fits images of more than one volume"),
                "whoever may write a volume's options chooses which image it is",
                "bind it to the volume, as `{volume}.img` is, unless volumes share a naming scheme on purpose",
                found,
            ),
            true if fits_others(name) => longer_names(&said, "images", found),
            _ => {}
        }
    }
    for secret in grants.secrets.iter().filter(|secret| !secret.key.is_name()) {
        found.note(
            "pattern-wide",
            format!("[[secrets]] key = {:?} fits every key like it", secret.key.text()),
            "keys that are added to a secret later are given, too",
            "name the keys, if they are known",
        );
    }
    for device in &grants.devices {
        let id = device.id.text();
        let said = format!("[[devices]] rule {:?} with id = {id:?}", device.rule);
        match id.contains(VOLUME) {
            false if id.contains('*') && id.len() <= LETTERS => wide(
                format!("{said} fits next to every id"),
                "whoever may write a volume's options chooses which device of this kind it is",
                "begin the pattern with what the ids of such volumes begin with, such as `vol-*`",
                found,
            ),
            true if fits_others(id) => longer_names(&said, "devices", found),
            _ => {}
        }
    }
}

fn longer_names(said: &str, of: &str, found: &mut Findings) {
    wide(
        format!("{said} fits {of} of volumes with longer names, too: those of pv-10 for pv-1"),
        "whoever may write a volume's options can choose such a one",
        "leave the `*` out, or put between it and `{volume}` what no volume has in its name",
        found,
    );
}

fn wide(what: String, why: &str, remedy: &str, found: &mut Findings) {
    found.warning("pattern-wide", what, why, remedy);
}

/// Whether the pattern for one volume fits what is another's, whose name is longer: nothing stands
/// between `{volume}` and `*` that cannot be in a volume's name.
fn fits_others(pattern: &str) -> bool {
    let Some(star) = pattern.find('*') else { return false };
    pattern.match_indices(VOLUME).all(|(start, _)| {
        let between = match start < star {
            true => &pattern[start + VOLUME.len()..star],
            false => &pattern[star + 1..start],
        };
        // Kubernetes' names are those of DNS subdomains.
        between
            .replace(VOLUME, "")
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
    })
}

pub(super) fn examine_secrets(grants: &Grants, found: &mut Findings) {
    if !grants.secrets.is_empty() && grants.failure_exit_code() != 0 {
        found.warning(
            "secrets-logged",
            "secrets are granted, and [reply] failure-exit-code is 1",
            "kubelet logs all arguments of a call that fails so, secrets included",
            "`failure-exit-code = 0` in [reply]",
        );
    }
    let revealed = grants.secrets.iter().filter(|secret| secret.uses.contains(&Use::Reveal));
    for secret in revealed {
        found.note(
            "secret-revealed",
            format!("the component is shown the value of the secret's key {:?}", secret.key.text()),
            "what it is shown it can keep, for as long as the call takes, and send where it may write",
            "grant `file` alone, if the component only passes it on",
        );
    }
    for key in grants.config.keys().filter(|key| settings::is_secretive(key)) {
        found.warning(
            "setting-secretive",
            format!("[config] has a setting called {key:?}"),
            "grants.toml can be read by everybody on the node",
            "if it is a secret: take it out, renew it, and give it as a volume's secret",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The grants that a pattern stands in.
    fn found(pattern: &str) -> Vec<(&'static str, &'static str)> {
        let text = match pattern.split_once(' ') {
            Some(("image", name)) => {
                format!("[images]\ndirectory = \"/srv\"\nnames = [{name:?}]\n")
            }
            Some(("device", id)) => format!(
                "[[devices]]\nrule = \"a\"\npath = \"/dev/{{id}}\"\nid = {id:?}\n\
                 verify = {{ attribute = \"a\", value = \"{{id}}\" }}\n"
            ),
            Some(("key", key)) => format!(
                "[reply]\nfailure-exit-code = 0\n[[secrets]]\nkey = {key:?}\nuses = [\"file\"]\n"
            ),
            _ => panic!("{pattern}"),
        };
        let grants = Grants::parse(&format!("version = 1\n{text}")).expect(pattern);
        let mut found = Findings::default();
        examine_patterns(&grants, &mut found);
        found.all.iter().map(|one| (one.id, one.severity.name())).collect()
    }

    #[test]
    fn patterns_that_fit_what_is_another_volumes() {
        let warning = [("pattern-wide", "warning")];
        let note = [("pattern-wide", "note")];
        for (pattern, expected) in [
            ("image {volume}.img", &[][..]),
            ("image disk.img", &[]),
            ("image *.img", &warning),
            ("image {volume}*", &warning),
            ("image {volume}-*.img", &warning),
            ("image *{volume}", &warning),
            ("image {volume}_*.img", &[]),
            ("image {volume}*{volume}", &warning),
            ("image {volume}-{volume}_*", &[]),
            ("device *", &warning),
            ("device v*", &warning),
            ("device vol-*", &[]),
            ("device {volume}", &[]),
            ("device {volume}*", &warning),
            ("device {volume}_*", &[]),
            ("key password", &[]),
            ("key tls.*", &note),
        ] {
            assert_eq!(found(pattern), expected, "{pattern}");
        }
    }
}
