//! Mounts: made detached, finished while nobody can see them, then attached in one step.
//!
//! A mount that is never attached is gone when its [`PendingMount`] is dropped, or when the
//! process dies. Whether a mount may be made is not decided here, nor are filesystems repaired
//! or grown.

mod again;
mod context;
mod twins;

pub use again::{Again, again, attributes};
pub(super) use context::Context;
pub(super) use twins::is_of;

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsmount, fsopen, move_mount, open_tree, unmount as umount,
};

use super::device::{self, Device};
use super::filesystems::{self, BlockOption, Filesystem};
use super::target::{self, Mounted, Target};
use super::{failed, raw, unfit};
use crate::call::Access;
use crate::decide::Granted;
use crate::failure::{Code, Failure};
use crate::rehearsal;

/// How many mounts stacked on one directory [`unmount`] takes off, before it gives up.
const MAX_STACKED: usize = 16;

/// For how long a mount may be busy while it is taken off, and how often it is tried. A process that
/// another one starts has all of that one's files until it runs a program of its own.
const BUSY: Duration = Duration::from_millis(200);
const AGAIN: Duration = Duration::from_millis(10);

/// A mount that is attached nowhere yet.
#[derive(Debug)]
pub struct PendingMount {
    pub(super) mount: OwnedFd,
    mounted: Mounted,
    access: Cell<Access>,
    attached: Cell<bool>,
    /// In a rehearsal, where nothing is mounted: what holds the device as the mount would.
    #[expect(dead_code, reason = "held, not read")]
    holds: Option<rehearsal::Hold>,
}

/// A mount of a block device's filesystem, to be made.
#[derive(Debug)]
pub struct BlockMount {
    /// What to mount.
    pub device: Rc<Device>,
    /// The filesystem that is on it.
    pub filesystem: Filesystem,
    /// Read-only makes both the mount and the filesystem read-only.
    pub access: Access,
    /// Beyond `nosuid` and `nodev`, which are always on.
    pub options: Vec<BlockOption>,
}

/// A bind of a recorded device mount, to be made.
#[derive(Debug)]
pub struct Bind {
    /// Where the device is mounted.
    pub source: Rc<Target>,
    /// The device number that has to be mounted there.
    pub device: (u32, u32),
    /// Whether the bind is read-only.
    pub access: Access,
}

/// A mount that is to be put on its target.
#[derive(Debug)]
pub struct Attach {
    /// What was made before.
    pub pending: Rc<PendingMount>,
    /// Where to put it.
    pub target: Rc<Target>,
}

/// Makes a mount of a device. The device must hold the filesystem and be held by nobody else;
/// a read-only mount is refused (`dirty-log`) if the kernel would have to write to the device.
pub fn block(mount: Granted<BlockMount>) -> Result<PendingMount, Failure> {
    let BlockMount { device, filesystem, access, options } = mount.into_inner();
    device::recheck(&device)?;
    device::refuse_if_held(&device)?;
    let what = format!("mounting {} as {}", device.node().display(), filesystem.name());
    if rehearsal::filesystem(&device.identity) != Some(filesystem) {
        filesystems::ready_to_mount(&device, filesystem, access).map_err(|f| f.during(&what))?;
    }
    let attributes = filesystems::attributes(&options)? | MountAttrFlags::MOUNT_ATTR_NODEV;
    let settings: Vec<_> = options.iter().filter_map(BlockOption::setting).collect();
    mount_device(&device, filesystem, access, attributes, &settings)
}

/// A key and, unless it is a flag, a value for fsconfig(2).
type Setting = (&'static str, Option<&'static str>);

