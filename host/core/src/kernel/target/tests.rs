//! Targets that are there, are not, or must not be.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn only_plain_paths_of_directories_open() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("pods/a/vol")).unwrap();
    fs::write(root.join("pods/a/file"), "").unwrap();
    symlink("vol", root.join("pods/a/link")).unwrap();
    symlink("a", root.join("pods/b")).unwrap();
    symlink("/", root.join("pods/out")).unwrap();
    symlink("/proc/self/cwd", root.join("pods/magic")).unwrap();
    symlink(&root, dir.path().join("linked-root")).unwrap();

    // What is opened, and whether it exists or why it does not open.
    let cases: &[(&str, Result<bool, &str>)] = &[
        ("pods/a/vol", Ok(true)),
        ("pods", Ok(true)),
        ("pods/a/other", Ok(false)),
        ("pods/c/vol", Ok(false)),
        ("pods/a/link", Err("symlink")),
        ("pods/b/vol", Err("symlink")),
        ("pods/out/etc", Err("symlink")),
        ("pods/magic/x", Err("symlink")),
        ("pods/a/file", Err("bad-path")),
        ("pods/a/file/x", Err("bad-path")),
        ("pods/a/../a/vol", Err("bad-path")),
        ("../root/pods", Err("bad-path")),
        ("/etc", Err("bad-path")),
        ("", Err("bad-path")),
    ];
    for root in [&root, &dir.path().join("linked-root")] {
        for (path, expected) in cases {
            let opened = open(root, Path::new(path)).map(|target| target.exists);
            let opened = opened.map_err(|failure| failure.reason);
            assert_eq!(opened, expected.map_err(str::to_owned), "{path}");
        }
    }
}

#[test]
fn nothing_is_mounted_on_a_plain_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("vol")).unwrap();
    for name in ["vol", "absent", "absent/vol"] {
        let target = open(dir.path(), Path::new(name)).unwrap();
        assert_eq!(mounted(&target).unwrap(), None, "{name}");
    }
    let absent = open(dir.path(), Path::new("absent/vol")).unwrap();
    assert_eq!(absent.pin().unwrap_err().reason, "not-found");
    assert_eq!(absent.path_by_descriptor(), None);
}

#[test]
fn a_mount_point_of_the_system_is_seen() {
    let target = open(Path::new("/"), Path::new("proc")).unwrap();
    let mounted = mounted(&target).unwrap().unwrap();
    assert_eq!(mounted.fs_type, "proc");
    assert_eq!(mounted.device.0, 0);
}

#[test]
fn mountinfo_lines() {
    let line = br"63 43 7:0 / /a\040b\134040c rw,nosuid shared:1 master:2 - ext4 /dev/loop0 ro,errors=remount-ro";
    let entry = Entry {
        id: 63,
        device: (7, 0),
        root: "/".into(),
        point: r"/a b\040c".into(),
        read_only: true,
        fs_type: "ext4".to_owned(),
        shared: true,
    };
    assert_eq!(parse_line(line), Some(entry));
    let odd: [&[u8]; 5] = [b"", b"x", b"1 2 3", b"1 2 0:1 / / rw", b"1 2 0:1 / / rw - ext4"];
    for line in odd {
        assert_eq!(parse_line(line), None);
    }
    let unescaped: [(&str, &str); 4] =
        [(r"\", r"\"), (r"\04", r"\04"), (r"\999", r"\999"), (r"\011x", "\tx")];
    for (escaped, plain) in unescaped {
        assert_eq!(unescape(escaped.as_bytes()), Path::new(plain));
    }
}
