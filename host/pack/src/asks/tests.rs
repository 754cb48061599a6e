//! What a vendor is told of asks that do not fit.

use crate::Manifest;
use crate::inspect::tests::{VOLUME, component_of};

use super::*;

const HEAD: &str = "name = \"test\"\nversion = \"1\"\ndescription = \"d\"\n";

const STATE: &str = "[[asks]]\ncapability = \"state\"\nreason = \"r\"\n";
const TMPFS: &str = "[[asks]]\ncapability = \"mounts.tmpfs\"\nreason = \"r\"\n";
const FILE: &str = "[[asks]]\ncapability = \"secrets\"\nreason = \"r\"\n\
                    keys = [{ key = \"*\", uses = [\"file\"] }]\n";
const REVEAL: &str = "[[asks]]\ncapability = \"secrets\"\nreason = \"r\"\n\
                      keys = [{ key = \"password\", uses = [\"reveal\"] }]\n";

/// Dummies import whole interfaces; these functions alone are left of them.
fn told(functions: &[&str], asks: &str) -> String {
    let manifest = Manifest::parse(&format!("{HEAD}{asks}")).expect("a manifest");
    let imports = ["state", "secrets", "mounts-tmpfs", "images"]
        .map(|interface| format!("import wasmount:driver/{interface}@0.1.0;"))
        .concat();
    let bytes = component_of(&format!("{VOLUME}{imports}"), &manifest);
    let mut inspection = crate::inspect(&bytes).expect("a driver");
    inspection.imports.retain(|import| functions.contains(&import.short().as_str()));
    assert_eq!(inspection.imports.len(), functions.len(), "{functions:?}");
    check(&inspection).map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn imports_and_asks_are_the_same() {
    const WRONG: &str = "what wasmount.toml asks for is not what the component imports:\n";
    let (get, put) = ("state.get", "state.put");
    let (open, reveal) = ("secrets.open", "secrets.secret.reveal");
    let (create, write) = ("mounts-tmpfs.create", "mounts-tmpfs.write-secret");
    let table: [(&[&str], &str, &str); 11] = [
        (&[], "", ""),
        (&[get, put], STATE, ""),
        (
            &[get, put],
            "",
            "  state.get, state.put are imported, and `state` is not asked for; add what it is for:\n    \
             [[asks]]\n    capability = \"state\"\n    reason = \"…\"",
        ),
        (
            &[],
            STATE,
            "  `state` is asked for, and none of state.delete, state.get, state.put is imported; \
             remove its [[asks]]:\n    capability = \"state\"",
        ),
        (&[open, create, write], &format!("{TMPFS}{FILE}"), ""),
        (&[open, reveal], REVEAL, ""),
        (
            &[open, reveal],
            FILE,
            "  secrets.secret.reveal is imported, and no key of `secrets` is asked for with that use; \
             add to a key:\n    uses = [\"reveal\"]\n  `secrets` is asked for with the use `file`, and \
             mounts-tmpfs.write-secret is not imported; remove from the keys' uses:\n    \"file\"",
        ),
        (
            &[open],
            REVEAL,
            "  `secrets` is asked for with the use `reveal`, and secrets.secret.reveal is not \
             imported; remove from the keys' uses:\n    \"reveal\"",
        ),
        (
            &[open],
            "",
            "  secrets.open is imported, and `secrets` is not asked for; add what it is for:\n    \
             [[asks]]\n    capability = \"secrets\"\n    reason = \"…\"\n    \
             keys = [{ key = \"password\", uses = [\"file\"] }]",
        ),
        // There is no `[images]` in grants.toml without names, whatever is done with them.
        (
            &["images.create"],
            "[[asks]]\ncapability = \"images.create\"\nreason = \"r\"\n",
            "  images.create is imported, and `images` is not asked for; add what it is for:\n    \
             [[asks]]\n    capability = \"images\"\n    reason = \"…\"\n    \
             names = [\"{volume}.img\"]",
        ),
        (
            &["images.image.grow"],
            "[[asks]]\ncapability = \"images\"\nreason = \"r\"\nnames = [\"*\"]\n",
            "  images.image.grow is imported, and `images.grow` is not asked for; add what it is \
             for:\n    [[asks]]\n    capability = \"images.grow\"\n    reason = \"…\"",
        ),
    ];
    for (functions, asks, expected) in table {
        let expected = match expected {
            "" => String::new(),
            expected => format!("{WRONG}{expected}"),
        };
        assert_eq!(told(functions, asks), expected, "{functions:?} {asks}");
    }
}
