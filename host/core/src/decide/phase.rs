//! Which operation of kubelet each import function belongs to. A function called in another one
//! is refused: what sets a volume up is not to be had while it is taken down, and secrets not
//! where kubelet gives none.

use super::{No, precondition};
use crate::call::Operation::{
    self, Attach, Detach, ExpandFs, ExpandVolume, Mount, MountDevice, Unmount, UnmountDevice,
    WaitForAttach,
};
use crate::wire::Request;

/// The functions that belong to some operations only. All others may be called in any.
///
/// Loop devices come and go with the device mount, never with a pod's: an image is one loop device
/// for all pods of a volume. So a driver that exports only `volume` has no use for images.
pub static PHASES: &[(&str, &[Operation])] = &[
    ("secrets.open", &[Mount]),
    ("secret.reveal", &[Mount]),
    ("mount-target.is-mounted", &[MountDevice, UnmountDevice, Mount, Unmount, ExpandFs]),
    ("mount-target.attach", &[MountDevice, Mount]),
    ("mount-target.unmount", &[UnmountDevice, Unmount]),
    ("devices.find", SET_UP_AND_EXPAND),
    ("devices.wait", SET_UP_AND_EXPAND),
    ("filesystems.format", &[MountDevice, Mount]),
    ("filesystems.check", &[MountDevice, Mount]),
    ("filesystems.grow", &[ExpandFs]),
    ("mounts-block.mount", &[MountDevice, Mount]),
    ("mounts-bind.staged", &[Mount]),
    ("mounts-tmpfs.create", &[MountDevice, Mount]),
    ("mounts-tmpfs.write-file", &[MountDevice, Mount]),
    ("mounts-tmpfs.write-secret", &[Mount]),
    ("mounts-tmpfs.seal", &[MountDevice, Mount]),
    ("images.create", &[Attach, MountDevice]),
    ("image.grow", &[ExpandVolume]),
    ("image.lease", &[Attach, MountDevice]),
    ("image.attach", &[WaitForAttach, MountDevice]),
    ("images.detach", &[UnmountDevice]),
    ("images.release", &[Detach, UnmountDevice]),
];

const SET_UP_AND_EXPAND: &[Operation] =
    &[WaitForAttach, MountDevice, Mount, ExpandVolume, ExpandFs];

/// The import function of the WIT that a request is a call of.
pub fn function(request: &Request) -> &'static str {
    match request {
        Request::Log { .. } => "log.write",
        Request::StateGet { .. } => "state.get",
        Request::StatePut { .. } => "state.put",
        Request::StateDelete { .. } => "state.delete",
        Request::SecretsOpen { .. } => "secrets.open",
        Request::SecretReveal { .. } => "secret.reveal",
        Request::TargetIsMounted => "mount-target.is-mounted",
        Request::TargetAttach { .. } => "mount-target.attach",
        Request::TargetUnmount => "mount-target.unmount",
        Request::DevicesFind { .. } => "devices.find",
        Request::DevicesWait { .. } => "devices.wait",
        Request::DeviceSize { .. } => "block-device.size",
        Request::DeviceIsReadOnly { .. } => "block-device.is-read-only",
        Request::DeviceProbe { .. } => "block-device.probe",
        Request::FilesystemsFormat { .. } => "filesystems.format",
        Request::FilesystemsCheck { .. } => "filesystems.check",
        Request::FilesystemsGrow => "filesystems.grow",
        Request::MountsBlock { .. } => "mounts-block.mount",
        Request::MountsBind { .. } => "mounts-bind.staged",
        Request::TmpfsCreate { .. } => "mounts-tmpfs.create",
        Request::TmpfsWriteFile { .. } => "mounts-tmpfs.write-file",
        Request::TmpfsWriteSecret { .. } => "mounts-tmpfs.write-secret",
        Request::TmpfsSeal { .. } => "mounts-tmpfs.seal",
        Request::ImagesOpen { .. } => "images.open",
        Request::ImagesCreate { .. } => "images.create",
        Request::ImageSize { .. } => "image.size",
        Request::ImageGrow { .. } => "image.grow",
        Request::ImageLease { .. } => "image.lease",
        Request::ImageHolder { .. } => "image.holder",
        Request::ImageAttach { .. } => "image.attach",
        Request::ImagesAttached => "images.attached",
        Request::ImagesDetach => "images.detach",
        Request::ImagesRelease { .. } => "images.release",
        Request::Drop { .. } => "drop",
    }
}

/// The operations that a function belongs to; none if it may be called in any.
pub fn operations(function: &str) -> Option<&'static [Operation]> {
    PHASES.iter().find(|(name, _)| *name == function).map(|(_, phases)| *phases)
}

pub(super) fn check(operation: Operation, request: &Request) -> Result<(), No> {
    let function = function(request);
    let Some(phases) = operations(function).filter(|phases| !phases.contains(&operation)) else {
        return Ok(());
    };
    let phases: Vec<&str> = phases.iter().map(|phase| phase.name()).collect();
    Err(precondition(
        "wrong-operation",
        format!(
            "the component called {function} in {}, and that is for {} only; tell its vendor",
            operation.name(),
            phases.join(", ")
        ),
    ))
}
