//! A cluster that attaches nothing: kubelet calls `mount` and `unmount` alone, and they do all that
//! attach, waitforattach, mountdevice and their counterparts would, once for all pods of a volume.
//!
//! What cuts such a call short is in `node_only_cut.rs`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use wasmount_tests::{Driver, LOOP_IMAGE_GRANTS, Node, UID, is_mount_point, options, program};

const OTHER: &str = "0b7d1a52-6c1e-4e0b-8d2a-3f4e5d6c7b8a";

/// What makes an image of a volume that has none.
const NEW: [(&str, &str); 2] = [("create", "true"), ("size", "32Mi")];

fn install(node: &Node) -> Driver<'_> {
    node.install_node_only("loop-image", LOOP_IMAGE_GRANTS, program("wasmount-driver"))
}

/// Makes a call twice, both successful.
fn twice(driver: &Driver<'_>, args: &[&str]) {
    driver.call(args).success();
    driver.call(args).success();
}

fn write(dir: &str, text: &str) {
    fs::write(Path::new(dir).join("file"), text).expect("a writable volume");
}

fn read(dir: &str) -> String {
    fs::read_to_string(Path::new(dir).join("file")).expect("a readable volume")
}

fn is_read_only(dir: &str) -> bool {
    let written = fs::write(Path::new(dir).join("other"), "x");
    written.is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem)
}

#[test]
fn mount_and_unmount_are_all_there_is() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let init = driver.call(&["init"]).success();
    assert_eq!(init["capabilities"]["attach"], false);
    assert_eq!(init["capabilities"]["requiresFSResize"], true);

    let (rw, pod) = (options("pv-1", "rw", &NEW), driver.pod_dir(UID, "pv-1"));
    twice(&driver, &["unmount", &pod]);
    for _ in 0..2 {
        fs::create_dir_all(&pod).expect("kubelet makes it");
        twice(&driver, &["mount", &pod, &rw]);
        write(&pod, "kept");
        assert_eq!((node.loops().len(), node.mounts().len()), (1, 2));
        twice(&driver, &["unmount", &pod]);
        fs::remove_dir(&pod).expect("an empty directory, as kubelet wants it");
        node.has_given_back(&driver, "pv-1");
        assert_eq!(node.claims(), 0);
    }
    fs::create_dir_all(&pod).expect("kubelet makes it");
    let ro = options("pv-1", "ro", &NEW);
    twice(&driver, &["mount", &pod, &ro]);
    assert_eq!(read(&pod), "kept");
    assert!(is_read_only(&pod));
    twice(&driver, &["unmount", &pod]);
    node.has_given_back(&driver, "pv-1");

    let device_dir = driver.device_dir("pv-1");
    for args in [
        &["attach", &rw, "node-1"][..],
        &["isattached", &rw, "node-1"],
        &["waitforattach", "", &rw],
        &["mountdevice", &device_dir, "", &rw],
        &["unmountdevice", &device_dir],
        &["detach", "pv-1", "node-1"],
    ] {
        let answer = driver.call(args);
        assert_eq!(
            (answer.json()["status"].as_str(), answer.exit),
            (Some("Not supported"), Some(1))
        );
    }
}

#[test]
fn a_volume_grows_while_a_pod_has_it() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let (rw, pod) = (options("pv-1", "rw", &NEW), driver.pod_dir(UID, "pv-1"));
    driver.call(&["mount", &pod, &rw]).success();
    twice(&driver, &["expandvolume", &rw, "", "67108864", "33554432"]);
    // A kernel that lets root grow a mounted ext4 does so; one that does not says so, and the next
    // mount grows it.
    let grown = driver.call(&["expandfs", &rw, "", &pod, "67108864", "33554432"]);
    if grown.json()["status"] != "Success" {
        grown.fails_with("kernel-refused");
    }
    driver.call(&["unmount", &pod]).success();
    driver.call(&["mount", &pod, &rw]).success();
    let found = rustix::fs::statvfs(&pod).expect("a mount");
    assert!(found.f_blocks * found.f_frsize > 48 << 20, "the filesystem has grown");
    driver.call(&["unmount", &pod]).success();
    node.has_given_back(&driver, "pv-1");
}

