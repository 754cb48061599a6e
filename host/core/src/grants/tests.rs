//! Grants files as an operator writes them, and what they are told about a mistake.

use super::*;

/// Everything that can be granted.
const ALL: &str = r#"
version = 1
isolation = "full"
[reply]
failure-exit-code = 0
[config]
server = "10.0.0.1"
[limits]
memory-mib = 32
cpu-seconds = 5
[state]
[[secrets]]
key = "password"
uses = ["reveal", "file"]
[[secrets]]
key = "token"
uses = ["file"]
[images]
directory = "/srv/images/"
names = ["{volume}.img", "*.raw"]
create = true
grow = true
max-size = "100Gi"
[[devices]]
rule = "nvme"
path = "/dev/disk/by-id/nvme-{id}"
id = "vol-*"
verify = { attribute = "device/serial", value = "{id}" }
[filesystems]
types = ["ext4"]
format = true
check = true
grow = true
[mounts.block]
filesystems = ["ext4"]
options = ["noatime"]
[mounts.bind]
[mounts.tmpfs]
max-size = "2Mi"
max-files = 8
"#;

#[test]
fn everything_can_be_granted() {
    let grants = Grants::parse(ALL).expect("valid");
    assert_eq!(grants.isolation, Isolation::Full);
    assert_eq!(grants.failure_exit_code(), 0);
    assert_eq!(grants.config["server"], "10.0.0.1");
    assert_eq!((grants.limits.memory_bytes(), grants.limits.cpu_seconds()), (32 << 20, 5));
    assert!(grants.state && grants.bind);
    assert_eq!(grants.secrets.len(), 2);
    let fit = |key| grants.secret(key).map(|entry| &entry.uses[..]).collect::<Vec<_>>();
    assert_eq!(fit("password"), [&[Use::Reveal, Use::File][..]]);
    assert_eq!(fit("token"), [&[Use::File][..]]);
    assert!(fit("tokens").is_empty());
    let images = grants.images.expect("granted");
    assert_eq!(images.directory.path(), std::path::Path::new("/srv/images"));
    assert_eq!((images.create, images.grow, images.max_size.bytes()), (true, true, 100 << 30));
    assert_eq!(grants.devices[0].verify.attribute.path(), std::path::Path::new("device/serial"));
    assert_eq!(grants.filesystems.expect("granted").types, [Filesystem::Ext4]);
    assert_eq!(grants.block.expect("granted").options, ["noatime"]);
    let tmpfs = grants.tmpfs.expect("granted");
    assert_eq!((tmpfs.max_size.bytes(), tmpfs.max_files.get()), (2 << 20, 8));
}

