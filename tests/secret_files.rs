//! `secret-files`: each pod gets its secret's keys as files that it can read, as the volume's
//! options say, and nobody can change; and what is in them is nowhere else.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use wasmount_tests::{
    Answer, Driver, Node, Secret, UID, base64, component, is_mount_point, mount_options,
    open_the_way, options, owner, read_as, until,
};

/// What operators are given to begin with.
const SHIPPED: &str = include_str!("../plugins/secret-files/grants.toml");

const FS_GROUP: &str = "kubernetes.io/mounterArgs.FsGroup";

/// Any user of a container, and the group of its pod.
const USER: u32 = 1000;
const GROUP: u32 = 4321;

/// The shipped grants with some of their text replaced. A call that fails exits with 1.
fn grants(changes: &[(&str, &str)]) -> String {
    let mut text = SHIPPED.to_owned();
    for (from, to) in changes.iter().chain(&[("failure-exit-code = 0", "failure-exit-code = 1")]) {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

/// kubelet's JSON for the volume `vol`.
fn json(secret: &[(&str, &[u8])], user: &[(&str, &str)]) -> String {
    let keys: Vec<(String, String)> = secret
        .iter()
        .map(|(key, value)| (format!("kubernetes.io/secret/{key}"), base64(value)))
        .collect();
    let mut all: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (&**key, &**value)).collect();
    all.extend(user);
    options("vol", "rw", &all)
}

fn mount(driver: &Driver<'_>, json: &str) -> Answer {
    driver.call(&["mount", &driver.pod_dir(UID, "vol"), json])
}

/// Unmounts twice and removes the directory, as kubelet does.
fn take_down(driver: &Driver<'_>, uid: &str) {
    let dir = driver.pod_dir(uid, "vol");
    // What another test starts while this one reads a file has it open, too, until its exec.
    let answer = until("no process has the volume open", || {
        Some(driver.call(&["unmount", &dir])).filter(|answer| !answer.stdout.contains("[busy]"))
    });
    answer.success();
    driver.call(&["unmount", &dir]).success();
    fs::remove_dir(dir).expect("an empty directory, as kubelet wants it");
}

/// Asserts that a mount that failed has left nothing.
fn nothing_is_mounted(node: &Node, driver: &Driver<'_>) {
    node.is_clean();
    assert_eq!(driver.record(&format!("{UID}~vol")), None);
    fs::remove_dir(driver.pod_dir(UID, "vol")).expect("an empty directory, as kubelet wants it");
}

/// Linux 6.4 is the first with tmpfs that is never swapped.
fn has_noswap() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("procfs");
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(4))
}

/// A volume's options; the modes of its directory and files and the group of both; the files; and
/// which of [`READERS`] can read them.
type Case<'a> = (&'a [(&'a str, &'a str)], u32, u32, u32, &'a [&'a str], &'a [(u32, u32)]);

const BOTH: &[&str] = &["password", "username"];

/// User and group.
const READERS: [(u32, u32); 3] = [OF_GROUP, OF_ROOTS, OTHER];
const OF_GROUP: (u32, u32) = (USER, GROUP);
const OF_ROOTS: (u32, u32) = (USER, 0);
const OTHER: (u32, u32) = (USER, USER);

const CASES: &[Case<'_>] = &[
    (&[], 0o750, 0o400, 0, BOTH, &[]),
    (&[("kubernetes.io/readwrite", "ro")], 0o750, 0o400, 0, BOTH, &[]),
    (&[(FS_GROUP, "4321")], 0o750, 0o440, GROUP, BOTH, &[OF_GROUP]),
    // As Kubernetes 1.14 and before called it.
    (&[("kubernetes.io/fsGroup", "4321")], 0o750, 0o440, GROUP, BOTH, &[OF_GROUP]),
    (&[(FS_GROUP, "4321"), ("mode", "0400")], 0o750, 0o400, GROUP, BOTH, &[]),
    (&[(FS_GROUP, "4321"), ("mode", "444")], 0o755, 0o444, GROUP, BOTH, &READERS),
    (&[("mode", "0444")], 0o755, 0o444, 0, BOTH, &READERS),
    (&[("mode", "0440")], 0o750, 0o440, 0, BOTH, &[OF_ROOTS]),
    (&[("keys", "password, username=.pgpass")], 0o750, 0o400, 0, &[".pgpass", "password"], &[]),
    (&[("keys", "username"), ("mode", "0444")], 0o755, 0o444, 0, &["username"], &READERS),
];

