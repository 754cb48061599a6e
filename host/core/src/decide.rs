//! The decision: may the component have what it asks for? Deny by default, in one place.
//!
//! [`decide`] answers every request with a yes, a refusal or a fault. A yes is an [`Act`], whose
//! [`Granted`] values are what the acts in [`crate::kernel`] demand and nobody else can make. A
//! refusal is answered to the component; a fault ends it. What the host does without being
//! asked is decided in [`host`]. Nothing is done on the node here: the only things asked of it
//! are who has claimed or leased something, and the granted image directory, which is opened.

mod advice;
mod audit;
mod bounds;
mod devices;
mod filesystems;
mod handles;
pub mod host;
mod images;
mod mounts;
mod phase;
mod secrets;
mod state;
mod target;
mod tmpfs;

use std::rc::Rc;
use std::time::Duration;

pub use audit::{audit_view, audit_view_in};
pub use handles::{Handles, Held, MAX_HANDLES, MAX_REQUESTS};
pub use phase::{PHASES, function, operations};

use crate::failure::{Code, Failure};
use crate::journal::Claim;
use crate::journal::record::FormatRef;
use crate::kernel::device::{Device, DeviceQuery};
use crate::kernel::filesystems::{Check, Format, Grow};
use crate::kernel::images::{ImageCreate, ImageFile, ImageGrow, ImageOpen, Lease, Release};
use crate::kernel::loopdev::LoopAttach;
use crate::kernel::mounts::{Attach, Bind, BlockMount, PendingMount};
use crate::kernel::target::Target;
use crate::kernel::tmpfs::{Tmpfs, TmpfsFile};
use crate::session::Session;
use crate::wire::{Bytes, Level, Request, Response};

/// Decides about one request of the component.
pub fn decide(session: &Session, handles: &mut Handles, request: Request) -> Result<Act, No> {
    handles.count_request()?;
    bounds::check(&request)?;
    phase::check(session.operation, &request)?;
    match request {
        Request::Log { level, message } => Ok(Act::Log { level, message }),
        Request::StateGet { key } => state::get(session, &key),
        Request::StatePut { key, value } => state::put(session, key, value),
        Request::StateDelete { key } => state::delete(session, key),
        Request::SecretsOpen { key } => secrets::open(session, handles, key),
        Request::SecretReveal { secret } => secrets::reveal(session, handles, secret),
        Request::TargetIsMounted => target::is_mounted(session),
        Request::TargetAttach { pending } => target::attach(session, handles, pending),
        Request::TargetUnmount => target::unmount(session),
        Request::DevicesFind { rule, id } => devices::find(session, handles, &rule, &id),
        Request::DevicesWait { rule, id, milliseconds } => {
            devices::wait(session, handles, &rule, &id, milliseconds)
        }
        Request::DeviceSize { device } => devices::size(session, handles, device),
        Request::DeviceIsReadOnly { device } => devices::is_read_only(session, handles, device),
        Request::DeviceProbe { device } => devices::probe(session, handles, device),
        Request::FilesystemsFormat { device, fs_type, options } => {
            filesystems::format(session, handles, device, &fs_type, &options)
        }
        Request::FilesystemsCheck { device, fs_type } => {
            filesystems::check(session, handles, device, &fs_type)
        }
        Request::FilesystemsGrow => filesystems::grow(session),
        Request::MountsBlock { device, fs_type, access, options } => {
            mounts::block(session, handles, device, &fs_type, access, &options)
        }
        Request::MountsBind { access } => mounts::bind(session, handles, access),
        Request::TmpfsCreate { size, mode, group } => {
            tmpfs::create(session, handles, size, mode, group)
        }
        Request::TmpfsWriteFile { pending, name, contents, mode } => {
            tmpfs::write_file(session, handles, pending, name, contents.0, mode)
        }
        Request::TmpfsWriteSecret { pending, name, secret, mode } => {
            tmpfs::write_secret(session, handles, pending, name, secret, mode)
        }
        Request::TmpfsSeal { pending } => tmpfs::seal(session, handles, pending),
        Request::ImagesOpen { name } => images::open(session, handles, &name),
        Request::ImagesCreate { name, size } => images::create(session, handles, &name, size),
        Request::ImageSize { image } => images::size(session, handles, image),
        Request::ImageGrow { image, size } => images::grow(session, handles, image, size),
        Request::ImageLease { image, node } => images::lease(session, handles, image, &node),
        Request::ImageHolder { image } => images::holder(session, handles, image),
        Request::ImageAttach { image, access } => images::attach(session, handles, image, access),
        Request::ImagesAttached => images::attached(session, handles),
        Request::ImagesDetach => images::detach(session),
        Request::ImagesRelease { node } => images::release(session, &node),
        Request::Drop { handle } => handles.take(handle).map(|_| Act::Answer(Response::Done)),
    }
}

