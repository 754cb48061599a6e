//! `filesystems`: making, checking and growing them.

use std::rc::Rc;

use super::advice::{Advice, list, not_granted};
use super::{Act, Handles, No, devices, grant, half_formatted, precondition, target};
use crate::call::Access;
use crate::grants::FilesystemsGrant;
use crate::kernel::device::Device;
use crate::kernel::filesystems::{Check, Filesystem, Format, Grow, Profile};
use crate::kernel::uuid;
use crate::session::Session;
use crate::wire::Handle;

pub(super) fn format(
    session: &Session,
    handles: &mut Handles,
    device: Handle,
    fs_type: &str,
    options: &[(String, String)],
) -> Result<Act, No> {
    let device = devices::own(session, handles, device)?;
    let filesystem = Filesystem::parse(fs_type)?;
    granted(session, "format", &format!("to format a device as {fs_type}"), filesystem, |grant| {
        grant.format
    })?;
    writable(session, "formatted")?;
    let record = session.record.as_ref();
    if record.is_some_and(|record| record.mounted.contains(&device.identity)) {
        return Err(precondition(
            "was-mounted",
            "the volume was mounted from this device before, which can hold its data: it is never \
             formatted again; repair the filesystem by hand, or give the volume another image or \
             device",
        ));
    }
    let begun = half_formatted(session, &device);
    if let Some(begun) = begun
        && begun.fs_type != fs_type
    {
        return Err(precondition(
            "format-interrupted",
            format!(
                "a format of the device as {0} was interrupted, and only {0} is made of it again; set \
                 the volume's fsType to {0}",
                begun.fs_type
            ),
        ));
    }
    let profile = Profile::parse(filesystem, options)?;
    let resume = begun.is_some();
    let uuid = match begun {
        Some(begun) => begun.uuid.clone(),
        None => uuid::random()?,
    };
    Ok(Act::Format(grant(Format { device, filesystem, profile, resume, uuid })))
}

pub(super) fn check(
    session: &Session,
    handles: &mut Handles,
    device: Handle,
    fs_type: &str,
) -> Result<Act, No> {
    let device = devices::own(session, handles, device)?;
    let filesystem = Filesystem::parse(fs_type)?;
    Ok(Act::Check(grant(check_of(session, device, filesystem)?)))
}

/// Checking that filesystem of a device of the volume's.
pub(super) fn check_of(
    session: &Session,
    device: Rc<Device>,
    filesystem: Filesystem,
) -> Result<Check, No> {
    let asked = format!("to check and repair a filesystem of type {}", filesystem.name());
    granted(session, "check", &asked, filesystem, |grant| grant.check)?;
    writable(session, "repaired")?;
    whole(session, &device)?;
    Ok(Check { device, filesystem })
}

pub(super) fn grow(session: &Session) -> Result<Act, No> {
    let target = target::target(session)?;
    let Some(mounted) = session.mounted.as_ref() else {
        return Err(precondition(
            "not-mounted",
            "nothing of this volume is mounted on that directory",
        ));
    };
    let filesystem = Filesystem::parse(&mounted.fs_type)?;
    let asked = format!("to grow a filesystem of type {}", mounted.fs_type);
    granted(session, "grow", &asked, filesystem, |grant| grant.grow)?;
    let Some(device) = session.device.as_ref().map(Rc::clone) else {
        return Err(precondition("no-device", "the volume has no device on this node"));
    };
    // Nothing is grown through a read-only mount; its device's size is the answer all the same.
    if session.access == Access::ReadOnly || mounted.access == Access::ReadOnly {
        return Ok(Act::DeviceSize(grant(device)));
    }
    Ok(Act::Grow(grant(Grow { target, device })))
}

/// Refuses what would write to a read-only volume.
pub(super) fn writable(session: &Session, done: &str) -> Result<(), No> {
    match session.access {
        Access::ReadWrite => Ok(()),
        Access::ReadOnly => Err(precondition(
            "read-only-volume",
            format!("the volume is read-only: it is not to be {done}"),
        )),
    }
}

/// Refuses a device on which a format was interrupted.
pub(super) fn whole(session: &Session, device: &Device) -> Result<(), No> {
    match half_formatted(session, device) {
        None => Ok(()),
        Some(_) => Err(precondition(
            "format-interrupted",
            "a format of the device was interrupted: it has to be formatted again first",
        )),
    }
}

fn granted(
    session: &Session,
    what: &str,
    asked: &str,
    filesystem: Filesystem,
    allows: fn(&FilesystemsGrant) -> bool,
) -> Result<(), No> {
    let section = format!("filesystems.{what}");
    let advice = match &session.grants.filesystems {
        Some(granted) if !granted.types.contains(&filesystem) => {
            let types = granted.types.iter().chain([&filesystem]).map(|fs| fs.name());
            Advice::Set(format!("[filesystems] types = {}", list(types)))
        }
        Some(granted) if allows(granted) => return Ok(()),
        Some(_) => Advice::Set(format!("[filesystems] {what} = true")),
        None => {
            let types = list([filesystem.name()]);
            Advice::Add(format!("[filesystems] types = {types} {what} = true"))
        }
    };
    Err(not_granted(&section, asked, advice))
}
