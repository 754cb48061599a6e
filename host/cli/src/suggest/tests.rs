//! What is suggested of grants and of what was used of them, as tables: never wider than what is there, and
//! nothing away that somebody needs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

use wasmount_pack::{Ask, Capability, Import};

use super::*;
use crate::used::Uses;

mod manifest;

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

/// A manifest's asks for these, with all that there is of each.
fn asks(capabilities: &[Capability]) -> String {
    let ask = |of: &Capability| match of {
        Capability::MountsTmpfs => ask(*of, "max-size = \"1Gi\"\nmax-files = 1024"),
        _ => ask(*of, ""),
    };
    capabilities.iter().map(ask).collect()
}

fn ask(of: Capability, parameters: &str) -> String {
    format!("[[asks]]\ncapability = \"{of}\"\nreason = \"a test\"\n{parameters}\n")
}

/// The file that is suggested, and the lines of the difference that change something.
fn suggest(used: &Used, of: &[Capability], unseen: &[&'static str]) -> (String, String) {
    suggest_within(GRANTS, used, of, &asks(of), unseen)
}

/// The same, with these grants and asks.
fn suggest_within(
    grants: &str,
    used: &Used,
    of: &[Capability],
    asks: &str,
    unseen: &[&'static str],
) -> (String, String) {
    let imports = imports(of);
    let asks: BTreeMap<String, Vec<Ask>> = toml::from_str(asks).expect("asks");
    let asks = asks.into_values().next().unwrap_or_default();
    let asked = narrow::Asked { imports: &imports, asks: &asks, unseen };
    let sections = narrow::sections(grants, used, &asked).expect("they are grants");
    let file = text::file(&sections, "a test");
    Grants::parse(&file).expect("it is a grants file");
    let changes: Vec<String> = text::diff(&sections)
        .lines()
        .filter(|line| line.starts_with(['+', '-']))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    (file, changes.join("\n"))
}

const NOTHING: &str = "# Suggested by `wasmount grants suggest` for a test. Comments of the present file are not kept.
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
- uses = ["file", "reveal"] # more than was used, or is asked for
+ uses = ["reveal"] # used 2 times by mount, last 1970-01-01
+ [[secrets]] # used 2 times by mount, last 1970-01-01
+ key = "password" # used 2 times by mount, last 1970-01-01
+ uses = ["file"] # used 2 times by mount, last 1970-01-01
- grow = true # never used since 1970-01-01
- names = ["{volume}.img", "shared-*.img"] # more than was used, or is asked for
+ names = ["{volume}.img"] # used 2 times by mount, last 1970-01-01
+ max-size = "128Mi" # used 2 times by mount, last 1970-01-01
- [[devices]] # never used since 1970-01-01
- id = "*" # never used since 1970-01-01
- path = "/dev/disk/by-id/nvme-{id}" # never used since 1970-01-01
- rule = "nvme" # never used since 1970-01-01
- verify = { attribute = "device/serial", value = "{id}" } # never used since 1970-01-01
- format = true # never used since 1970-01-01
- grow = true # never used since 1970-01-01
- types = ["ext4", "xfs"] # more than was used, or is asked for
+ types = ["xfs"] # what was made, checked or grown
- filesystems = ["ext4", "xfs"] # more than was used, or is asked for
+ filesystems = ["xfs"] # used 2 times by mount, last 1970-01-01
- options = ["noatime", "discard"] # more than was used, or is asked for
+ options = ["discard"] # used 2 times by mount, last 1970-01-01
- [mounts.bind] # never used since 1970-01-01
- max-size = "8Mi" # more than was used, or is asked for
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

/// What a user may call an image, where the operator lets it: none of it is more than it was.
#[test]
fn names_of_images_make_no_pattern_that_allows_more() {
    let long = format!("{}-pv.img", "x".repeat(250));
    let many: Vec<(String, String)> =
        (0..80).map(|n| (format!("pv-{n}"), format!("pv-{n}-{n}.img"))).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    for (present, images, names) in [
        // Allowed by one pattern for one volume, by another for another: so not for each.
        (r#"["a*.img", "0*.img"]"#, &[("a1", "a1.img")][..], r#"["a*.img"]"#),
        (r#"["*"]"#, &[("pv", "pv-*.img")], r#"["*"]"#),
        (r#"["*"]"#, &[("pv", "pv-**.img")], r#"["*"]"#),
        (r#"["*"]"#, &[("pv", "{volume}-pv.img")], r#"["*"]"#),
        (r#"["*"]"#, &[("pv", "{pv}.img")], r#"["*"]"#),
        (r#"["*"]"#, &[("pv", &long)], r#"["*"]"#),
        (r#"["{volume}-*.img"]"#, &many, r#"["{volume}-*.img"]"#),
    ] {
        let grants = format!("version = 1\n[images]\ndirectory = \"/i\"\nnames = {present}\n");
        let of = [Capability::Images];
        let used = used(&[(Capability::Images, &[])], images);
        let file = suggest_within(&grants, &used, &of, &asks(&of), &[]).0;
        assert!(file.contains(&format!("\nnames = {names}\n")), "{images:?}: {file}");
    }
}

#[test]
fn a_key_stays_for_all_that_it_was_used_for() {
    let keys: Parameters<'_> = &[("keys", &["token (file)", "token (reveal)"])];
    let mut used = used(&[(Capability::Secrets, keys)], &[]);
    // Opened, and by the end of the call nothing had come of it.
    used.opened = ["token", "password"].map(str::to_owned).into();
    let file = suggest(&used, &ALL, &[]).0;
    let expected = "[[secrets]]\nkey = \"token\"\nuses = [\"file\", \"reveal\"]\n\n\
                    [[secrets]]\nkey = \"password\"\nuses = [\"file\"]\n";
    assert!(file.contains(expected), "{file}");
}

#[test]
fn what_the_log_does_not_tell_stays_as_it_is() {
    use Capability::{Devices, FilesystemsGrow, MountsBlock, MountsTmpfs, Secrets};
    let all: &[(Capability, Parameters<'_>)] = &[
        (Secrets, &[("keys", &["token (reveal)"])]),
        (Devices, &[("rules", &["scsi"])]),
        (FilesystemsGrow, &[("types", &["xfs"])]),
        (MountsBlock, &[("filesystems", &["xfs"]), ("options", &["discard"])]),
        (MountsTmpfs, &[("max-size", &["1Mi"]), ("max-files", &["1"])]),
    ];
    let mut used = used(all, &[]);
    used.capabilities.values_mut().for_each(|uses| uses.omitted = 1);
    let (_, changes) = suggest(&used, &ALL, &[]);
    for kept in ["key", "uses", "rule", "types", "filesystems", "options", "max-size", "max-files"]
    {
        assert!(!changes.contains(kept), "{kept}: {changes}");
    }
    // What never succeeded is not needed.
    used.capabilities
        .values_mut()
        .for_each(|uses| (uses.count, uses.omitted, uses.failed) = (0, 0, 2));
    let (file, changes) = suggest(&used, &ALL, &[]);
    assert_eq!(file, NOTHING);
    assert!(
        changes.contains("- [mounts.block] # asked for since 1970-01-01, and never with success")
    );
}

#[test]
fn what_the_host_does_itself_stays_whatever_the_component_asks_for() {
    let grows: Parameters<'_> = &[("types", &["xfs"])];
    let mut used = used(&[(Capability::FilesystemsGrow, grows)], &[]);
    let grown = used.capabilities.get_mut(&Capability::FilesystemsGrow).expect("used");
    grown.by_host = grown.count;
    let file = suggest(&used, &[], &[]).0;
    assert!(file.contains("[filesystems]\ngrow = true\ntypes = [\"xfs\"]\n"), "{file}");
}

#[test]
fn ids_of_devices_are_as_narrow_as_they_were() {
    for (used_ids, id) in [
        (&[("pv-1", "vol-1")][..], "vol-*"),
        (&[("pv-1", "vol-1"), ("pv-2", "vol-2")], "vol-*"),
        (&[("pv-1", "pv-1")], "{volume}"),
        (&[("pv-1", "disk-pv-1"), ("pv-2", "disk-pv-2")], "disk-{volume}"),
        (&[("pv-1", "a1"), ("pv-2", "b2")], "*"),
        // No device has such ids: somebody changed the log. The pattern stays as it is.
        (&[("pv-1", "é1"), ("pv-2", "è1")], "*"),
        (&[("pv-1", "x…1"), ("pv-2", "x…2")], "*"),
    ] {
        let mut used = used(&[(Capability::Devices, &[("rules", &["scsi"])])], &[]);
        let device = |(volume, id): &(&str, &str)| {
            ("scsi".to_owned(), (*volume).to_owned(), (*id).to_owned())
        };
        used.devices = used_ids.iter().map(device).collect();
        let file = suggest(&used, &ALL, &[]).0;
        assert!(file.contains(&format!("\nid = \"{id}\"\n")), "{used_ids:?}: {file}");
    }
}
