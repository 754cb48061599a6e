//! A native driver's exports: which function a call is for, and what it is given. In a component
//! this is `convert`'s part.

use wasmount_recording::{Call, Operation, Outcome};

use super::host::{target, volumes};
use crate::{Attacher, Device, Expander, MountTarget, Result, Volume, VolumeRecord, VolumeSpec};

/// A driver, with all that it exports. [`export!`](crate::export) makes a type one.
pub trait Driver {
    /// What it exports.
    const EXPORTS: &'static [Export];
}

/// Calls one exported interface; none if the operation is another's.
pub type Export = fn(&Call) -> Option<Result<Outcome>>;

const SPEC: VolumeSpec<'static> = VolumeSpec(&volumes::Volume);
const TARGET: MountTarget<'static> = MountTarget(&target::MountTarget);

/// The interface `volume`.
#[must_use]
pub fn volume<T: Volume>(call: &Call) -> Option<Result<Outcome>> {
    match call.operation {
        Operation::Mount => Some(done(T::mount(&SPEC, &TARGET))),
        Operation::Unmount => {
            Some(done(T::unmount(&call.volume, previous(call).as_ref(), &TARGET)))
        }
        _ => None,
    }
}

/// The interface `device`.
#[must_use]
pub fn device<T: Device>(call: &Call) -> Option<Result<Outcome>> {
    match call.operation {
        Operation::MountDevice => {
            Some(done(T::mount_device(&SPEC, call.attachment.as_deref(), &TARGET)))
        }
        Operation::UnmountDevice => {
            Some(done(T::unmount_device(&call.volume, previous(call).as_ref(), &TARGET)))
        }
        _ => None,
    }
}

/// The interface `attacher`.
#[must_use]
pub fn attacher<T: Attacher>(call: &Call) -> Option<Result<Outcome>> {
    let node = call.node.as_deref().unwrap_or_default();
    match call.operation {
        Operation::Attach => Some(T::attach(&SPEC, node).map(Outcome::Attachment)),
        Operation::Detach => Some(done(T::detach(&call.volume, previous(call).as_ref(), node))),
        Operation::WaitForAttach => {
            let token = T::wait_for_attach(&SPEC, call.attachment.as_deref());
            Some(token.map(Outcome::Attachment))
        }
        Operation::IsAttached => Some(T::is_attached(&SPEC, node).map(Outcome::Flag)),
        _ => None,
    }
}

/// The interface `expander`.
#[must_use]
pub fn expander<T: Expander>(call: &Call) -> Option<Result<Outcome>> {
    let (new, old) = call.sizes.unwrap_or_default();
    match call.operation {
        Operation::ExpandVolume => Some(T::expand_volume(&SPEC, new, old).map(Outcome::Number)),
        Operation::ExpandFs => Some(done(T::expand_fs(&SPEC, &TARGET, new, old))),
        _ => None,
    }
}

fn previous(call: &Call) -> Option<VolumeRecord<'static>> {
    call.on_record.then_some(VolumeRecord(&volumes::VolumeRecord))
}

fn done(result: Result) -> Result<Outcome> {
    result.map(|()| Outcome::Done)
}
