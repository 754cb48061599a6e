//! Signatures on plain bytes.
#![expect(clippy::unwrap_used, reason = "a test")]

mod btrfs_bytes;
mod made;
mod xfs_bytes;

use std::cell::Cell;

use super::*;
use crate::kernel::blank::content;
use crate::kernel::testing::MIB;

/// Zeroes but for a few places, however large.
#[derive(Clone, Default)]
struct Sparse {
    size: u64,
    pieces: Vec<(u64, Vec<u8>)>,
    /// Reads that touch this offset fail.
    bad: Option<u64>,
    read: Cell<u64>,
}

impl Sparse {
    fn new(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    fn with(mut self, offset: u64, bytes: &[u8]) -> Self {
        self.pieces.push((offset, bytes.to_vec()));
        self
    }
}

impl Source for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        assert!(end <= self.size, "read past the end");
        self.read.set(self.read.get() + buffer.len() as u64);
        if self.bad.is_some_and(|bad| (offset..end).contains(&bad)) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        buffer.fill(0);
        for (start, bytes) in &self.pieces {
            let (from, to) = (offset.max(*start), end.min(start + bytes.len() as u64));
            if from < to {
                buffer[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(())
    }
}

/// An ext superblock: features compatible, incompatible, read-only compatible.
fn ext_superblock(features: [u32; 3], blocks: u32, group: u16) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(4, blocks);
    put(24, 2); // blocks of 4 KiB
    put(32, 32768);
    put(40, 8192);
    put(76, 1);
    put(92, features[0]);
    put(96, features[1]);
    put(100, features[2]);
    put(224, 8);
    bytes[56..58].copy_from_slice(&0xef53_u16.to_le_bytes());
    bytes[88..90].copy_from_slice(&256_u16.to_le_bytes());
    bytes[90..92].copy_from_slice(&group.to_le_bytes());
    bytes
}

const EXT4: [u32; 3] = [0x4, 0x40 | 0x2, 0x1];

fn name(source: &Sparse) -> Option<&'static str> {
    content(source).unwrap().name()
}

#[test]
fn every_signature_is_found_at_every_place_by_its_name() {
    for Magic(wanted, places, bytes) in MAGICS {
        for &place in *places {
            let size = 0x40_0000_0040 + 8 * MIB;
            let offset = resolve(&Sparse::new(size), place).unwrap();
            let found = identify(&Sparse::new(size).with(offset, bytes)).unwrap();
            let Some(Found::Signature(found)) = found else {
                panic!("{wanted} at {place}: {found:?}")
            };
            // A FAT32 signature is also a FAT one, and so on: the family is what counts.
            assert_eq!(found, *wanted, "at {place}");
        }
    }
}

#[test]
fn signatures_whose_places_are_worked_out() {
    let size = 3 * 1024 * MIB + 12345 * 512;
    let backup = |group: u64, size: u64| {
        Sparse::new(size).with(group * 32768 * 4096, &ext_superblock(EXT4, 1 << 20, group as u16))
    };
    let sparse = |offset: u64, bytes: &[u8]| Sparse::new(size).with(offset, bytes);
    let cases = [
        (sparse((size & !0xffff) - 0x1_0000, b"\xfc\x4e\x2b\xa9"), Some("linux-raid")),
        (sparse((size & !0xffff) - 0x1_0000, b"\xa9\x2b\x4e\xfc"), Some("linux-raid")),
        (sparse((size - 8192) & !4095, b"\xfc\x4e\x2b\xa9"), Some("linux-raid")),
        (sparse((size & !4095) - 4096 + 60, b"\x83\x74\x02\x6d"), Some("drbd")),
        (sparse(128 * 1024 + 5 * 1024, &0xba_b10c_u64.to_be_bytes()), Some("zfs")),
        (sparse((size & !0x3_ffff) - 128 * 1024, &0xba_b10c_u64.to_le_bytes()), Some("zfs")),
        (backup(1, size), Some("ext-backup")),
        (backup(3, size), Some("ext-backup")),
        (backup(49, 8 * size), Some("ext-backup")),
        // One in a place that says of itself that it belongs elsewhere is a file's.
        (sparse(32768 * 4096 * 8, &ext_superblock(EXT4, 1 << 20, 3)), None),
    ];
    for (index, (source, wanted)) in cases.iter().enumerate() {
        let found = identify(source).unwrap().map(|found| match found {
            Found::Signature(name) => name,
            Found::Filesystem(found) => found.name(),
        });
        assert_eq!(found, *wanted, "case {index}");
    }
}

