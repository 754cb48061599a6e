//! Which tool makes which filesystem, and what it is told each time. What a component may choose
//! is [`super::Profile`]'s.

use rustix::thread::CapabilitySet;

use super::Filesystem;
use crate::failure::Failure;
use crate::kernel::superblocks::btrfs;
use crate::kernel::tools::Tool;

const MIB: u64 = 1024 * 1024;

/// A tool that makes filesystems of one type.
pub(super) struct Maker {
    name: &'static str,
    package: &'static str,
    /// What it cannot do without.
    capabilities: CapabilitySet,
    /// No smaller device is formatted, in bytes.
    pub(super) min_size: u64,
    /// What it is always told. Nothing is discarded, since a blank device has nothing to discard
    /// and large ones take minutes to do it.
    fixed: &'static [&'static str],
    /// The flag that gives the UUID, and what comes before it in the argument.
    uuid: (&'static str, &'static str),
}

/// The journal is zeroed now, not while mounted: what was not sampled may not be zero.
static EXT4: Maker = Maker {
    name: "mkfs.ext4",
    package: "e2fsprogs",
    capabilities: CapabilitySet::empty(),
    min_size: MIB,
    fixed: &["-q", "-t", "ext4", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=0"],
    uuid: ("-U", ""),
};

/// It looks for signatures itself, and refuses less than is refused here: `-f` has it go on over
/// what an interrupted format of this volume's left.
static XFS: Maker = Maker {
    name: "mkfs.xfs",
    package: "xfsprogs",
    // It sets the device's block size and gives up if the kernel does not let it.
    capabilities: CapabilitySet::SYS_ADMIN,
    min_size: 300 * MIB,
    fixed: &["-q", "-f", "-K"],
    uuid: ("-m", "uuid="),
};

/// `-f` as for xfs. One that is smaller than it can be grown to could not be grown. The sector size is fixed since older tools take the page size of the machine,
/// with which no other kind of machine could mount it.
static BTRFS: Maker = Maker {
    name: "mkfs.btrfs",
    package: "btrfs-progs",
    capabilities: CapabilitySet::empty(),
    min_size: btrfs::MIN_GROWN,
    fixed: &["-q", "-f", "-K", "-s", "4096", "-d", "single"],
    uuid: ("-U", ""),
};

impl Maker {
    /// The one for a filesystem.
    pub(super) fn of(filesystem: Filesystem) -> &'static Self {
        match filesystem {
            Filesystem::Ext4 => &EXT4,
            Filesystem::Xfs => &XFS,
            Filesystem::Btrfs => &BTRFS,
        }
    }

    /// The tool, if it is there.
    pub(super) fn find(&self) -> Result<Tool, Failure> {
        Ok(Tool::find(self.name, self.package)?.keeping(self.capabilities))
    }

    /// The arguments that come before those of the profile.
    pub(super) fn arguments(&self, uuid: &str) -> impl Iterator<Item = String> {
        let (flag, before) = self.uuid;
        let named = [flag.to_owned(), format!("{before}{uuid}")];
        self.fixed.iter().map(|argument| (*argument).to_owned()).chain(named)
    }
}
