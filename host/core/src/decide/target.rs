//! `target`: the directory of this call. It needs no grant: there is no other.

use std::rc::Rc;

use super::{Act, Handles, No, grant, precondition};
use crate::call::Access;
use crate::kernel::mounts::Attach;
use crate::kernel::target::Target;
use crate::session::Session;
use crate::wire::Handle;

pub(super) fn is_mounted(session: &Session) -> Result<Act, No> {
    Ok(Act::TargetIsMounted(grant(target(session)?)))
}

pub(super) fn attach(session: &Session, handles: &mut Handles, pending: Handle) -> Result<Act, No> {
    let (mount, is_tmpfs) = handles.pending(pending)?;
    let target = target(session)?;
    if handles.attached {
        return Err(precondition(
            "attached-already",
            "the component has a mount for the directory already, and wants another",
        ));
    }
    handles.attached = true;
    handles.take(pending)?;
    // Mounts of devices and binds of a read-only volume are made read-only. A tmpfs has to be
    // writable while files are put into it.
    let seal = is_tmpfs && session.access == Access::ReadOnly;
    Ok(Act::TargetAttach {
        seal: seal.then(|| grant(Rc::clone(&mount))),
        attach: grant(Attach { pending: mount, target }),
    })
}

pub(super) fn unmount(session: &Session) -> Result<Act, No> {
    Ok(Act::TargetUnmount(grant(target(session)?)))
}

pub(super) fn target(session: &Session) -> Result<Rc<Target>, No> {
    let target = session.target.as_ref().map(Rc::clone);
    target.ok_or_else(|| precondition("no-target", "this call has no mount directory"))
}
