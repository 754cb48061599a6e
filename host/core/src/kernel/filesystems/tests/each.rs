//! What holds for each filesystem, on a real node.

use std::os::unix::fs::FileExt as _;

use super::*;
use crate::kernel::blank::{Content, probe};
use crate::kernel::device::DeviceQuery;
use crate::kernel::mounts::unmount;
use crate::kernel::testing::enough_for;

const OTHER: &str = "6e3fa0f0-17a4-4c6e-9b1d-1f7d4f0c5a12";

fn try_mount(
    device: &Rc<Device>,
    filesystem: Filesystem,
    access: Access,
    options: &[&str],
) -> Result<PendingMount, Failure> {
    let options = options.iter().map(|name| BlockOption::parse(filesystem, name));
    let options = options.collect::<Result<_, _>>()?;
    block(Granted::for_test(BlockMount { device: device.clone(), filesystem, access, options }))
}

fn put(pending: PendingMount, target: &Rc<Target>) {
    let attach_it = Attach { pending: Rc::new(pending), target: target.clone() };
    attach(Granted::for_test(attach_it)).unwrap();
}

fn take_off(device: &Device, target: &Rc<Target>) {
    assert_eq!(unmount(Granted::for_test(target.clone())), Ok(true));
    device::refuse_if_held(device).unwrap();
}

/// Overwrites a part of a device.
fn write(device: &Device, bytes: &[u8], offset: u64) {
    let file = fs::OpenOptions::new().write(true).open(device.node()).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.sync_all().unwrap();
    device.fresh.set(false);
}

/// Copies an image as it is on the disk now, which is what a power cut would leave.
fn copy(node: &Node, from: &str, to: &str) {
    let path = |name: &str| node.path().join(name).to_str().unwrap().to_owned();
    run("/bin/cp", &["--sparse=always", &path(from), &path(to)]);
}

#[test]
fn each_is_made_once_and_never_over_anything() {
    let Some(node) = Node::new() else { return };
    for &filesystem in Filesystem::ALL {
        let name = filesystem.name();
        let small = node.device(&format!("{name}-small.img"), 1 << 20);
        if filesystem != EXT4 {
            let made = node.format_as(&small, filesystem, &[], false, UUID);
            assert_eq!(reason(made), "too-small");
            assert_eq!(probe(&small), Ok(Content::Blank));
        }
        let device = node.device(&format!("{name}.img"), enough_for(filesystem));
        let format =
            |resume, uuid| node.format_as(&device, filesystem, &[("label", "a")], resume, uuid);
        format(false, UUID).unwrap();
        assert_eq!(probe(&device), Ok(Content::Filesystem(filesystem)));
        let found = run(
            "/sbin/blkid",
            &["-p", "-o", "value", "-s", "UUID", "-s", "LABEL", device.node().to_str().unwrap()],
        );
        assert!(found.contains(UUID) && found.contains("a\n"), "{found}");
        assert_eq!(reason(format(false, UUID)), "not-blank");
        assert_eq!(reason(format(true, OTHER)), "not-blank");
        for &other in Filesystem::ALL.iter().filter(|other| **other != filesystem) {
            let made = node.format_as(&device, other, &[], true, OTHER);
            assert_eq!(reason(made), "not-blank");
            assert_eq!(reason(try_mount(&device, other, Access::ReadWrite, &[])), "fs-mismatch");
        }
    }
}

