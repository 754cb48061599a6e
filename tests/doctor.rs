//! `wasmount doctor` on a node with one fault after the other: each is named, with what to do about
//! it, and gone from what doctor says once it is mended.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use wasmount_tests::{Driver, LOOP_IMAGE_GRANTS, Node, UID, answer, options, program};

/// A finding, and what plants its fault and mends it.
struct Fault {
    id: &'static str,
    severity: &'static str,
    /// `$NODE` stands for the node's directory, `$VERSION` for the driver's version.
    what: &'static str,
    remedy: &'static str,
    plant: fn(&Node, &Driver<'_>),
    mend: fn(&Node, &Driver<'_>),
}

const REINSTALL: &str = "install the driver again with `wasmount install`";

const FAULTS: &[Fault] = &[
    Fault {
        id: "plugin-directory-writable",
        severity: "error",
        what: "$NODE/plugins can be changed by others than root",
        remedy: "chown root $NODE/plugins && chmod go-w $NODE/plugins",
        plant: |node, _| mode(&node.path("plugins"), 0o777),
        mend: |node, _| mode(&node.path("plugins"), 0o755),
    },
    Fault {
        id: "stray",
        severity: "error",
        what: "$NODE/plugins/README is not a driver's directory",
        remedy: "move it away",
        plant: |node, _| fs::write(node.path("plugins/README"), "").expect("written"),
        mend: |node, _| fs::remove_file(node.path("plugins/README")).expect("removed"),
    },
    Fault {
        id: "stray",
        severity: "error",
        what: "$NODE/plugins/example.com~none is empty",
        remedy: "rmdir $NODE/plugins/example.com~none",
        plant: |node, _| fs::create_dir(node.path("plugins/example.com~none")).expect("made"),
        mend: |node, _| fs::remove_dir(node.path("plugins/example.com~none")).expect("removed"),
    },
    Fault {
        id: "stray",
        severity: "error",
        what: "$NODE/plugins/example.com~link is a symbolic link",
        remedy: "put the directory itself there",
        plant: |node, _| symlink("/", node.path("plugins/example.com~link")).expect("linked"),
        mend: |node, _| fs::remove_file(node.path("plugins/example.com~link")).expect("removed"),
    },
    Fault {
        id: "stray",
        severity: "warning",
        what: "$NODE/plugins/.a~b.tmp-1 was left by an installation that was killed",
        remedy: "install that driver again, which sweeps it up",
        plant: |node, _| fs::create_dir(node.path("plugins/.a~b.tmp-1")).expect("made"),
        mend: |node, _| fs::remove_dir(node.path("plugins/.a~b.tmp-1")).expect("removed"),
    },
    Fault {
        id: "driver-unusable",
        severity: "error",
        what: "$NODE/plugins/example.com~loop-image/current is not a link to a version; install \
               the driver again, or uninstall it",
        remedy: REINSTALL,
        plant: |node, driver| {
            let current = driver.dir().join("current");
            fs::rename(current, node.path("current")).expect("moved");
        },
        mend: |node, driver| {
            let current = driver.dir().join("current");
            fs::rename(node.path("current"), current).expect("moved");
        },
    },
    Fault {
        id: "file-writable",
        severity: "error",
        what: "$VERSION/component.cwasm can be written to by others than its owner (mode 664)",
        remedy: REINSTALL,
        plant: |_, driver| mode(&driver.version().join("component.cwasm"), 0o664),
        mend: |_, driver| mode(&driver.version().join("component.cwasm"), 0o644),
    },
    Fault {
        id: "file-owner",
        severity: "error",
        what: "$VERSION/component.wasm belongs to user 1000 and not to root",
        remedy: REINSTALL,
        plant: |_, driver| owner(&driver.version().join("component.wasm"), 1000),
        mend: |_, driver| owner(&driver.version().join("component.wasm"), 0),
    },
    Fault {
        id: "file-mode",
        severity: "error",
        what: "$VERSION/wasmount-driver is not executable (mode 644)",
        remedy: "chmod 0755 $VERSION/wasmount-driver",
        plant: |_, driver| mode(&driver.version().join("wasmount-driver"), 0o644),
        mend: |_, driver| mode(&driver.version().join("wasmount-driver"), 0o755),
    },
    Fault {
        id: "file-mode",
        severity: "warning",
        what: "$VERSION/receipt.json is not readable by everybody (mode 600)",
        remedy: "chmod go+r $VERSION/receipt.json",
        plant: |_, driver| mode(&driver.version().join("receipt.json"), 0o600),
        mend: |_, driver| mode(&driver.version().join("receipt.json"), 0o644),
    },
    Fault {
        id: "file-mode",
        severity: "warning",
        what: "$VERSION/.lock can be opened by others than root (mode 644)",
        remedy: "chmod 0600 $VERSION/.lock",
        plant: |_, driver| mode(&driver.version().join(".lock"), 0o644),
        mend: |_, driver| mode(&driver.version().join(".lock"), 0o600),
    },
    Fault {
        id: "file-changed",
        severity: "error",
        what: "$VERSION/grants.toml was changed after installation",
        remedy: REINSTALL,
        plant: |node, driver| {
            fs::copy(driver.version().join("grants.toml"), node.path("kept")).expect("copied");
            fs::write(driver.version().join("grants.toml"), "version = 1\n").expect("written");
        },
        mend: |node, driver| {
            fs::copy(node.path("kept"), driver.version().join("grants.toml")).expect("copied");
        },
    },
    Fault {
        id: "image-stale",
        severity: "error",
        what: "the image was compiled by wasmtime 48.0.8, and the driver runs 48.0.9",
        remedy: REINSTALL,
        plant: |node, driver| {
            let path = driver.version().join("wasmount-driver");
            fs::copy(&path, node.path("kept")).expect("copied");
            let (from, to) = (b" wasmtime 48.0.8", b" wasmtime 48.0.9");
            let mut program = fs::read(&path).expect("readable");
            let at = program.windows(from.len()).position(|bytes| bytes == from);
            let at = at.expect("the engine's version is in the driver");
            program[at..at + to.len()].copy_from_slice(to);
            fs::write(&path, program).expect("written");
        },
        mend: |node, driver| {
            let path = driver.version().join("wasmount-driver");
            fs::copy(node.path("kept"), path).expect("copied");
        },
    },
    Fault {
        id: "kubelet-root",
        severity: "error",
        what: "the kubelet root $NODE/kubelet cannot be used: No such file or directory (os error \
               2)",
        remedy: "install the driver again with kubelet's --root-dir as --kubelet-root",
        plant: |node, _| fs::rename(node.path("kubelet"), node.path("k")).expect("moved"),
        mend: |node, _| fs::rename(node.path("k"), node.path("kubelet")).expect("moved"),
    },
    Fault {
        id: "directory-writable",
        severity: "error",
        what: "the data directory $NODE/data can be written to by others than root (mode 777)",
        remedy: "chown root $NODE/data && chmod 0700 $NODE/data",
        plant: |node, _| mode(&node.path("data"), 0o777),
        mend: |node, _| mode(&node.path("data"), 0o700),
    },
    Fault {
        id: "directory-owner",
        severity: "error",
        what: "the run directory $NODE/run belongs to user 1000",
        remedy: "chown root $NODE/run && chmod 0700 $NODE/run",
        plant: |node, _| owner(&node.path("run"), 1000),
        mend: |node, _| owner(&node.path("run"), 0),
    },
    Fault {
        id: "directory-missing",
        severity: "error",
        what: "the log directory $NODE/log is not a directory",
        remedy: "move it away",
        plant: |node, _| {
            fs::rename(node.path("log"), node.path("l")).expect("moved");
            fs::write(node.path("log"), "").expect("written");
        },
        mend: |node, _| {
            fs::remove_file(node.path("log")).expect("removed");
            fs::rename(node.path("l"), node.path("log")).expect("moved");
        },
    },
    Fault {
        id: "directory-readable",
        severity: "warning",
        what: "the log directory $NODE/log can be read by others than root (mode 755)",
        remedy: "chown root $NODE/log && chmod 0700 $NODE/log",
        plant: |node, _| mode(&node.path("log"), 0o755),
        mend: |node, _| mode(&node.path("log"), 0o700),
    },
    Fault {
        id: "image-directory-writable",
        severity: "error",
        what: "the image directory $NODE/images can be written to by everybody",
        remedy: "chmod o-w $NODE/images",
        plant: |node, _| mode(&node.path("images"), 0o777),
        mend: |node, _| mode(&node.path("images"), 0o755),
    },
    Fault {
        id: "image-directory",
        severity: "error",
        what: "the image directory $NODE/images cannot be used: No such file or directory (os error \
               2)",
        remedy: "mount or make it, or name the right one in [images] of grants.toml",
        plant: |node, _| fs::rename(node.path("images"), node.path("i")).expect("moved"),
        mend: |node, _| fs::rename(node.path("i"), node.path("images")).expect("moved"),
    },
    Fault {
        id: "image-directory-shared",
        severity: "note",
        what: "the image directory $NODE/images can be changed by others than root: user 0, group 0 \
               (mode 775)",
        remedy: "if that is not meant: chown root $NODE/images && chmod g-w $NODE/images",
        plant: |node, _| mode(&node.path("images"), 0o775),
        mend: |node, _| mode(&node.path("images"), 0o755),
    },
    Fault {
        id: "image-directory-shared",
        severity: "note",
        what: "the image directory $NODE/images can be changed by others than root: user 1000, group \
               0 (mode 755)",
        remedy: "if that is not meant: chown root $NODE/images && chmod g-w $NODE/images",
        plant: |node, _| owner(&node.path("images"), 1000),
        mend: |node, _| owner(&node.path("images"), 0),
    },
    Fault {
        id: "record-unreadable",
        severity: "error",
        what: "the record $NODE/data/example.com~loop-image/volumes/pv-9.json cannot be read: it is \
               damaged (EOF while parsing an object at line 1 column 1)",
        remedy: "move it away after checking that the volume is not mounted",
        plant: |node, _| fs::write(records(node).join("pv-9.json"), "{").expect("written"),
        mend: |node, _| fs::remove_file(records(node).join("pv-9.json")).expect("removed"),
    },
    Fault {
        id: "record-unreadable",
        severity: "error",
        what: "the record $NODE/data/example.com~loop-image/volumes/pv-9.json cannot be read: it is \
               of version 2, and this wasmount reads version 1: a newer one wrote it, or somebody \
               changed it",
        remedy: "install the newer one again, and leave the record where it is",
        plant: |node, _| fs::write(records(node).join("pv-9.json"), "{\"v\":2}").expect("written"),
        mend: |node, _| fs::remove_file(records(node).join("pv-9.json")).expect("removed"),
    },
    Fault {
        id: "record-stale",
        severity: "warning",
        what: "volume pv-1 is on record as mounted at \
               $NODE/kubelet/pods/4c9a6c2e-0d5b-4f0e-9a1b-1f2e3d4c5b6a/volumes/example.com~loop-image/pv-1, where it \
               is not",
        remedy: "kubelet's next call for it settles it; if none will come: `wasmount recover \
                 example.com/loop-image pv-1 --yes`",
        plant: |node, _| {
            let path = records(node).join("pv-1.json");
            fs::copy(&path, node.path("kept")).expect("copied");
            let text = fs::read_to_string(&path).expect("readable");
            let mut record: Value = serde_json::from_str(&text).expect("a record");
            let mut mount = record["staged"].clone();
            let path_of_pod = format!("pods/{UID}/volumes/example.com~loop-image/pv-1");
            mount["beneath_root"] = json!(path_of_pod);
            record["published"] = json!([mount]);
            fs::write(&path, record.to_string()).expect("written");
        },
        mend: |node, _| {
            fs::copy(node.path("kept"), records(node).join("pv-1.json")).expect("copied");
        },
    },
];

fn records(node: &Node) -> PathBuf {
    node.path("data/example.com~loop-image/volumes")
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its own");
}

fn owner(path: &Path, uid: u32) {
    chown(path, Some(uid), None).expect("its own");
}

/// What doctor finds, but that the machine's mounts are not shared, which they need not be here.
fn findings(node: &Node, driver: &Driver<'_>, command: &mut Command) -> Vec<[String; 4]> {
    command.args(["doctor", "--json", "--plugin-dir"]).arg(node.path("plugins"));
    let answer = answer(command, "doctor".to_owned());
    let document: Value = serde_json::from_str(&answer.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", answer.stdout, answer.stderr));
    assert_eq!(document["ok"], answer.exit == Some(0));
    let version = driver.dir().join("current").canonicalize().unwrap_or_default();
    let places = [(version, "$VERSION"), (node.path(""), "$NODE/")];
    let shown = |value: &Value| {
        let text = value.as_str().expect("a text").to_owned();
        let named = places.iter().filter(|(path, _)| !path.as_os_str().is_empty());
        named.fold(text, |text, (path, name)| text.replace(&path.display().to_string(), name))
    };
    let all = document["findings"].as_array().expect("a list").iter();
    let keys = ["id", "severity", "what", "remedy"];
    let all = all.map(|one| keys.map(|key| shown(&one[key])));
    all.filter(|[_, _, what, _]| !what.ends_with(" is not shared")).collect()
}

#[test]
fn every_fault_is_named_with_its_remedy() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "32Mi")]);
    let device_dir = driver.device_dir("pv-1");
    driver.call(&["attach", &json, "node-1"]).success();
    driver.call(&["mountdevice", &device_dir, "", &json]).success();
    driver.log();
    let doctor = || findings(&node, &driver, &mut Command::new(program("wasmount")));
    assert_eq!(doctor(), Vec::<[String; 4]>::new(), "nothing is wrong yet");
    for fault in FAULTS {
        (fault.plant)(&node, &driver);
        let expected = [fault.id, fault.severity, fault.what, fault.remedy].map(str::to_owned);
        let found = doctor();
        (fault.mend)(&node, &driver);
        assert!(found.contains(&expected), "{expected:?} is not among {found:#?}");
        assert_eq!(doctor(), Vec::<[String; 4]>::new(), "after {expected:?} was mended");
    }

    // What was removed from the records is still there.
    let record = records(&node).join("pv-1.json");
    fs::rename(&record, node.path("kept")).expect("moved");
    let found = doctor();
    let ids: Vec<&str> = found.iter().map(|[id, ..]| id.as_str()).collect();
    assert_eq!(ids, ["mount-unrecorded", "loop-unrecorded"], "{found:?}");
    let whats: Vec<&str> = found.iter().map(|[_, _, what, _]| what.as_str()).collect();
    let mount = "$NODE/kubelet/plugins/kubernetes.io/flexvolume/example.com/loop-image/mounts/pv-1 \
                 is mounted, and on no record";
    assert_eq!(whats[0], mount);
    assert!(whats[1].starts_with("/dev/loop"), "{whats:?}");
    assert!(whats[1].ends_with(" is attached to $NODE/images/pv-1.img, and on no record"));
    fs::rename(node.path("kept"), &record).expect("moved");
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", "pv-1", "node-1"]).success();
    node.is_clean();
}

