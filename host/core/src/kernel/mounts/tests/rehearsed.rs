//! Acts in a rehearsal: they hold nothing that a real call would want, and fail where that would.

use std::os::fd::AsFd as _;

use rustix::fs::{CWD, FlockOperation, flock};

use super::*;
use crate::kernel::blank;
use crate::kernel::filesystems::{Check, check};
use crate::rehearsal::rehearse;

/// Whether the kernel would let somebody else have the device.
fn is_free(device: &Device) -> bool {
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    openat(CWD, device.node(), flags, Mode::empty()).is_ok()
}

#[test]
fn a_volume_is_taken_down_while_it_is_rehearsed() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 32 * MIB);
    let staged = node.target("staged");
    put(make(&device, Access::ReadWrite, &[]).unwrap(), &staged).unwrap();
    rehearse(|| {
        let bound = bind_of(&staged, device.number, Access::ReadWrite).unwrap();
        assert_eq!((bound.device(), bound.fs_type()), (device.number, "ext4"));
        // Not by a rehearsal.
        umount(node.root().join("staged"), UnmountFlags::NOFOLLOW).unwrap();
        assert!(is_free(&device), "nothing of the mount is left");

        let pending = make(&device, Access::ReadWrite, &[]).unwrap();
        assert!(is_free(&device), "another call may have it");
        assert_eq!(reason(make(&device, Access::ReadWrite, &[])), "in-use", "this one has it");
        drop(pending);
        make(&device, Access::ReadWrite, &[]).unwrap();
    });
}

#[test]
fn an_image_is_attached_while_it_is_rehearsed() {
    let Some(node) = Node::new() else { return };
    let image = node.image("a.img", 32 * MIB);
    let other = fs::File::open(image.path()).unwrap();
    flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
    rehearse(|| {
        let device = loop_of(&image, Access::ReadWrite);
        assert_eq!(device::is_read_only(&device), Ok(false), "it stands in for a writable one");
    });
}

#[test]
fn what_is_mounted_changes_for_the_rehearsal_only() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 32 * MIB);
    let (staged, pod) = (node.target("staged"), node.target("pod"));
    let mounted = put(make(&device, Access::ReadOnly, &[]).unwrap(), &staged).unwrap();
    rehearse(|| {
        assert!(device::in_use(&device).unwrap());
        assert_eq!(take_off(&staged), Ok(true));
        assert_eq!((take_off(&staged), target::mounted(&staged)), (Ok(false), Ok(None)));
        assert!(!device::in_use(&device).unwrap());
        assert_eq!(reason(bind_of(&staged, device.number, Access::ReadOnly)), "not-mounted");
        put(make(&device, Access::ReadWrite, &[]).unwrap(), &staged).unwrap();
        put(bind_of(&staged, device.number, Access::ReadWrite).unwrap(), &pod).unwrap();
        let again = bind_of(&staged, device.number, Access::ReadWrite).unwrap();
        assert_eq!(reason(put(again, &pod)), "target-busy");
    });
    assert_eq!(target::mounted(&staged), Ok(Some(mounted)));
    assert_eq!(target::mounted(&pod), Ok(None));
}

#[test]
fn what_is_checked_is_mounted_read_only() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 32 * MIB);
    let path = device.node().to_str().unwrap();
    run("/usr/sbin/debugfs", &["-w", "-R", "feature needs_recovery", path]);
    let before = blank::superblock(&device).unwrap();
    rehearse(|| {
        assert_eq!(reason(make(&device, Access::ReadOnly, &[])), "dirty-log");
        let it = Check { device: device.clone(), filesystem: Filesystem::Ext4 };
        assert_eq!(check(Granted::for_test(it), node.lock.as_fd(), || ()), Ok(false));
        make(&device, Access::ReadOnly, &[]).unwrap();
    });
    assert_eq!(blank::superblock(&device), Ok(before), "nothing was repaired");
}

#[test]
fn a_clone_of_what_is_mounted_is_refused() {
    let Some(node) = Node::new() else { return };
    let (filesystem, access) = (Filesystem::Btrfs, Access::ReadWrite);
    let block_of = |device: &Rc<Device>| {
        let (device, options) = (device.clone(), vec![]);
        block(Granted::for_test(BlockMount { device, filesystem, access, options }))
    };
    let first = node.made(filesystem, "a.img");
    fs::copy(node.path().join("a.img"), node.path().join("b.img")).unwrap();
    let second = loop_of(&node.image("b.img", 0), access);
    let pending = block_of(&first).unwrap();
    rehearse(|| assert_eq!(reason(block_of(&second)), "uuid-in-use"));
    drop(pending);
    rehearse(|| block_of(&second).unwrap());
}
