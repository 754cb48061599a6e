//! A tmpfs on a real node.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::kernel::mounts::{Attach, attach};
use crate::kernel::testing::{Node, reason};

fn file(pending: &Rc<PendingMount>, name: &str, contents: &[u8]) -> Result<(), Failure> {
    let pending = pending.clone();
    let file =
        TmpfsFile { pending, name: name.to_owned(), contents: contents.to_vec(), mode: 0o440 };
    write(Granted::for_test(file))
}

#[test]
fn files_are_there_sealed_when_it_is_attached() {
    let Some(node) = Node::new() else { return };
    let tmpfs = Tmpfs { size: 64 * 1024, mode: 0o2750, group: Some(4321) };
    let pending = Rc::new(create(Granted::for_test(tmpfs)).unwrap());
    file(&pending, "password", b"s3cret").unwrap();
    assert_eq!(reason(file(&pending, "password", b"other")), "already-exists");
    assert_eq!(reason(file(&pending, "large", &vec![0; 128 * 1024])), "exhausted");
    for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
        assert_eq!(reason(file(&pending, name, b"")), "bad-path", "{name:?}");
    }
    seal(Granted::for_test(pending.clone())).unwrap();
    assert_eq!(reason(file(&pending, "late", b"")), "sealed");

    let target = node.target("vol");
    let mounted = attach(Granted::for_test(Attach { pending, target: target.clone() })).unwrap();
    assert_eq!((mounted.access, mounted.fs_type.as_str()), (Access::ReadOnly, "tmpfs"));
    assert_eq!(super::super::target::mounted(&target).unwrap(), Some(mounted));

    let root = node.root().join("vol");
    let found = fs::metadata(&root).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o2750, 0, 4321));
    let found = fs::metadata(root.join("password")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o440, 0, 4321));
    assert_eq!(fs::read_to_string(root.join("password")).unwrap(), "s3cret");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1, "what did not fit left something");
    assert!(fs::write(root.join("more"), "").is_err());
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(root.to_str().unwrap())).unwrap();
    assert!(line.contains(" ro,nosuid,nodev,noexec,relatime "), "{line}");
    assert!(line.contains("tmpfs ro,size=64k,nr_inodes=1024"), "{line}");
}

#[test]
fn contents_are_never_shown() {
    let Some(_node) = Node::new() else { return };
    let tmpfs = Tmpfs { size: 4096, mode: 0o700, group: None };
    let pending = Rc::new(create(Granted::for_test(tmpfs)).unwrap());
    let file =
        TmpfsFile { pending, name: "key".to_owned(), contents: b"s3cret".to_vec(), mode: 0o400 };
    let shown = format!("{file:?}");
    assert_eq!(shown, "TmpfsFile \"key\" (6 bytes, 400)");
}

#[test]
fn sizes_and_modes_are_bounded() {
    for (size, mode) in [(0, 0o700), (4096, 0o10000)] {
        let tmpfs = Tmpfs { size, mode, group: None };
        assert_eq!(reason(create(Granted::for_test(tmpfs))), "bad-option");
    }
}