/// What the decision yields and an act demands: a `T` that was checked against the grants and
/// this call. Only this module makes one.
#[derive(Debug)]
pub struct Granted<T>(T);

impl<T> Granted<T> {
    /// For the record: what was granted.
    pub(crate) fn get(&self) -> &T {
        &self.0
    }

    /// For the act: what was granted.
    pub(crate) fn into_inner(self) -> T {
        self.0
    }

    /// For tests of acts, which have no call to decide about.
    #[cfg(test)]
    pub(crate) fn for_test(value: T) -> Self {
        Self(value)
    }
}

/// A yes: what the broker is to do.
#[derive(Debug)]
pub enum Act {
    /// Nothing is to be done; this is the answer.
    Answer(Response),
    /// The component gets a handle on this, which it is granted as it is.
    Hold(Held),
    /// A line for the driver's log.
    Log {
        /// How much it matters.
        level: Level,
        /// The line, as the component said it.
        message: String,
    },
    /// Stores a value with the volume's record.
    StatePut {
        /// Under which key.
        key: String,
        /// What.
        value: Bytes,
    },
    /// Forgets a value of the volume's record.
    StateDelete {
        /// Its key.
        key: String,
    },
    /// Answers the value of the secret with this key.
    SecretReveal(Granted<String>),
    /// Answers whether something is mounted on the target.
    TargetIsMounted(Granted<Rc<Target>>),
    /// Puts a mount on the target once the call has succeeded.
    TargetAttach {
        /// The mount and the target.
        attach: Granted<Attach>,
        /// To be made read-only before, since the volume is.
        seal: Option<Granted<Rc<PendingMount>>>,
    },
    /// Takes the mount off the target.
    TargetUnmount(Granted<Rc<Target>>),
    /// Finds a device.
    DeviceFind(Granted<DeviceQuery>),
    /// Finds a device, waiting so long for it.
    DeviceWait(Granted<DeviceQuery>, Duration),
    /// Answers a device's size.
    DeviceSize(Granted<Rc<Device>>),
    /// Answers whether a device can only be read.
    DeviceIsReadOnly(Granted<Rc<Device>>),
    /// Answers what is on a device.
    DeviceProbe(Granted<Rc<Device>>),
    /// Makes a filesystem.
    Format(Granted<Format>),
    /// Checks a filesystem.
    Check(Granted<Check>),
    /// Grows a mounted filesystem.
    Grow(Granted<Grow>),
    /// Makes a mount of a device.
    MountBlock(Granted<BlockMount>),
    /// Makes a bind.
    MountBind(Granted<Bind>),
    /// Makes a tmpfs; it is to be held as [`Held::Tmpfs`].
    TmpfsCreate(Granted<Tmpfs>),
    /// Puts a file into a tmpfs.
    TmpfsWrite(Granted<TmpfsFile>),
    /// Makes a tmpfs read-only.
    TmpfsSeal(Granted<Rc<PendingMount>>),
    /// Opens an image.
    ImageOpen(Granted<ImageOpen>),
    /// Creates an image, or opens it.
    ImageCreate(Granted<ImageCreate>),
    /// Answers an image's size.
    ImageSize(Granted<Rc<ImageFile>>),
    /// Makes an image longer.
    ImageGrow(Granted<ImageGrow>),
    /// Gives an image to a node.
    ImageLease(Granted<Lease>),
    /// Answers which node has an image.
    ImageHolder(Granted<Rc<ImageFile>>),
    /// Makes an image a loop device.
    LoopAttach(Granted<LoopAttach>),
    /// Takes down a loop device.
    LoopDetach(Granted<Rc<Device>>),
    /// Ends a lease.
    ImageRelease(Granted<Release>),
}

