//! What is on a device, told by the signatures that formats leave at known places.
//!
//! Pure: it reads through [`Source`] and touches nothing else, so that it can be tested and
//! fuzzed on plain bytes. It never says that something is blank; that needs [`super::blank`].
//! Finding no signature proves nothing.

pub mod btrfs;
pub mod ext;
pub mod xfs;

use std::io;

/// Something that can be read at any place.
pub trait Source {
    /// Its size in bytes.
    fn size(&self) -> u64;
    /// Fills the buffer from that offset on, or fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// What was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A filesystem that is known well, and nothing that contradicts it.
    Filesystem(Box<Superblock>),
    /// Something else, by name.
    Signature(&'static str),
}

/// A superblock of a filesystem that is known well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Superblock {
    /// ext2, ext3 or ext4.
    Ext(ext::Superblock),
    /// XFS.
    Xfs(xfs::Superblock),
    /// btrfs.
    Btrfs(btrfs::Superblock),
}

impl Superblock {
    /// As in `fsType`; or what it is instead of a filesystem that can be mounted from this device.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ext(ext) => match ext.kind {
                ext::Kind::Ext4 => "ext4",
                ext::Kind::Ext3 => "ext3",
                ext::Kind::Ext2 => "ext2",
                ext::Kind::ElsewhereJournal => "ext-journal-elsewhere",
            },
            Self::Xfs(xfs) => match xfs.kind {
                xfs::Kind::Whole => "xfs",
                xfs::Kind::ElsewhereLog => "xfs-log-elsewhere",
                xfs::Kind::Realtime => "xfs-realtime-elsewhere",
                xfs::Kind::Unfinished => "xfs-unfinished",
            },
            Self::Btrfs(btrfs) => match btrfs.kind {
                btrfs::Kind::Whole => "btrfs",
                btrfs::Kind::SeveralDevices => "btrfs-several-devices",
                btrfs::Kind::Seed => "btrfs-seed",
                btrfs::Kind::Unfinished => "btrfs-unfinished",
            },
        }
    }

    /// What tells it from all others, as text.
    pub fn uuid(&self) -> &str {
        match self {
            Self::Ext(ext) => &ext.uuid,
            Self::Xfs(xfs) => &xfs.uuid,
            Self::Btrfs(btrfs) => &btrfs.uuid,
        }
    }

    /// How much of the device it takes up, in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Ext(ext) => ext.bytes(),
            Self::Xfs(xfs) => xfs.bytes(),
            Self::Btrfs(btrfs) => btrfs.bytes,
        }
    }

    /// How much of a device of that many bytes it can take up.
    pub fn bytes_on(&self, device: u64) -> u64 {
        match self {
            Self::Ext(ext) => ext.blocks_on(device).saturating_mul(ext.block_size),
            Self::Xfs(xfs) => xfs.blocks_on(device).saturating_mul(xfs.block_size),
            Self::Btrfs(btrfs) => btrfs.bytes_on(device),
        }
    }

    /// Whether mounting it writes to it, read-only or not.
    pub fn is_dirty(&self, source: &impl Source) -> io::Result<bool> {
        match self {
            Self::Ext(ext) => Ok(ext.dirty),
            Self::Xfs(xfs) => xfs.is_dirty(source),
            Self::Btrfs(btrfs) => Ok(btrfs.dirty),
        }
    }

    /// Whether it can hold anything that was put there since it was made.
    fn was_used(&self, source: &impl Source) -> io::Result<bool> {
        match self {
            Self::Ext(ext) => Ok(ext.mounted),
            Self::Xfs(xfs) => xfs.was_used(source),
            // It does not tell whether it was mounted; but mkfs.btrfs finishes it only when all
            // of it is safe on the device, so it can be used as it is.
            Self::Btrfs(btrfs) => Ok(btrfs.kind != btrfs::Kind::Unfinished),
        }
    }

    /// Whether a signature means that this is only left over from before.
    ///
    /// Inside a filesystem any user's file may hold any bytes at any place; but not where it
    /// keeps what is its own. A partition table's copy at the end outlives everything, and boot
    /// loaders use the first sector, which ext and btrfs leave to them.
    fn is_contradicted(&self, name: &str, place: i64, offset: u64) -> bool {
        if name == "gpt" && place < 0 {
            return false;
        }
        offset >= self.bytes()
            || match self {
                Self::Ext(_) => {
                    let superblock = ext::OFFSET..ext::OFFSET + 1024;
                    name != "mbr" && offset < 8192 && !superblock.contains(&offset)
                }
                Self::Xfs(xfs) => xfs.own().contains(&offset),
                Self::Btrfs(_) => name != "mbr" && btrfs::Superblock::is_own(offset),
            }
    }
}

