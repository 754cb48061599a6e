//! Block devices: opened once, proven to be what was asked for, and proven again before each use.
//!
//! A device that somebody else uses can be found and looked at; whatever would write to it or
//! mount it asks `refuse_if_held` first. How loop devices are made is [`super::loopdev`]'s.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, major, minor, openat, openat2};
use rustix::io::Errno;

use super::tools::Files;
use super::{failed, invalid, raw, unfit};
use crate::decide::Granted;
use crate::failure::Failure;
use crate::rehearsal;

/// What the identity of a device that is found by an attribute begins with.
const DISK: &str = "disk:";

/// How long the kernel may take to let go of a device whose last user has just died, and how
/// often is looked.
const LETTING_GO: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// The longest attribute file that is read, in bytes: sysfs has none longer.
const MAX_ATTRIBUTE: usize = 4096;

/// An open block device with a proven identity.
#[derive(Debug)]
pub struct Device {
    pub(super) file: File,
    /// Major and minor number.
    pub number: (u32, u32),
    /// What it is, whatever its number: `disk:ATTRIBUTE=VALUE` or `image:FSID:INODE:BIRTH`.
    pub identity: String,
    node: PathBuf,
    /// The kernel counts up whenever a device number gets another disk; 0 before Linux 5.15.
    sequence: u64,
    pub(super) proof: Proof,
    /// Whether the kernel has forgotten what it had read before this was opened.
    pub(super) fresh: Cell<bool>,
    /// What tools that are run on it can open, once that is prepared.
    pub(super) tools_open: OnceCell<Option<Files>>,
}

/// How a device's identity is proven again.
#[derive(Debug)]
pub(super) enum Proof {
    /// By a sysfs attribute's value.
    Attribute { path: PathBuf, value: String },
    /// By the inode that a loop device is backed by; with the image, where that is known, and with
    /// the path that the kernel has for it, which has to do when the image's storage is dead.
    Loop { inode: u64, image: Option<File>, path: Option<PathBuf> },
}

/// A device that is to be found by one of the operator's rules, all of them filled in.
#[derive(Debug)]
pub struct DeviceQuery {
    /// Below /dev; symbolic links that stay there are followed.
    pub path: PathBuf,
    /// The file below `/sys/dev/block/MAJOR:MINOR/` that proves the identity.
    pub attribute: PathBuf,
    /// What it has to contain, but for white space around it.
    pub value: String,
    /// The rule's name, for messages.
    pub rule: String,
}

/// Finds a device. None if it is not there now; `device-mismatch` if what is there does not
/// prove to be it. The messages name no path or value, as both contain an option's value.
pub fn find(query: &Granted<DeviceQuery>) -> Result<Option<Device>, Failure> {
    let DeviceQuery { path, attribute, value, rule } = query.get();
    let rule = format!("device rule {rule}");
    if !path.starts_with("/dev")
        || !is_plain(path.components().skip(1))
        || !is_plain(attribute.components())
        // In the identity it ends the attribute.
        || attribute.as_os_str().as_bytes().contains(&b'=')
    {
        return Err(invalid(
            "bad-path",
            format!("{rule}: the device's path or attribute is not plain"),
        ));
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Ok(found) => File::from(found),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(format_args!("{rule}: opening the device's path"))(error)),
    };
    let real = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()));
    let number = block_number(&found)?;
    let (true, Some(number)) = (real.is_ok_and(|path| path.starts_with("/dev")), number) else {
        return Err(unfit(
            "not-a-device",
            format!("{rule}: the path does not lead to a block device below /dev"),
        ));
    };
    let Some((node, file)) = open_number(number, OFlags::RDONLY)? else {
        return Ok(None);
    };
    let identity = format!("{DISK}{}={value}", attribute.display());
    let proof = Proof::Attribute { path: attribute.clone(), value: value.clone() };
    let device = Device::new(file, number, node, identity, proof)?;
    if !proves(&device)? {
        let message = format!(
            "{rule}: {} is not the device asked for, since its {} reads otherwise; compare it with \
             `verify` of the rule in grants.toml",
            device.node.display(),
            attribute.display()
        );
        return Err(unfit("device-mismatch", message));
    }
    Ok(Some(device))
}

