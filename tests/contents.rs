//! What is on an image decides: nothing but blank is formatted, and nothing is mounted that is not
//! whole and what the volume asks for. Whatever is refused is as it was.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::SeekFrom;
use wasmount_tests::{Driver, FILESYSTEMS, LOOP_IMAGE_GRANTS, Node, UID, options, options_as};

const MIB: usize = 1 << 20;

/// One test at a time: a child that another test has just forked holds what this one has open
/// until it execs, and would keep a mount busy.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How an image of 512 MiB comes to be what it is.
struct Made {
    /// What it is found to hold.
    found: &'static str,
    /// A script, in which `$i` is the image and `$j` another file of its size.
    how: &'static str,
    /// Where more than one copy of what tells it is kept: how much of the start is wiped, in bytes,
    /// and what it is found to hold then.
    wiped: Option<(usize, &'static str)>,
}

const fn made(found: &'static str, how: &'static str) -> Made {
    Made { found, how, wiped: None }
}

const fn kept(found: &'static str, how: &'static str, wiped: usize, then: &'static str) -> Made {
    Made { found, how, wiped: Some((wiped, then)) }
}

/// What real tools write, and what nobody recognises. Only what takes more than a tool is written
/// byte by byte: mdadm needs the kernel's driver and brings a whole systemd along, LVM2's tools look
/// at every disk of the machine, and there are none for ZFS without its kernel module.
const REFUSED: &[Made] = &[
    made("unknown", "dd if=/dev/urandom of=$i bs=1M count=1 conv=notrunc status=none"),
    made("unknown", "dd if=/dev/urandom of=$i bs=1M count=1 seek=300 conv=notrunc status=none"),
    made("unknown", "printf x | dd of=$i bs=1 conv=notrunc status=none"),
    made("unknown", "printf x | dd of=$i bs=1 seek=1073742 conv=notrunc status=none"),
    made("unknown", "printf x | dd of=$i bs=1 seek=536870911 conv=notrunc status=none"),
    kept("ext2", "mkfs.ext2 -q -F $i", 4096, "ext-backup"),
    kept("ext3", "mkfs.ext3 -q -F $i", 4096, "ext-backup"),
    kept("ext4", "mkfs.ext4 -q -F $i", 4096, "ext-backup"),
    kept("xfs", "mkfs.xfs -q $i", 4096, "xfs-backup"),
    kept("btrfs", "mkfs.btrfs -q $i", MIB, "btrfs-backup"),
    made("ext-journal-elsewhere", "mke2fs -q -F -O journal_dev $i"),
    made(
        "ext-journal-elsewhere",
        "mke2fs -q -F -O journal_dev $j; l=$(losetup --find --show $j); \
         mkfs.ext4 -q -F -J device=$l $i || failed=yes; losetup --detach $l; [ -z $failed ]",
    ),
    made("xfs-log-elsewhere", "mkfs.xfs -q -l logdev=$j,size=64m $i"),
    made("btrfs-several-devices", "mkfs.btrfs -q $i $j"),
    made(
        "btrfs-unfinished",
        "mkfs.btrfs -q $i; printf '!' | dd of=$i bs=1 seek=65600 conv=notrunc status=none",
    ),
    made(
        "xfs-unfinished",
        "mkfs.xfs -q $i; printf '\\001' | dd of=$i bs=1 seek=126 conv=notrunc status=none",
    ),
    made("vfat", "mkfs.vfat -F 16 $i"),
    // The copies of these two say nothing by which they are looked for; but something is there.
    kept("vfat", "mkfs.vfat -F 32 $i", 512, "unknown"),
    kept("ntfs", "mkfs.ntfs -q -f -F $i", 4 * MIB, "unknown"),
    made("f2fs", "mkfs.f2fs -q $i"),
    made("minix", "mkfs.minix $i"),
    made("swap", "mkswap -q $i"),
    // Of one header, the keys are left.
    kept(
        "luks",
        "cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 \
         --key-file /etc/hostname $i",
        4096,
        "unknown",
    ),
    kept(
        "luks",
        "cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
         --key-file /etc/hostname $i",
        4096,
        "luks",
    ),
    kept("gpt", "echo 'label: gpt' | sfdisk -q $i", 4 * MIB, "gpt"),
    made("mbr", "echo 'label: dos' | sfdisk -q $i"),
    made(
        "squashfs",
        "mksquashfs /etc/hostname $j -noappend -quiet -no-progress; \
         dd if=$j of=$i conv=notrunc status=none",
    ),
    made(
        "iso9660",
        "genisoimage -quiet -o $j /etc/hostname; dd if=$j of=$i conv=notrunc status=none",
    ),
    made("lvm2", "printf 'LABELONE' | dd of=$i bs=512 seek=1 conv=notrunc status=none"),
    // Of version 1.2, 1.0 and 0.90.
    made(
        "linux-raid",
        "printf '\\374\\116\\053\\251' | dd of=$i bs=4096 seek=1 conv=notrunc status=none",
    ),
    made(
        "linux-raid",
        "printf '\\374\\116\\053\\251' | dd of=$i bs=4096 seek=131070 conv=notrunc status=none",
    ),
    made(
        "linux-raid",
        "printf '\\374\\116\\053\\251' | dd of=$i bs=64k seek=8191 conv=notrunc status=none",
    ),
    // An uberblock in the first and in the third of its labels.
    kept(
        "zfs",
        "for kib in 128 523904; do printf '\\014\\261\\272\\0\\0\\0\\0\\0' | \
         dd of=$i bs=1k seek=$kib conv=notrunc status=none; done",
        4 * MIB,
        "zfs",
    ),
];

/// A component that does not look, but has every image formatted and mounted; see `hostile`.
const HOSTILE_GRANTS: &str = r#"
version = 1

[images]
directory = "{images}"
names = ["image.img"]

[filesystems]
types = ["ext4", "xfs", "btrfs"]
format = true

[mounts.block]
filesystems = ["ext4", "xfs", "btrfs"]
"#;

fn script(node: &Node, image: &Path, script: &str) {
    let other = node.path("other.img");
    fs::File::create(&other).and_then(|file| file.set_len(512 << 20)).expect("a file");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-ec", script]).env("i", image).env("j", &other);
    shell.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let ended = shell.output().expect("a shell");
    assert!(ended.status.success(), "{script}: {ended:?}");
}

/// All bytes of an image that are not zero, told by a few. What is a hole is not read.
fn digest(path: &Path) -> u64 {
    let file = fs::File::open(path).expect("an image");
    let mut buffer = vec![0; MIB];
    let mut digest = 0_u64;
    let mut from = 0;
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(from)) {
        from = data / MIB as u64 * MIB as u64;
        file.read_exact_at(&mut buffer, from).expect("readable");
        for (place, word) in buffer.chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            if word != 0 {
                digest = digest.rotate_left(7) ^ word ^ (from + place as u64);
            }
        }
        from += MIB as u64;
    }
    digest
}

