//! Loop devices on a real node.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use super::*;
use crate::kernel::images::{ImageGrow, grow};
use crate::kernel::mounts::{BlockMount, block};
use crate::kernel::testing::{MIB, Node, loop_of, reason, run};

/// Waits until a loop device is gone: another test's search may have it open for a moment.
fn is_gone(number: (u32, u32), identity: &str) -> bool {
    for _ in 0..500 {
        if open(number, identity, None).unwrap().is_none() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Detaches a loop device that was kept, also when a test panics.
struct Kept(Rc<Device>);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = raw::loop_clear(&self.0.file);
    }
}

#[test]
fn a_loop_device_goes_with_its_last_descriptor_unless_kept() {
    let Some(node) = Node::new() else { return };
    let image = node.image("a.img", 8 * MIB);
    let device = loop_of(&image, Access::ReadWrite);
    let (number, identity) = (device.number, device.identity.clone());
    assert_eq!((number.0, device::size(&device)), (LOOP_MAJOR, Ok(8 * MIB)));
    assert_eq!(identity, image.identity);
    assert_eq!(find(&image).unwrap().unwrap().number, number);
    drop(device);
    assert!(is_gone(number, &identity));
    assert!(find(&image).unwrap().is_none());

    let device = loop_of(&image, Access::ReadWrite);
    let number = device.number;
    keep(&device).unwrap();
    keep(&device).unwrap();
    drop(device);
    let kept = Kept(Rc::new(open(number, &identity, None).unwrap().unwrap()));
    assert!(kept.0.is_loop());
    assert!(open(number, "image:0:1:2", None).unwrap().is_none(), "it is another image's");
    // The image's name is not needed to take it down.
    std::fs::remove_file(image.path()).unwrap();
    detach(Granted::for_test(kept.0.clone())).unwrap();
    drop(kept);
    assert!(is_gone(number, &identity));
}

#[test]
fn an_image_becomes_one_loop_device_only() {
    let Some(node) = Node::new() else { return };
    let image = node.image("a.img", 8 * MIB);
    let device = loop_of(&image, Access::ReadWrite);
    std::fs::hard_link(image.path(), node.path().join("b.img")).unwrap();
    for name in ["a.img", "b.img"] {
        let again = LoopAttach { image: node.image(name, 0), access: Access::ReadOnly };
        let failure = attach(Granted::for_test(again)).unwrap_err();
        assert_eq!(failure.reason, "image-in-use");
        assert!(failure.message.contains(device.node().to_str().unwrap()), "{failure}");
    }
}

/// Of a process that was killed, the kernel closes the loop device when it gets round to it.
#[test]
fn one_that_is_about_to_vanish_is_waited_for() {
    let Some(node) = Node::new() else { return };
    let image = node.image("a.img", 8 * MIB);
    let device = loop_of(&image, Access::ReadWrite);
    let left = device.file.try_clone().unwrap();
    drop(device);
    let dying = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(left);
    });
    let again = loop_of(&image, Access::ReadWrite);
    dying.join().unwrap();
    assert_eq!(find(&image).unwrap().unwrap().number, again.number);

    // One that is kept does not vanish, whoever has it open.
    keep(&again).unwrap();
    let kept = Kept(again);
    let refused = attach(Granted::for_test(LoopAttach { image, access: Access::ReadWrite }));
    assert_eq!(reason(refused), "image-in-use");
    drop(kept);
}

#[test]
fn an_administrators_loop_device_is_left_alone() {
    let Some(node) = Node::new() else { return };
    let image = node.image("a.img", 8 * MIB);
    let theirs = run("/sbin/losetup", &["--find", "--show", image.path().to_str().unwrap()]);
    let theirs = theirs.trim();
    let refused =
        attach(Granted::for_test(LoopAttach { image: image.clone(), access: Access::ReadWrite }));
    let found = find(&image);
    run("/sbin/losetup", &["--detach", theirs]);
    assert!(refused.unwrap_err().message.contains(theirs));
    assert!(found.unwrap().is_none());
}

#[test]
fn one_that_is_mounted_is_not_detached() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 32 * MIB);
    let filesystem = super::super::filesystems::Filesystem::Ext4;
    let mount = BlockMount {
        device: device.clone(),
        filesystem,
        access: Access::ReadWrite,
        options: vec![],
    };
    let pending = block(Granted::for_test(mount)).unwrap();
    assert_eq!(reason(detach(Granted::for_test(device.clone()))), "busy");
    // Refused means untouched: it does not go later by itself, either.
    assert!(device::recheck(&device).is_ok());
    keep(&device).unwrap();
    let _kept = Kept(device.clone());
    drop(pending);
    assert!(device::recheck(&device).is_ok());
    detach(Granted::for_test(device.clone())).unwrap();
    assert_eq!(reason(device::recheck(&device)), "device-changed");
    detach(Granted::for_test(device)).unwrap();
}

#[test]
fn it_grows_with_its_image() {
    let Some(node) = Node::new() else { return };
    let image = node.image("a.img", 8 * MIB);
    let device = loop_of(&image, Access::ReadWrite);
    grow(Granted::for_test(ImageGrow { image, size: 16 * MIB })).unwrap();
    assert_eq!(device::size(&device), Ok(8 * MIB));
    refresh(&device).unwrap();
    assert_eq!(device::size(&device), Ok(16 * MIB));
    assert!(device::recheck(&device).is_ok());
}