#[test]
fn what_is_not_written_is_not_granted() {
    assert_eq!(Grants::parse("version = 1"), Ok(Grants::none()));
    let none = Grants::none();
    assert_eq!(none.isolation, Isolation::Available);
    assert_eq!(none.failure_exit_code(), 1);
    assert_eq!((none.limits.memory_bytes(), none.limits.cpu_seconds()), (64 << 20, 10));

    let sparse = "version = 1
        [images]
        directory = \"/srv\"
        names = [\"a\"]
        [filesystems]
        types = [\"ext4\"]
        [mounts.block]
        filesystems = [\"ext4\"]
        [mounts.tmpfs]";
    let grants = Grants::parse(sparse).expect("valid");
    let images = grants.images.expect("granted");
    assert_eq!((images.create, images.grow, images.max_size.bytes()), (false, false, 1 << 40));
    let fs = grants.filesystems.expect("granted");
    assert!(!fs.format && !fs.check && !fs.grow);
    assert!(grants.block.expect("granted").options.is_empty());
    let tmpfs = grants.tmpfs.expect("granted");
    assert_eq!((tmpfs.max_size.bytes(), tmpfs.max_files.get()), (1 << 20, 32));
    assert!(!grants.state && !grants.bind && grants.secrets.is_empty());
}

/// A change to [`ALL`], as text and its replacement, and what is said about it.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("version = 1\n", "", "line 1: `version` is missing"),
    ("version = 1", "version = 2", "line 2: version 2 is not known here; valid: 1"),
    ("version = 1", "version = \"1\"", "line 2: invalid type: string \"1\", expected a number"),
    (
        "isolation = \"full\"",
        "isolation = \"most\"",
        "line 3: unknown name `most`; valid: available, full",
    ),
    (
        "[state]",
        "[stat]",
        "line 11: unknown key `stat`; valid: version, isolation, reply, config, limits, state, \
         secrets, images, devices, filesystems, mounts",
    ),
    ("[state]", "[state]\nkeys = 3", "line 12: unknown key `keys`; valid: none"),
    ("failure-exit-code = 0", "failure-exit-code = 2", "line 5: 2 is out of bounds; valid: 0 to 1"),
    (
        "failure-exit-code = 0",
        "failure_exit_code = 0",
        "line 5: unknown key `failure_exit_code`; valid: failure-exit-code",
    ),
    (
        "failure-exit-code = 0",
        "",
        "line 13: [[secrets]] needs `failure-exit-code` to be stated in [reply]: with 1, kubelet \
         logs a failing call's arguments, secrets included; valid: 0, 1",
    ),
    ("memory-mib = 32", "memory-mib = 0", "line 9: 0 is out of bounds; valid: 1 to 1024"),
    ("cpu-seconds = 5", "cpu-seconds = 101", "line 10: 101 is out of bounds; valid: 1 to 100"),
    ("cpu-seconds = 5", "cpu-seconds = -1", "line 10: -1 is out of bounds; valid: 1 to 100"),
    ("server = \"10.0.0.1\"", "port = 80", "line 7: invalid type: integer `80`, expected a string"),
    (
        "uses = [\"reveal\", \"file\"]",
        "uses = [\"reveal\", \"mount\"]",
        "line 14: unknown name `mount`; valid: reveal, file",
    ),
    (
        "uses = [\"file\"]",
        "uses = []",
        "line 17: `uses` is empty and grants nothing; leave the section out",
    ),
    (
        "key = \"token\"",
        "key = \"password\"",
        "line 16: the secret key `password` is granted twice",
    ),
    (
        "key = \"token\"",
        "key = \"a b\"",
        "line 16: `a b` cannot be a secret's key; valid: 1 to 253 of A-Z a-z 0-9 . _ - and at \
         most one `*`",
    ),
    (
        "key = \"token\"",
        "key = \"*.*\"",
        "line 16: `*.*` has more than one `*`; valid: at most one `*`",
    ),
    (
        "key = \"password\"",
        "key = \"pass*\"",
        "line 13: `pass*` is a pattern, and a key is revealed by its name only; valid: uses = \
         [\"file\"]",
    ),
    (
        "key = \"password\"\nuses = [\"reveal\", \"file\"]",
        "key = \"*\"\nuses = [\"file\"]\n[[secrets]]\nkey = \"*\"\nuses = [\"file\"]",
        "line 16: the secret key `*` is granted twice",
    ),
    (
        "directory = \"/srv/images/\"",
        "directory = \"images\"",
        "line 19: `images` is not an absolute path without `.` and `..`; valid: such as \
         \"/srv/images\"",
    ),
    (
        "directory = \"/srv/images/\"",
        "directory = \"/srv/../etc\"",
        "line 19: `/srv/../etc` is not an absolute path without `.` and `..`; valid: such as \
         \"/srv/images\"",
    ),
    ("directory = \"/srv/images/\"\n", "", "line 18: `directory` is missing"),
    ("\"*.raw\"", "\"*.r*\"", "line 20: `*.r*` has more than one `*`; valid: at most one `*`"),
    (
        "\"*.raw\"",
        "\"{name}.raw\"",
        "line 20: `{name}.raw` has braces that are not {volume}; valid: {volume}",
    ),
    (
        "\"*.raw\"",
        "\"a/b\"",
        "line 20: `a/b` cannot match; valid: a plain file name, {volume} and one `*`",
    ),
    (
        "max-size = \"100Gi\"",
        "max-size = \"100G\"",
        "line 23: `100G` is not a size; valid: a whole number of bytes, or one with Ki, Mi, Gi or \
         Ti, such as \"100Gi\"",
    ),
    (
        "max-size = \"100Gi\"",
        "max-size = \"2048Ti\"",
        "line 23: the size `2048Ti` is out of bounds; valid: 1 to 1024Ti",
    ),
    ("max-size = \"2Mi\"", "max-size = \"2Gi\"", "line 39: 2Gi is out of bounds; valid: 1 to 1Gi"),
    (
        "create = true",
        "creat = true",
        "line 21: unknown key `creat`; valid: directory, names, create, grow, max-size",
    ),
    (
        "create = true",
        "create = \"yes\"",
        "line 21: invalid type: string \"yes\", expected a boolean",
    ),
    (
        "rule = \"nvme\"",
        "rule = \"NVMe\"",
        "line 25: `NVMe` cannot be a rule's name; valid: 1 to 64 of a-z 0-9 -",
    ),
    (
        "path = \"/dev/disk/by-id/nvme-{id}\"",
        "path = \"/dev/sdb\"",
        "line 26: `/dev/sdb` does not have {id} in it exactly once; valid: such as \
         \"/dev/disk/by-id/nvme-{id}\"",
    ),
    (
        "path = \"/dev/disk/by-id/nvme-{id}\"",
        "path = \"/sys/{id}\"",
        "line 26: `/sys/{id}` is not below /dev; valid: such as \"/dev/disk/by-id/nvme-{id}\"",
    ),
    (
        "id = \"vol-*\"",
        "id = \"vol *\"",
        "line 27: `vol *` cannot match; valid: A-Z a-z 0-9 . _ : -, {volume} and one `*`",
    ),
    ("verify = {", "# verify = {", "line 24: `verify` is missing"),
    (
        "value = \"{id}\"",
        "value = \"x\"",
        "line 28: `x` does not have {id} in it exactly once; valid: such as \"{id}\"",
    ),
    (
        "attribute = \"device/serial\"",
        "attribute = \"../serial\"",
        "line 28: `../serial` is not a plain path below the device's directory in /sys; valid: \
         such as \"device/serial\"",
    ),
    (
        "[filesystems]",
        "[[devices]]\nrule = \"nvme\"\npath = \"/dev/{id}\"\nid = \"*\"\nverify = { attribute = \
         \"serial\", value = \"{id}\" }\n[filesystems]",
        "line 30: the device rule `nvme` is there twice",
    ),
    (
        "types = [\"ext4\"]",
        "types = [\"ext5\"]",
        "line 30: unknown filesystem `ext5`; valid: ext4, xfs, btrfs",
    ),
    (
        "types = [\"ext4\"]",
        "types = []",
        "line 30: `types` is empty and grants nothing; leave the section out",
    ),
    (
        "options = [\"noatime\"]",
        "options = [\"noatime\",\n \"suid\"]",
        "line 37: ext4 has no mount option \"suid\"; valid: noatime, relatime, strictatime, nodiratime, \
         noexec, lazytime, discard, nodiscard",
    ),
    ("[mounts.bind]", "[mounts.nfs]", "line 37: unknown key `nfs`; valid: block, bind, tmpfs"),
    ("max-files = 8", "max-files = 1025", "line 40: 1025 is out of bounds; valid: 1 to 1024"),
    ("max-files = 8", "max-files = 8\nmax-files = 9", "line 41: duplicate key"),
];

#[test]
fn mistakes_are_told_with_their_line() {
    let mut wrong = Vec::new();
    for (text, replacement, expected) in MISTAKES {
        assert!(ALL.contains(text), "{text}");
        match Grants::parse(&ALL.replacen(text, replacement, 1)) {
            Err(error) if error.to_string() == *expected => {}
            other => wrong.push(format!("{replacement}: {other:#?}\n  expected {expected}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What one entry gives is not taken away by another.
#[test]
fn every_entry_that_fits_a_key_counts() {
    let text = "version = 1
        [reply]
        failure-exit-code = 0
        [[secrets]]
        key = \"*\"
        uses = [\"file\"]
        [[secrets]]
        key = \"token\"
        uses = [\"reveal\"]";
    let grants = Grants::parse(text).expect("valid");
    let uses = |key| grants.secret(key).flat_map(|entry| entry.uses.clone()).collect::<Vec<_>>();
    assert_eq!(uses("token"), [Use::File, Use::Reveal]);
    assert_eq!(uses("tokens"), [Use::File]);
}

#[test]
fn a_file_is_bounded() {
    let long = format!("version = 1\n#{}", "x".repeat(MAX_FILE));
    assert_eq!(
        Grants::parse(&long).expect_err("too long").to_string(),
        "line 1: the file is over 65536 bytes"
    );
    let config = format!("version = 1\n[config]\nk = \"{}\"", "x".repeat(16 * 1024));
    assert_eq!(
        Grants::parse(&config).expect_err("too long").to_string(),
        "line 2: [config] is too large; valid: 64 keys, 16384 bytes"
    );
}
