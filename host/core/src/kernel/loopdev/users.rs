//! Which loop devices this node has, and which of them has an image.
//!
//! Only the kernel knows that for certain, and it asks the storage of each. So another volume's is
//! asked in passing: if it does not answer, what tells that it is not this image is that it is on
//! another filesystem.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::{metadata, name};
use crate::failure::{Code, Failure};
use crate::kernel::images::ImageFile;
use crate::kernel::raw::{self, LoopInfo};
use crate::kernel::target::Filesystems;
use crate::kernel::{bystanders, device, failed};

/// How many block devices are looked at.
const MAX_DEVICES: usize = 4096;

/// A loop device that wasmount made and that stays until it is taken down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its node in /dev.
    pub node: PathBuf,
    /// Major and minor number.
    pub number: (u32, u32),
    /// The identity of its image.
    pub identity: String,
    /// The image's path when it was attached, as the kernel tells it.
    pub image: PathBuf,
}

/// All such loop devices of this node, whichever driver and installation made them, but those whose
/// storage does not answer.
pub fn kept() -> Result<Vec<Kept>, Failure> {
    let attached = attached()?;
    let answers = ask(&attached.iter().collect::<Vec<_>>())?;
    let kept = |(attached, answer): (Attached, Answer)| {
        let Answer::Has(info) = answer else { return None };
        if info.flags & raw::LO_AUTOCLEAR != 0 {
            return None;
        }
        let identity = std::str::from_utf8(name(&info)).ok()?;
        let identity = identity.starts_with("image:").then(|| identity.to_owned())?;
        let Attached { node, number, image, .. } = attached;
        Some(Kept { node, number, identity, image })
    };
    Ok(attached.into_iter().zip(answers).filter_map(kept).collect())
}

/// Every loop device of this node that has the image's inode, whoever made it.
pub(super) fn users(image: &ImageFile) -> Result<Vec<(PathBuf, File)>, Failure> {
    let wanted = metadata(image)?;
    let attached = attached()?;
    if attached.is_empty() {
        return Ok(Vec::new());
    }
    let own = Filesystems::read()?.of(&image.file)?;
    let is_its = |info: &LoopInfo| (info.device, info.inode) == (wanted.dev(), wanted.ino());
    // Without the image's own filesystem the call cannot go on anyway.
    let (mut candidates, others): (Vec<_>, Vec<_>) =
        attached.iter().partition(|device| own.is_some() && device.filesystem == own);
    for (device, answer) in others.iter().zip(ask(&others)?) {
        match answer {
            Answer::Has(info) if is_its(&info) => candidates.push(device),
            Answer::Has(_) | Answer::Gone => {}
            Answer::Silent if own.is_some() && device.filesystem.is_some() => {}
            Answer::Silent => {
                let message = format!(
                    "the storage of {} does not answer, so nobody knows whether it has {}; see to \
                     the storage of {}",
                    device.node.display(),
                    image.path().display(),
                    device.image.display()
                );
                return Err(Failure::new(Code::Unavailable, "again", message));
            }
        }
    }
    let mut users = Vec::new();
    for Attached { node, .. } in candidates {
        let file = match openat(CWD, node, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NXIO) => continue,
            Err(Errno::NOENT) => return Err(device::no_node(node)),
            Err(error) => return Err(failed("looking for loop devices")(error)),
        };
        match raw::loop_status(&file) {
            Ok(info) if is_its(&info) => users.push((node.clone(), file)),
            Ok(_) | Err(Errno::NXIO) => {}
            Err(error) => return Err(failed("looking for loop devices")(error)),
        }
    }
    Ok(users)
}

/// A loop device that has a file, as far as is known without asking for it.
struct Attached {
    node: PathBuf,
    number: (u32, u32),
    /// The file's path, as the kernel tells it.
    image: PathBuf,
    /// The number of the filesystem that this path leads into.
    filesystem: Option<(u32, u32)>,
}

fn attached() -> Result<Vec<Attached>, Failure> {
    let what = "looking for loop devices";
    let entries = std::fs::read_dir("/sys/block").map_err(|error| Failure::io(what, &error))?;
    let mut filesystems = None;
    let mut attached = Vec::new();
    for (count, entry) in entries.enumerate() {
        let entry = entry.map_err(|error| Failure::io(what, &error))?;
        if count == MAX_DEVICES {
            let message = format!("{what}: there are more than {MAX_DEVICES} block devices");
            return Err(Failure::new(Code::ResourceExhausted, "exhausted", message));
        }
        // Only an attached loop device has this file.
        let Ok(image) = std::fs::read(entry.path().join("loop/backing_file")) else { continue };
        let image = image.strip_suffix(b"\n").unwrap_or(&image);
        let image = PathBuf::from(OsStr::from_bytes(image));
        let Ok(number) = std::fs::read_to_string(entry.path().join("dev")) else { continue };
        let Some(number) = device::parse_number(&number) else { continue };
        let filesystems = match &filesystems {
            Some(known) => known,
            None => filesystems.insert(Filesystems::read()?),
        };
        let filesystem = filesystems.at(&image);
        let node = Path::new("/dev").join(entry.file_name());
        attached.push(Attached { node, number, image, filesystem });
    }
    Ok(attached)
}

/// What the kernel says of a loop device.
enum Answer {
    Has(Box<LoopInfo>),
    /// It has no file any more.
    Gone,
    /// Nothing, as it waits for the storage itself.
    Silent,
}

fn ask(devices: &[&Attached]) -> Result<Vec<Answer>, Failure> {
    let node = |device: &&Attached| CString::new(device.node.as_os_str().as_bytes());
    let nodes: Result<Vec<CString>, _> = devices.iter().map(node).collect();
    let nodes = nodes.map_err(|error| Failure::io("looking for loop devices", &error.into()))?;
    let question = |at: usize| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(CWD, nodes[at].as_c_str(), flags, Mode::empty())
            .and_then(raw::loop_status)
            .map_or(GONE, |info| info.to_bytes())
    };
    let kin = |one: usize, other: usize| devices[one].filesystem == devices[other].filesystem;
    let answer = |answer| match answer {
        Some(GONE) => Answer::Gone,
        Some(bytes) => Answer::Has(Box::new(LoopInfo::from_bytes(bytes))),
        None => Answer::Silent,
    };
    Ok(bystanders::ask(devices.len(), question, kin)?.into_iter().map(answer).collect())
}

/// No inode has the number 0.
const GONE: [u8; LoopInfo::BYTES] = [0; LoopInfo::BYTES];
