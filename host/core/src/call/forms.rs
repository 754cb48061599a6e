//! Which argument is which. Kubernetes' documents and kubelet itself disagree about several
//! operations, and older documents about more, so each has the forms listed here. They are told
//! apart by how many arguments there are and which of them is a JSON object.
//!
//! What is in an argument is not looked at beyond that.

use super::{NodeName, Operation, VolumeName, invalid};
use crate::failure::Failure;

/// The part that one argument plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// The volume's options, a JSON object.
    Options,
    /// A mount directory.
    Directory,
    /// What `attach` or `waitforattach` returned; may be empty.
    Device,
    /// A node's name.
    Node,
    /// A volume's name.
    Name,
    /// The new size in bytes.
    NewSize,
    /// The old size in bytes.
    OldSize,
    /// A path that kubelet passes and that is not needed: the volume is found by its options.
    Unused,
}

use Slot::{Device, Directory, Name, NewSize, Node, OldSize, Options, Unused};

/// The forms of an operation's argument list; kubelet's own comes first.
fn forms(operation: Operation) -> &'static [&'static [Slot]] {
    match operation {
        Operation::Init | Operation::GetVolumeName => &[],
        Operation::Attach => &[&[Options, Node]],
        Operation::IsAttached => &[&[Options, Node], &[Node, Options]],
        // The public documents have a mount device here; kubelet passes the volume's name.
        Operation::Detach => &[&[Name, Node]],
        Operation::WaitForAttach => &[&[Device, Options], &[Options]],
        Operation::MountDevice => &[&[Directory, Device, Options], &[Directory, Options]],
        Operation::UnmountDevice | Operation::Unmount => &[&[Directory]],
        // Before Kubernetes 1.6 the device was passed to `mount`.
        Operation::Mount => &[&[Directory, Options], &[Directory, Unused, Options]],
        Operation::ExpandVolume => &[&[Options, Unused, NewSize, OldSize]],
        Operation::ExpandFs => &[&[Options, Unused, Directory, NewSize, OldSize]],
    }
}

impl Slot {
    /// What the operator reads.
    fn name(self) -> &'static str {
        match self {
            Options => "OPTIONS",
            Directory => "DIRECTORY",
            Device | Unused => "DEVICE",
            Node => "NODE",
            Name => "VOLUME",
            NewSize => "NEW-SIZE",
            OldSize => "OLD-SIZE",
        }
    }
}

/// The arguments of one call, by the part they play.
#[derive(Debug, Default)]
pub(super) struct Given<'a> {
    options: Option<&'a str>,
    directory: Option<&'a str>,
    pub(super) device: Option<&'a str>,
    node: Option<&'a str>,
    name: Option<&'a str>,
    new_size: Option<&'a str>,
    old_size: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// Finds the form that the arguments have.
    pub(super) fn read(operation: Operation, args: &[&'a [u8]]) -> Result<Self, Failure> {
        let forms = forms(operation);
        if !forms.iter().any(|form| form.len() == args.len()) {
            return Err(wrong_number(forms, args.len()));
        }
        let mut texts = Vec::with_capacity(args.len());
        for (index, arg) in args.iter().enumerate() {
            texts.push(std::str::from_utf8(arg).map_err(|_| {
                invalid("not-utf-8", format!("argument {} is not valid UTF-8", index + 1))
            })?);
        }
        let fits = |form: &&&[Slot]| {
            form.len() == texts.len()
                && form.iter().zip(&texts).all(|(slot, text)| (*slot == Options) == is_object(text))
        };
        let form = forms.iter().find(fits).ok_or_else(|| wrong_shape(forms, &texts))?;
        let mut given = Self::default();
        for (slot, text) in form.iter().zip(texts) {
            let place = match slot {
                Options => &mut given.options,
                Directory => &mut given.directory,
                Device => &mut given.device,
                Node => &mut given.node,
                Name => &mut given.name,
                NewSize => &mut given.new_size,
                OldSize => &mut given.old_size,
                Unused => continue,
            };
            *place = Some(text);
        }
        Ok(given)
    }

    pub(super) fn options(&self) -> Result<&'a str, Failure> {
        self.options.ok_or_else(|| missing(Options))
    }

    pub(super) fn directory(&self) -> Result<&'a str, Failure> {
        self.directory.ok_or_else(|| missing(Directory))
    }

    pub(super) fn node(&self) -> Result<NodeName, Failure> {
        self.node
            .ok_or_else(|| missing(Node))?
            .parse()
            .map_err(|failure: Failure| failure.during("NODE is not a node's name"))
    }

    pub(super) fn name(&self) -> Result<VolumeName, Failure> {
        let text = self.name.ok_or_else(|| missing(Name))?;
        if text.starts_with('/') {
            let message = "VOLUME is a path; pass the volume's name, as kubelet does \
                           (kubernetes.io/pvOrVolumeName of attach)";
            return Err(invalid("volume-name", message));
        }
        text.parse().map_err(|failure: Failure| failure.during("VOLUME is not a volume's name"))
    }

    /// The new and the old size, in bytes.
    pub(super) fn sizes(&self) -> Result<(u64, u64), Failure> {
        let size = |slot: Slot, text: Option<&str>| {
            let digits = text.ok_or_else(|| missing(slot))?;
            // Kubernetes' quantities are signed; `parse` alone would also take a plus sign.
            let number = digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse::<i64>());
            match number {
                Some(Ok(bytes)) => Ok(bytes.unsigned_abs()),
                _ => {
                    let message = format!("{} is not a number of bytes", slot.name());
                    Err(invalid("size", message))
                }
            }
        };
        Ok((size(NewSize, self.new_size)?, size(OldSize, self.old_size)?))
    }
}

/// JSON's white space, then an opening brace: no path, name, number or token begins like this.
fn is_object(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{')
}

/// A form without the argument that the operation is about to use. The table rules that out.
fn missing(slot: Slot) -> Failure {
    invalid("arguments", format!("takes {}, which is missing", slot.name()))
}

fn wrong_number(forms: &[&[Slot]], found: usize) -> Failure {
    let plural = if found == 1 { "" } else { "s" };
    let message = format!("takes {}, but was given {found} argument{plural}", usage(forms));
    invalid("arguments", message)
}

/// Says what is wrong with the first argument that keeps the closest form from fitting.
fn wrong_shape(forms: &[&[Slot]], texts: &[&str]) -> Failure {
    let form = forms.iter().find(|form| form.len() == texts.len()).copied().unwrap_or_default();
    let odd = form.iter().zip(texts).position(|(slot, text)| (*slot == Options) != is_object(text));
    let index = odd.unwrap_or_default();
    let name = form.get(index).map_or("", |slot| slot.name());
    let what = if name == Options.name() { "is not a JSON object" } else { "is a JSON object" };
    let number = index + 1;
    invalid("arguments", format!("argument {number}, {name}, {what}; takes {}", usage(forms)))
}

fn usage(forms: &[&[Slot]]) -> String {
    let form = |form: &&[Slot]| form.iter().map(|slot| slot.name()).collect::<Vec<_>>().join(" ");
    forms.iter().map(form).collect::<Vec<_>>().join(" or ")
}
