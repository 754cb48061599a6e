//! How a filesystem is made and mounted, from names that a component may choose. Every name
//! and every range is listed here; there is no way to pass anything else to a tool or the kernel.

use rustix::mount::MountAttrFlags;

use super::Filesystem;
use crate::failure::Failure;
use crate::kernel::invalid;

/// How many bytes one inode may stand for: below, the inodes would fill the device; above, none
/// would be left. mke2fs's own bounds.
const BYTES_PER_INODE: std::ops::RangeInclusive<u64> = 1024..=64 * 1024 * 1024;

/// What ext4's label holds, in bytes.
const MAX_LABEL: usize = 16;

/// A filesystem's parameters, checked, as the arguments of its mkfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    arguments: Vec<String>,
}

impl Profile {
    /// Reads the options of `filesystems.format`. Each may be given once.
    pub fn parse(filesystem: Filesystem, options: &[(String, String)]) -> Result<Self, Failure> {
        let Filesystem::Ext4 = filesystem;
        let mut arguments = Vec::new();
        // As Kubernetes does: root's reserve is of no use on a volume.
        let mut reserved = "0".to_owned();
        for (index, (name, value)) in options.iter().enumerate() {
            if options[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(invalid("bad-option", format!("ext4 option {name} is given twice")));
            }
            let number =
                value.parse::<u64>().ok().filter(|_| value.bytes().all(|b| b.is_ascii_digit()));
            let one_of = |choices: &[u64]| number.filter(|number| choices.contains(number));
            let (flag, valid, choices) = match name.as_str() {
                "block-size" => ("-b", one_of(&[1024, 2048, 4096]), "1024, 2048 or 4096"),
                "inode-size" => ("-I", one_of(&[128, 256, 512, 1024]), "128, 256, 512 or 1024"),
                "bytes-per-inode" => {
                    ("-i", number.filter(|n| BYTES_PER_INODE.contains(n)), "1024 to 67108864")
                }
                "inodes" => (
                    "-N",
                    number.filter(|n| (16..=u64::from(u32::MAX)).contains(n)),
                    "16 to 4294967295",
                ),
                "reserved-percent" => ("-m", number.filter(|n| *n <= 50), "0 to 50"),
                "label" if is_label(value) => {
                    arguments.extend(["-L".to_owned(), value.clone()]);
                    continue;
                }
                "label" => {
                    let message = "ext4 option label takes 1 to 16 of A-Z, a-z, 0-9, `.`, `_` and `-`, no `-` first";
                    return Err(invalid("bad-option", message));
                }
                _ => {
                    let message = format!(
                        "ext4 has no option {name}; there are block-size, inode-size, bytes-per-inode, inodes, label and reserved-percent"
                    );
                    return Err(invalid("bad-option", message));
                }
            };
            let Some(number) = valid else {
                return Err(invalid("bad-option", format!("ext4 option {name} takes {choices}")));
            };
            if flag == "-m" {
                reserved = number.to_string();
            } else {
                arguments.extend([flag.to_owned(), number.to_string()]);
            }
        }
        arguments.extend(["-m".to_owned(), reserved]);
        Ok(Self { arguments })
    }

    /// The arguments of mkfs that stand for it.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().map(String::as_str)
    }
}

fn is_label(value: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_LABEL).contains(&value.len()) && value.bytes().all(safe) && !value.starts_with('-')
}

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
    /// Of the filesystem: a flag for fsconfig(2).
    Flag,
}

const BLOCK_OPTIONS: &[(&str, Effect)] = &[
    ("noatime", Effect::AccessTime(MountAttrFlags::MOUNT_ATTR_NOATIME)),
    ("relatime", Effect::AccessTime(MountAttrFlags::MOUNT_ATTR_RELATIME)),
    ("strictatime", Effect::AccessTime(MountAttrFlags::MOUNT_ATTR_STRICTATIME)),
    ("nodiratime", Effect::Attribute(MountAttrFlags::MOUNT_ATTR_NODIRATIME)),
    ("noexec", Effect::Attribute(MountAttrFlags::MOUNT_ATTR_NOEXEC)),
    ("lazytime", Effect::Flag),
    ("discard", Effect::Flag),
    ("nodiscard", Effect::Flag),
];

impl BlockOption {
    /// Reads the name of an option.
    pub fn parse(filesystem: Filesystem, name: &str) -> Result<Self, Failure> {
        match BLOCK_OPTIONS.iter().find(|(known, _)| *known == name) {
            Some(&(name, effect)) => Ok(Self { name, effect }),
            None => {
                let known: Vec<&str> = BLOCK_OPTIONS.iter().map(|(name, _)| *name).collect();
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
        let Filesystem::Ext4 = filesystem;
        BLOCK_OPTIONS.iter().map(|(name, _)| *name)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The fsconfig(2) flag it stands for, if it is one of the filesystem.
    pub(in crate::kernel) fn flag(&self) -> Option<&'static str> {
        (self.effect == Effect::Flag).then_some(self.name)
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
            Effect::Flag => {}
        }
    }
    Ok(attributes)
}
