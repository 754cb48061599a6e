//! Probing real devices. What the bytes mean is tested with `superblocks`.
#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::kernel::testing::{MIB, Node, reason, run};

#[test]
fn a_new_image_is_blank_and_a_written_one_is_not() {
    let Some(node) = Node::new() else { return };
    let device = node.device("a.img", 64 * MIB);
    assert_eq!(probe(&device), Ok(Content::Blank));
    let dd = |place: &str, from: &str| {
        let of = format!("of={}", device.node().display());
        run(
            "/bin/dd",
            &[
                &format!("if={from}"),
                &of,
                "bs=4096",
                "count=1",
                &format!("seek={place}"),
                "conv=fsync",
                "status=none",
            ],
        );
    };
    // Nobody would look there; but the image knows that it was written to.
    dd("4096", "/dev/urandom");
    assert_eq!(probe(&device), Ok(Content::Unknown));
    dd("4096", "/dev/zero");
    assert_eq!(probe(&device), Ok(Content::Unknown));
    run("/sbin/mkswap", &[device.node().to_str().unwrap()]);
    assert_eq!(probe(&device).unwrap().name(), Some("swap"));
}

#[test]
fn what_is_too_small_is_an_error_and_not_blank() {
    let Some(node) = Node::new() else { return };
    for size in [0, 512, MIN_SIZE - 512] {
        let device = node.device(&format!("{size}.img"), size);
        assert_eq!(reason(probe(&device)), "too-small");
    }
    assert_eq!(probe(&node.device("enough.img", MIN_SIZE)), Ok(Content::Blank));
}

#[test]
fn a_device_that_cannot_be_read_is_an_error() {
    let Some(node) = Node::new() else { return };
    let device = node.device("a.img", 64 * MIB);
    // The device still says it has 64 MiB, of which the file has lost the most.
    let image = std::fs::OpenOptions::new().write(true).open(node.path().join("a.img")).unwrap();
    image.set_len(MIB).unwrap();
    // A loop device without direct I/O gives zeroes instead of an error past the file's end.
    let name = device.node().file_name().unwrap().to_str().unwrap();
    let direct = std::fs::read_to_string(format!("/sys/block/{name}/loop/dio")).unwrap();
    if direct.trim() == "1" {
        assert_eq!(reason(probe(&device)), "unreadable");
        assert_eq!(reason(node.format(&device, &[], true)), "unreadable");
    }
}
