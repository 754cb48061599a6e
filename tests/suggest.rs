//! `wasmount grants suggest` after what a demo does with the shipped plugins: what it suggests is
//! within the shipped grants and what the manifests ask for, and the same can be done again under it.
//! And the log of all that is in order.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use wasmount_core::grants::Size;
use wasmount_tests::{Answer, Driver, Node, UID, answer, base64, options, options_as, program};

const LOOP_IMAGE: &str = include_str!("../plugins/loop-image/grants.toml");
const SECRET_FILES: &str = include_str!("../plugins/secret-files/grants.toml");

/// What the life of an ext4 volume needs of the shipped grants.
const SUGGESTED: &str = r#"version = 1

[images]
create = true
directory = IMAGES
grow = true
max-size = "128Mi"
names = ["{volume}.img"]

[filesystems]
check = true
format = true
grow = true
types = ["ext4"]

[mounts.block]
filesystems = ["ext4"]
options = []

[mounts.bind]
"#;

/// What a secret with two keys needs.
const SUGGESTED_SECRETS: &str = r#"version = 1

[reply]
failure-exit-code = 0

[[secrets]]
key = "password"
uses = ["file"]

[[secrets]]
key = "user"
uses = ["file"]

[mounts.tmpfs]
max-size = "1Mi"
max-files = 2
"#;

/// Runs the tool with the node's plugin directory at the end.
fn wasmount(node: &Node, arguments: &[&str]) -> Answer {
    let mut command = Command::new(program("wasmount"));
    command.args(arguments).arg("--plugin-dir").arg(node.path("plugins"));
    answer(&mut command, arguments.join(" "))
}

/// A volume's whole life, with an expansion between two pods.
fn live(driver: &Driver<'_>, volume: &str) {
    let user = [("create", "true"), ("size", "64Mi")];
    let json = options_as("ext4", volume, "rw", &user);
    for grown in [Some("134217728"), None] {
        let (device_dir, pod_dir) = (driver.device_dir(volume), driver.pod_dir(UID, volume));
        let attached = driver.call(&["attach", &json, "node-1"]).success();
        let token = attached["device"].as_str().expect("a device").to_owned();
        driver.call(&["isattached", &json, "node-1"]).success();
        let device = driver.call(&["waitforattach", &token, &json]).success();
        let device = device["device"].as_str().expect("a device").to_owned();
        driver.call(&["mountdevice", &device_dir, &device, &json]).success();
        driver.call(&["mount", &pod_dir, &json]).success();
        if let Some(size) = grown {
            driver.call(&["expandvolume", &json, "", size, "67108864"]).success();
            // Not every kernel grows a mounted ext4; then the next mountdevice does.
            driver.call(&["expandfs", &json, "", &pod_dir, size, "67108864"]);
        }
        driver.call(&["unmount", &pod_dir]).success();
        fs::remove_dir(&pod_dir).expect("an empty directory, as kubelet wants it");
        driver.call(&["unmountdevice", &device_dir]).success();
        fs::remove_dir(&device_dir).expect("an empty directory, as kubelet wants it");
        driver.call(&["detach", volume, "node-1"]).success();
    }
}

/// The suggested file without its first line, which says when.
fn suggested(node: &Node, driver: &Driver<'_>) -> (String, String) {
    node.is_idle();
    let printed = wasmount(node, &["grants", "suggest", driver.name(), "--toml"]);
    assert_eq!(printed.exit, Some(0), "{}", printed.stderr);
    let (_, file) = printed.stdout.split_once('\n').expect("lines");
    let images = format!("{:?}", node.path("images"));
    (file.replace(&images, "IMAGES"), printed.stdout.clone())
}

/// What a driver is granted, by capability and parameter, as `audit` has it. Fails if it says that any of it
/// is more than the manifest asks for.
fn granted(node: &Node, driver: &Driver<'_>) -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let printed = wasmount(node, &["audit", driver.name(), "--format", "json"]);
    let review = &printed.json()["drivers"][0];
    for finding in review["findings"].as_array().expect("a list") {
        let id = finding["id"].as_str().expect("an id");
        let wide = ["grant-wider-than-request", "grant-beyond-request"];
        assert!(!wide.contains(&id), "{finding}");
    }
    let rows = review["capabilities"].as_array().expect("a list").iter();
    let rows = rows.filter(|row| !row["granted"].is_null());
    rows.map(|row| {
        let granted =
            serde_json::from_value(row["granted"]["parameters"].clone()).expect("parameters");
        (row["capability"].as_str().expect("a name").to_owned(), granted)
    })
    .collect()
}