#[test]
fn files_are_readable_as_asked_and_for_nobody_to_change() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("secret-files", &grants(&[]));
    let init = driver.call(&["init"]).success();
    assert_eq!(init["capabilities"]["attach"], false);
    assert_eq!(init["capabilities"]["fsGroup"], false);

    for &(user, of_dir, of_file, group, names, readers) in CASES {
        let json = json(&[("username", b"app"), ("password", b"app")], user);
        open_the_way(&node, &driver.pod_dir(UID, "vol"));
        // Twice: what is there already is success, and unchanged.
        for _ in 0..2 {
            mount(&driver, &json).success();
        }
        let dir = driver.pod_dir(UID, "vol");
        assert_eq!(owner(Path::new(&dir)), (of_dir, 0, group), "{user:?}");
        let mut found: Vec<_> = fs::read_dir(&dir)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        found.sort();
        assert_eq!(found, names, "{user:?}");
        for name in names {
            let file = Path::new(&dir).join(name);
            assert_eq!(owner(&file), (of_file, 0, group), "{user:?} {name}");
            for reader in READERS {
                let can = readers.contains(&reader).then(|| b"app".to_vec());
                assert_eq!(read_as(reader, &file), can, "{user:?} {name} {reader:?}");
            }
        }
        cannot_be_changed(&dir, names[0]);
        take_down(&driver, UID);
        node.is_clean();
    }
}

/// Not even by root.
fn cannot_be_changed(dir: &str, name: &str) {
    let (file, new) = (Path::new(dir).join(name), Path::new(dir).join("new"));
    for (what, result) in [
        ("written", fs::write(&file, "changed")),
        ("removed", fs::remove_file(&file)),
        ("renamed", fs::rename(&file, &new)),
        ("linked", fs::hard_link(&file, &new)),
        ("opened to all", fs::set_permissions(&file, Permissions::from_mode(0o777))),
        ("given away", std::os::unix::fs::chown(&file, Some(USER), None)),
        ("joined", fs::write(&new, "more")),
    ] {
        let error = result.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{what}");
    }
    let (own, of_filesystem) = mount_options(dir);
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(own.iter().any(|own| own == option), "{option} is not among {own:?}");
    }
    let has = |option: &str| of_filesystem.iter().any(|other| other == option);
    assert_eq!((has("ro"), has("noswap")), (true, has_noswap()), "{of_filesystem:?}");
}

