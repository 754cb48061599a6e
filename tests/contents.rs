//! What is on an image decides: nothing but blank is formatted, and nothing is mounted that is not
//! whole and what the volume asks for. Whatever is refused is as it was.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wasmount_tests::{Driver, FILESYSTEMS, LOOP_IMAGE_GRANTS, Node, UID, options_as};

const MIB: usize = 1 << 20;

/// One test at a time: a child that another test has just forked holds what this one has open
/// until it execs, and would keep a mount busy.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How an image came to be what it is: by a script, in which `$i` is the image, of 512 MiB, and
/// `$j` another file like it.
const REFUSED: &[(&str, &str)] = &[
    ("unknown", "dd if=/dev/urandom of=$i bs=1M count=1 seek=300 conv=notrunc status=none"),
    ("unknown", "printf x | dd of=$i bs=1 seek=1073742 conv=notrunc status=none"),
    ("swap", "mkswap -q $i"),
    ("ext3", "mkfs.ext3 -q -F $i"),
    (
        "ext-backup",
        "mkfs.ext4 -q -F $i; dd if=/dev/zero of=$i bs=4k count=1 conv=notrunc status=none",
    ),
    (
        "xfs-backup",
        "mkfs.xfs -q -f $i; dd if=/dev/zero of=$i bs=4k count=1 conv=notrunc status=none",
    ),
    (
        "btrfs-backup",
        "mkfs.btrfs -q -f $i; dd if=/dev/zero of=$i bs=1M count=1 conv=notrunc status=none",
    ),
    ("xfs-log-elsewhere", "mkfs.xfs -q -f -l logdev=$j,size=64m $i"),
    ("btrfs-several-devices", "mkfs.btrfs -q -f $i $j"),
    (
        "btrfs-unfinished",
        "mkfs.btrfs -q -f $i; printf '!' | dd of=$i bs=1 seek=65600 conv=notrunc status=none",
    ),
    (
        "xfs-unfinished",
        "mkfs.xfs -q -f $i; printf '\\001' | dd of=$i bs=1 seek=126 conv=notrunc status=none",
    ),
];

fn script(node: &Node, image: &Path, script: &str) {
    let other = node.path("other.img");
    fs::File::create(&other).and_then(|file| file.set_len(512 << 20)).expect("a file");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-ec", script]).env("i", image).env("j", &other);
    shell.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let ended = shell.output().expect("a shell");
    assert!(ended.status.success(), "{script}: {ended:?}");
}

/// All bytes of an image that are not zero, told by a few.
fn digest(path: &Path) -> u64 {
    let file = fs::File::open(path).expect("an image");
    let mut buffer = vec![0; MIB];
    let mut digest = 0_u64;
    for at in 0..file.metadata().expect("a file").len() as usize / MIB {
        file.read_exact_at(&mut buffer, (at * MIB) as u64).expect("readable");
        for (place, word) in buffer.chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            if word != 0 {
                digest = digest.rotate_left(7) ^ word ^ (at * MIB + place) as u64;
            }
        }
    }
    digest
}

/// attach and mountdevice of a volume that has an image already; what it is refused with.
fn refused(driver: &Driver<'_>, fs_type: &str, readwrite: &str) -> String {
    let json = options_as(fs_type, "vol", readwrite, &[("image", "vol.img")]);
    driver.call(&["attach", &json, "node-1"]).success();
    let device_dir = driver.device_dir("vol");
    let message = driver.call(&["mountdevice", &device_dir, "", &json]).failure();
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", "vol", "node-1"]).success();
    message
}

fn image(node: &Node) -> PathBuf {
    let _ = fs::remove_file(node.path("images/vol.img"));
    node.image("vol.img", 512 << 20)
}

#[test]
fn what_is_there_is_neither_formatted_nor_mounted_as_something_else() {
    let _turn = turn();
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    for (found, how) in REFUSED {
        let image = image(&node);
        script(&node, &image, how);
        let before = digest(&image);
        for (fs_type, _) in FILESYSTEMS {
            for readwrite in ["rw", "ro"] {
                let message = refused(&driver, fs_type, readwrite);
                assert!(message.contains(&format!("holds {found}")), "{how}: {message}");
                assert!(message.ends_with("[fs-mismatch]"), "{how}: {message}");
            }
        }
        assert_eq!(digest(&image), before, "{how}: the image changed");
    }
    for (made, _) in FILESYSTEMS {
        let image = image(&node);
        script(&node, &image, &format!("mkfs.{made} -q $i"));
        let before = digest(&image);
        for (fs_type, _) in FILESYSTEMS.iter().filter(|(fs_type, _)| *fs_type != made) {
            let message = refused(&driver, fs_type, "rw");
            assert!(message.ends_with("[fs-mismatch]"), "{made} as {fs_type}: {message}");
        }
        assert_eq!(digest(&image), before, "{made}: the image changed");
    }
    node.is_clean();
}

/// The copy of a mounted volume's image is what a power cut would leave: to be repaired by a
/// writable mount, and not to be written to by one that only reads. It is also a clone.
#[test]
fn a_dirty_clone_is_mounted_writable_or_not_at_all() {
    let _turn = turn();
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    for (fs_type, size) in FILESYSTEMS {
        let volume = format!("pv-{fs_type}");
        let bytes = size.to_string();
        let user = [("create", "true"), ("size", bytes.as_str())];
        let json = options_as(fs_type, &volume, "rw", &user);
        let device_dir = driver.device_dir(&volume);
        driver.call(&["attach", &json, "node-1"]).success();
        driver.call(&["mountdevice", &device_dir, "", &json]).success();
        let file = Path::new(&device_dir).join("file");
        fs::write(&file, "kept").expect("writable");
        fs::File::open(&file).and_then(|file| file.sync_all()).expect("synced");

        let clone = node.path("images/vol.img");
        let from = node.path(&format!("images/{volume}.img"));
        let copy = format!("cp --sparse=always {} $i", from.display());
        script(&node, &clone, &copy);
        let before = digest(&clone);
        let message = refused(&driver, fs_type, "ro");
        assert!(message.ends_with("[dirty-log]"), "{fs_type}: {message}");
        assert_eq!(digest(&clone), before, "{fs_type}: the image changed");

        let json = options_as(fs_type, "vol", "rw", &[("image", "vol.img")]);
        let clone_dir = driver.device_dir("vol");
        if fs_type == "btrfs" {
            let message = refused(&driver, fs_type, "rw");
            assert!(message.ends_with("[uuid-in-use]"), "{message}");
            assert_eq!(digest(&clone), before, "the image changed");
            driver.call(&["unmountdevice", &device_dir]).success();
        }
        driver.call(&["attach", &json, "node-1"]).success();
        driver.call(&["mountdevice", &clone_dir, "", &json]).success();
        let pod_dir = driver.pod_dir(UID, "vol");
        driver.call(&["mount", &pod_dir, &json]).success();
        let kept = fs::read_to_string(Path::new(&pod_dir).join("file"));
        assert_eq!(kept.expect("readable"), "kept", "{fs_type}");
        driver.call(&["unmount", &pod_dir]).success();
        driver.call(&["unmountdevice", &clone_dir]).success();
        driver.call(&["detach", "vol", "node-1"]).success();
        driver.call(&["unmountdevice", &device_dir]).success();
        driver.call(&["detach", &volume, "node-1"]).success();
        fs::remove_file(&clone).expect("removed");
        node.is_clean();
    }
}
