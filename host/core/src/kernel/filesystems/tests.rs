//! Filesystems on a real node, and the names that may be asked for.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;

mod each;

use super::*;
use crate::kernel::images::{ImageGrow, grow as grow_image};
use crate::kernel::loopdev;
use crate::kernel::mounts::{Attach, BlockMount, PendingMount, attach, block};
use crate::kernel::target::{self, Target};
use crate::kernel::testing::{MIB, Node, UUID, loop_of, reason, run};

const EXT4: Filesystem = Filesystem::Ext4;

fn mount(device: &Rc<Device>, access: Access) -> PendingMount {
    let wanted = BlockMount { device: device.clone(), filesystem: EXT4, access, options: vec![] };
    block(Granted::for_test(wanted)).unwrap()
}

fn unmounted(device: &Rc<Device>) -> Granted<GrowUnmounted> {
    Granted::for_test(GrowUnmounted { device: Rc::clone(device), filesystem: EXT4 })
}

fn check_it(node: &Node, device: &Rc<Device>) -> Result<bool, Failure> {
    check(
        Granted::for_test(Check { device: device.clone(), filesystem: EXT4 }),
        node.lock.as_fd(),
        || (),
    )
}

/// Makes the image and its loop device larger.
fn enlarge(node: &Node, name: &str, device: &Device, size: u64) {
    let image = node.image(name, 0);
    grow_image(Granted::for_test(ImageGrow { image, size })).unwrap();
    loopdev::refresh(device).unwrap();
}

#[test]
fn a_blank_device_is_formatted_as_asked_and_once() {
    let Some(node) = Node::new() else { return };
    let device = node.device("a.img", 64 * MIB);
    let options = [
        ("block-size", "1024"),
        ("inode-size", "256"),
        ("inodes", "512"),
        ("label", "data-1"),
        ("reserved-percent", "3"),
    ];
    node.format(&device, &options, false).unwrap();
    assert_eq!(blank::probe(&device), Ok(Content::Filesystem(EXT4)));
    let shown = run("/usr/sbin/dumpe2fs", &["-h", device.node().to_str().unwrap()]);
    let field = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    };
    assert_eq!(
        (field("Block size"), field("Inode size"), field("Inode count")),
        ("1024".into(), "256".into(), "512".into())
    );
    assert_eq!(field("Filesystem volume name"), "data-1");
    assert_eq!(field("Filesystem UUID"), UUID);
    assert_eq!(field("Reserved block count"), (65536 * 3 / 100).to_string());
    assert_eq!(reason(node.format(&device, &[], false)), "not-blank");
    assert_eq!(check_it(&node, &device), Ok(false));
}

#[test]
fn nothing_that_holds_anything_is_formatted() {
    let Some(node) = Node::new() else { return };
    let device = node.device("a.img", 64 * MIB);
    let write = |bytes: &[u8], offset: u64| {
        let file = fs::OpenOptions::new().write(true).open(device.node()).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, offset).unwrap();
        file.sync_all().unwrap();
    };
    // An interrupted format of this volume's own may be begun anew, but not over something else.
    write(b"x", 3 * MIB);
    assert_eq!(reason(node.format(&device, &[], false)), "not-blank");
    write(b"LUKS\xba\xbe", 0);
    assert_eq!(reason(node.format(&device, &[], false)), "not-blank");
    assert_eq!(reason(node.format(&device, &[], true)), "not-blank");
    write(&[0; 6], 0);
    node.format(&device, &[], true).unwrap();
    node.format(&device, &[], true).unwrap();
    let held = mount(&device, Access::ReadWrite);
    assert_eq!(reason(node.format(&device, &[], true)), "in-use");
    assert_eq!(reason(check_it(&node, &device)), "in-use");
    drop(held);
    let read_only = {
        drop(device);
        loop_of(&node.image("a.img", 0), Access::ReadOnly)
    };
    assert_eq!(reason(node.format(&read_only, &[], true)), "device-read-only");
    assert_eq!(reason(check_it(&node, &read_only)), "device-read-only");
}