#[test]
fn keys_and_values_of_every_kind() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("secret-files", &grants(&[]));
    let (bytes, long) = ((0..=255).collect::<Vec<u8>>(), "k".repeat(253));
    let large: Vec<u8> = (0..95_000_u32).map(|n| ((n * 7919) >> 5) as u8).collect();
    let many: Vec<String> = (0..32).map(|n| format!("key-{n}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|key| (&**key, key.as_bytes())).collect();
    let secrets: [&[(&str, &[u8])]; 3] = [
        &[
            ("binary", &bytes),
            ("empty", b""),
            ("lines", b"one\ntwo\r\n\n"),
            (".hidden", b"\n"),
            ("-dash", b"$(reboot) '\"\\"),
            ("a..b", b"../../etc/passwd"),
            ("...", b"\0"),
            (&long, b"\xff\xfe"),
        ],
        &[("large", &large)],
        &many,
    ];
    for secret in secrets {
        mount(&driver, &json(secret, &[])).success();
        let dir = driver.pod_dir(UID, "vol");
        for (key, value) in secret {
            assert_eq!(fs::read(Path::new(&dir).join(key)).expect("a file"), *value, "{key}");
        }
        assert_eq!(fs::read_dir(&dir).expect("a directory").count(), secret.len());
        take_down(&driver, UID);
        node.is_clean();
    }

    // What cannot be a file under its own name can be one under another.
    mount(&driver, &json(&[("..", b"x")], &[("keys", "..=dots")])).success();
    assert_eq!(
        fs::read(Path::new(&driver.pod_dir(UID, "vol")).join("dots")).expect("a file"),
        b"x"
    );
    take_down(&driver, UID);
    node.is_clean();
}

/// A secret that the grants do not let become files.
struct Refusal {
    /// Changes to the shipped grants.
    grants: &'static [(&'static str, &'static str)],
    /// How many keys the secret has.
    keys: usize,
    reason: &'static str,
    /// What the operator is told to do.
    lines: &'static str,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        grants: &[("max-size = \"2Mi\"", "max-size = \"64Ki\"")],
        keys: 1,
        reason: "grant:mounts.tmpfs.max-size",
        lines: "set in grants.toml: [mounts.tmpfs] max-size = \"1Mi\"",
    },
    Refusal {
        grants: &[("max-files = 32", "max-files = 2")],
        keys: 3,
        reason: "grant:mounts.tmpfs.max-files",
        lines: "set in grants.toml: [mounts.tmpfs] max-files = 3",
    },
    Refusal {
        grants: &[("max-files = 32", "max-files = 1024")],
        keys: 33,
        reason: "grant:mounts.tmpfs.max-size",
        lines: "set in grants.toml: [mounts.tmpfs] max-size = \"3Mi\"",
    },
    Refusal {
        grants: &[("key = \"*\"", "key = \"tls.*\"")],
        keys: 1,
        reason: "grant:secrets",
        lines: "add to grants.toml: [[secrets]] key = \"key-00\" uses = [\"file\"]",
    },
    Refusal {
        grants: &[
            ("key = \"*\"", "key = \"key-00\""),
            ("uses = [\"file\"]", "uses = [\"reveal\"]"),
        ],
        keys: 1,
        reason: "grant:secrets.file",
        lines: "set in grants.toml: [[secrets]] key = \"key-00\" uses = [\"reveal\", \"file\"]",
    },
    Refusal {
        grants: &[("[[secrets]]\nkey = \"*\"\nuses = [\"file\"]\n", "")],
        keys: 1,
        reason: "no-secret",
        lines: "[[secrets]] in grants.toml",
    },
    Refusal {
        grants: &[("[mounts.tmpfs]\nmax-size = \"2Mi\"\nmax-files = 32\n", "")],
        keys: 1,
        reason: "grant:mounts.tmpfs",
        lines: "add to grants.toml: [mounts.tmpfs]",
    },
];

#[test]
fn what_is_not_granted_is_a_failure_and_mounts_nothing() {
    for Refusal { grants: changes, keys, reason, lines } in REFUSALS {
        let Some(node) = Node::new() else { return };
        let driver = node.install("secret-files", &grants(changes));
        let keys: Vec<String> = (0..*keys).map(|n| format!("key-{n:02}")).collect();
        let secret: Vec<(&str, &[u8])> = keys.iter().map(|key| (&**key, &b"x"[..])).collect();
        let message = mount(&driver, &json(&secret, &[])).fails_with(reason);
        assert!(message.contains(lines), "{message}");
        nothing_is_mounted(&node, &driver);
    }
}

#[test]
fn a_pod_that_is_made_anew_has_the_new_values() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("secret-files", &grants(&[]));
    let (first, second) = ("first-pod", "second-pod");
    let (old, new) = (json(&[("password", b"old")], &[]), json(&[("password", b"new")], &[]));
    let mount = |uid, json: &str| driver.call(&["mount", &driver.pod_dir(uid, "vol"), json]);
    let read = |uid| {
        let dir = driver.pod_dir(uid, "vol");
        fs::read_to_string(Path::new(&dir).join("password")).expect("a file")
    };
    mount(first, &old).success();
    // A volume does not change while a pod has it, whatever its secret does.
    mount(first, &new).success();
    assert_eq!(read(first), "old");
    // Volumes of one name in two pods have nothing to do with each other.
    mount(second, &new).success();
    assert_eq!((read(first).as_str(), read(second).as_str()), ("old", "new"));
    take_down(&driver, first);
    assert_eq!(read(second), "new");
    mount(first, &new).success();
    assert_eq!(read(first), "new");
    take_down(&driver, first);
    take_down(&driver, second);
    node.is_clean();
}