#[test]
fn the_last_of_two_pods_takes_it_down() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let json = options("pv-1", "rw", &NEW);
    let pods = [driver.pod_dir(UID, "pv-1"), driver.pod_dir(OTHER, "pv-1")];
    for (leaves, stays) in [(0, 1), (1, 0)] {
        for pod in &pods {
            twice(&driver, &["mount", pod, &json]);
        }
        write(&pods[leaves], "shared");
        assert_eq!(node.loops().len(), 1, "one device for all pods");
        twice(&driver, &["unmount", &pods[leaves]]);
        assert_eq!(read(&pods[stays]), "shared");
        write(&pods[stays], "still writable");
        twice(&driver, &["unmount", &pods[stays]]);
        node.has_given_back(&driver, "pv-1");
    }
}

#[test]
fn a_pod_that_reads_beside_one_that_writes() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let (rw, ro) = (options("pv-1", "rw", &NEW), options("pv-1", "ro", &NEW));
    let (writer, reader) = (driver.pod_dir(UID, "pv-1"), driver.pod_dir(OTHER, "pv-1"));
    for (leaves, stays) in [(&writer, &reader), (&reader, &writer)] {
        twice(&driver, &["mount", &writer, &rw]);
        twice(&driver, &["mount", &reader, &ro]);
        write(&writer, "shared");
        assert_eq!(read(&reader), "shared");
        assert!(is_read_only(&reader));
        twice(&driver, &["unmount", leaves]);
        assert_eq!(read(stays), "shared");
        assert_eq!(is_read_only(stays), stays == &reader);
        twice(&driver, &["unmount", stays]);
        node.has_given_back(&driver, "pv-1");
    }
    // A device that is read-only for the one who came first is not made writable under it.
    twice(&driver, &["mount", &reader, &ro]);
    driver.call(&["mount", &writer, &rw]).fails_with("staged-read-only");
    assert!(!is_mount_point(&writer));
    assert_eq!(read(&reader), "shared");
    twice(&driver, &["unmount", &reader]);
    node.has_given_back(&driver, "pv-1");
    twice(&driver, &["mount", &writer, &rw]);
    twice(&driver, &["unmount", &writer]);
    node.has_given_back(&driver, "pv-1");
}

#[test]
fn another_node_is_told_who_has_it() {
    let Some(first) = Node::new() else { return };
    let second = first.beside("node-2");
    let (here, there) = (install(&first), install(&second));
    let json = options("pv-1", "rw", &NEW);
    let (pod, other) = (here.pod_dir(UID, "pv-1"), there.pod_dir(UID, "pv-1"));
    here.call(&["mount", &pod, &json]).success();
    write(&pod, "first's");
    for _ in 0..2 {
        let message = there.call(&["mount", &other, &json]).fails_with("leased");
        assert!(message.contains("node-1"), "{message}");
        assert_eq!(second.mounts(), Vec::<std::path::PathBuf>::new());
        assert!(there.record("pv-1").is_none(), "nothing is owed for what was never given");
    }
    here.call(&["unmount", &pod]).success();
    there.call(&["mount", &other, &json]).success();
    assert_eq!(read(&other), "first's");
    here.call(&["mount", &pod, &json]).fails_with("leased");
    assert_eq!(read(&other), "first's");
    there.call(&["unmount", &other]).success();
    second.has_given_back(&there, "pv-1");
    first.has_given_back(&here, "pv-1");
}

