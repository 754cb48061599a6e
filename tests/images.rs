//! One image, one volume: whoever names another volume's image is refused, by whatever name; and
//! one node at a time has it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::process::Command;

use wasmount_tests::{LOOP_IMAGE_GRANTS, Node, UID, options, options_as, until};

#[test]
fn a_second_volume_that_names_the_same_image_is_refused() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    node.image("shared.img", 64 << 20);
    fs::hard_link(node.path("images/shared.img"), node.path("images/other-name.img"))
        .expect("linked");
    let first = options("pv-1", "rw", &[("image", "shared.img")]);
    driver.call(&["attach", &first, "node-1"]).success();
    driver.call(&["waitforattach", "", &first]).success();
    driver.call(&["mountdevice", &driver.device_dir("pv-1"), "", &first]).success();
    for name in ["shared.img", "other-name.img"] {
        let second = options("pv-2", "rw", &[("image", name)]);
        for args in [
            vec!["attach", &second, "node-1"],
            vec!["waitforattach", "", &second],
            vec!["mountdevice", &driver.device_dir("pv-2"), "", &second],
        ] {
            let message = driver.call(&args).failure();
            assert!(message.contains("pv-1"), "{name}: {message}");
        }
    }
    for name in
        ["./shared.img", "../images/shared.img", "sub/shared.img", "shared.img/", ".", "..", ""]
    {
        let second = options("pv-2", "rw", &[("image", name)]);
        driver.call(&["attach", &second, "node-1"]).failure();
    }
    std::os::unix::fs::symlink("shared.img", node.path("images/link.img")).expect("linked");
    let second = options("pv-2", "rw", &[("image", "link.img")]);
    driver.call(&["attach", &second, "node-1"]).failure();
    assert_eq!(node.loops().len(), 1);

    driver.call(&["unmountdevice", &driver.device_dir("pv-1")]).success();
    driver.call(&["detach", "pv-1", "node-1"]).success();
    let second = options("pv-2", "rw", &[("image", "other-name.img")]);
    driver.call(&["attach", &second, "node-1"]).success();
    driver.call(&["detach", "pv-2", "node-1"]).success();
    node.is_clean();
}

#[test]
fn another_node_is_told_who_has_it() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    driver.call(&["attach", &json, "node-2"]).success();
    let message = driver.call(&["attach", &json, "node-1"]).fails_with("leased");
    assert!(message.contains("node-2"), "{message}");
    let message = driver.call(&["waitforattach", "", &json]).fails_with("leased");
    assert!(message.contains("node-2"), "{message}");
    // A detach of a node that does not have it takes it from nobody.
    driver.call(&["detach", "pv-1", "node-1"]).success();
    assert_eq!(driver.call(&["isattached", &json, "node-2"]).success()["attached"], true);
    driver.call(&["detach", "pv-1", "node-2"]).success();
    driver.call(&["attach", &json, "node-1"]).success();
    driver.call(&["detach", "pv-1", "node-1"]).success();
    node.is_clean();
}

/// As long as this node has the device, nobody else may be given the image.
#[test]
fn a_device_that_cannot_be_taken_down_stays_on_record() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    driver.call(&["attach", &json, "node-1"]).success();
    driver.call(&["waitforattach", "", &json]).success();
    let device = node.loops().pop().expect("a loop device");
    let claimed = fs::OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&device);
    let claimed = claimed.expect("nobody has it");
    driver.call(&["unmountdevice", &driver.device_dir("pv-1")]).fails_with("busy");
    driver.call(&["detach", "pv-1", "node-1"]).fails_with("busy");
    assert_eq!(driver.call(&["isattached", &json, "node-1"]).success()["attached"], true);
    drop(claimed);
    driver.call(&["unmountdevice", &driver.device_dir("pv-1")]).success();
    driver.call(&["detach", "pv-1", "node-1"]).success();
    node.is_clean();
}

/// kubelet calls `unmountdevice` for what was mounted, and for nothing else. The cluster gives and
/// takes volumes elsewhere, so what stayed here would be nobody's.
#[test]
fn a_device_that_cannot_be_mounted_does_not_stay() {
    let (Some(node), Some(elsewhere)) = (Node::new(), Node::new()) else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let images = node.path("images").display().to_string();
    let controller =
        elsewhere.install("loop-image", &LOOP_IMAGE_GRANTS.replace("{images}", &images));
    fs::write(node.image("found.img", 64 << 20), vec![1; 64 << 20]).expect("written");
    node.image("blank.img", 64 << 20);
    let cannot_be_mounted = |volume: &str| {
        let json = options(volume, "rw", &[("image", "found.img")]);
        controller.call(&["attach", &json, "node-1"]).success();
        // kubelet tries again, each time from the start.
        for _ in 0..2 {
            let loops = node.loops().len();
            driver.call(&["waitforattach", "", &json]).success();
            assert_eq!(node.loops().len(), loops + 1);
            let mount = ["mountdevice", &driver.device_dir(volume), "", &json];
            driver.call(&mount).fails_with("fs-mismatch");
            // It goes in the kernel's own time.
            until("the loop device is gone", || (node.loops().len() == loops).then_some(()));
        }
        controller.call(&["detach", volume, "node-1"]).success();
    };
    cannot_be_mounted("pv-1");
    // Another volume of that name, and that image for another volume.
    let json = options("pv-1", "rw", &[("image", "blank.img")]);
    controller.call(&["attach", &json, "node-1"]).success();
    driver.call(&["waitforattach", "", &json]).success();
    driver.call(&["mountdevice", &driver.device_dir("pv-1"), "", &json]).success();
    cannot_be_mounted("pv-2");
    driver.call(&["unmountdevice", &driver.device_dir("pv-1")]).success();
    controller.call(&["detach", "pv-1", "node-1"]).success();
    node.is_clean();
}