/// Fails if the second of two has anything that the first has not, or has all of it.
fn is_narrower(
    wide: &BTreeMap<String, BTreeMap<String, Vec<String>>>,
    narrow: &BTreeMap<String, BTreeMap<String, Vec<String>>>,
) {
    let covers = |key: &str, wide: &String, narrow: &String| {
        let size = |text: &String| Size::try_from(text.clone()).map(Size::bytes);
        match (key, wide.split_once('*')) {
            ("max-size" | "max-files", _) => size(wide) >= size(narrow),
            (_, Some((before, after))) => narrow.starts_with(before) && narrow.ends_with(after),
            (_, None) => wide == narrow,
        }
    };
    for (capability, parameters) in narrow {
        for (key, values) in parameters {
            let given = &wide[capability][key];
            for value in values {
                let is_given = given.iter().any(|wide| covers(key, wide, value));
                assert!(is_given, "{capability} {key} {value} is not within {given:?}");
            }
        }
        assert!(wide.contains_key(capability), "{capability}");
    }
    assert_ne!(wide, narrow);
}

fn apply(node: &Node, driver: &Driver<'_>, file: &str) {
    let path = node.path("suggested.toml");
    fs::write(&path, file).expect("written");
    let applied = wasmount(node, &["grants", "apply", driver.name(), &path.display().to_string()]);
    assert_eq!(applied.exit, Some(0), "{}", applied.stderr);
}

#[test]
fn a_volume_lives_again_under_what_its_life_has_suggested() {
    let Some(node) = Node::new() else { return };
    let images = format!("{:?}", node.path("images"));
    let shipped = LOOP_IMAGE.replace("\"/srv/wasmount/images\"", &images);
    let driver = node.install("loop-image", &shipped);
    live(&driver, "pv-1");
    let (file, whole) = suggested(&node, &driver);
    assert_eq!(file, SUGGESTED);
    let before = granted(&node, &driver);
    apply(&node, &driver, &whole);
    is_narrower(&before, &granted(&node, &driver));
    live(&driver, "pv-2");
    // There is nothing left to take away.
    assert_eq!(suggested(&node, &driver).0, file);
    let verified = wasmount(&node, &["log", "verify", driver.name()]);
    assert_eq!(verified.exit, Some(0), "{}", verified.stdout);
    node.is_clean();
}

#[test]
fn a_secret_becomes_files_again_under_what_it_has_suggested() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("secret-files", SECRET_FILES);
    let (user, password) = (base64(b"somebody"), base64(b"swordfish"));
    let secret =
        [("kubernetes.io/secret/user", &*user), ("kubernetes.io/secret/password", &*password)];
    let json = options("vol", "rw", &secret);
    let mount = || driver.call(&["mount", &driver.pod_dir(UID, "vol"), &json]).success();
    mount();
    // It was only set up so far, and what may be needed to take it down is not known to be needed.
    let (file, whole) = suggested(&node, &driver);
    driver.call(&["unmount", &driver.pod_dir(UID, "vol")]).success();
    assert_eq!(file, SUGGESTED_SECRETS);
    let before = granted(&node, &driver);
    apply(&node, &driver, &whole);
    is_narrower(&before, &granted(&node, &driver));
    mount();
    driver.call(&["unmount", &driver.pod_dir(UID, "vol")]).success();
    let head = wasmount(&node, &["log", "head"]);
    assert_eq!(head.exit, Some(0), "{}", head.stderr);
    let path = node.path("heads.json");
    fs::write(&path, &head.stdout).expect("written");
    driver.call(&["unmount", &driver.pod_dir(UID, "vol")]).success();
    node.is_idle();
    let verified = wasmount(&node, &["log", "verify", "--head", &path.display().to_string()]);
    assert_eq!(verified.exit, Some(0), "{}", verified.stdout);
    assert!(verified.stdout.contains(" is there as it was, "), "{}", verified.stdout);
    node.is_clean();
}
