//! `mounts-block` and `mounts-bind`.

use std::rc::Rc;

use super::advice::{Advice, list, not_granted};
use super::filesystems::{whole, writable};
use super::{Act, Handles, No, devices, grant, precondition};
use crate::call::Access;
use crate::kernel::filesystems::{BlockOption, Filesystem};
use crate::kernel::mounts::{Bind, BlockMount};
use crate::session::Session;
use crate::wire::Handle;

pub(super) fn block(
    session: &Session,
    handles: &mut Handles,
    device: Handle,
    fs_type: &str,
    access: Access,
    options: &[String],
) -> Result<Act, No> {
    handles.room()?;
    let device = devices::own(session, handles, device)?;
    let filesystem = Filesystem::parse(fs_type)?;
    let parsed = options.iter().map(|option| BlockOption::parse(filesystem, option));
    let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
    granted(session, filesystem, options)?;
    if access == Access::ReadWrite {
        writable(session, "mounted read-write")?;
    }
    whole(session, &device)?;
    Ok(Act::MountBlock(grant(BlockMount { device, filesystem, access, options: parsed })))
}

pub(super) fn bind(session: &Session, handles: &Handles, access: Access) -> Result<Act, No> {
    handles.room()?;
    if !session.grants.bind {
        let advice = Advice::Add("[mounts.bind]".to_owned());
        return Err(not_granted("mounts.bind", "to bind its device mount", advice));
    }
    Ok(Act::MountBind(grant(staged(session, access)?)))
}

/// The bind of the volume's own device mount.
pub(super) fn staged(session: &Session, access: Access) -> Result<Bind, No> {
    if access == Access::ReadWrite {
        writable(session, "mounted read-write")?;
    }
    let (Some(source), Some(mount)) = (&session.staging, &session.staged) else {
        return Err(precondition("not-staged", "the volume's device is not mounted on this node"));
    };
    if access == Access::ReadWrite && mount.access == Access::ReadOnly {
        return Err(precondition(
            "staged-read-only",
            "the volume's device is mounted read-only on this node: it cannot be bound read-write",
        ));
    }
    Ok(Bind { source: Rc::clone(source), device: mount.device, access })
}

fn granted(session: &Session, filesystem: Filesystem, options: &[String]) -> Result<(), No> {
    let name = filesystem.name();
    let asked = format!("to mount a device's {name} filesystem");
    let Some(granted) = &session.grants.block else {
        let mut lines = format!("[mounts.block] filesystems = {}", list([name]));
        if !options.is_empty() {
            lines += &format!(" options = {}", list(options.iter().map(String::as_str)));
        }
        return Err(not_granted("mounts.block", &asked, Advice::Add(lines)));
    };
    if !granted.filesystems.contains(&filesystem) {
        let types = granted.filesystems.iter().chain([&filesystem]).map(|fs| fs.name());
        let advice = Advice::Set(format!("[mounts.block] filesystems = {}", list(types)));
        return Err(not_granted(&format!("mounts.block.{name}"), &asked, advice));
    }
    let missing: Vec<&String> = options.iter().filter(|o| !granted.options.contains(o)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all = granted.options.iter().chain(missing.iter().copied()).map(String::as_str);
    let advice = Advice::Set(format!("[mounts.block] options = {}", list(all)));
    let missing = list(missing.into_iter().map(String::as_str));
    let asked = format!("{asked} with the options {missing}");
    Err(not_granted("mounts.block.options", &asked, advice))
}
