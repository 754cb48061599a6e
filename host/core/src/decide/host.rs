//! What the host does without being asked: it composes `mount` where the component does not
//! export it, makes the directory for a device where kubelet does not, and takes down what its own
//! record lists. No grant is needed for it, since no
//! component has a say in it; that it is about this call and this volume is checked all the same.

use std::path::Path;
use std::rc::Rc;

use rustix::mount::MountAttrFlags;

use super::{Granted, No, filesystems, grant, images, invalid, mounts, precondition, target};
use crate::call::{Access, MountDir, Operation, TargetPath};
use crate::failure::{Code, Failure};
use crate::kernel::device::Device;
use crate::kernel::filesystems::{Check, Filesystem, Grow, GrowUnmounted};
use crate::kernel::images::{ImageDir, ImageFile, Lease, Release};
use crate::kernel::mounts::{Again, Attach, Bind, BlockMount, PendingMount};
use crate::kernel::staging::Staging;
use crate::kernel::target::Target;
use crate::session::Session;

/// The bind of the device mount that stands in for a `mount` that the component does not export.
/// Only in `mount`.
pub fn composed_mount(session: &Session) -> Result<Granted<Bind>, Failure> {
    only(session, &[Operation::Mount])
        .and_then(|()| mounts::staged(session, session.access))
        .map(grant)
        .map_err(failure)
}

/// What the host has made, onto the target of this call.
pub fn attach(session: &Session, pending: Rc<PendingMount>) -> Result<Granted<Attach>, Failure> {
    only(session, &[Operation::Mount, Operation::UnmountDevice])
        .and_then(|()| target::target(session))
        .map(|target| grant(Attach { pending, target }))
        .map_err(failure)
}

/// Growing the filesystem that is mounted on the target, for a driver that does not export it.
/// None if it is mounted read-only. Only in `expandfs`.
pub fn grow(session: &Session) -> Result<Option<Granted<Grow>>, Failure> {
    only(session, &[Operation::ExpandFs]).map_err(failure)?;
    let target = target::target(session).map_err(failure)?;
    let read_only = session.mounted.as_ref().is_some_and(|mount| mount.access == Access::ReadOnly);
    if session.access == Access::ReadOnly || read_only {
        return Ok(None);
    }
    let device = session.device.clone().ok_or_else(|| {
        failure(precondition("no-device", "the volume has no device on this node that could grow"))
    })?;
    Ok(Some(grant(Grow { target, device })))
}

/// The check that the component may ask for next, of the filesystem that the volume was mounted
/// from before: only what [`decide`](super::decide) would grant it, and only of a kind of which
/// checking takes long. Only in `mountdevice`.
pub fn check_ahead(session: &Session) -> Option<Granted<Check>> {
    only(session, &[Operation::MountDevice]).ok()?;
    let device = session.device.as_ref()?;
    let record = session.record.as_ref()?;
    let ext4 = record.fs_type.as_deref().is_none_or(|wanted| wanted == Filesystem::Ext4.name());
    if !ext4 || !record.mounted.contains(&device.identity) {
        return None;
    }
    filesystems::check_of(session, Rc::clone(device), Filesystem::Ext4).ok().map(grant)
}

/// Growing a filesystem before it is mounted, where the component may mount it writable and
/// grow it.
pub fn grow_before_mount(
    session: &Session,
    mount: &Granted<BlockMount>,
) -> Option<Granted<GrowUnmounted>> {
    let BlockMount { device, filesystem, access, .. } = mount.get();
    let granted = session.grants.filesystems.as_ref()?;
    let may = granted.grow && granted.types.contains(filesystem);
    (may && *access == Access::ReadWrite)
        .then(|| grant(GrowUnmounted { device: Rc::clone(device), filesystem: *filesystem }))
}

/// Taking the mount off the target: whatever the component left there. Only in a teardown.
pub fn unmount(session: &Session) -> Result<Granted<Rc<Target>>, Failure> {
    only(session, &[Operation::Unmount, Operation::UnmountDevice])
        .and_then(|()| target::target(session))
        .map(grant)
        .map_err(failure)
}

/// Mounting again what is on record as mounted on the target, and was until just now. None if there
/// is no such thing. Only in `unmountdevice`.
pub fn again(session: &Session, attributes: MountAttrFlags) -> Option<Granted<Again>> {
    only(session, &[Operation::UnmountDevice]).ok()?;
    let staged = session.record.as_ref()?.staged.as_ref()?;
    let filesystem = Filesystem::parse(&staged.fs_type).ok()?;
    let device = Rc::clone(session.device.as_ref()?);
    Some(grant(Again { device, filesystem, access: staged.access, attributes }))
}

/// Taking down the loop device that the record lists: in a teardown, or because the call that
/// made it has failed. None if there is none.
pub fn detach(session: &Session) -> Option<Granted<Rc<Device>>> {
    let device = session.device.as_ref().filter(|device| device.is_loop())?;
    Some(grant(Rc::clone(device)))
}

/// Taking the lease of an image that this call has created, to remove it again: because the call has
/// failed, and before anybody else has it.
pub fn lease(session: &Session, created: Rc<ImageFile>) -> Granted<Lease> {
    grant(images::lease_of(session, created))
}

/// Ending the leases of the volume for the node that it is taken from, in the directory where its
/// image was. None if there was none and none is granted. Only in `detach`.
pub fn release(session: &Session) -> Result<Option<Granted<Release>>, Failure> {
    only(session, &[Operation::Detach])
        .and_then(|()| images::no_longer_up(session, &session.node))
        .map_err(failure)?;
    let recorded = session.record.as_ref().and_then(|record| record.image.as_ref());
    let dir = match recorded {
        // It is ended where it was begun, whatever is granted by now.
        Some(image) => Some(ImageDir::open(&image.directory)?),
        None => session.image_dir()?,
    };
    Ok(dir.map(|dir| grant(images::release_of(session, dir))))
}

/// The directory for a volume's device, where there is no kubelet to make and remove it.
pub fn staging(kubelet_root: &Path, path: &TargetPath) -> Result<Granted<Staging>, Failure> {
    match path.dir {
        MountDir::Device => Ok(grant(Staging {
            kubelet_root: kubelet_root.to_owned(),
            beneath_root: path.beneath_root.clone(),
        })),
        MountDir::Pod { .. } => {
            let message = format!("{} is a pod's, which kubelet makes", path.path.display());
            Err(failure(invalid("bad-path", message)))
        }
    }
}

fn only(session: &Session, operations: &[Operation]) -> Result<(), No> {
    match operations.contains(&session.operation) {
        true => Ok(()),
        false => Err(precondition(
            "wrong-operation",
            format!(
                "the host does not do this in {}; this is a bug in wasmount",
                session.operation.name()
            ),
        )),
    }
}

/// The host does not refuse itself by a fault.
fn failure(no: No) -> Failure {
    match no {
        No::Refused(failure) => failure,
        No::Fault(text) => Failure::new(Code::Internal, "internal", text),
    }
}