#[test]
fn the_ext_family_is_told_apart() {
    let cases = [
        (EXT4, Some("ext4")),
        ([0, 0x40 | 0x2, 0x1], Some("ext4")), // without a journal
        ([0x4, 0x2, 0x1 | 0x2], Some("ext3")),
        ([0x4, 0x4 | 0x2, 0x1 | 0x2], Some("ext3")), // to be recovered
        ([0, 0x2, 0x1], Some("ext2")),
        ([0, 0x8, 0], Some("ext-journal-elsewhere")),
    ];
    for (features, wanted) in cases {
        let source = Sparse::new(64 * MIB).with(1024, &ext_superblock(features, 16384, 0));
        assert_eq!(name(&source), wanted, "{features:x?}");
    }
    let mut outside = ext_superblock(EXT4, 16384, 0);
    outside[224] = 0;
    let source = Sparse::new(64 * MIB).with(1024, &outside);
    assert_eq!(name(&source), Some("ext-journal-elsewhere"));
}

#[test]
fn what_an_interrupted_format_left_is_told_from_what_others_made() {
    const OURS: &str = "00000000-0000-4000-8000-000000000001";
    let size = 3 * 1024 * MIB;
    let made = |group: u16, last: u8, changes: &[(usize, u8)]| {
        let mut bytes = ext_superblock(EXT4, 1 << 19, group);
        bytes[104..120].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, last]);
        changes.iter().for_each(|&(at, value)| bytes[at] = value);
        bytes
    };
    let at = |group: u16| if group == 0 { 1024 } else { u64::from(group) * 32768 * 4096 };
    let with = |source: Sparse, group: u16, last: u8, changes: &[(usize, u8)]| {
        source.with(at(group), &made(group, last, changes))
    };
    let new = || Sparse::new(size);
    let cases = [
        ("nothing", new(), true),
        ("unknown", new().with(3 * MIB, b"x"), true),
        ("whole", with(with(new(), 0, 1, &[]), 1, 1, &[]), true),
        ("its backups only", with(with(new(), 1, 1, &[]), 3, 1, &[]), true),
        ("ext3, as features come last", with(new(), 0, 1, &[(96, 0x2)]), true),
        ("another's", with(new(), 0, 2, &[]), false),
        ("mounted once, now or with the count reset", with(new(), 0, 1, &[(52, 1)]), false),
        ("mounted at some time", with(new(), 0, 1, &[(47, 1)]), false),
        ("another's backup", with(new(), 3, 2, &[]), false),
        ("another's backup behind ours", with(with(new(), 1, 1, &[]), 3, 2, &[]), false),
        ("another's backup behind all of ours", with(with(new(), 0, 1, &[]), 1, 2, &[]), false),
        ("a backup that was mounted", with(new(), 1, 1, &[(52, 1)]), false),
        ("something else", with(new(), 0, 1, &[]).with(0, b"LUKS\xba\xbe"), false),
    ];
    for (case, source, wanted) in cases {
        assert_eq!(left_by(&source, OURS).unwrap(), wanted, "{case}");
    }
    let bad = Sparse { bad: Some(128 * MIB), ..with(new(), 0, 1, &[]) };
    assert!(left_by(&bad, OURS).is_err());
}

