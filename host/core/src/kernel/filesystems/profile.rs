//! How a filesystem is made, from names that a component may choose. Every name and every range
//! is listed here; there is no way to pass anything else to a tool.

use std::ops::RangeInclusive;

use super::Filesystem;
use crate::failure::Failure;
use crate::kernel::invalid;

/// A filesystem's parameters, checked, as the arguments of its mkfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    arguments: Vec<String>,
}

/// An option of a filesystem's mkfs.
struct Choice {
    name: &'static str,
    takes: Takes,
    /// The flag that it stands for, and what comes before the value in the argument.
    flag: (&'static str, &'static str),
    /// What the flag is set to where the option is not given; empty if it is left out.
    default: &'static str,
}

/// What an option's value can be.
enum Takes {
    OneOf(&'static [&'static str]),
    /// A whole number.
    Within(RangeInclusive<u64>),
    /// A name of at most so many bytes.
    Label(usize),
}

use Takes::{Label, OneOf, Within};

/// Below 1024 bytes an inode the inodes would fill the device, above 64 MiB none would be left:
/// mke2fs's own bounds. As Kubernetes does, nothing is reserved: root's reserve is of no use on a
/// volume.
const EXT4: &[Choice] = &[
    choice("block-size", OneOf(&["1024", "2048", "4096"]), ("-b", "")),
    choice("inode-size", OneOf(&["128", "256", "512", "1024"]), ("-I", "")),
    choice("bytes-per-inode", Within(1024..=64 * 1024 * 1024), ("-i", "")),
    choice("inodes", Within(16..=4_294_967_295), ("-N", "")),
    choice("label", Label(16), ("-L", "")),
    Choice { default: "0", ..choice("reserved-percent", Within(0..=50), ("-m", "")) },
];

const XFS: &[Choice] = &[
    choice("block-size", OneOf(&["1024", "2048", "4096"]), ("-b", "size=")),
    choice("inode-size", OneOf(&["512", "1024", "2048"]), ("-i", "size=")),
    choice("label", Label(12), ("-L", "")),
];

/// Metadata is kept twice whatever the device says of itself: a flash disk can lose a block, too.
const BTRFS: &[Choice] = &[
    choice("node-size", OneOf(&["4096", "8192", "16384", "32768", "65536"]), ("-n", "")),
    choice("checksum", OneOf(&["crc32c", "xxhash", "sha256", "blake2"]), ("--csum", "")),
    choice("label", Label(255), ("-L", "")),
    Choice { default: "dup", ..choice("metadata", OneOf(&["dup", "single"]), ("-m", "")) },
];

impl Profile {
    /// Reads the options of `filesystems.format`. Each may be given once.
    pub fn parse(filesystem: Filesystem, options: &[(String, String)]) -> Result<Self, Failure> {
        let choices = match filesystem {
            Filesystem::Ext4 => EXT4,
            Filesystem::Xfs => XFS,
            Filesystem::Btrfs => BTRFS,
        };
        let fs = filesystem.name();
        let bad = |message: String| invalid("bad-option", message);
        let mut arguments = Vec::new();
        for (index, (name, value)) in options.iter().enumerate() {
            if options[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(bad(format!("{fs} option {name} is given twice")));
            }
            let Some(choice) = choices.iter().find(|choice| choice.name == name) else {
                let names: Vec<&str> = choices.iter().map(|choice| choice.name).collect();
                let known = listed(&names, "and");
                return Err(bad(format!("{fs} has no option {name}; there are {known}")));
            };
            if !choice.takes.allows(value) {
                let takes = choice.takes.describe();
                return Err(bad(format!("{fs} option {name} takes {takes}")));
            }
            arguments.extend(choice.arguments(value));
        }
        let given = |choice: &Choice| options.iter().any(|(name, _)| name == choice.name);
        for choice in choices.iter().filter(|choice| !choice.default.is_empty() && !given(choice)) {
            arguments.extend(choice.arguments(choice.default));
        }
        Ok(Self { arguments })
    }

    /// The arguments of mkfs that stand for it.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().map(String::as_str)
    }
}

impl Choice {
    fn arguments(&self, value: &str) -> [String; 2] {
        let (flag, before) = self.flag;
        [flag.to_owned(), format!("{before}{value}")]
    }
}

impl Takes {
    fn allows(&self, value: &str) -> bool {
        match self {
            OneOf(choices) => choices.contains(&value),
            // Without a sign or a zero in front, with which tools take it for octal.
            Within(range) => value
                .parse()
                .is_ok_and(|number: u64| range.contains(&number) && number.to_string() == value),
            Label(longest) => {
                let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
                (1..=*longest).contains(&value.len())
                    && value.bytes().all(safe)
                    && !value.starts_with('-')
            }
        }
    }

    fn describe(&self) -> String {
        match self {
            OneOf(choices) => listed(choices, "or"),
            Within(range) => format!("{} to {}", range.start(), range.end()),
            Label(longest) => {
                format!("1 to {longest} of A-Z, a-z, 0-9, `.`, `_` and `-`, no `-` first")
            }
        }
    }
}

const fn choice(name: &'static str, takes: Takes, flag: (&'static str, &'static str)) -> Choice {
    Choice { name, takes, flag, default: "" }
}

/// `a, b and c`.
fn listed(names: &[&str], last: &str) -> String {
    match names {
        [first @ .., end] if !first.is_empty() => format!("{} {last} {end}", first.join(", ")),
        names => names.join(""),
    }
}
