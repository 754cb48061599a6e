//! Loop devices: an image file as a block device of this node.
//!
//! A loop device is made with autoclear, so that it vanishes with its last opener unless
//! [`keep`] is called. Its name field holds the image's identity: that is how one that wasmount
//! made is told from an administrator's, which is never touched.

mod users;

pub use users::{Kept, kept};

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use self::users::users;
use super::device::{self, Device, Proof};
use super::images::{self, ImageFile};
use super::raw::{self, LoopInfo};
use super::{failed, target, unfit};
use crate::call::Access;
use crate::decide::Granted;
use crate::failure::{Code, Failure};
use crate::rehearsal;

/// Major number of loop devices, linux/major.h.
const LOOP_MAJOR: u32 = 7;

/// The unit in which the kernel counts a block device's size, in bytes.
const SECTOR: u64 = 512;

/// How often a free device that somebody else was faster to take is asked for again.
const MAX_RACES: usize = 32;

/// An image that is to become a loop device.
#[derive(Debug)]
pub struct LoopAttach {
    /// The image.
    pub image: Rc<ImageFile>,
    /// Read-only makes the block device itself read-only.
    pub access: Access,
}

/// Makes a loop device, which exists as long as it is open somewhere. `image-in-use` if another
/// loop device of this node has the same file, and is not just about to vanish.
pub fn attach(attach: Granted<LoopAttach>) -> Result<Device, Failure> {
    let LoopAttach { image, access } = attach.into_inner();
    let what = format!("attaching {}", image.path().display());
    // The lock keeps another call, of whatever driver, from doing the same at the same time.
    let _lock = (!rehearsal::is_on()).then(|| Lock::take(&image)).transpose()?;
    refuse_if_attached(&image, &what)?;
    // A description of its own: the kernel keeps it, and the lock must not stay with it.
    let (open, flags) = match access {
        Access::ReadOnly => (OFlags::RDONLY, raw::LO_AUTOCLEAR | raw::LO_READ_ONLY),
        // Through one that stands in nothing can be written.
        Access::ReadWrite if rehearsal::is_on() => {
            (OFlags::RDWR, raw::LO_AUTOCLEAR | raw::LO_READ_ONLY)
        }
        Access::ReadWrite => (OFlags::RDWR, raw::LO_AUTOCLEAR),
    };
    let path = images::path_by_descriptor(&image.file);
    let backing =
        openat(CWD, path, open | OFlags::CLOEXEC, Mode::empty()).map_err(failed(&what))?;
    for _ in 0..MAX_RACES {
        let (node, file) = free_device()?;
        // Not every filesystem can do direct I/O.
        let info = |flags| LoopInfo::new(flags, &image.identity);
        let configured = raw::loop_configure(&file, &backing, info(flags | raw::LO_DIRECT_IO))
            .or_else(|error| match error {
                Errno::INVAL => raw::loop_configure(&file, &backing, info(flags)),
                error => Err(error),
            });
        match configured {
            Ok(()) => {}
            Err(Errno::BUSY) => continue,
            Err(error) => return Err(failed(&what)(error)),
        }
        let device = into_device(node, file, &image)?;
        if rehearsal::is_on() {
            rehearsal::attached(device.number, access, whole_sectors(images::size(&image)?));
        }
        device::recheck(&device)?;
        return Ok(device);
    }
    Err(Failure::new(
        Code::Unavailable,
        "again",
        format!("{what}: every free loop device was taken by others"),
    ))
}

/// Makes the loop device outlast its openers.
pub fn keep(device: &Device) -> Result<(), Failure> {
    let what = format!("keeping {}", device.node().display());
    device::recheck(device)?;
    if rehearsal::is_on() {
        return rehearsal::kept(&device.file).map_err(|error| Failure::io(&what, &error));
    }
    let mut tries = 0..16;
    loop {
        let mut info = raw::loop_status(&device.file).map_err(failed(&what))?;
        info.flags &= !raw::LO_AUTOCLEAR;
        match raw::loop_set_status(&device.file, info) {
            Err(Errno::AGAIN) if tries.next().is_some() => {}
            result => break result.map_err(failed(&what))?,
        }
    }
    let info = raw::loop_status(&device.file).map_err(failed(&what))?;
    if info.flags & raw::LO_AUTOCLEAR != 0 {
        return Err(Failure::new(
            Code::Internal,
            "kernel-refused",
            format!("{what}: the kernel still lets go of it when it is closed"),
        ));
    }
    Ok(())
}