#[test]
fn each_is_mounted_writable_then_read_only_without_a_byte_written() {
    let Some(node) = Node::new() else { return };
    for &filesystem in Filesystem::ALL {
        let name = filesystem.name();
        let image = format!("{name}.img");
        let device = node.made(filesystem, &image);
        let target = node.target(name);
        let file = node.root().join(name).join("file");
        for option in BlockOption::names(filesystem) {
            let mounted = try_mount(&device, filesystem, Access::ReadWrite, &[option]);
            assert!(mounted.is_ok(), "{name} {option}: {mounted:?}");
        }
        put(try_mount(&device, filesystem, Access::ReadWrite, &[]).unwrap(), &target);
        assert_eq!(reason(try_mount(&device, filesystem, Access::ReadWrite, &[])), "in-use");
        fs::write(&file, "kept").unwrap();
        fs::File::open(&file).unwrap().sync_all().unwrap();
        copy(&node, &image, "dirty.img");
        take_off(&device, &target);
        assert!(!needs_growth(&device, filesystem).unwrap());
        drop(device);

        let path = node.path().join(&image);
        let before = fs::read(&path).unwrap();
        // Also where the device itself would let it be written to.
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let device = loop_of(&node.image(&image, 0), access);
            put(try_mount(&device, filesystem, Access::ReadOnly, &[]).unwrap(), &target);
            assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
            assert!(fs::write(&file, "lost").is_err());
            take_off(&device, &target);
        }
        assert!(fs::read(&path).unwrap() == before, "{name}: the image changed");

        let dirty = loop_of(&node.image("dirty.img", 0), Access::ReadOnly);
        assert_eq!(
            reason(try_mount(&dirty, filesystem, Access::ReadWrite, &[])),
            "device-read-only"
        );
        assert_eq!(
            reason(try_mount(&dirty, filesystem, Access::ReadOnly, &[])),
            "dirty-log",
            "{name}"
        );
        drop(dirty);
        let dirty = loop_of(&node.image("dirty.img", 0), Access::ReadWrite);
        let check_it = || {
            let check_it = Check { device: dirty.clone(), filesystem };
            check(Granted::for_test(check_it), node.lock.as_fd(), || ())
        };
        check_it().unwrap();
        put(try_mount(&dirty, filesystem, Access::ReadWrite, &[]).unwrap(), &target);
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept", "{name}");
        assert_eq!(reason(check_it()), "in-use");
        take_off(&dirty, &target);
        drop(try_mount(&dirty, filesystem, Access::ReadOnly, &[]).unwrap());
        drop(dirty);
        fs::remove_file(node.path().join("dirty.img")).unwrap();
    }
}

#[test]
fn each_grows_before_it_is_mounted_and_while_it_is() {
    let Some(node) = Node::new() else { return };
    for &filesystem in Filesystem::ALL {
        let name = filesystem.name();
        let image = format!("{name}.img");
        let device = node.made(filesystem, &image);
        let size = enough_for(filesystem);
        assert_eq!(needs_growth(&device, filesystem), Ok(false));
        // Not a whole number of blocks, groups or anything else.
        let larger = size + 100 * MIB + 3 * 512;
        enlarge(&node, &image, &device, larger);
        assert_eq!(needs_growth(&device, filesystem), Ok(true));
        let grow_it = || Granted::for_test(GrowUnmounted { device: device.clone(), filesystem });
        for _ in 0..2 {
            assert_eq!(grow_unmounted(grow_it(), node.lock.as_fd()), Ok(()), "{name}");
            assert_eq!(needs_growth(&device, filesystem), Ok(false), "{name}");
        }

        let target = node.target(name);
        put(try_mount(&device, filesystem, Access::ReadWrite, &[]).unwrap(), &target);
        let room = || {
            let found = rustix::fs::statvfs(node.root().join(name)).unwrap();
            found.f_blocks * found.f_frsize
        };
        assert!(room() > size, "{name}: {} of {size}", room());
        let grow_it = || {
            let grow_it = Grow { target: target.clone(), device: device.clone() };
            grow(Granted::for_test(grow_it), node.lock.as_fd())
        };
        let largest = larger + 400 * MIB;
        enlarge(&node, &image, &device, largest);
        match grow_it() {
            // Not every kernel lets root grow a mounted ext4.
            Err(failure) if filesystem == EXT4 => assert_eq!(failure.reason, "kernel-refused"),
            grown => {
                assert_eq!(grown, Ok(largest / 512 * 512), "{name}");
                assert!(room() > larger, "{name}: {} of {larger}", room());
                assert_eq!(grow_it(), Ok(largest / 512 * 512));
            }
        }
        take_off(&device, &target);
        drop(try_mount(&device, filesystem, Access::ReadWrite, &[]).unwrap());
    }
}