/// The device of that number, if its attribute proves that it is the recorded one, whose identity
/// [`find`] gave. None if it is not there now, or is another. Loop devices are
/// [`super::loopdev::open`]'s.
pub fn open(number: (u32, u32), identity: &str) -> Result<Option<Device>, Failure> {
    let Some((attribute, value)) =
        identity.strip_prefix(DISK).and_then(|proof| proof.split_once('='))
    else {
        return Ok(None);
    };
    let path = PathBuf::from(attribute);
    if !is_plain(path.components()) {
        return Ok(None);
    }
    let Some((node, file)) = open_number(number, OFlags::RDONLY)? else {
        return Ok(None);
    };
    let proof = Proof::Attribute { path, value: value.to_owned() };
    let device = Device::new(file, number, node, identity.to_owned(), proof)?;
    Ok(proves(&device)?.then_some(device))
}

/// Whether the device of that number is another path to the same storage: it proves to be what
/// this one is. Two loop devices of one image there never are, see [`super::loopdev`].
pub(super) fn is_another_path(device: &Device, number: (u32, u32)) -> Result<bool, Failure> {
    match &device.proof {
        Proof::Attribute { path, value } => {
            Ok(attribute(number, path)?.is_some_and(|found| found.trim() == value))
        }
        Proof::Loop { .. } => Ok(false),
    }
}

/// Its size in bytes.
pub fn size(device: &Device) -> Result<u64, Failure> {
    rehearsal::size(device.number).map_or_else(|| readable(device), Ok)
}

/// How many bytes of it can be read: fewer than its size where it has grown in a rehearsal.
pub(super) fn readable(device: &Device) -> Result<u64, Failure> {
    raw::block_size_bytes(&device.file)
        .map_err(failed(format_args!("reading the size of {}", device.node.display())))
}

/// Whether the kernel refuses to write to it.
pub fn is_read_only(device: &Device) -> Result<bool, Failure> {
    if rehearsal::is_writable(device.number) {
        return Ok(false);
    }
    raw::block_read_only(&device.file)
        .map(|answer| answer != 0)
        .map_err(failed(format_args!("asking whether {} is read-only", device.node.display())))
}

/// Whether it is still the device that was found: `device-changed` if not.
pub fn recheck(device: &Device) -> Result<(), Failure> {
    let gone = rehearsal::is_gone(device.number);
    if !gone && sequence(&device.file)? == device.sequence && proves(device)? {
        return Ok(());
    }
    let message = format!(
        "{} is no longer the device that it was; kubelet will try again",
        device.node.display()
    );
    Err(unfit("device-changed", message))
}

/// Whether something has claimed the device: a mount, swap, a RAID or mapper device, a tool.
/// Of a partition also whether something has claimed the whole disk, and the other way round.
pub fn in_use(device: &Device) -> Result<bool, Failure> {
    if rehearsal::is_held(device.number) {
        return Ok(true);
    }
    let path = device.path_by_descriptor();
    match openat(CWD, &path, OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty()) {
        // It is given back at once, since the kernel or a tool claims it next.
        Ok(_) => Ok(false),
        Err(Errno::BUSY) => Ok(!rehearsal::has_unmounted()),
        Err(error) => Err(failed(format_args!("opening {}", device.node.display()))(error)),
    }
}

/// Fails with `in-use` if something has claimed the device, and does not let go of it soon: of a
/// mount that nobody saw, whose process was just killed, the kernel takes a moment to do so.
pub(super) fn refuse_if_held(device: &Device) -> Result<(), Failure> {
    if soon(|| in_use(device).map(|used| !used))? {
        return Ok(());
    }
    let message =
        format!("{} is in use: it is mounted, or part of another device", device.node.display());
    Err(unfit("in-use", message))
}

/// Fails with `busy` if something still has a device that was unmounted here, and does not let go
/// of it soon: in another mount namespace its filesystem lives on, with all that was not written
/// yet. A device that cannot even be asked is gone, and nobody's.
pub fn refuse_if_kept(device: &Device) -> Result<(), Failure> {
    if soon(|| Ok(!in_use(device).unwrap_or(false)))? {
        return Ok(());
    }
    let node = device.node.display();
    let message = format!(
        "{node} is still in use although it was unmounted here: it is mounted in another mount \
         namespace, such as a container's, whose processes `grep -lw {node} /proc/*/mountinfo` finds"
    );
    Err(unfit("busy", message))
}