#[test]
fn a_volume_comes_down_without_its_component() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("secret-files", &grants(&[]));
    let json = json(&[("password", b"x")], &[]);
    mount(&driver, &json).success();
    fs::write(driver.version().join("component.cwasm"), "no image").expect("writable for root");
    driver.call(&["mount", &driver.pod_dir("another-pod", "vol"), &json]).failure();
    assert!(is_mount_point(&driver.pod_dir(UID, "vol")));
    take_down(&driver, UID);
    node.is_clean();
}

#[test]
fn the_component_cannot_even_ask_for_a_value() {
    let Some(node) = Node::new() else { return };
    let file = component("secret-files").display().to_string();
    let shown = node.wasmount(&["inspect", &file]).stdout;
    assert!(shown.contains("secrets.open") && !shown.contains("reveal"), "{shown}");
}

#[test]
fn the_shipped_grants_keep_arguments_out_of_kubelets_log() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("secret-files", SHIPPED);
    mount(&driver, &json(&[("password", b"x")], &[])).success();
    take_down(&driver, UID);
    let answer = mount(&driver, &json(&[("password", b"x")], &[("mode", "0777")]));
    assert_eq!((answer.json()["status"].as_str(), answer.exit), (Some("Failure"), Some(0)));
    node.is_clean();
}

#[test]
fn a_value_is_in_its_file_and_nowhere_else() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("secret-files", &grants(&[("max-files = 32", "max-files = 2")]));
    let values =
        ["correct horse/battery+staple & söme\n".as_bytes(), b"\x01\xff\0\xfe binary \x80\x81"];
    let secrets = values.map(Secret::new);
    let all: [(&str, &[u8]); 3] =
        [("password", values[0]), ("token", values[1]), ("third", values[0])];
    let said = |answer: &Answer| {
        let found = secrets.iter().any(|secret| secret.is_in(answer.stdout.as_bytes()));
        assert!(!found, "{}", answer.stdout);
    };
    for (keys, user, works) in [
        (&all[..2], &[][..], true),
        (&all[..2], &[("mode", "0444"), ("keys", "token=t")], true),
        (&all[..], &[], false),
        (&all[..2], &[("keys", "absent")], false),
        (&all[..2], &[("mode", "0777")], false),
        (&all[..2], &[("kubernetes.io/readwrite", "sideways")], false),
    ] {
        let answer = mount(&driver, &json(keys, user));
        assert_eq!(answer.json()["status"] == "Success", works, "{user:?}: {}", answer.stdout);
        said(&answer);
        said(&driver.call(&["unmount", &driver.pod_dir(UID, "vol")]));
    }

    // While a call waits for its turn, it has the secret in memory and all its processes run.
    let json = json(&all[..2], &[]);
    let dir = driver.pod_dir(UID, "vol");
    let turn = lock(&node);
    let call = driver.start_with(&["mount", &dir, &json], &[("TOKEN", "correct horse")]);
    call.waits_for_its_turn();
    for process in &call.processes() {
        secrets.iter().for_each(|secret| secret.is_not_shown(process));
    }
    drop(turn);
    let answer = call.answer();
    answer.success();
    said(&answer);
    assert_eq!(fs::read(Path::new(&dir).join("token")).expect("a file"), values[1]);
    let record = driver.record(&format!("{UID}~vol")).expect("a record").to_string();
    assert!(secrets.iter().all(|secret| !secret.is_in(record.as_bytes())), "{record}");
    take_down(&driver, UID);

    assert!(driver.log().len() > 20);
    for secret in &secrets {
        assert!(secret.is_in_no_file(&node.path("")) > 5);
    }
    node.is_clean();
}

/// The lock of the pod's volume.
fn lock(node: &Node) -> File {
    let path = node.path(&format!("run/example.com~secret-files/{UID}~vol.lock"));
    let file = File::options().write(true).create_new(true).open(path).expect("no call runs");
    rustix::fs::flock(&file, FlockOperation::LockExclusive).expect("it is new");
    // As if it had just been taken, however slow the machine is.
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).expect("it is ours");
    file
}