/// What is left at each moment of making one, as far as that can be told apart.
#[test]
fn a_format_of_each_is_resumed_over_its_own_remains_only() {
    let Some(node) = Node::new() else { return };
    let remains: &[(Filesystem, &str, u64, &[u8], &str)] = &[
        (Filesystem::Xfs, "the superblock first", 126, &[1], "xfs-unfinished"),
        (Filesystem::Xfs, "the superblock is not there", 0, &[0; 512], "xfs-backup"),
        (Filesystem::Btrfs, "the magic number last", 0x1_0040, b"!BHRfS_M", "btrfs-unfinished"),
        (Filesystem::Btrfs, "the superblock is not there", 0x1_0000, &[0; 4096], "btrfs-backup"),
    ];
    for &(filesystem, what, offset, bytes, found) in remains {
        let device = node.device(&format!("{found}.img"), enough_for(filesystem));
        let format = |resume, uuid| node.format_as(&device, filesystem, &[], resume, uuid);
        format(false, UUID).unwrap();
        write(&device, bytes, offset);
        assert_eq!(probe(&device), Ok(Content::Signature(found)), "{what}");
        let mounted = try_mount(&device, filesystem, Access::ReadWrite, &[]);
        assert_eq!(reason(mounted), "fs-mismatch", "{what}");
        assert_eq!((left_by(&device, UUID), left_by(&device, OTHER)), (Ok(true), Ok(false)));
        assert_eq!(reason(format(false, UUID)), "not-blank", "{what}");
        assert_eq!(reason(format(true, OTHER)), "not-blank", "{what}");
        format(true, UUID).unwrap();
        assert_eq!(probe(&device), Ok(Content::Filesystem(filesystem)));
    }
}

#[test]
fn a_whole_filesystem_is_made_anew_only_if_it_shows_that_it_is_new() {
    let Some(node) = Node::new() else { return };
    for (filesystem, new) in [(EXT4, true), (Filesystem::Xfs, true), (Filesystem::Btrfs, false)] {
        let device = node.device(&format!("{}.img", filesystem.name()), enough_for(filesystem));
        node.format_as(&device, filesystem, &[], false, UUID).unwrap();
        device.fresh.set(false);
        assert_eq!(left_by(&device, UUID), Ok(new), "{}", filesystem.name());
        let target = node.target(filesystem.name());
        put(try_mount(&device, filesystem, Access::ReadWrite, &[]).unwrap(), &target);
        take_off(&device, &target);
        device.fresh.set(false);
        assert_eq!(left_by(&device, UUID), Ok(false), "{}", filesystem.name());
    }
}

#[test]
fn what_reaches_past_its_device_is_not_mounted() {
    let Some(node) = Node::new() else { return };
    for &filesystem in Filesystem::ALL {
        let image = format!("{}.img", filesystem.name());
        drop(node.made(filesystem, &image));
        let file = fs::OpenOptions::new().write(true).open(node.path().join(&image)).unwrap();
        file.set_len(enough_for(filesystem) - MIB).unwrap();
        let device = loop_of(&node.image(&image, 0), Access::ReadWrite);
        let mounted = try_mount(&device, filesystem, Access::ReadWrite, &[]);
        assert_eq!(reason(mounted), "past-device");
    }
    let (one, two) = (node.device("1.img", 512 * MIB), node.device("2.img", 512 * MIB));
    let (first, second) = (one.node().to_str().unwrap(), two.node().to_str().unwrap());
    let zero = |device: &Device| write(device, &vec![0; 4 << 20], 0);
    let cases: &[(Filesystem, &str, &[&str], &str)] = &[
        (
            Filesystem::Xfs,
            "/sbin/mkfs.xfs",
            &["-q", "-l", &format!("logdev={second}"), first],
            "xfs-log-elsewhere",
        ),
        (
            Filesystem::Xfs,
            "/sbin/mkfs.xfs",
            &["-q", "-r", &format!("rtdev={second}"), first],
            "xfs-realtime-elsewhere",
        ),
        (Filesystem::Btrfs, "/sbin/mkfs.btrfs", &["-q", first, second], "btrfs-several-devices"),
        (EXT4, "/sbin/mke2fs", &["-q", "-F", "-O", "journal_dev", first], "ext-journal-elsewhere"),
    ];
    for (filesystem, tool, arguments, found) in cases {
        zero(&one);
        zero(&two);
        run(tool, arguments);
        one.fresh.set(false);
        assert_eq!(probe(&one), Ok(Content::Signature(found)));
        for access in [Access::ReadWrite, Access::ReadOnly] {
            assert_eq!(reason(try_mount(&one, *filesystem, access, &[])), "fs-mismatch", "{found}");
        }
        assert_eq!(reason(node.format_as(&one, *filesystem, &[], true, UUID)), "not-blank");
        // A realtime device shows nothing until there is a file on it.
        two.fresh.set(false);
        let other = probe(&two).unwrap().name();
        match *found {
            "xfs-log-elsewhere" => assert_eq!(other, Some("xfs-log")),
            "btrfs-several-devices" => assert_eq!(other, Some(*found)),
            _ => {}
        }
    }
}