/// Whether something becomes true in the time that the kernel takes to let go of a device.
pub(super) fn soon(mut done: impl FnMut() -> Result<bool, Failure>) -> Result<bool, Failure> {
    let end = Instant::now() + LETTING_GO;
    loop {
        if done()? {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
}

impl Device {
    pub(super) fn new(
        file: File,
        number: (u32, u32),
        node: PathBuf,
        identity: String,
        proof: Proof,
    ) -> Result<Self, Failure> {
        let sequence = sequence(&file)?;
        let (fresh, tools_open) = (Cell::new(false), OnceCell::new());
        Ok(Self { file, number, identity, node, sequence, proof, fresh, tools_open })
    }

    /// Whether it is a loop device.
    pub fn is_loop(&self) -> bool {
        matches!(self.proof, Proof::Loop { .. })
    }

    /// Its usual name, such as `/dev/loop3`. For messages, and for the mount table.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// A path by which this process and its children open exactly this device.
    pub(super) fn path_by_descriptor(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

/// Opens the device with that number by the name that the kernel gives it. None if there is no
/// such device now.
pub(super) fn open_number(
    number: (u32, u32),
    flags: OFlags,
) -> Result<Option<(PathBuf, File)>, Failure> {
    let uevent = format!("/sys/dev/block/{}:{}/uevent", number.0, number.1);
    let text = match std::fs::read_to_string(&uevent) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io(format_args!("reading {uevent}"), &error)),
    };
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME=")).unwrap_or_default();
    let node = Path::new("/dev").join(name);
    let file = match openat(CWD, &node, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NXIO | Errno::NODEV | Errno::NOMEDIUM) => return Ok(None),
        Err(Errno::NOENT) => return Err(no_node(&node)),
        Err(error) => return Err(failed(format_args!("opening {}", node.display()))(error)),
    };
    if block_number(&file)? != Some(number) {
        let message = format!(
            "{} is not the device that the kernel calls so; /dev has to be the host's",
            node.display()
        );
        return Err(unfit("not-a-device", message));
    }
    Ok(Some((node, file)))
}

/// The device exists, its node does not.
pub(super) fn no_node(node: &Path) -> Failure {
    let message = format!(
        "{} does not exist although the kernel has that device; /dev has to be the host's devtmpfs",
        node.display()
    );
    unfit("no-device-node", message)
}

/// The number of a block device node; none if it is something else.
pub(super) fn block_number(file: &File) -> Result<Option<(u32, u32)>, Failure> {
    let found = file.metadata().map_err(|error| Failure::io("looking at a device node", &error))?;
    let number = (major(found.rdev()), minor(found.rdev()));
    Ok(found.file_type().is_block_device().then_some(number))
}

fn proves(device: &Device) -> Result<bool, Failure> {
    match &device.proof {
        Proof::Attribute { path, value } => {
            Ok(attribute(device.number, path)?.is_some_and(|found| found.trim() == value))
        }
        Proof::Loop { inode, path, .. } => {
            super::loopdev::is_backed_by(device, *inode, path.as_deref())
        }
    }
}

/// What a sysfs attribute of the device contains; none if it has no such attribute.
fn attribute(number: (u32, u32), path: &Path) -> Result<Option<String>, Failure> {
    let what = format!("reading the attribute {} of a device", path.display());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let sys =
        openat(CWD, "/sys", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("opening /sys"))?;
    let path = Path::new(&format!("dev/block/{}:{}", number.0, number.1)).join(path);
    // sysfs is full of symbolic links; beneath and without another mount, all stay in sysfs.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(&sys, &path, flags, Mode::empty(), resolve) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(failed(&what)(error)),
    };
    let mut text = vec![0; MAX_ATTRIBUTE];
    match read(&file, &mut text) {
        Ok(length) => text.truncate(length),
        // The device went away meanwhile.
        Err(Errno::NODEV | Errno::NXIO | Errno::ISDIR) => return Ok(None),
        Err(error) => return Err(failed(&what)(error)),
    }
    Ok(String::from_utf8(text).ok())
}

/// sysfs gives an attribute whole to the first read.
fn read(file: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *buffer))
}

fn sequence(file: &File) -> Result<u64, Failure> {
    match raw::block_disk_sequence(file) {
        Ok(sequence) => Ok(sequence),
        Err(Errno::NOTTY | Errno::INVAL) => Ok(0),
        Err(error) => Err(failed("reading a device's sequence number")(error)),
    }
}

/// A device's number as sysfs writes it.
pub(super) fn parse_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn is_plain<'a>(mut components: impl Iterator<Item = Component<'a>>) -> bool {
    components.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
impl Device {
    /// A loop device by name only: for tests that do not act on it.
    pub(crate) fn for_test(identity: &str) -> Self {
        Self {
            file: File::open("/dev/null").expect("/dev/null"),
            number: (7, 0),
            identity: identity.to_owned(),
            node: PathBuf::from("/dev/null"),
            sequence: 0,
            proof: Proof::Loop { inode: 0, image: None, path: None },
            fresh: Cell::new(true),
            tools_open: OnceCell::new(),
        }
    }
}

#[cfg(test)]
mod tests;
