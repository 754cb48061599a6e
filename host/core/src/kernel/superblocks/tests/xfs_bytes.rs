//! XFS on plain bytes: which it is, what contradicts it, its copies and its log.

use super::*;

/// What is put into a superblock, and where.
type Changes<'a> = &'a [(usize, &'a [u8])];

const OURS: &str = "00000000-0000-4000-8000-000000000001";
const SIZE: u64 = 400 * MIB;
const GROUP: u64 = 100 * MIB;
/// In the middle of the third group.
const LOG: u64 = 2 * GROUP + 24 * 1024;
const LOG_BLOCKS: u64 = 4096;

/// A superblock of four groups of 25600 blocks of 4 KiB, with changes.
fn superblock(last: u8, changes: Changes<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"XFSB");
    put(4, &4096_u32.to_be_bytes());
    put(8, &(SIZE / 4096).to_be_bytes());
    put(32, &[0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, last]);
    put(48, &(2_u64 << 15 | 6).to_be_bytes());
    put(84, &25600_u32.to_be_bytes());
    put(88, &4_u32.to_be_bytes());
    put(96, &(LOG_BLOCKS as u32 / 8).to_be_bytes());
    put(100, &0xb4a5_u16.to_be_bytes());
    put(102, &512_u16.to_be_bytes());
    put(124, &[15]);
    put(127, &[25]);
    changes.iter().for_each(|(at, value)| put(*at, value));
    bytes
}

/// A record of so many blocks at a place of the log, whose first operation has these flags.
fn record(source: Sparse, at: u64, cycle: u32, blocks: u64, flags: u8) -> Sparse {
    let mut header = vec![0; 512];
    let words: [(usize, u32); 6] = [
        (0, 0xfeed_babe),
        (4, cycle),
        (8, 2),
        (12, (blocks - 1) as u32 * 512),
        (40, 1),
        (320, 32768),
    ];
    words.iter().for_each(|(at, word)| header[*at..at + 4].copy_from_slice(&word.to_be_bytes()));
    let mut source = source.with(LOG + at % LOG_BLOCKS * 512, &header);
    for block in 1..blocks {
        let mut data = vec![0; 512];
        // What is written past the log's end begins its next round.
        let cycle = cycle + ((at + block) / LOG_BLOCKS) as u32;
        data[..4].copy_from_slice(&cycle.to_be_bytes());
        data[9] = if block == 1 { flags } else { 0 };
        source = source.with(LOG + (at + block) % LOG_BLOCKS * 512, &data);
    }
    source
}

/// So many blocks of a cycle that hold no header.
fn filled(source: Sparse, from: u64, to: u64, cycle: u32) -> Sparse {
    let block: Vec<u8> = cycle.to_be_bytes().into_iter().chain([0; 508]).collect();
    source.with(LOG + from * 512, &block.repeat((to - from) as usize))
}

fn whole() -> Sparse {
    Sparse::new(SIZE).with(0, &superblock(1, &[]))
}

const UNMOUNT: u8 = 0x20;

#[test]
fn the_sorts_of_xfs_are_told_apart() {
    let cases: &[(Changes, &str)] = &[
        (&[], "xfs"),
        (&[(126, &[1])], "xfs-unfinished"),
        (&[(48, &[0; 8])], "xfs-log-elsewhere"),
        (&[(23, &[1])], "xfs-realtime-elsewhere"),
        (&[(4, &[0, 0, 0x10, 1])], "xfs-damaged"),
        (&[(4, &[0; 4])], "xfs-damaged"),
        (&[(8, &[0; 8])], "xfs-damaged"),
        (&[(84, &[0; 4])], "xfs-damaged"),
        (&[(102, &[0; 2])], "xfs-damaged"),
        (&[(124, &[64])], "xfs-damaged"),
        (&[(48, &[0xff; 8])], "xfs-damaged"),
        (&[(0, b"XFS?")], "unknown"),
    ];
    for (changes, wanted) in cases {
        let source = Sparse::new(SIZE).with(0, &superblock(1, changes));
        assert_eq!(name(&source), Some(*wanted), "{changes:?}");
    }
    let found = xfs::primary(&whole()).unwrap().unwrap();
    assert_eq!((found.uuid.as_str(), found.bytes(), found.inode_percent), (OURS, SIZE, 25));
}

#[test]
fn what_xfs_keeps_for_itself_contradicts_it_and_what_it_gives_to_files_does_not() {
    let md = b"\xfc\x4e\x2b\xa9";
    let larger = Sparse { size: 2 * SIZE, ..whole() };
    let cases = [
        (whole().with(512, b"LABELONE"), "lvm2"),
        (whole().with(510, b"\x55\xaa"), "mbr"),
        (whole().with(512, b"EFI PART"), "gpt"),
        (whole().with(1024, &ext_superblock(EXT4, 16384, 0)), "xfs-damaged"),
        (whole().with(4096, md), "xfs"),
        (whole().with(0x1_0040, b"_BHRfS_M"), "xfs"),
        (whole().with(4086, b"SWAPSPACE2"), "swap"),
        (whole().with(0x8001, b"CD001"), "xfs"),
        (whole().with(SIZE - 65536, md), "xfs"),
        (whole().with(SIZE - 512, b"EFI PART"), "xfs"),
        (larger.clone().with(2 * SIZE - 65536, md), "linux-raid"),
        (larger.with(2 * SIZE - 512, b"EFI PART"), "xfs"),
    ];
    for (index, (source, wanted)) in cases.iter().enumerate() {
        assert_eq!(name(source), Some(*wanted), "case {index}");
    }
}

#[test]
fn a_copy_of_its_superblock_is_found_in_its_groups() {
    let copy = |size: u64, at: u64| Sparse::new(size).with(at, &superblock(1, &[]));
    let cases = [
        (copy(SIZE, GROUP), Some("xfs-backup")),
        // A device that is a little larger than whole groups.
        (copy(SIZE + 5 * 512, GROUP), Some("xfs-backup")),
        // Of itself it says that it belongs elsewhere.
        (copy(SIZE, 200 * MIB + 4096), None),
        (copy(SIZE, 80 * MIB), None),
    ];
    for (index, (source, wanted)) in cases.iter().enumerate() {
        let found = identify(source).unwrap();
        assert_eq!(found, wanted.map(Found::Signature), "case {index}");
    }
}

#[test]
fn the_log_tells_whether_it_was_unmounted_cleanly() {
    let end = LOG_BLOCKS;
    let new = |flags| record(whole(), 0, 1, 2, flags);
    let first_round = |flags| record(record(new(UNMOUNT), 2, 1, 9, 0), 11, 1, 3, flags);
    // In the second round, and in one that ends where the log does.
    let wrapped = |at: u64, flags| {
        let source = filled(filled(whole(), 0, at, 6), at, end, 5);
        record(source, at, 6, 2, flags)
    };
    let over_the_edge = |flags| {
        let source = filled(filled(whole(), 0, 1, 6), 1, end, 5);
        record(source, end - 1, 5, 2, flags)
    };
    let cases = [
        ("made", new(UNMOUNT), true),
        ("unmounted", first_round(UNMOUNT), true),
        ("mounted", first_round(0), false),
        ("more after it", record(new(UNMOUNT), 2, 1, 5, 0), false),
        ("a gap after it", filled(first_round(UNMOUNT), 14, 15, 1), false),
        ("second round", wrapped(1000, UNMOUNT), true),
        ("second round, mounted", wrapped(1000, 0), false),
        ("up to the end", wrapped(end - 2, UNMOUNT), true),
        ("up to the end, mounted", wrapped(end - 2, 0), false),
        ("no record", filled(whole(), 0, end, 3), false),
        ("over the edge", over_the_edge(UNMOUNT), true),
        ("over the edge, mounted", over_the_edge(0), false),
        ("a record of nothing", record(new(UNMOUNT), 2, 1, 1, UNMOUNT), false),
        ("zeroes", whole(), false),
        ("outside", Sparse::new(SIZE).with(0, &superblock(1, &[(96, &[0xff; 4])])), false),
    ];
    for (case, source, clean) in cases {
        let found = xfs::primary(&source).unwrap().unwrap();
        assert_eq!(found.is_dirty(&source).unwrap(), !clean, "{case}");
    }
    let bad = Sparse { bad: Some(LOG), ..new(UNMOUNT) };
    assert!(xfs::primary(&bad).unwrap().unwrap().is_dirty(&bad).is_err());
}

#[test]
fn what_an_interrupted_format_of_xfs_left_is_told_from_what_others_made() {
    let new = || record(whole(), 0, 1, 2, UNMOUNT);
    let with = |source: Sparse, at: u64, last: u8, changes: Changes| {
        source.with(at, &superblock(last, changes))
    };
    let cases = [
        ("unfinished", with(Sparse::new(SIZE), 0, 1, &[(126, &[1])]), true),
        ("whole, and its log not there", whole(), true),
        ("whole", with(new(), GROUP, 1, &[]), true),
        ("a copy only", with(Sparse::new(SIZE), GROUP, 1, &[]), true),
        ("another's", with(new(), 0, 2, &[]), false),
        ("another's, unfinished", with(new(), 0, 2, &[(126, &[1])]), false),
        ("another's copy", with(Sparse::new(SIZE), GROUP, 2, &[]), false),
        ("another's copy behind ours", with(new(), GROUP, 2, &[]), false),
        ("changed", with(new(), 0, 1, &[(247, &[1])]), false),
        ("logged to", record(new(), 2, 1, 5, 0), false),
        ("logged to, with a gap", new().with(LOG + 64 * 512, b"\0\0\0\x01"), false),
        ("its log elsewhere", with(new(), 0, 1, &[(48, &[0; 8])]), false),
        ("damaged", with(new(), 0, 1, &[(4, &[0; 4])]), false),
        ("something else", new().with(512, b"LABELONE"), false),
    ];
    for (case, source, wanted) in cases {
        assert_eq!(left_by(&source, OURS).unwrap(), wanted, "{case}");
    }
}

#[test]
fn any_superblock_and_any_log_can_be_looked_at() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    };
    for round in 0..3_000 {
        let mut bytes = superblock(1, &[]);
        let mut log = vec![0; 1024];
        log[..4].copy_from_slice(&0xfeed_babe_u32.to_be_bytes());
        for _ in 0..6 {
            bytes[4 + next() as usize % 260] = next() as u8;
            log[next() as usize % 520] = next() as u8;
        }
        let source = Sparse::new(SIZE).with(0, &bytes).with(LOG, &log);
        let Some(found) = xfs::primary(&source).unwrap() else { continue };
        let _ = found.is_dirty(&source).unwrap();
        if round % 50 == 0 {
            let _ = left_by(&source, OURS).unwrap();
        }
        for size in [0, 1, MIB, 1 << 40, u64::MAX] {
            assert!(found.blocks_on(size) <= size / found.block_size);
        }
    }
}