#[test]
fn a_clone_is_mounted_beside_its_original_only_where_the_kernel_tells_them_apart() {
    let Some(node) = Node::new() else { return };
    for &filesystem in Filesystem::ALL {
        let name = filesystem.name();
        let device = node.made(filesystem, &format!("{name}.img"));
        drop(try_mount(&device, filesystem, Access::ReadWrite, &[]).unwrap());
        copy(&node, &format!("{name}.img"), &format!("{name}-clone.img"));
        let clone = loop_of(&node.image(&format!("{name}-clone.img"), 0), Access::ReadWrite);
        let (target, other) = (node.target(name), node.target(&format!("{name}-clone")));
        put(try_mount(&device, filesystem, Access::ReadWrite, &[]).unwrap(), &target);
        let mounted = try_mount(&clone, filesystem, Access::ReadWrite, &[]);
        if filesystem == Filesystem::Btrfs {
            let failure = mounted.unwrap_err();
            assert_eq!(failure.reason, "uuid-in-use");
            assert!(failure.message.contains("btrfstune"), "{failure}");
        } else {
            put(mounted.unwrap(), &other);
            fs::write(node.root().join(name).join("file"), "one").unwrap();
            assert!(!node.root().join(format!("{name}-clone/file")).exists());
            take_off(&clone, &other);
        }
        take_off(&device, &target);
        drop(try_mount(&clone, filesystem, Access::ReadWrite, &[]).unwrap());
    }
}

/// As with a disk that is reached by two paths: mounted twice it would be destroyed.
#[test]
fn the_same_storage_by_another_path_is_not_taken_for_a_clone() {
    let Some(node) = Node::new() else { return };
    let device = node.made(Filesystem::Xfs, "a.img");
    let mounted = try_mount(&device, Filesystem::Xfs, Access::ReadWrite, &[]).unwrap();
    put(mounted, &node.target("vol"));
    let image = node.path().join("a.img");
    let image = image.to_str().unwrap();
    let other = run("/sbin/losetup", &["--find", "--show", image]);
    let query = DeviceQuery {
        path: other.trim().into(),
        attribute: "loop/backing_file".into(),
        value: image.to_owned(),
        rule: "test".to_owned(),
    };
    let found = device::find(&Granted::for_test(query)).unwrap().unwrap();
    let refused = try_mount(&Rc::new(found), Filesystem::Xfs, Access::ReadWrite, &[]);
    run("/sbin/losetup", &["--detach", other.trim()]);
    let failure = refused.unwrap_err();
    assert_eq!(failure.reason, "in-use");
    assert!(failure.message.contains("is the same storage"), "{failure}");
}

/// Of a btrfs the kernel shows no device's number.
#[test]
fn growing_asks_whether_the_mount_is_of_the_device() {
    let Some(node) = Node::new() else { return };
    let filesystem = Filesystem::Btrfs;
    let (one, two) = (node.made(filesystem, "1.img"), node.made(filesystem, "2.img"));
    let target = node.target("vol");
    put(try_mount(&one, filesystem, Access::ReadWrite, &[]).unwrap(), &target);
    let go = |device: &Rc<Device>| {
        let grow_it = Grow { target: target.clone(), device: device.clone() };
        grow(Granted::for_test(grow_it), node.lock.as_fd())
    };
    assert_eq!(go(&one), Ok(enough_for(filesystem)));
    assert_eq!(reason(go(&two)), "wrong-mount");
}