#[test]
fn pods_that_give_two_volumes_one_name_do_not_share_data() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let mine =
        options("data", "rw", &[("image", "mine.img"), ("create", "true"), ("size", "64Mi")]);
    let yours =
        options("data", "rw", &[("image", "yours.img"), ("create", "true"), ("size", "64Mi")]);
    let device_dir = driver.device_dir("data");
    driver.call(&["attach", &mine, "node-1"]).success();
    driver.call(&["waitforattach", "", &mine]).success();
    driver.call(&["mountdevice", &device_dir, "", &mine]).success();
    driver.call(&["mount", &driver.pod_dir(UID, "data"), &mine]).success();
    for args in [
        vec!["attach", &yours, "node-1"],
        vec!["waitforattach", "", &yours],
        vec!["mountdevice", &device_dir, "", &yours],
        vec!["mount", &driver.pod_dir("other-pod", "data"), &yours],
    ] {
        let message = driver.call(&args).fails_with("other-volume");
        assert!(message.contains("PersistentVolume"), "{message}");
    }
    driver.call(&["unmount", &driver.pod_dir(UID, "data")]).success();
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", "data", "node-1"]).success();
    node.is_clean();
}

#[test]
fn what_is_not_proven_blank_is_never_formatted() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    for (name, offset, bytes) in [
        ("start", 0, b"x".as_slice()),
        ("middle", 32 << 20, b"x"),
        ("end", (64 << 20) - 1, b"x"),
        ("luks", 0, b"LUKS\xba\xbe\0\x02"),
        ("mbr", 510, b"\x55\xaa"),
    ] {
        let file = format!("{name}.img");
        let path = node.image(&file, 64 << 20);
        let image = fs::OpenOptions::new().write(true).open(&path).expect("an image");
        std::os::unix::fs::FileExt::write_all_at(&image, bytes, offset).expect("written");
        drop(image);
        let before = fs::read(&path).expect("readable");
        let json = options(name, "rw", &[("image", &file)]);
        driver.call(&["attach", &json, "node-1"]).success();
        driver.call(&["waitforattach", "", &json]).success();
        let message = driver.call(&["mountdevice", &driver.device_dir(name), "", &json]).failure();
        assert!(message.contains("[fs-mismatch]"), "{name}: {message}");
        driver.call(&["unmountdevice", &driver.device_dir(name)]).success();
        driver.call(&["detach", name, "node-1"]).success();
        assert!(fs::read(&path).expect("readable") == before, "{name} was changed");
    }
    node.is_clean();
}

/// Blank as they are, these are not the volume's to format.
#[test]
fn what_somebody_else_has_is_never_formatted() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let image = node.image("vol.img", 64 << 20);
    let json = options("vol", "rw", &[("image", "vol.img")]);
    let device_dir = driver.device_dir("vol");
    driver.call(&["attach", &json, "node-1"]).success();

    // Somebody else's loop device has it, mounted nowhere.
    let losetup = Command::new("losetup").args(["--find", "--show"]).arg(&image).output();
    let theirs = String::from_utf8(losetup.expect("losetup").stdout).expect("a device");
    driver.call(&["mountdevice", &device_dir, "", &json]).fails_with("image-in-use");
    let detached = Command::new("losetup").args(["--detach", theirs.trim()]).status();
    assert!(detached.expect("losetup").success());
    until("it is gone", || node.loops().is_empty().then_some(()));

    // The volume's own device, which a program or a mapping has claimed.
    driver.call(&["waitforattach", "", &json]).success();
    let device = node.loops().pop().expect("a loop device");
    let claimed = fs::OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&device);
    let claimed = claimed.expect("nobody has it");
    driver.call(&["mountdevice", &device_dir, "", &json]).fails_with("in-use");
    drop(claimed);

    assert_eq!(fs::metadata(&image).expect("an image").blocks(), 0, "something was written");
    driver.call(&["mountdevice", &device_dir, "", &json]).success();
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", "vol", "node-1"]).success();
    node.is_clean();
}

#[test]
fn what_is_empty_or_too_small_is_left_alone() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let least = [("ext4", 1 << 20), ("xfs", 300 << 20), ("btrfs", 256 << 20)];
    for (fs_type, least) in least {
        for size in [0, 512, least - 512] {
            let image = node.image("vol.img", size);
            let json = options_as(fs_type, "vol", "rw", &[("image", "vol.img")]);
            driver.call(&["attach", &json, "node-1"]).success();
            let mounted = driver.call(&["mountdevice", &driver.device_dir("vol"), "", &json]);
            let message = mounted.fails_with("too-small");
            assert!(message.contains(&format!("has {size} bytes")), "{fs_type}: {message}");
            driver.call(&["unmountdevice", &driver.device_dir("vol")]).success();
            driver.call(&["detach", "vol", "node-1"]).success();
            let found = fs::metadata(&image).expect("an image");
            assert_eq!((found.len(), found.blocks()), (size, 0), "{fs_type}");
            fs::remove_file(image).expect("removed");
        }
    }
    node.is_clean();
}
