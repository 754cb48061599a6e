use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

use wasmount_pack::{Capability, Import};

use super::*;
use crate::used::Uses;

/// What a driver is granted in these tests.
const GRANTS: &str = r#"
version = 1
isolation = "full"
[reply]
failure-exit-code = 0
[config]
"a b" = "c\u0007"
[limits]
memory-mib = 32
[state]
[[secrets]]
key = "*"
uses = ["file"]
[[secrets]]
key = "token"
uses = ["file", "reveal"]
[images]
directory = "/srv/images"
names = ["{volume}.img", "shared-*.img"]
create = true
grow = true
[[devices]]
rule = "nvme"
path = "/dev/disk/by-id/nvme-{id}"
id = "*"
verify = { attribute = "device/serial", value = "{id}" }
[[devices]]
rule = "scsi"
path = "/dev/disk/by-id/scsi-{id}"
id = "*"
verify = { attribute = "device/wwid", value = "{id}" }
[filesystems]
types = ["ext4", "xfs"]
format = true
check = true
grow = true
[mounts.block]
filesystems = ["ext4", "xfs"]
options = ["noatime", "discard"]
[mounts.bind]
[mounts.tmpfs]
max-size = "8Mi"
"#;

type Parameters<'a> = &'a [(&'static str, &'a [&'a str])];

fn uses(parameters: Parameters<'_>) -> Uses {
    let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    Uses {
        count: 2,
        failed: 0,
        omitted: 0,
        by_host: 0,
        first: UNIX_EPOCH,
        last: UNIX_EPOCH,
        operations: BTreeMap::from([("mount".to_owned(), 2)]),
        versions: BTreeMap::new(),
        volumes: BTreeSet::new(),
        parameters: parameters.iter().map(|(key, list)| (*key, values(list))).collect(),
    }
}

fn used(capabilities: &[(Capability, Parameters<'_>)], images: &[(&str, &str)]) -> Used {
    let images = images.iter().map(|(volume, name)| ((*volume).to_owned(), (*name).to_owned()));
    Used {
        since: Some(UNIX_EPOCH),
        capabilities: capabilities.iter().map(|(of, with)| (*of, uses(with))).collect(),
        images: images.collect(),
        ..Used::default()
    }
}

/// A component that imports some function for each of these.
fn imports(capabilities: &[Capability]) -> BTreeSet<Import> {
    let function = |capability: &Capability| match capability {
        Capability::State => ("state", "get"),
        Capability::Secrets => ("secrets", "open"),
        Capability::Images => ("images", "detach"),
        Capability::ImagesCreate => ("images", "create"),
        Capability::ImagesGrow => ("images", "image.grow"),
        Capability::Devices => ("devices", "find"),
        Capability::FilesystemsFormat => ("filesystems", "format"),
        Capability::FilesystemsCheck => ("filesystems", "check"),
        Capability::FilesystemsGrow => ("filesystems", "grow"),
        Capability::MountsBlock => ("mounts-block", "mount"),
        Capability::MountsBind => ("mounts-bind", "staged"),
        Capability::MountsTmpfs => ("mounts-tmpfs", "create"),
    };
    let imports = capabilities.iter().map(|capability| {
        let (interface, function) = function(capability);
        let capability = Some(*capability);
        Import { interface: interface.to_owned(), function: function.to_owned(), capability }
    });
    imports.collect()
}

const ALL: [Capability; 12] = [
    Capability::State,
    Capability::Secrets,
    Capability::Images,
    Capability::ImagesCreate,
    Capability::ImagesGrow,
    Capability::Devices,
    Capability::FilesystemsFormat,
    Capability::FilesystemsCheck,
    Capability::FilesystemsGrow,
    Capability::MountsBlock,
    Capability::MountsBind,
    Capability::MountsTmpfs,
];

/// The file that is suggested, and the lines of the difference that change something.
fn suggest(used: &Used, of: &[Capability], unseen: &[&'static str]) -> (String, String) {
    let imports = imports(of);
    let asked = narrow::Asked { imports: &imports, unseen };
    let sections = narrow::sections(GRANTS, used, &asked).expect("they are grants");
    let file = text::file(&sections, "a test");
    Grants::parse(&file).expect("it is a grants file");
    let changes: Vec<String> = text::diff(&sections)
        .lines()
        .filter(|line| line.starts_with(['+', '-']))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    (file, changes.join("\n"))
}

const NOTHING: &str = "# Suggested by `wasmount grants suggest` for a test.
version = 1
isolation = \"full\"

[reply]
failure-exit-code = 0

[config]
\"a b\" = \"c\\u0007\"

[limits]
memory-mib = 32
";

#[test]
fn what_was_never_used_goes_and_settings_stay() {
    assert_eq!(suggest(&used(&[], &[]), &ALL, &[]).0, NOTHING);
    // What a component does not ask for, it cannot have used.
    let state = [(Capability::State, &[] as Parameters<'_>)];
    let (file, changes) = suggest(&used(&state, &[]), &[], &["unmount", "detach"]);
    assert_eq!(file, NOTHING);
    assert!(changes.starts_with("- [state] # the component does not ask for it\n"), "{changes}");
}

#[test]
fn what_only_taking_down_may_need_stays_until_that_was_seen() {
    // What sets up is not needed to take down, and taking down by the host needs no grants.
    let (file, _) = suggest(&used(&[], &[]), &ALL, &["unmountdevice"]);
    let kept = "\n[state]\n\n[images]\ndirectory = \"/srv/images\"\nnames = [\"{volume}.img\", \
                \"shared-*.img\"]\n";
    assert_eq!(file, NOTHING.to_owned() + kept);
    let (file, _) = suggest(&used(&[], &[]), &ALL, &["mountdevice", "detach"]);
    assert_eq!(file, NOTHING.to_owned() + "\n[state]\n");
}

#[test]
fn what_was_used_stays_as_narrow_as_it_was_used() {
    let everything: &[(Capability, Parameters<'_>)] = &[
        (Capability::State, &[]),
        (Capability::Secrets, &[("keys", &["password (file)", "token (reveal)"])]),
        (Capability::Images, &[("names", &["pv-1.img"]), ("max-size", &["65Mi"])]),
        (Capability::ImagesCreate, &[]),
        (Capability::Devices, &[("rules", &["scsi"])]),
        (Capability::FilesystemsCheck, &[("types", &["xfs"])]),
        (Capability::MountsBlock, &[("filesystems", &["xfs"]), ("options", &["discard"])]),
        (Capability::MountsTmpfs, &[("max-size", &["3Mi"]), ("max-files", &["2"])]),
    ];
    let used = used(everything, &[("pv-1", "pv-1.img"), ("pv-2", "pv-2.img")]);
    let changes = suggest(&used, &ALL, &[]).1;
    let expected = r#"- [[secrets]] # the keys that were used are named below
- key = "*" # the keys that were used are named below
- uses = ["file"] # the keys that were used are named below
- uses = ["file", "reveal"] # more than was used
+ uses = ["reveal"] # used 2 times by mount, last 1970-01-01
+ [[secrets]] # used 2 times by mount, last 1970-01-01
+ key = "password" # used 2 times by mount, last 1970-01-01
+ uses = ["file"] # used 2 times by mount, last 1970-01-01
- grow = true # never used since 1970-01-01
- names = ["{volume}.img", "shared-*.img"] # more than was used
+ names = ["{volume}.img"] # used 2 times by mount, last 1970-01-01
+ max-size = "128Mi" # used 2 times by mount, last 1970-01-01
- [[devices]] # never used since 1970-01-01
- id = "*" # never used since 1970-01-01
- path = "/dev/disk/by-id/nvme-{id}" # never used since 1970-01-01
- rule = "nvme" # never used since 1970-01-01
- verify = { attribute = "device/serial", value = "{id}" } # never used since 1970-01-01
- format = true # never used since 1970-01-01
- grow = true # never used since 1970-01-01
- types = ["ext4", "xfs"] # more than was used
+ types = ["xfs"] # what was made, checked or grown
- filesystems = ["ext4", "xfs"] # more than was used
+ filesystems = ["xfs"] # used 2 times by mount, last 1970-01-01
- options = ["noatime", "discard"] # more than was used
+ options = ["discard"] # used 2 times by mount, last 1970-01-01
- [mounts.bind] # never used since 1970-01-01
- max-size = "8Mi" # more than was used
+ max-size = "4Mi" # used 2 times by mount, last 1970-01-01
+ max-files = 2 # used 2 times by mount, last 1970-01-01"#;
    assert_eq!(changes, expected);
}

#[test]
fn images_are_bound_to_their_volume_where_that_was_allowed() {
    for (images, names) in [
        (&[("pv-1", "pv-1.img")][..], r#"["{volume}.img"]"#),
        (&[("pv-1", "shared-pv-1.img")], r#"["shared-{volume}.img"]"#),
        (&[("pv-1", "pv-1.img"), ("pv-2", "shared-a.img")], r#"["{volume}.img", "shared-*.img"]"#),
        // The volume's name is only part of a word.
        (&[("a", "shared-data.img")], r#"["shared-*.img"]"#),
        // Allowed by grants of then, and not by those of now.
        (&[("pv-1", "pv-1.raw"), ("pv-1", "pv-1.img")], r#"["{volume}.img"]"#),
        (&[("pv-1", "pv-1.raw")], r#"["{volume}.img", "shared-*.img"]"#),
    ] {
        let capabilities = [(Capability::Images, &[] as Parameters<'_>)];
        let file = suggest(&used(&capabilities, images), &ALL, &[]).0;
        assert!(file.contains(&format!("\nnames = {names}\n")), "{images:?}: {file}");
    }
}