/// Whether it outlasts its openers.
pub fn is_kept(device: &Device) -> Result<bool, Failure> {
    let status = raw::loop_status(&device.file)
        .map_err(failed(format_args!("asking about {}", device.node().display())))?;
    Ok(status.flags & raw::LO_AUTOCLEAR == 0)
}

/// The loop device that wasmount made of this image.
pub fn find(image: &ImageFile) -> Result<Option<Device>, Failure> {
    let made = |(_, file): &(PathBuf, File)| {
        raw::loop_status(file).is_ok_and(|info| name(&info) == image.identity.as_bytes())
    };
    match users(image)?.into_iter().find(made) {
        Some((node, file)) => into_device(node, file, image).map(Some),
        None => Ok(None),
    }
}

/// The loop device of that number, if it is one that wasmount made of the image of that
/// identity, whether or not the image's name still exists. If the image's storage is dead, so that
/// the kernel cannot tell, its path is what tells: `image`, where it was when it was attached.
pub fn open(
    number: (u32, u32),
    identity: &str,
    image: Option<&Path>,
) -> Result<Option<Device>, Failure> {
    if number.0 != LOOP_MAJOR {
        return Ok(None);
    }
    let Some((node, file)) = device::open_number(number, OFlags::RDONLY)? else {
        return Ok(None);
    };
    let path = backing_path(number);
    let proof = match raw::loop_status(&file) {
        Ok(info) if name(&info) == identity.as_bytes() => {
            let backing = path.as_deref().and_then(|path| backing(path, &info));
            let backing = backing.or_else(|| image.and_then(rehearsal::image));
            Proof::Loop { inode: info.inode, image: backing, path }
        }
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(error) if target::is_broken(error) && path.is_some() && path.as_deref() == image => {
            Proof::Loop { inode: 0, image: None, path }
        }
        Err(error) => {
            return Err(failed(format_args!("asking about {}", node.display()))(error));
        }
    };
    Device::new(file, number, node, identity.to_owned(), proof).map(Some)
}

/// Takes a loop device down. It is gone when its last descriptor is closed, this one included.
/// `busy` if something has claimed it and does not let go of it soon, as what a killed process
/// had does; one that is gone already is success.
pub fn detach(device: Granted<Rc<Device>>) -> Result<(), Failure> {
    let device = device.into_inner();
    let node = device.node().display();
    let what = format!("detaching {node}");
    if let Err(Errno::NXIO) = raw::loop_status(&device.file) {
        return Ok(());
    }
    device::recheck(&device)?;
    // The kernel would only note the wish, and do it at some later unmount.
    if !device::soon(|| device::in_use(&device).map(|used| !used))? {
        return Err(unfit("busy", format!("{what}: it is still mounted or otherwise in use")));
    }
    if rehearsal::is_on() {
        rehearsal::taken_down(device.number, &device.identity);
        return Ok(());
    }
    match raw::loop_clear(&device.file) {
        Ok(()) | Err(Errno::NXIO) => Ok(()),
        Err(Errno::BUSY) => Err(unfit("busy", format!("{what}: it is still in use"))),
        Err(error) => Err(failed(what)(error)),
    }
}

/// Tells the kernel that the image's size has changed.
pub fn refresh(device: &Device) -> Result<(), Failure> {
    device::recheck(device)?;
    if rehearsal::is_on() {
        let length = rehearsal::length(&device.identity);
        if let Some(length) = length.map_or_else(|| backing_length(device), |it| Ok(Some(it)))? {
            rehearsal::resized(device.number, whole_sectors(length));
        }
        return Ok(());
    }
    let what = format!("making {} as large as its image", device.node().display());
    raw::loop_set_capacity(&device.file).map_err(failed(what))
}

/// Whether the loop device still is the one wasmount made of the inode.
pub(super) fn is_backed_by(
    device: &Device,
    inode: u64,
    path: Option<&Path>,
) -> Result<bool, Failure> {
    match raw::loop_status(&device.file) {
        Ok(info) => Ok(info.inode == inode && name(&info) == device.identity.as_bytes()),
        Err(Errno::NXIO) => Ok(false),
        Err(error) if target::is_broken(error) && path.is_some() => {
            Ok(backing_path(device.number).as_deref() == path)
        }
        Err(error) => Err(failed(format_args!("asking about {}", device.node().display()))(error)),
    }
}