/// Between the format that was interrupted and the next call, another node may have finished it
/// and used the volume, or another volume may have been made on the device.
#[test]
fn a_format_is_resumed_over_its_own_remains_only() {
    const OTHER: &str = "6e3fa0f0-17a4-4c6e-9b1d-1f7d4f0c5a12";
    let Some(node) = Node::new() else { return };
    let device = node.device("a.img", 256 * MIB);
    let path = device.node().to_str().unwrap().to_owned();
    assert_eq!(left_by(&device, UUID), Ok(true));
    // All of it was written and only the record of its end was not; or not all of it.
    node.format_as(&device, EXT4, &[], false, UUID).unwrap();
    assert_eq!((left_by(&device, UUID), left_by(&device, OTHER)), (Ok(true), Ok(false)));
    run("/bin/dd", &["if=/dev/zero", &format!("of={path}"), "bs=4096", "count=1", "conv=fsync"]);
    assert_eq!(blank::probe(&device), Ok(Content::Signature("ext-backup")));
    assert_eq!((left_by(&device, UUID), left_by(&device, OTHER)), (Ok(true), Ok(false)));
    assert_eq!(reason(node.format_as(&device, EXT4, &[], true, OTHER)), "not-blank");
    node.format_as(&device, EXT4, &[], true, UUID).unwrap();
    let failure = node.format_as(&device, EXT4, &[], true, OTHER).unwrap_err();
    assert_eq!(failure.reason, "not-blank");
    assert!(failure.message.contains("holds ext4"), "{failure}");
    // Looked at read-only it holds no data; mounted writable it can.
    drop(mount(&device, Access::ReadOnly));
    assert_eq!(left_by(&device, UUID), Ok(true));
    drop(mount(&device, Access::ReadWrite));
    device::refuse_if_held(&device).unwrap();
    assert_eq!(left_by(&device, UUID), Ok(false));
    assert_eq!(reason(node.format_as(&device, EXT4, &[], true, UUID)), "not-blank");
    // A check sets the count of mounts back, but not the time of the last one.
    run("/sbin/e2fsck", &["-f", "-p", &path]);
    assert_eq!(left_by(&device, UUID), Ok(false));
    assert_eq!(check_it(&node, &device), Ok(false));
}

#[test]
fn a_check_repairs_what_is_safe_and_no_more() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 64 * MIB);
    let path = device.node().to_str().unwrap().to_owned();
    let debugfs = |command: &str| run("/usr/sbin/debugfs", &["-w", "-R", command, &path]);
    debugfs("set_super_value free_blocks_count 7");
    debugfs("set_super_value state 0");
    assert_eq!(check_it(&node, &device), Ok(true));
    assert_eq!(check_it(&node, &device), Ok(false));
    // The root directory's inode is no directory any more.
    debugfs("set_inode_field <2> mode 0100644");
    debugfs("set_super_value state 2");
    let failure = check_it(&node, &device).unwrap_err();
    assert_eq!((failure.code, failure.reason.as_str()), (Code::DataLoss, "fs-errors"));
    assert!(failure.message.contains("RUN fsck MANUALLY"), "{failure}");
    assert!(failure.message.contains(&path), "{failure}");
}

#[test]
fn a_filesystem_grows_before_it_is_mounted() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 64 * MIB);
    assert_eq!(needs_growth(&device, EXT4), Ok(false));
    enlarge(&node, "a.img", &device, 200 * MIB);
    assert_eq!(needs_growth(&device, EXT4), Ok(true));
    grow_unmounted(unmounted(&device), node.lock.as_fd()).unwrap();
    assert_eq!(needs_growth(&device, EXT4), Ok(false));
    grow_unmounted(unmounted(&device), node.lock.as_fd()).unwrap();
    // One byte more, and less than a group is worth, is no reason to grow again.
    enlarge(&node, "a.img", &device, 200 * MIB + 512);
    assert_eq!(needs_growth(&device, EXT4), Ok(false));
    assert_eq!(check_it(&node, &device), Ok(false));
}

#[test]
fn every_size_is_grown_to_and_then_enough() {
    let Some(node) = Node::new() else { return };
    for (index, (from, to)) in
        [(8, 9), (8, 17), (32, 33), (120, 129), (100, 300)].into_iter().enumerate()
    {
        let name = format!("{index}.img");
        let device = node.ext4(&name, from * MIB);
        enlarge(&node, &name, &device, to * MIB + 3 * 512);
        if needs_growth(&device, EXT4).unwrap() {
            grow_unmounted(unmounted(&device), node.lock.as_fd()).unwrap();
        }
        assert_eq!(needs_growth(&device, EXT4), Ok(false), "{from} to {to}");
        assert_eq!(check_it(&node, &device), Ok(false));
    }
}

#[test]
fn a_mounted_filesystem_grows_or_says_when_it_will() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 64 * MIB);
    let target = node.target("vol");
    let go = |target: &Rc<Target>| {
        let grow_it = Grow { target: target.clone(), device: device.clone() };
        grow(Granted::for_test(grow_it), node.lock.as_fd())
    };
    assert_eq!(reason(go(&target)), "not-mounted");
    attach(Granted::for_test(Attach {
        pending: Rc::new(mount(&device, Access::ReadWrite)),
        target: target.clone(),
    }))
    .unwrap();
    assert_eq!(go(&target), Ok(64 * MIB));
    enlarge(&node, "a.img", &device, 128 * MIB);
    match go(&target) {
        Ok(size) => assert_eq!((size, needs_growth(&device, EXT4)), (128 * MIB, Ok(false))),
        Err(failure) => {
            assert_eq!(failure.reason, "kernel-refused");
            assert!(failure.message.contains("the next mountdevice grows it"), "{failure}");
        }
    }
    let other = Rc::new(target::open(Path::new("/"), Path::new("proc")).unwrap());
    assert_eq!(reason(go(&other)), "wrong-mount");
}

