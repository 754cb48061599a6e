//! Finding devices by rules; a loop device's backing file serves as the attribute.
#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::kernel::testing::{MIB, Node, reason};

fn query(path: &Path, attribute: &str, value: &str) -> Result<Option<Device>, Failure> {
    find(&Granted::for_test(DeviceQuery {
        path: path.to_owned(),
        attribute: attribute.into(),
        value: value.to_owned(),
        rule: "test".to_owned(),
    }))
}

#[test]
fn a_device_is_found_if_its_attribute_proves_it() {
    let Some(node) = Node::new() else { return };
    let device = node.device("a.img", 8 * MIB);
    let backing = node.path().join("a.img");
    let value = backing.to_str().unwrap();
    let found = query(device.node(), "loop/backing_file", value).unwrap().unwrap();
    assert_eq!(found.number, device.number);
    assert_eq!(found.identity, format!("disk:loop/backing_file={value}"));
    assert_eq!(found.node(), device.node());
    assert!(!found.is_loop(), "it is not wasmount's to take down");
    recheck(&found).unwrap();
    assert_eq!(size(&found), Ok(8 * MIB));

    for (attribute, value) in [("loop/backing_file", "/other"), ("no/such", value), ("loop", value)]
    {
        let failure = query(device.node(), attribute, value).unwrap_err();
        assert_eq!(failure.reason, "device-mismatch", "{attribute}");
        assert!(!failure.message.contains("/other"), "{failure}");
    }
    for attribute in ["../x", "/sys/x", "loop/../dev", "loop=1"] {
        assert_eq!(reason(query(device.node(), attribute, value)), "bad-path");
    }
    // Now the attribute is that of another file.
    std::fs::rename(&backing, node.path().join("b.img")).unwrap();
    assert_eq!(reason(recheck(&found)), "device-changed");
    recheck(&device).unwrap();
}

#[test]
fn a_recorded_device_is_opened_again_if_it_still_is_the_one() {
    let Some(node) = Node::new() else { return };
    let device = node.device("a=b.img", 8 * MIB);
    let backing = node.path().join("a=b.img");
    let found = query(device.node(), "loop/backing_file", backing.to_str().unwrap());
    let found = found.unwrap().unwrap();
    let (number, identity) = (found.number, found.identity.clone());
    drop(found);
    let again = open(number, &identity).unwrap().unwrap();
    assert_eq!((again.number, again.identity.as_str()), (number, identity.as_str()));
    assert_eq!(again.node(), device.node());
    assert!(!again.is_loop());
    recheck(&again).unwrap();

    let absent = (number.0, (1 << 20) - 1);
    let others = [
        (absent, identity.as_str()),
        (number, "disk:loop/backing_file=/other"),
        (number, "disk:no/such=1"),
        (number, "disk:../loop/backing_file=1"),
        (number, "disk:/sys/x=1"),
        (number, "disk:loop"),
        (number, device.identity.as_str()),
        (number, ""),
    ];
    for (number, identity) in others {
        assert!(open(number, identity).unwrap().is_none(), "{number:?} {identity}");
    }
    // Now the attribute is that of another file.
    std::fs::rename(&backing, node.path().join("c.img")).unwrap();
    assert!(open(number, &identity).unwrap().is_none());
}

/// What a killed process held is let go of by the kernel when it gets round to it.
#[test]
fn a_device_that_is_let_go_of_meanwhile_is_not_in_use() {
    let Some(node) = Node::new() else { return };
    let device = node.device("a.img", 8 * MIB);
    let claim = || {
        let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
        openat(CWD, device.node(), flags, Mode::empty()).unwrap()
    };
    let held = claim();
    assert_eq!(in_use(&device), Ok(true));
    assert_eq!(reason(refuse_if_held(&device)), "in-use");
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(5 * LOOK);
        drop(held);
    });
    assert_eq!(refuse_if_held(&device), Ok(()));
    letting_go.join().unwrap();
}

#[test]
fn what_is_no_device_is_not_found() {
    let Some(node) = Node::new() else { return };
    let cases = [
        ("/dev/disk/no-such", Ok(())),
        ("/dev/null", Err("not-a-device")),
        ("/dev/shm", Err("not-a-device")),
        ("/etc/passwd", Err("bad-path")),
        ("/dev/../etc/passwd", Err("bad-path")),
        ("dev/null", Err("bad-path")),
    ];
    for (path, expected) in cases {
        let found = query(Path::new(path), "size", "1").map(|found| assert!(found.is_none()));
        assert_eq!(
            found.map_err(|failure| failure.reason),
            expected.map_err(str::to_owned),
            "{path}"
        );
    }
    // A link below /dev must not lead elsewhere.
    let link = PathBuf::from(format!("/dev/wasmount-test-{}", std::process::id()));
    let made = node.path().join("a.img");
    std::os::unix::fs::symlink(&made, &link).unwrap();
    std::fs::write(&made, "").unwrap();
    let found = query(&link, "size", "1");
    std::fs::remove_file(&link).unwrap();
    assert_eq!(reason(found), "not-a-device");
}
