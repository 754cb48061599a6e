//! Mounts on a real node.
#![expect(clippy::unwrap_used, reason = "a test")]

#[cfg(feature = "observe")]
mod rehearsed;

use std::fs;
use std::io::Write as _;

use super::*;
use crate::kernel::testing::{MIB, Node, loop_of, reason, run};

fn make(device: &Rc<Device>, access: Access, options: &[&str]) -> Result<PendingMount, Failure> {
    let filesystem = Filesystem::Ext4;
    let options = options
        .iter()
        .map(|name| BlockOption::parse(filesystem, name))
        .collect::<Result<_, _>>()?;
    block(Granted::for_test(BlockMount { device: device.clone(), filesystem, access, options }))
}

fn put(pending: PendingMount, target: &Rc<Target>) -> Result<Mounted, Failure> {
    attach(Granted::for_test(Attach { pending: Rc::new(pending), target: target.clone() }))
}

fn bind_of(
    source: &Rc<Target>,
    device: (u32, u32),
    access: Access,
) -> Result<PendingMount, Failure> {
    bind(Granted::for_test(Bind { source: source.clone(), device, access }))
}

fn take_off(target: &Rc<Target>) -> Result<bool, Failure> {
    unmount(Granted::for_test(target.clone()))
}

fn options_of(node: &Node, target: &Rc<Target>) -> String {
    let _ = node;
    let id = target::mounted(target).unwrap().unwrap().mount_id;
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    table.lines().find(|line| line.starts_with(&format!("{id} "))).unwrap().to_owned()
}

#[test]
fn a_device_is_mounted_bound_and_unmounted() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 32 * MIB);
    let staged = node.target("staged");
    let mounted =
        put(make(&device, Access::ReadWrite, &["noatime", "noexec"]).unwrap(), &staged).unwrap();
    assert_eq!(target::mounted(&staged).unwrap(), Some(mounted.clone()));
    assert_eq!((mounted.device, mounted.access), (device.number, Access::ReadWrite));
    let line = options_of(&node, &staged);
    assert!(line.contains("rw,nosuid,nodev,noexec,noatime"), "{line}");
    assert!(
        line.contains(&format!("ext4 {} rw,errors=remount-ro", device.node().display())),
        "{line}"
    );
    fs::write(node.root().join("staged/file"), "kept").unwrap();

    let pod = node.target("pod");
    put(bind_of(&staged, device.number, Access::ReadOnly).unwrap(), &pod).unwrap();
    assert_eq!(target::mounted(&pod).unwrap().unwrap().access, Access::ReadOnly);
    assert_eq!(fs::read_to_string(node.root().join("pod/file")).unwrap(), "kept");
    let refused = fs::write(node.root().join("pod/file"), "lost").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);

    assert_eq!(take_off(&pod), Ok(true));
    assert_eq!(take_off(&pod), Ok(false));
    assert_eq!(take_off(&staged), Ok(true));
    assert!(!device::in_use(&device).unwrap());
}

#[test]
fn a_pending_mount_that_is_dropped_leaves_nothing() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 32 * MIB);
    let pending = make(&device, Access::ReadWrite, &[]).unwrap();
    assert!(device::in_use(&device).unwrap());
    assert_eq!(reason(make(&device, Access::ReadWrite, &[])), "in-use");
    drop(pending);
    assert!(!device::in_use(&device).unwrap());
}

#[test]
fn nothing_is_attached_twice_or_over_a_mount_or_nowhere() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 32 * MIB);
    let target = node.target("vol");
    let pending = Rc::new(make(&device, Access::ReadWrite, &[]).unwrap());
    let go = |target: &Rc<Target>| {
        attach(Granted::for_test(Attach { pending: pending.clone(), target: target.clone() }))
    };
    let absent = Rc::new(target::open(&node.root(), std::path::Path::new("no/such")).unwrap());
    assert_eq!(reason(go(&absent)), "not-found");
    assert_eq!(take_off(&absent), Ok(false));
    go(&target).unwrap();
    assert_eq!(reason(go(&node.target("other"))), "kernel-refused");
    let again = bind_of(&target, device.number, Access::ReadWrite).unwrap();
    assert_eq!(reason(put(again, &target)), "target-busy");
}

