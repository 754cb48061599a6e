//! Mount options, from names that a component may choose. Every name is listed here; there is no
//! way to pass anything else to the kernel.

use rustix::mount::MountAttrFlags;

use super::Filesystem;
use crate::failure::Failure;
use crate::kernel::invalid;

/// A mount option beyond those that are always on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockOption {
    name: &'static str,
    effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Of the one mount.
    Attribute(MountAttrFlags),
    /// Like it, and there can be only one of these.
    AccessTime(MountAttrFlags),
    /// Of a filesystem: a flag for fsconfig(2).
    Flag(&'static [Filesystem]),
    /// Of a filesystem: a key and its value for fsconfig(2).
    Setting(&'static [Filesystem], &'static str, &'static str),
}

const BLOCK_OPTIONS: &[(&str, Effect)] = &[
    ("noatime", Effect::AccessTime(MountAttrFlags::MOUNT_ATTR_NOATIME)),
    ("relatime", Effect::AccessTime(MountAttrFlags::MOUNT_ATTR_RELATIME)),
    ("strictatime", Effect::AccessTime(MountAttrFlags::MOUNT_ATTR_STRICTATIME)),
    ("nodiratime", Effect::Attribute(MountAttrFlags::MOUNT_ATTR_NODIRATIME)),
    ("noexec", Effect::Attribute(MountAttrFlags::MOUNT_ATTR_NOEXEC)),
    ("lazytime", Effect::Flag(&[Filesystem::Ext4, Filesystem::Xfs])),
    ("discard", Effect::Flag(Filesystem::ALL)),
    ("nodiscard", Effect::Flag(Filesystem::ALL)),
    ("compress-zstd", Effect::Setting(&[Filesystem::Btrfs], "compress", "zstd")),
];

impl Effect {
    fn is_of(self, filesystem: Filesystem) -> bool {
        match self {
            Self::Attribute(_) | Self::AccessTime(_) => true,
            Self::Flag(of) | Self::Setting(of, ..) => of.contains(&filesystem),
        }
    }
}

impl BlockOption {
    /// Reads the name of an option.
    pub fn parse(filesystem: Filesystem, name: &str) -> Result<Self, Failure> {
        let mut known = BLOCK_OPTIONS.iter().filter(|(_, effect)| effect.is_of(filesystem));
        match known.find(|(known, _)| *known == name) {
            Some(&(name, effect)) => Ok(Self { name, effect }),
            None => {
                let known: Vec<&str> = Self::names(filesystem).collect();
                let known = known.join(", ");
                let message = format!(
                    "{} has no mount option {name:?}; there are {known}",
                    filesystem.name()
                );
                Err(invalid("bad-option", message))
            }
        }
    }

    /// The names that a filesystem's mounts may have.
    pub fn names(filesystem: Filesystem) -> impl Iterator<Item = &'static str> {
        let of_it = BLOCK_OPTIONS.iter().filter(move |(_, effect)| effect.is_of(filesystem));
        of_it.map(|(name, _)| *name)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The fsconfig(2) setting it stands for, if it is one of the filesystem: a key, and a value
    /// unless it is a flag.
    pub(in crate::kernel) fn setting(&self) -> Option<(&'static str, Option<&'static str>)> {
        match self.effect {
            Effect::Attribute(_) | Effect::AccessTime(_) => None,
            Effect::Flag(_) => Some((self.name, None)),
            Effect::Setting(_, key, value) => Some((key, Some(value))),
        }
    }
}

/// The mount attributes that the options stand for.
pub(in crate::kernel) fn attributes(options: &[BlockOption]) -> Result<MountAttrFlags, Failure> {
    let mut attributes = MountAttrFlags::empty();
    let mut access_time = None;
    for option in options {
        match option.effect {
            Effect::Attribute(attribute) => attributes |= attribute,
            Effect::AccessTime(attribute) => {
                if let Some(other) =
                    access_time.replace(option.name).filter(|other| *other != option.name)
                {
                    let message = format!(
                        "the mount options {other} and {} contradict each other",
                        option.name
                    );
                    return Err(invalid("bad-option", message));
                }
                attributes |= attribute;
            }
            Effect::Flag(_) | Effect::Setting(..) => {}
        }
    }
    Ok(attributes)
}