/// In mount namespaces of their own, where the machine's tools and directories can be covered.
#[test]
fn tools_and_storage_are_looked_at() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let doctor = |cover: &str| {
        let mut command = Command::new("unshare");
        let script = format!("{cover} && exec \"$@\"");
        command.args(["--mount", "--", "/bin/sh", "-c", &script, "sh"]).arg(program("wasmount"));
        let mut found = findings(&node, &driver, command.current_dir(node.path("")));
        found.retain(|[_, _, what, _]| what != "this is not the node's own mount namespace");
        found
    };
    let finding =
        |id: &str, what: &str, remedy: &str| [id, "error", what, remedy].map(str::to_owned);
    assert_eq!(doctor("true"), Vec::<[String; 4]>::new());
    let tool = fs::canonicalize("/usr/sbin/e2fsck").expect("the tests need it");
    let tool = tool.display();
    let found = doctor(&format!("mount --bind /dev/null {tool}"));
    let remedy = "let only root change it, or install it again";
    let what = format!("e2fsck is not run: {tool} may be changed by another than root");
    assert_eq!(found, [finding("tool-missing", &what, remedy)]);
    let moved = "install the driver again with another --data-dir, once no volume of it is in use";
    let what = "the data directory $NODE/data is on a filesystem in memory";
    let found = doctor("mkdir -p data && mount -t tmpfs -o mode=0700 none data");
    assert_eq!(found, [finding("directory-unfit", what, moved)]);
    let what = "the data directory $NODE/data is on a filesystem that is read-only";
    let found =
        doctor("chmod 0700 data && mount --bind data data && mount -o remount,ro,bind data");
    assert_eq!(found, [finding("directory-unfit", what, moved)]);
}