/// The mount itself, of a device that was checked.
pub(super) fn mount_device(
    device: &Device,
    filesystem: Filesystem,
    access: Access,
    mut attributes: MountAttrFlags,
    settings: &[Setting],
) -> Result<PendingMount, Failure> {
    let what = format!("mounting {} as {}", device.node().display(), filesystem.name());
    let mut settings = settings.to_vec();
    settings.extend(filesystem.mount_settings().iter().map(|&(key, value)| (key, Some(value))));
    if access == Access::ReadOnly {
        settings.push(("ro", None));
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        // There is nothing to recover, as was made sure of; but xfs overwrites what is not used of
        // its log all the same, unless the device keeps it from that.
        if filesystem == Filesystem::Xfs && !device::is_read_only(device)? {
            settings.push(("norecovery", None));
        }
    }
    if filesystem == Filesystem::Btrfs {
        twins::refuse_btrfs(device).map_err(|failure| failure.during(&what))?;
    }
    let mut context = Context::of_device(device, filesystem, &settings, &what)?;
    if rehearsal::is_on() {
        return rehearse(device, filesystem, access).map_err(|failure| failure.during(&what));
    }
    let mut created = context.create(true);
    // How xfs says that it has the same UUID mounted; it says so of other mistakes, too.
    if created == Err(Errno::INVAL)
        && filesystem == Filesystem::Xfs
        && twins::is_xfs_clone(device).map_err(|failure| failure.during(&what))?
    {
        settings.push(("nouuid", None));
        context = Context::of_device(device, filesystem, &settings, &what)?;
        created = context.create(true);
    }
    created.map_err(|error| context.failure(&what, error))?;
    let pending = context.mount(attributes, access, filesystem.name(), &what)?;
    device::recheck(device)?;
    if !is_of(&pending.mounted, device, || pending.read())? {
        let message =
            format!("{} led to another device while it was being mounted", device.node().display());
        return Err(unfit("device-changed", message));
    }
    Ok(pending)
}

/// What stands in a rehearsal for the mount of a device, and holds it as that would.
fn rehearse(
    device: &Device,
    filesystem: Filesystem,
    access: Access,
) -> Result<PendingMount, Failure> {
    if filesystem == Filesystem::Xfs && !rehearsal::has_unmounted() {
        twins::is_xfs_clone(device)?;
    }
    let stand_in = stand_in(device.number, access, filesystem.name())?;
    Ok(PendingMount { holds: Some(rehearsal::hold(device.number)), ..stand_in })
}