/// Fails with `image-in-use` if a loop device has the image. One that wasmount made and that
/// nobody kept vanishes with the process that made it, for which the kernel takes a moment.
fn refuse_if_attached(image: &ImageFile, what: &str) -> Result<(), Failure> {
    let refusal = |node: &Path| {
        unfit("image-in-use", format!("{what}: {} has this file already", node.display()))
    };
    let mut vanishing = None;
    let free = device::soon(|| {
        vanishing = None;
        // All are closed before the next look, since a device stays as long as it is open anywhere.
        for (node, file) in users(image)? {
            if device::block_number(&file)?.is_some_and(rehearsal::is_gone) {
                continue;
            }
            match raw::loop_status(&file) {
                Ok(info) if name(&info) != image.identity.as_bytes() => return Err(refusal(&node)),
                Ok(info) if info.flags & raw::LO_AUTOCLEAR == 0 => return Err(refusal(&node)),
                Ok(_) | Err(Errno::NXIO) => vanishing = Some(node),
                Err(error) => return Err(failed(what)(error)),
            }
        }
        Ok(vanishing.is_none())
    })?;
    match vanishing {
        Some(node) if !free => Err(refusal(&node)),
        _ => Ok(()),
    }
}

/// How long the file is that backs a loop device; none if nothing leads to it any more.
fn backing_length(device: &Device) -> Result<Option<u64>, Failure> {
    let Proof::Loop { image: Some(image), .. } = &device.proof else { return Ok(None) };
    let found = image.metadata();
    found.map(|found| Some(found.len())).map_err(|error| Failure::io("looking at an image", &error))
}

/// How much of a file a loop device has: the kernel counts in sectors.
fn whole_sectors(length: u64) -> u64 {
    length / SECTOR * SECTOR
}

fn into_device(node: PathBuf, file: File, image: &ImageFile) -> Result<Device, Failure> {
    let Some(number) = device::block_number(&file)? else {
        return Err(unfit("not-a-device", format!("{} is not a block device", node.display())));
    };
    let clone = |error| Failure::io("duplicating a descriptor", &error);
    let proof = Proof::Loop {
        inode: metadata(image)?.ino(),
        image: Some(image.file.try_clone().map_err(clone)?),
        path: None,
    };
    Device::new(file, number, node, image.identity.clone(), proof)
}

/// The path that the kernel has for the file that backs a loop device. The file is not asked.
fn backing_path(number: (u32, u32)) -> Option<PathBuf> {
    let attribute = format!("/sys/dev/block/{}:{}/loop/backing_file", number.0, number.1);
    let path = std::fs::read(attribute).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(path.strip_suffix(b"\n").unwrap_or(&path))))
}

/// The file that backs a loop device, by that path; none if that leads to another file by now, or
/// to none.
fn backing(path: &Path, info: &LoopInfo) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty()).ok()?);
    let found = file.metadata().ok()?;
    ((found.dev(), found.ino()) == (info.device, info.inode)).then_some(file)
}

fn free_device() -> Result<(PathBuf, File), Failure> {
    let control = openat(CWD, "/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed(
        "opening /dev/loop-control, which the kernel module `loop` provides",
    ))?;
    let number = raw::loop_get_free(&control).map_err(failed("asking for a free loop device"))?;
    let node = PathBuf::from(format!("/dev/loop{number}"));
    match openat(CWD, &node, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(file) => Ok((node, File::from(file))),
        Err(Errno::NOENT) => Err(device::no_node(&node)),
        Err(error) => Err(failed(format_args!("opening {}", node.display()))(error)),
    }
}

fn metadata(image: &ImageFile) -> Result<std::fs::Metadata, Failure> {
    image.file.metadata().map_err(|error| Failure::io("looking at an image", &error))
}

fn name(info: &LoopInfo) -> &[u8] {
    info.file_name.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// flock(2) on the image, for as long as this lives.
struct Lock<'a>(&'a ImageFile);

impl<'a> Lock<'a> {
    fn take(image: &'a ImageFile) -> Result<Self, Failure> {
        match flock(&image.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(image)),
            Err(Errno::WOULDBLOCK) => {
                let message =
                    format!("{} is locked: another call is attaching it", image.path().display());
                Err(unfit("image-in-use", message))
            }
            Err(error) => Err(failed(format_args!("locking {}", image.path().display()))(error)),
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let _ = flock(&self.0.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests;