#[test]
fn a_bind_is_of_the_recorded_mount_and_no_wider() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 32 * MIB);
    let staged = node.target("staged");
    assert_eq!(reason(bind_of(&staged, device.number, Access::ReadOnly)), "not-mounted");
    put(make(&device, Access::ReadOnly, &[]).unwrap(), &staged).unwrap();
    assert_eq!(reason(bind_of(&staged, (7, 9999), Access::ReadOnly)), "wrong-mount");
    assert_eq!(reason(bind_of(&staged, device.number, Access::ReadWrite)), "staged-read-only");
    // A bind of a directory in the filesystem is not the filesystem.
    let inner = node.target("inner");
    rustix::mount::mount_bind(node.root().join("staged/lost+found"), node.root().join("inner"))
        .unwrap();
    assert_eq!(reason(bind_of(&inner, device.number, Access::ReadOnly)), "wrong-mount");
}

#[test]
fn stacked_mounts_come_off_and_busy_ones_do_not() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 32 * MIB);
    let target = node.target("vol");
    put(make(&device, Access::ReadWrite, &[]).unwrap(), &target).unwrap();
    let path = node.root().join("vol");
    rustix::mount::mount_bind(&path, &path).unwrap();
    let mut file = fs::File::create(path.join("open")).unwrap();
    assert_eq!(reason(take_off(&target)), "busy");
    file.write_all(b"still there").unwrap();
    // Whoever has it only for a moment is waited for.
    let moment = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(file);
    });
    assert_eq!(take_off(&target), Ok(true));
    assert_eq!(target::mounted(&target).unwrap(), None);
    moment.join().unwrap();
}

#[test]
fn what_does_not_hold_ext4_whole_is_not_mounted() {
    let Some(node) = Node::new() else { return };
    let blank = node.device("blank.img", 32 * MIB);
    assert_eq!(reason(make(&blank, Access::ReadWrite, &[])), "fs-mismatch");
    let swap = node.device("swap.img", 32 * MIB);
    run("/sbin/mkswap", &[swap.node().to_str().unwrap()]);
    assert!(make(&swap, Access::ReadWrite, &[]).unwrap_err().message.contains("swap"));
    drop(node.ext4("cut.img", 32 * MIB));
    fs::OpenOptions::new()
        .write(true)
        .open(node.path().join("cut.img"))
        .unwrap()
        .set_len(16 * MIB)
        .unwrap();
    let cut = loop_of(&node.image("cut.img", 0), Access::ReadWrite);
    assert_eq!(reason(make(&cut, Access::ReadWrite, &[])), "past-device");
}

#[test]
fn a_read_only_volume_is_never_written() {
    let Some(node) = Node::new() else { return };
    let image = node.image("a.img", 32 * MIB);
    let path = node.path().join("a.img");
    let device = node.ext4("a.img", 32 * MIB);
    drop(device);
    let before = fs::read(&path).unwrap();
    let device = loop_of(&image, Access::ReadOnly);
    assert!(device::is_read_only(&device).unwrap());
    assert_eq!(reason(make(&device, Access::ReadWrite, &[])), "device-read-only");
    let target = node.target("vol");
    put(make(&device, Access::ReadOnly, &[]).unwrap(), &target).unwrap();
    assert!(fs::write(node.root().join("vol/x"), "").is_err());
    take_off(&target).unwrap();
    drop(device);
    assert!(fs::read(&path).unwrap() == before, "the image changed");

    // As after a power cut: the journal would have to be replayed.
    run("/usr/sbin/debugfs", &["-w", "-R", "feature needs_recovery", path.to_str().unwrap()]);
    let device = loop_of(&image, Access::ReadOnly);
    assert_eq!(reason(make(&device, Access::ReadOnly, &[])), "dirty-log");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let Some(node) = Node::new() else { return };
    let device = node.ext4("a.img", 32 * MIB);
    assert_eq!(reason(make(&device, Access::ReadWrite, &["noatime", "strictatime"])), "bad-option");
    assert_eq!(reason(make(&device, Access::ReadWrite, &["suid"])), "bad-option");
    for option in ["relatime", "strictatime", "nodiratime", "lazytime", "discard", "nodiscard"] {
        make(&device, Access::ReadWrite, &[option]).unwrap();
    }
}