impl Act {
    /// The act's name in the audit log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answer(_) => "answer",
            Self::Hold(_) => "hold",
            Self::Log { .. } => "log",
            Self::StatePut { .. } => "state-put",
            Self::StateDelete { .. } => "state-delete",
            Self::SecretReveal(_) => "secret-reveal",
            Self::TargetIsMounted(_) => "target-is-mounted",
            Self::TargetAttach { .. } => "target-attach",
            Self::TargetUnmount(_) => "target-unmount",
            Self::DeviceFind(_) => "device-find",
            Self::DeviceWait(..) => "device-wait",
            Self::DeviceSize(_) => "device-size",
            Self::DeviceIsReadOnly(_) => "device-is-read-only",
            Self::DeviceProbe(_) => "device-probe",
            Self::Format(_) => "format",
            Self::Check(_) => "check",
            Self::Grow(_) => "grow",
            Self::MountBlock(_) => "mount-block",
            Self::MountBind(_) => "mount-bind",
            Self::TmpfsCreate(_) => "tmpfs-create",
            Self::TmpfsWrite(_) => "tmpfs-write",
            Self::TmpfsSeal(_) => "tmpfs-seal",
            Self::ImageOpen(_) => "image-open",
            Self::ImageCreate(_) => "image-create",
            Self::ImageSize(_) => "image-size",
            Self::ImageGrow(_) => "image-grow",
            Self::ImageLease(_) => "image-lease",
            Self::ImageHolder(_) => "image-holder",
            Self::LoopAttach(_) => "loop-attach",
            Self::LoopDetach(_) => "loop-detach",
            Self::ImageRelease(_) => "image-release",
        }
    }
}

/// A no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    /// Answered to the component, which may go on.
    Refused(Failure),
    /// The component broke the rules of the interface: it is ended. The text is for the operator.
    Fault(String),
}

impl From<Failure> for No {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// What a call fails with.
impl From<No> for Failure {
    fn from(no: No) -> Self {
        match no {
            No::Refused(failure) => failure,
            No::Fault(what) => {
                let message = format!("the component was ended: {what}; tell its vendor");
                Failure::new(Code::Internal, "component-fault", message)
            }
        }
    }
}

/// The one place that a [`Granted`] comes from.
fn grant<T>(value: T) -> Granted<T> {
    Granted(value)
}

fn invalid(reason: &str, message: impl Into<String>) -> No {
    No::Refused(Failure::new(Code::InvalidArgument, reason, message))
}

fn precondition(reason: &str, message: impl Into<String>) -> No {
    No::Refused(Failure::new(Code::FailedPrecondition, reason, message))
}

/// An image or a device belongs to one volume. Asked once a call of each identity.
fn unclaimed(session: &Session, handles: &mut Handles, identity: &str) -> Result<(), No> {
    if handles.is_cleared(identity) {
        return Ok(());
    }
    match session.claims().holder(identity)? {
        Some(Claim { driver, key }) => Err(precondition(
            "claimed",
            format!(
                "the image or device belongs to the volume `{key}` of {driver}; give this one another"
            ),
        )),
        None => {
            handles.clear(identity);
            Ok(())
        }
    }
}

/// The format of this device that was begun and not seen to end, if there is one: then nothing on
/// the device is to be trusted, and it is as good as blank for this volume. The broker voids the
/// record of a format where something else is on the device by now.
fn half_formatted<'s>(session: &'s Session, device: &Device) -> Option<&'s FormatRef> {
    let format = session.record.as_ref().and_then(|record| record.formatting.as_ref());
    format.filter(|format| format.identity == device.identity)
}

#[cfg(test)]
mod tests;
