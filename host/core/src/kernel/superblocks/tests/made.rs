//! What real tools write: recognised, and never taken for blank, whatever has been wiped of it
//! since. What takes more than a tool, such as MD, LVM2 and ZFS, is only among the bytes that
//! [`super`] and `tests/contents.rs` write themselves.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::*;
use crate::kernel::testing::{has_tool, run, turn};

/// Enough for every filesystem.
const SIZE: u64 = 512 * MIB;

/// The tool, its arguments before the image's path, and what it makes.
const TOOLS: &[(&str, &[&str], &str)] = &[
    ("/sbin/mkfs.ext4", &["-q", "-F"], "ext4"),
    ("/sbin/mkfs.ext4", &["-q", "-F", "-b", "1024", "-O", "^has_journal"], "ext4"),
    ("/sbin/mkfs.ext3", &["-q", "-F"], "ext3"),
    ("/sbin/mkfs.ext2", &["-q", "-F"], "ext2"),
    ("/sbin/mke2fs", &["-q", "-F", "-O", "journal_dev"], "ext-journal-elsewhere"),
    ("/sbin/mkswap", &[], "swap"),
    ("/sbin/mkfs.minix", &[], "minix"),
    ("/sbin/mkfs.xfs", &["-q", "-f"], "xfs"),
    ("/sbin/mkfs.xfs", &["-q", "-f", "-b", "size=1024"], "xfs"),
    ("/sbin/mkfs.xfs", &["-q", "-f", "-d", "agcount=7"], "xfs"),
    ("/sbin/mkfs.btrfs", &["-q", "-f"], "btrfs"),
    ("/sbin/mkfs.vfat", &["-F", "16"], "vfat"),
    ("/sbin/mkfs.vfat", &["-F", "32"], "vfat"),
    ("/sbin/mkfs.ntfs", &["-q", "-f", "-F"], "ntfs"),
    ("/sbin/mkfs.f2fs", &["-q"], "f2fs"),
    (
        "/sbin/cryptsetup",
        &[
            "luksFormat",
            "-q",
            "--type",
            "luks1",
            "--pbkdf-force-iterations",
            "1000",
            "--key-file",
            "/etc/hostname",
        ],
        "luks",
    ),
    (
        "/sbin/cryptsetup",
        &[
            "luksFormat",
            "-q",
            "--type",
            "luks2",
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
            "--key-file",
            "/etc/hostname",
        ],
        "luks",
    ),
];

/// What is wiped: a boot sector; the first KiB, where nearly all have their superblocks; or the
/// first 4 MiB; and what it is called then.
const WIPED: &[(u64, &[(&str, &str)])] = &[
    (
        4 * MIB,
        &[
            ("ext4", "ext-backup"),
            ("ext3", "ext-backup"),
            ("ext2", "ext-backup"),
            ("xfs", "xfs-backup"),
            ("btrfs", "btrfs-backup"),
            // Its boot sector's copy is the last sector.
            ("ntfs", "unknown"),
        ],
    ),
    (4096, &[("xfs", "xfs-backup"), ("luks", "luks")]),
    (512, &[("xfs", "xfs-backup"), ("luks", "luks"), ("vfat", "unknown"), ("ntfs", "unknown")]),
];

fn image(path: &Path) -> Image {
    File::create(path).unwrap().set_len(SIZE).unwrap();
    Image(OpenOptions::new().read(true).write(true).open(path).unwrap())
}

#[test]
fn what_tools_write_is_recognised_and_never_blank() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    for (tool, arguments, wanted) in TOOLS.iter().filter(|(tool, ..)| has_tool(tool)) {
        let file = image(&path);
        run(tool, &[arguments, &[path.to_str().unwrap()][..]].concat());
        assert_eq!(content(&file).unwrap().name(), Some(*wanted), "{tool} {arguments:?}");
        for (length, names) in WIPED {
            let file = image(&path);
            run(tool, &[arguments, &[path.to_str().unwrap()][..]].concat());
            file.0.write_all_at(&vec![0; *length as usize], 0).unwrap();
            let found = content(&file).unwrap().name();
            match names.iter().find(|(name, _)| name == wanted) {
                Some((_, left)) => {
                    // LUKS1 has one header only; of it the key material is left.
                    let one_header = arguments.contains(&"luks1");
                    let left = if one_header { "unknown" } else { left };
                    assert_eq!(found, Some(left), "{tool} {arguments:?} without {length} bytes");
                }
                // All that remains of these may lie within what was wiped, or at no place that is
                // looked at.
                None if *length > 4096 || *wanted == "swap" || wanted.starts_with("ext-") => {}
                None => assert!(found.is_some(), "{tool} {arguments:?} without {length} bytes"),
            }
        }
    }
}

/// Those that take more than a path.
#[test]
fn what_is_made_of_a_directory_or_a_script_is_recognised() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let (path, from) = (dir.path().join("image"), dir.path().join("from"));
    std::fs::create_dir(&from).unwrap();
    std::fs::write(from.join("file"), "contents").unwrap();
    let (to, of) = (path.to_str().unwrap(), from.to_str().unwrap());
    let cases: &[(&str, &str, &str)] = &[
        (
            "/usr/bin/mksquashfs",
            &format!("mksquashfs {of} {to} -noappend -quiet -no-progress"),
            "squashfs",
        ),
        ("/usr/bin/genisoimage", &format!("genisoimage -quiet -o {to} {of}"), "iso9660"),
        ("/sbin/sfdisk", &format!("echo 'label: gpt' | sfdisk -q {to}"), "gpt"),
        ("/sbin/sfdisk", &format!("echo 'label: dos' | sfdisk -q {to}"), "mbr"),
    ];
    for (tool, script, wanted) in cases.iter().filter(|(tool, ..)| has_tool(tool)) {
        let file = image(&path);
        run("/bin/sh", &["-c", script]);
        let file = if path.metadata().unwrap().len() == SIZE {
            file
        } else {
            Image(File::open(&path).unwrap())
        };
        assert_eq!(content(&file).unwrap().name(), Some(*wanted), "{tool}");
        if *wanted == "gpt" {
            file.0.write_all_at(&vec![0; 4096], 0).unwrap();
            assert_eq!(content(&file).unwrap().name(), Some("gpt"), "its copy at the end");
        }
    }
}

struct Image(File);

impl Source for Image {
    fn size(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}