#[test]
fn a_read_only_mount_is_not_grown() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 64 * MIB);
    enlarge(&node, "a.img", &device, 128 * MIB);
    let target = node.target("vol");
    attach(Granted::for_test(Attach {
        pending: Rc::new(mount(&device, Access::ReadOnly)),
        target: target.clone(),
    }))
    .unwrap();
    let grow_it = Grow { target, device: device.clone() };
    assert_eq!(grow(Granted::for_test(grow_it), node.lock.as_fd()), Ok(128 * MIB));
    assert_eq!(needs_growth(&device, EXT4), Ok(true));
}

#[test]
fn format_options_are_names_and_ranges() {
    let parse_of = |filesystem, options: &[(&str, &str)]| {
        let options: Vec<_> = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Profile::parse(filesystem, &options).map(|p| p.arguments().collect::<Vec<_>>().join(" "))
    };
    let parse = |options: &[(&str, &str)]| parse_of(EXT4, options);
    const XFS: Filesystem = Filesystem::Xfs;
    const BTRFS: Filesystem = Filesystem::Btrfs;
    type Options = &'static [(&'static str, &'static str)];
    let good: &[(Filesystem, Options, &str)] = &[
        (XFS, &[], ""),
        (XFS, &[("label", "twelve-chars"), ("block-size", "1024")], "-L twelve-chars -b size=1024"),
        (XFS, &[("inode-size", "2048")], "-i size=2048"),
        (BTRFS, &[], "-m dup"),
        (BTRFS, &[("metadata", "single"), ("node-size", "65536")], "-m single -n 65536"),
        (BTRFS, &[("checksum", "blake2"), ("label", "a")], "--csum blake2 -L a -m dup"),
    ];
    for (filesystem, options, arguments) in good {
        assert_eq!(parse_of(*filesystem, options).as_deref(), Ok(*arguments));
    }
    let bad: &[(Filesystem, &str, &str, &str)] = &[
        (XFS, "block-size", "512", "xfs option block-size takes 1024, 2048 or 4096"),
        (XFS, "label", "thirteen-char", "xfs option label takes 1 to 12 of"),
        (XFS, "label", "a b", "xfs option label takes"),
        (XFS, "uuid", "x", "xfs has no option uuid; there are block-size, inode-size and label"),
        (BTRFS, "metadata", "raid1", "btrfs option metadata takes dup or single"),
        (BTRFS, "node-size", "16384 -f", "btrfs option node-size takes 4096"),
        (BTRFS, "checksum", "", "btrfs option checksum takes"),
        (BTRFS, "block-size", "4096", "btrfs has no option block-size"),
    ];
    for (filesystem, name, value, says) in bad {
        let failure = parse_of(*filesystem, &[(name, value)]).unwrap_err();
        assert_eq!(failure.reason, "bad-option");
        assert!(failure.message.contains(says), "{failure}");
    }
    let good: &[(&[(&str, &str)], &str)] = &[
        (&[], "-m 0"),
        (&[("reserved-percent", "50")], "-m 50"),
        (&[("block-size", "4096"), ("inode-size", "128")], "-b 4096 -I 128 -m 0"),
        (&[("bytes-per-inode", "65536"), ("label", "A.b_c-1")], "-i 65536 -L A.b_c-1 -m 0"),
        (&[("inodes", "1000")], "-N 1000 -m 0"),
    ];
    for (options, arguments) in good {
        assert_eq!(parse(options).as_deref(), Ok(*arguments));
    }
    let bad = [
        ("block-size", "512"),
        ("block-size", "+4096"),
        ("block-size", ""),
        ("block-size", "4096 -F"),
        ("inode-size", "0"),
        ("bytes-per-inode", "1"),
        ("inodes", "99999999999"),
        ("inodes", "0100"),
        ("reserved-percent", "51"),
        ("reserved-percent", "-1"),
        ("label", ""),
        ("label", "-x"),
        ("label", "seventeen-letters"),
        ("label", "a b"),
        ("label", "ä"),
        ("features", "^metadata_csum"),
    ];
    for (name, value) in bad {
        let failure = parse(&[(name, value)]).unwrap_err();
        assert_eq!(failure.reason, "bad-option", "{name}={value}");
        assert!(value.len() < 5 || !failure.message.contains(value), "{failure}");
    }
    assert_eq!(reason(parse(&[("label", "a"), ("label", "b")])), "bad-option");
    for &filesystem in Filesystem::ALL {
        assert_eq!(Filesystem::parse(filesystem.name()), Ok(filesystem));
    }
    assert_eq!(reason(BlockOption::parse(BTRFS, "lazytime")), "bad-option");
    assert_eq!(reason(BlockOption::parse(XFS, "compress-zstd")), "bad-option");
    for name in ["", "ext3", "EXT4", "XFS", "btrfs "] {
        assert_eq!(reason(Filesystem::parse(name)), "unknown-filesystem");
    }
}