/// The names of inline volumes are the pods' own.
#[test]
fn pods_that_give_two_volumes_one_name_do_not_share_data() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let options_of = |image| options("data", "rw", &[("image", image), NEW[0], NEW[1]]);
    let (mine, yours) = (options_of("mine.img"), options_of("yours.img"));
    let (pod, other) = (driver.pod_dir(UID, "data"), driver.pod_dir(OTHER, "data"));
    driver.call(&["mount", &pod, &mine]).success();
    write(&pod, "mine");
    let message = driver.call(&["mount", &other, &yours]).fails_with("other-volume");
    assert!(message.contains("PersistentVolume"), "{message}");
    twice(&driver, &["unmount", &other]);
    assert_eq!(read(&pod), "mine");
    assert!(!node.path("images/yours.img").exists());
    twice(&driver, &["unmount", &pod]);
    node.has_given_back(&driver, "data");
    driver.call(&["mount", &other, &yours]).success();
    write(&other, "yours");
    driver.call(&["unmount", &other]).success();
    driver.call(&["mount", &pod, &mine]).success();
    assert_eq!(read(&pod), "mine");
    driver.call(&["unmount", &pod]).success();
    node.has_given_back(&driver, "data");
}

#[test]
fn a_mount_that_fails_leaves_nothing() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let pod = driver.pod_dir(UID, "pv-1");
    // No image; one that holds something else; a bind that is not granted.
    driver.call(&["mount", &pod, &options("pv-1", "rw", &[])]).fails_with("image-absent");
    assert!(driver.record("pv-1").is_none());
    let path = node.image("pv-1.img", 32 << 20);
    fs::write(&path, vec![b'x'; 32 << 20]).expect("written");
    driver.call(&["mount", &pod, &options("pv-1", "rw", &[])]).fails_with("fs-mismatch");
    node.has_given_back(&driver, "pv-1");
    assert!(fs::read(&path).expect("readable").iter().all(|byte| *byte == b'x'));
    fs::remove_file(&path).expect("removed");

    let grants = LOOP_IMAGE_GRANTS.replace("[mounts.bind]", "");
    node.install_node_only("loop-image", &grants, program("wasmount-driver"));
    let message = driver.call(&["mount", &pod, &options("pv-1", "rw", &NEW)]).failure();
    assert!(message.contains("[mounts.bind]"), "{message}");
    node.has_given_back(&driver, "pv-1");
}

#[test]
fn secrets_are_for_mount_alone() {
    let Some(node) = Node::new() else { return };
    let grants = "version = 1\n[reply]\nfailure-exit-code = 1\n[[secrets]]\nkey = \"password\"\n\
                  uses = [\"reveal\"]\n[mounts.tmpfs]\n";
    let driver = node.install_node_only("hostile", grants, program("wasmount-driver"));
    let pod = driver.pod_dir(UID, "pv-1");
    let secret = ("kubernetes.io/secret/password", "aHVudGVyMg==");
    driver
        .call(&["mount", &pod, &options("pv-1", "rw", &[("do", "reveal"), secret])])
        .fails_with("wrong-operation");
    driver
        .call(&["mount", &pod, &options("pv-1", "rw", &[("then-do", "reveal"), secret])])
        .fails_with("told");
    twice(&driver, &["mount", &pod, &options("pv-1", "rw", &[secret])]);
    twice(&driver, &["unmount", &pod]);
    assert!(driver.record("pv-1").is_none());
    node.is_clean();
}

#[test]
fn who_attaches_is_shown_and_is_not_changed_under_volumes() {
    let Some(node) = Node::new() else { return };
    let driver = install(&node);
    let listed = || node.wasmount(&["list", "--json"]).stdout;
    assert!(listed().contains("\"attaching\": \"node\""), "{}", listed());
    let (json, pod) = (options("pv-1", "rw", &NEW), driver.pod_dir(UID, "pv-1"));
    driver.call(&["mount", &pod, &json]).success();
    let told = node.refuses_to_install("loop-image", LOOP_IMAGE_GRANTS);
    assert!(told.contains("attached on the node") && told.contains("--node-only"), "{told}");
    let uninstalled = node.wasmount(&["uninstall", "example.com/loop-image"]);
    assert_eq!(uninstalled.exit, Some(1));
    driver.call(&["unmount", &pod]).success();
    node.install("loop-image", LOOP_IMAGE_GRANTS);
    assert!(listed().contains("\"attaching\": \"cluster\""), "{}", listed());
    assert_eq!(driver.call(&["init"]).success()["capabilities"]["attach"], true);
}