#[test]
fn only_what_lies_outside_an_ext_filesystem_contradicts_it() {
    let size = 64 * MIB;
    let sized = |blocks: u32| Sparse::new(size).with(1024, &ext_superblock(EXT4, blocks, 0));
    let (whole, part) = (sized(16384), sized(8192));
    let uberblock = 0xba_b10c_u64.to_le_bytes();
    let configuration = b"\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\0\0\x24\0\0\0\x20\0\0\0\x07version\0";
    // A pool that was made where the filesystem had been, and one that was there before it.
    let pool = |slot: u64| {
        whole.clone().with(16 * 1024, configuration).with((128 + slot) * 1024, &uberblock)
    };
    let old_pool =
        (0..128).fold(whole.clone(), |source, slot| source.with((128 + slot) * 1024, &uberblock));
    let md = b"\xfc\x4e\x2b\xa9";
    let cases: Vec<(Sparse, &str)> = vec![
        (whole.clone().with(510, b"\x55\xaa"), "ext4"),
        (whole.clone().with(0x1_0040, b"_BHRfS_M"), "ext4"),
        (whole.clone().with(size - 65536, md), "ext4"),
        (whole.clone().with(size - 512, b"EFI PART"), "ext4"),
        (pool(0), "zfs"),
        (pool(127), "zfs"),
        (old_pool, "ext4"),
        (whole.clone().with(16 * 1024, configuration), "ext4"),
        (whole.clone().with(0, b"LUKS\xba\xbe"), "luks"),
        (whole.clone().with(512, b"LABELONE"), "lvm2"),
        (whole.clone().with(4096, md), "linux-raid"),
        (part.clone().with(size - 65536, md), "linux-raid"),
        (part.clone().with(size - 512, b"EFI PART"), "ext4"),
    ];
    for (index, (source, wanted)) in cases.iter().enumerate() {
        assert_eq!(name(source), Some(*wanted), "case {index}");
    }
}

#[test]
fn blank_means_that_all_that_is_looked_at_is_zero() {
    let gib = 1024 * MIB;
    let size = 5 * gib + 12345;
    assert_eq!(name(&Sparse::new(size)), None);
    let looked_at = [0, 4 * MIB - 1, gib, 2 * gib + 65535, 5 * gib, size - 4 * MIB, size - 1];
    for offset in looked_at {
        assert_eq!(name(&Sparse::new(size).with(offset, &[1])), Some("unknown"), "{offset}");
    }
    for offset in [4 * MIB, gib + 65536, size - 4 * MIB - 1] {
        assert_eq!(name(&Sparse::new(size).with(offset, &[1])), None, "{offset}");
    }
    let source = Sparse::new(1 << 60);
    assert_eq!(name(&source), None);
    assert!(source.read.get() < 300 * MIB, "read {} bytes", source.read.get());
}

#[test]
fn a_read_error_is_an_error_wherever_something_could_be() {
    for bad in [0, 1024, 510, 0x1_0040, 0x400_0040, 128 * MIB, 1024 * MIB, 3 * 1024 * MIB - 1] {
        let source = Sparse { bad: Some(bad), ..Sparse::new(3 * 1024 * MIB) };
        assert_eq!(content(&source).unwrap_err().raw_os_error(), Some(libc::EIO), "{bad}");
    }
}

#[test]
fn any_size_and_any_superblock_can_be_looked_at() {
    for size in (0..300).chain([1023, 1024, 1025, 2048, 4096, 8192, 65536, MIB - 1, MIB]) {
        assert_eq!(name(&Sparse::new(size)), None, "{size}");
    }
    // A generator that repeats itself: what fails can be tried again.
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut bytes = ext_superblock(EXT4, 16384, 0);
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes[(state >> 33) as usize % 360] = (state >> 56) as u8;
        }
        if let Some(found) = ext::primary(&Sparse::new(MIB).with(1024, &bytes)).unwrap() {
            let sizes = [0, 1, MIB, 1 << 40, u64::MAX];
            assert!(sizes.iter().all(|&size| found.blocks_on(size) <= size / found.block_size));
            let _ = found.bytes();
        }
    }
}