/// Makes a bind of the recorded device mount's root. Read-only holds from before anybody sees
/// it. A writable bind of a read-only mount is refused with `staged-read-only`.
pub fn bind(bind: Granted<Bind>) -> Result<PendingMount, Failure> {
    let Bind { source, device, access } = bind.into_inner();
    let shown = source.path.display();
    let Some(entry) = target::entry(&source)? else {
        let message = format!(
            "the volume's device is not mounted on {shown}; it has to be mounted again by mountdevice"
        );
        return Err(unfit("not-mounted", message));
    };
    if entry.device != device || entry.root.as_os_str() != "/" {
        let message = format!("what is mounted on {shown} is not the volume's device; unmount it");
        return Err(unfit("wrong-mount", message));
    }
    if access == Access::ReadWrite && entry.read_only {
        let message =
            format!("the volume is mounted read-only on {shown}, so a pod cannot have it writable");
        return Err(unfit("staged-read-only", message));
    }
    // A clone would keep the device in use.
    if rehearsal::is_on() {
        return stand_in(device, access, &entry.fs_type);
    }
    // What is pinned is looked at again, and what was looked at is what is cloned.
    let pin = source.pin()?;
    let (id, again, is_root) = describe(&pin)?;
    if id != entry.id || again != device || !is_root {
        return Err(Failure::new(
            Code::Aborted,
            "again",
            format!("the mount on {shown} changed meanwhile"),
        ));
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(&pin, c"", flags)
        .map_err(failed(format_args!("cloning the mount on {shown}")))?;
    let mut attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if access == Access::ReadOnly {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    raw::mount_set(&mount, attributes).map_err(failed("restricting the bind mount"))?;
    PendingMount::new(mount, access, &entry.fs_type)
}

/// Puts a mount on its target, which is the moment it becomes visible. Refused with
/// `target-busy` if something is mounted there; `not-found` if the directory is not there.
pub fn attach(attach: Granted<Attach>) -> Result<Mounted, Failure> {
    let Attach { pending, target } = attach.into_inner();
    let shown = target.path.display();
    if pending.attached.get() {
        return Err(Failure::new(
            Code::Internal,
            "kernel-refused",
            "a mount can be attached only once",
        ));
    }
    let busy = || unfit("target-busy", format!("something is mounted on {shown} already"));
    if rehearsal::is_on() {
        if target::mounted(&target)?.is_some() {
            return Err(busy());
        }
        if !rehearsal::is_made(&target.path) {
            target.pin()?;
        }
        rehearsal::mounted(&target.path, pending.describe());
        pending.attached.set(true);
        return Ok(pending.describe());
    }
    let pin = target.pin()?;
    let (_, _, is_mounted) = describe(&pin)?;
    if is_mounted {
        return Err(busy());
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&pending.mount, c"", &pin, c"", flags)
        .map_err(failed(format_args!("attaching the mount to {shown}")))?;
    pending.attached.set(true);
    Ok(pending.describe())
}

/// Takes every mount off the target. False if there was none, or no such directory. `busy` if
/// one goes on being in use; nothing is ever detached lazily, since its files would go on being written.
pub fn unmount(target: Granted<Rc<Target>>) -> Result<bool, Failure> {
    let target = target.into_inner();
    let shown = target.path.display();
    if rehearsal::is_on() {
        let there = target::mounted(&target)?.is_some();
        if there {
            rehearsal::unmounted(&target.path);
        }
        return Ok(there);
    }
    // umount2 takes no descriptor, and an open one of the mount itself would keep it busy.
    let Some(path) = target.path_by_descriptor() else {
        return Ok(false);
    };
    let (mut unmounted, mut stacked) = (false, 0);
    let end = Instant::now() + BUSY;
    while stacked < MAX_STACKED {
        match umount(&path, UnmountFlags::NOFOLLOW) {
            Ok(()) => (unmounted, stacked) = (true, stacked + 1),
            // EINVAL: not a mount point; or one the kernel will not take off.
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(Errno::BUSY) if Instant::now() < end => std::thread::sleep(AGAIN),
            Err(Errno::BUSY) => {
                let message = format!(
                    "{shown} is in use: a process still works in it or has files open there"
                );
                return Err(unfit("busy", message));
            }
            Err(error) => return Err(failed(format_args!("unmounting {shown}"))(error)),
        }
    }
    match target::mounted(&target)? {
        None => Ok(unmounted),
        Some(_) => {
            Err(unfit("kernel-refused", format!("{shown} is still a mount point after unmounting")))
        }
    }
}

/// What stands in a rehearsal for a mount that is not made: an empty one, which vanishes.
fn stand_in(device: (u32, u32), access: Access, fs_type: &str) -> Result<PendingMount, Failure> {
    let mount = empty_directory()
        .map_err(failed("making an empty mount, which stands in for one that is not made"))?;
    let pending = PendingMount::new(mount, access, fs_type)?;
    let mounted = Mounted { device, ..pending.describe() };
    Ok(PendingMount { mounted, ..pending })
}

/// The root of a detached filesystem in memory, with nothing in it.
pub(crate) fn empty_directory() -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

impl PendingMount {
    fn new(mount: OwnedFd, access: Access, fs_type: &str) -> Result<Self, Failure> {
        let (mount_id, device, _) = describe(&mount)?;
        let mounted = Mounted { mount_id, device, access, fs_type: fs_type.to_owned() };
        Ok(Self::as_told(mount, mounted))
    }

    /// A mount of which it is known what it is.
    fn as_told(mount: OwnedFd, mounted: Mounted) -> Self {
        let (access, attached) = (Cell::new(mounted.access), Cell::new(false));
        Self { mount, mounted, access, attached, holds: None }
    }

    /// What will be mounted.
    pub fn describe(&self) -> Mounted {
        Mounted { access: self.access.get(), ..self.mounted.clone() }
    }

    /// The device number that stat(2) will show for it.
    pub fn device(&self) -> (u32, u32) {
        self.mounted.device
    }

    /// The filesystem's type.
    pub fn fs_type(&self) -> &str {
        &self.mounted.fs_type
    }

    /// Its root directory, opened for reading and for ioctls.
    pub(super) fn read(&self) -> Result<OwnedFd, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.mount, c".", flags, Mode::empty()).map_err(failed("opening a mount's root"))
    }

    /// Makes the mount read-only.
    pub(super) fn make_read_only(&self) -> Result<(), Errno> {
        raw::mount_set(&self.mount, libc::MOUNT_ATTR_RDONLY)?;
        self.access.set(Access::ReadOnly);
        Ok(())
    }
}

/// Mount id, device number and whether it is the root of a mount.
fn describe(directory: &OwnedFd) -> Result<(u64, (u32, u32), bool), Failure> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(directory.as_fd(), c"", flags, StatxFlags::MNT_ID)
        .map_err(failed("looking at a mount"))?;
    let is_root = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok((found.stx_mnt_id, (found.stx_dev_major, found.stx_dev_minor), is_root))
}

#[cfg(test)]
impl PendingMount {
    /// Not a mount: for tests that do not act on it.
    pub(crate) fn for_test() -> Self {
        let fs_type = "ext4".to_owned();
        Self {
            mount: std::fs::File::open("/dev/null").expect("/dev/null").into(),
            mounted: Mounted { mount_id: 0, device: (7, 0), access: Access::ReadWrite, fs_type },
            access: Cell::new(Access::ReadWrite),
            attached: Cell::new(false),
            holds: None,
        }
    }
}

#[cfg(test)]
mod tests;
