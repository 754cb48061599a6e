//! btrfs on plain bytes: which it is, what contradicts it, and its mirrors.

use super::*;

/// What is put into a superblock, and where.
type Changes<'a> = &'a [(usize, &'a [u8])];

const OURS: &str = "00000000-0000-4000-8000-000000000001";
const SIZE: u64 = 512 * MIB;
const PRIMARY: u64 = 0x1_0000;
const MIRROR: u64 = 0x400_0000;

fn superblock(place: u64, last: u8, changes: Changes<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(32, &[0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, last]);
    put(48, &place.to_le_bytes());
    put(64, b"_BHRfS_M");
    put(136, &1_u64.to_le_bytes());
    put(144, &4096_u32.to_le_bytes());
    put(201, &3_u64.to_le_bytes());
    put(209, &SIZE.to_le_bytes());
    changes.iter().for_each(|(at, value)| put(*at, value));
    bytes
}

fn with(source: Sparse, place: u64, last: u8, changes: Changes<'_>) -> Sparse {
    source.with(place, &superblock(place, last, changes))
}

fn whole() -> Sparse {
    with(Sparse::new(SIZE), PRIMARY, 1, &[])
}

#[test]
fn the_sorts_of_btrfs_are_told_apart() {
    let cases: &[(Changes, &str)] = &[
        (&[], "btrfs"),
        (&[(64, b"!BHRfS_M")], "btrfs-unfinished"),
        (&[(136, &[2])], "btrfs-several-devices"),
        (&[(136, &[0])], "btrfs-several-devices"),
        (&[(60, &[1])], "btrfs-seed"),
        (&[(48, &[1])], "btrfs-damaged"),
        (&[(144, &[1])], "btrfs-damaged"),
        (&[(209, &[0; 8])], "btrfs-damaged"),
    ];
    for (changes, wanted) in cases {
        let source = with(Sparse::new(SIZE), PRIMARY, 1, changes);
        assert_eq!(name(&source), Some(*wanted), "{changes:?}");
    }
    let found = btrfs::primary(&whole()).unwrap().unwrap();
    assert_eq!((found.uuid.as_str(), found.bytes, found.device_id), (OURS, SIZE, 3));
    assert!(!found.dirty);
    let logged = with(Sparse::new(SIZE), PRIMARY, 1, &[(96, &[1])]);
    assert!(btrfs::primary(&logged).unwrap().unwrap().dirty);
}

#[test]
fn what_btrfs_keeps_for_itself_contradicts_it_and_what_it_gives_to_files_does_not() {
    let md = b"\xfc\x4e\x2b\xa9";
    let larger = Sparse { size: 2 * SIZE, ..whole() };
    let cases = [
        (whole().with(510, b"\x55\xaa"), "btrfs"),
        (whole().with(0, b"LUKS\xba\xbe"), "luks"),
        (whole().with(512, b"LABELONE"), "lvm2"),
        (whole().with(4096, md), "linux-raid"),
        (whole().with(4086, b"SWAPSPACE2"), "swap"),
        (whole().with(0x8001, b"CD001"), "iso9660"),
        (whole().with(SIZE - 65536, md), "btrfs"),
        (whole().with(SIZE - 512, b"EFI PART"), "btrfs"),
        (larger.with(2 * SIZE - 65536, md), "linux-raid"),
        (whole().with(1024, &ext_superblock(EXT4, 16384, 0)), "ext4"),
    ];
    for (index, (source, wanted)) in cases.iter().enumerate() {
        assert_eq!(name(source), Some(*wanted), "case {index}");
    }
}

#[test]
fn what_an_interrupted_format_of_btrfs_left_is_told_from_what_others_made() {
    let new = || Sparse::new(SIZE);
    let unfinished: Changes = &[(64, b"!BHRfS_M")];
    let cases = [
        ("unfinished", with(new(), PRIMARY, 1, unfinished), true),
        ("unfinished twice", with(with(new(), PRIMARY, 1, unfinished), MIRROR, 1, &[]), true),
        ("a mirror only", with(new(), MIRROR, 1, unfinished), true),
        ("finished: it is used as it is", whole(), false),
        ("another's", with(new(), PRIMARY, 2, unfinished), false),
        ("another's mirror", with(new(), MIRROR, 2, &[]), false),
        ("another's behind ours", with(with(new(), PRIMARY, 1, unfinished), MIRROR, 2, &[]), false),
        ("a mirror that makes no sense", with(new(), MIRROR, 1, &[(48, &[1])]), false),
        ("damaged", with(new(), PRIMARY, 1, &[(64, b"!BHRfS_M"), (48, &[1])]), false),
        ("something else", with(new(), PRIMARY, 1, unfinished).with(0, b"LUKS\xba\xbe"), false),
    ];
    for (case, source, wanted) in cases {
        assert_eq!(left_by(&source, OURS).unwrap(), wanted, "{case}");
    }
    assert_eq!(name(&with(new(), MIRROR, 1, &[])), Some("btrfs-backup"));
    let far = 0x40_0000_0000;
    assert_eq!(name(&with(Sparse::new(2 * far), far, 1, &[])), Some("btrfs-backup"));
}

#[test]
fn it_grows_by_whole_sectors_and_not_to_what_the_kernel_refuses() {
    let small = with(Sparse::new(SIZE), PRIMARY, 1, &[(209, &(128 * MIB).to_le_bytes())]);
    let small = btrfs::primary(&small).unwrap().unwrap();
    let cases = [
        (128 * MIB, 128 * MIB, false),
        (128 * MIB + 512, 128 * MIB, false),
        (200 * MIB, 128 * MIB, true),
        (256 * MIB, 256 * MIB, false),
        (300 * MIB + 3 * 512, 300 * MIB, false),
    ];
    for (device, bytes, stuck) in cases {
        assert_eq!((small.bytes_on(device), small.is_stuck_on(device)), (bytes, stuck), "{device}");
    }
}