/// The superblock where it usually is. What is left of a filesystem that was there before has
/// been overwritten by the one that was made since: each begins where another has its own.
fn primary(source: &impl Source) -> io::Result<Option<Superblock>> {
    if let Some(ext) = ext::primary(source)? {
        return Ok(Some(Superblock::Ext(ext)));
    }
    if let Some(xfs) = xfs::primary(source)? {
        return Ok(Some(Superblock::Xfs(xfs)));
    }
    Ok(btrfs::primary(source)?.map(Superblock::Btrfs))
}

/// A signature: its name, where it is, and its bytes.
struct Magic(&'static str, &'static [i64], &'static [u8]);

/// Fixed places, from the start or, if negative, from the end. What is contained in something
/// else comes after it: a RAID member also shows the filesystem that is in the RAID.
#[rustfmt::skip]
const MAGICS: &[Magic] = &[
    Magic("luks", &[0], b"LUKS\xba\xbe"),
    // cryptsetup's luks2.h: where the second header can be.
    Magic("luks", &[0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x10_0000, 0x20_0000, 0x40_0000], b"SKUL\xba\xbe"),
    Magic("bitlocker", &[3], b"-FVE-FS-"),
    Magic("lvm2", &[0, 512, 1024, 1536], b"LABELONE"),
    Magic("stratis", &[0x204, 0x1204], b"!Stra0tis\x86\xff\x02^\x41rh"),
    Magic("linux-raid", &[0, 4096], b"\xfc\x4e\x2b\xa9"),
    Magic("bcache", &[0x1018], b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    Magic("bcachefs", &[0x1018], b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    Magic("bluestore", &[0], b"bluestore block device"),
    Magic("vdo", &[0], b"dmvdo001"),
    Magic("dm-verity", &[0], b"verity\0\0"),
    Magic("dm-integrity", &[0], b"integrt\0"),
    Magic("dm-snapshot", &[0], b"SnAp"),
    Magic("vmfs", &[0x10_0000], b"\x0d\xd0\x01\xc0"),
    Magic("intel-raid", &[-1024], b"Intel Raid ISM Cfg Sig. "),
    Magic("ddf-raid", &[-512], b"\xde\x11\xde\x11"),
    Magic("xfs-damaged", &[0], b"XFSB"),
    Magic("xfs-log", &[0], b"\xfe\xed\xba\xbe"),
    Magic("btrfs-damaged", &[0x1_0040], b"_BHRfS_M"),
    Magic("btrfs-damaged", &[0x1_0040], b"!BHRfS_M"),
    Magic("squashfs", &[0], b"hsqs"),
    Magic("squashfs", &[0], b"sqsh"),
    Magic("cramfs", &[0, 512], b"\x45\x3d\xcd\x28"),
    Magic("romfs", &[0], b"-rom1fs-"),
    Magic("erofs", &[1024], b"\xe2\xe1\xf5\xe0"),
    Magic("f2fs", &[1024, 5120], b"\x10\x20\xf5\xf2"),
    Magic("nilfs2", &[1030], b"\x34\x34"),
    Magic("hfs", &[1024], b"BD"),
    Magic("hfsplus", &[1024], b"H+\0\x04"),
    Magic("hfsplus", &[1024], b"HX\0\x05"),
    Magic("apfs", &[32], b"NXSB"),
    Magic("minix", &[1040], b"\x7f\x13"),
    Magic("minix", &[1040], b"\x8f\x13"),
    Magic("minix", &[1040], b"\x68\x24"),
    Magic("minix", &[1040], b"\x78\x24"),
    Magic("minix", &[1048], b"\x5a\x4d"),
    Magic("ufs", &[9564, 66908, 263_516], b"\x54\x19\x01\x00"),
    Magic("ufs", &[9564, 66908, 263_516], b"\x19\x01\x54\x19"),
    Magic("reiserfs", &[0x2034, 0x1_0034], b"ReIsEr"),
    Magic("reiser4", &[0x1_0000], b"ReIsEr4"),
    Magic("jfs", &[0x8000, 0xf000], b"JFS1"),
    Magic("gfs2", &[0x1_0000], b"\x01\x16\x19\x70"),
    Magic("ocfs2", &[1024, 2048, 4096, 8192], b"OCFSV2"),
    Magic("iso9660", &[0x8001], b"CD001"),
    Magic("udf", &[0x8001, 0x8801], b"BEA01"),
    Magic("udf", &[0x8001, 0x8801], b"NSR0"),
    // The last ten bytes of the first page, whatever size pages have.
    Magic("swap", &[4086, 8182, 16374, 32758, 65526], b"SWAPSPACE2"),
    Magic("swap", &[4086, 8182, 16374, 32758, 65526], b"SWAP-SPACE"),
    Magic("hibernation", &[4086, 8182, 16374, 32758, 65526], b"S1SUSPEND"),
    Magic("hibernation", &[4086, 8182, 16374, 32758, 65526], b"S2SUSPEND"),
    Magic("hibernation", &[4086, 8182, 16374, 32758, 65526], b"ULSUSPEND"),
    Magic("hibernation", &[4086, 8182, 16374, 32758, 65526], b"LINHIB0001"),
    Magic("ntfs", &[3], b"NTFS    "),
    Magic("exfat", &[3], b"EXFAT   "),
    Magic("vfat", &[54], b"FAT"),
    Magic("vfat", &[82], b"FAT32"),
    Magic("gpt", &[512, 4096, -512, -4096], b"EFI PART"),
    Magic("mbr", &[510], b"\x55\xaa"),
];

/// Names what is on the source; none if nothing is recognised. Every read that fails is an
/// error, as there may be something just there.
pub fn identify(source: &impl Source) -> io::Result<Option<Found>> {
    let found = primary(source)?;
    for Magic(name, places, bytes) in MAGICS {
        for &place in *places {
            let Some(offset) = resolve(source, place) else { continue };
            let weighs = found.as_ref().is_none_or(|fs| fs.is_contradicted(name, place, offset));
            if weighs && has(source, offset, bytes)? {
                return Ok(Some(Found::Signature(name)));
            }
        }
    }
    if let Some(name) = raid_tail(source, found.as_ref())? {
        return Ok(Some(Found::Signature(name)));
    }
    // Making a ZFS pool leaves the first 8 KiB as they are, with whatever was in them; making a
    // filesystem leaves a pool's uberblocks, but not the list of what the pool consists of.
    let labels = if found.is_none() { 4 } else { usize::from(has_zfs_configuration(source)?) };
    if has_zfs_uberblock(source, labels)? {
        return Ok(Some(Found::Signature("zfs")));
    }
    if let Some(found) = found {
        return Ok(Some(Found::Filesystem(Box::new(found))));
    }
    if ext::has_backup(source, |_| true)? {
        return Ok(Some(Found::Signature("ext-backup")));
    }
    if xfs::has_copy(source, |_| true)? {
        return Ok(Some(Found::Signature("xfs-backup")));
    }
    Ok(btrfs::has_copy(source, |_| true)?.then_some(Found::Signature("btrfs-backup")))
}

/// Whether what is there can be what an interrupted format left that made a filesystem of that
/// UUID: each superblock, primary or backup, is of that very filesystem and says that it was
/// never used, and nothing else is recognised.
pub fn left_by(source: &impl Source, uuid: &str) -> io::Result<bool> {
    match identify(source)? {
        Some(Found::Filesystem(found)) if found.uuid() != uuid || found.was_used(source)? => {
            return Ok(false);
        }
        Some(Found::Filesystem(_)) | None => {}
        Some(Found::Signature("ext-backup" | "xfs-backup" | "btrfs-backup")) => {}
        Some(Found::Signature(_)) => return Ok(false),
    }
    let other = ext::has_backup(source, |found| found.uuid != uuid || found.mounted)?
        || xfs::has_copy(source, |found| found.uuid != uuid)?
        || btrfs::has_copy(source, |found| found.is_none_or(|found| found.uuid != uuid))?;
    Ok(!other)
}

/// RAID superblocks near the end: Linux md 0.90 and 1.0 (md_p.h), and DRBD's (drbd_int.h).
/// A filesystem that is in such a RAID ends before it.
fn raid_tail(source: &impl Source, found: Option<&Superblock>) -> io::Result<Option<&'static str>> {
    let size = source.size();
    let md = [0xfc, 0x4e, 0x2b, 0xa9];
    let md_swapped = [0xa9, 0x2b, 0x4e, 0xfc];
    let tests: [(&str, Option<u64>, &[u8]); 5] = [
        ("linux-raid", (size & !0xffff).checked_sub(0x1_0000), &md),
        ("linux-raid", (size & !0xffff).checked_sub(0x1_0000), &md_swapped),
        ("linux-raid", size.checked_sub(0x2000).map(|offset| offset & !0xfff), &md),
        (
            "drbd",
            (size & !0xfff).checked_sub(0x1000).map(|offset| offset + 60),
            b"\x83\x74\x02\x6b",
        ),
        (
            "drbd",
            (size & !0xfff).checked_sub(0x1000).map(|offset| offset + 60),
            b"\x83\x74\x02\x6d",
        ),
    ];
    for (name, offset, bytes) in tests {
        let Some(offset) = offset else { continue };
        if found.is_none_or(|fs| offset >= fs.bytes()) && has(source, offset, bytes)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether the first ZFS label lists the pool's devices: 16 KiB into it, as name-value pairs in
/// XDR (vdev_impl.h, nvpair.c: encoding, endianness, version 0, unique names).
fn has_zfs_configuration(source: &impl Source) -> io::Result<bool> {
    const OFFSET: u64 = 16 * 1024;
    let mut header = [0; 12];
    if source.size() < OFFSET + header.len() as u64 {
        return Ok(false);
    }
    source.read_at(OFFSET, &mut header)?;
    Ok(matches!(header, [1, 0 | 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]))
}

/// Whether there is a ZFS uberblock in the first so many labels: 128 KiB of slots in each of
/// four labels of 256 KiB, two at the start and two at the end (vdev_impl.h).
fn has_zfs_uberblock(source: &impl Source, labels: usize) -> io::Result<bool> {
    const LABEL: u64 = 256 * 1024;
    // So many at a time, in memory that is there already: most labels hold none.
    const SLOTS: usize = 16 * 1024;
    let end = source.size() & !(LABEL - 1);
    let mut slots = [0; SLOTS];
    let places = [Some(0), Some(LABEL), end.checked_sub(2 * LABEL), end.checked_sub(LABEL)];
    for label in places.into_iter().take(labels) {
        let Some(offset) = label.map(|label| label + LABEL / 2) else { continue };
        if offset + LABEL / 2 > source.size() {
            continue;
        }
        let magic = 0x00ba_b10c_u64;
        let is_one =
            |slot: &[u8]| slot[..8] == magic.to_le_bytes() || slot[..8] == magic.to_be_bytes();
        for part in (offset..offset + LABEL / 2).step_by(SLOTS) {
            source.read_at(part, &mut slots)?;
            if slots.chunks_exact(1024).any(is_one) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The offset of a place; none if it lies outside.
fn resolve(source: &impl Source, place: i64) -> Option<u64> {
    match place {
        0.. => Some(place.unsigned_abs()),
        _ => source.size().checked_sub(place.unsigned_abs()),
    }
}

fn has(source: &impl Source, offset: u64, bytes: &[u8]) -> io::Result<bool> {
    let length = bytes.len();
    if offset.checked_add(length as u64).is_none_or(|end| end > source.size()) {
        return Ok(false);
    }
    let mut buffer = [0; 32];
    source.read_at(offset, &mut buffer[..length])?;
    Ok(&buffer[..length] == bytes)
}

#[cfg(test)]
mod tests;