/// attach and mountdevice of a volume that has an image already; what it is refused with.
fn refused(driver: &Driver<'_>, fs_type: &str, readwrite: &str) -> String {
    let json = options_as(fs_type, "vol", readwrite, &[("image", "image.img")]);
    driver.call(&["attach", &json, "node-1"]).success();
    let device_dir = driver.device_dir("vol");
    let message = driver.call(&["mountdevice", &device_dir, "", &json]).failure();
    driver.call(&["unmountdevice", &device_dir]).success();
    driver.call(&["detach", "vol", "node-1"]).success();
    message
}

fn image(node: &Node) -> PathBuf {
    let _ = fs::remove_file(node.path("images/image.img"));
    node.image("image.img", 512 << 20)
}

/// Has a component that asks for nothing else format the image and mount it, as each filesystem.
fn is_safe_from(hostile: &Driver<'_>, found: &str, how: &str) {
    let user = [
        ("do", "call"),
        ("call", "image.lease"),
        ("detach-do", "call"),
        ("detach-call", "images.release"),
    ];
    let json = options("vol", "rw", &user);
    let token = hostile.call(&["attach", &json, "node-1"]).success()["device"].clone();
    let token = token.as_str().expect("a token");
    let has = |call: &str| {
        let token = token.replace("token", &format!("call:{call}"));
        hostile.call(&["mountdevice", &hostile.device_dir("vol"), &token, &json])
    };
    for (fs_type, _) in FILESYSTEMS {
        let message = has(&format!("filesystems.format={fs_type}")).fails_with("not-blank");
        assert!(message.contains("is not blank"), "{how}: {message}");
        if fs_type != found {
            has(&format!("mounts-block.mount={fs_type}")).fails_with("fs-mismatch");
        }
    }
    hostile.call(&["detach", "vol", "node-1"]).success();
}

#[test]
fn what_is_there_is_neither_formatted_nor_mounted_as_something_else() {
    let _turn = turn();
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let hostile = node.install("hostile", HOSTILE_GRANTS);
    for Made { found, how, wiped } in REFUSED {
        let image = image(&node);
        script(&node, &image, how);
        for (found, wiped) in
            [(*found, 0)].into_iter().chain(wiped.map(|(length, then)| (then, length)))
        {
            let file = fs::OpenOptions::new().write(true).open(&image).expect("an image");
            file.write_all_at(&vec![0; wiped], 0).expect("wiped");
            let how = format!("{how}, without its first {wiped} bytes");
            let before = digest(&image);
            for (fs_type, _) in FILESYSTEMS.iter().filter(|(fs_type, _)| *fs_type != found) {
                for readwrite in ["rw", "ro"] {
                    let message = refused(&driver, fs_type, readwrite);
                    assert!(message.contains(&format!("holds {found}")), "{how}: {message}");
                    assert!(message.ends_with("[fs-mismatch]"), "{how}: {message}");
                }
            }
            is_safe_from(&hostile, found, &how);
            assert_eq!(digest(&image), before, "{how}: the image changed");
        }
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

        let clone = node.path("images/image.img");
        let from = node.path(&format!("images/{volume}.img"));
        let copy = format!("cp --sparse=always {} $i", from.display());
        script(&node, &clone, &copy);
        let before = digest(&clone);
        let message = refused(&driver, fs_type, "ro");
        assert!(message.ends_with("[dirty-log]"), "{fs_type}: {message}");
        assert_eq!(digest(&clone), before, "{fs_type}: the image changed");

        let json = options_as(fs_type, "vol", "rw", &[("image", "image.img")]);
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
