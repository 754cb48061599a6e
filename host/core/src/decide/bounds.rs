//! How long what a component passes may be. Over a bound it is at fault: the SDK and the WIT say
//! the same numbers, so that no honest component gets here.

use super::{No, function};
use crate::grants::MAX_ID;
use crate::wire::Request;

/// A key of the volume's store, in bytes.
pub(super) const MAX_STATE_KEY: usize = 64;
/// A secret's key, in bytes: Kubernetes' own bound.
const MAX_SECRET_KEY: usize = 253;
/// A device rule's name, in bytes.
const MAX_RULE: usize = 64;
/// A file's name, in bytes: the kernel's bound.
const MAX_FILE_NAME: usize = 255;
/// A node's name, in bytes: Kubernetes' own bound.
const MAX_NODE: usize = 253;
/// The name of a filesystem or of one of its options, in bytes.
const MAX_NAME: usize = 64;
/// The value of a filesystem's option, in bytes.
const MAX_VALUE: usize = 255;
/// How many options a filesystem or a mount may be given.
const MAX_OPTIONS: usize = 32;

pub(super) fn check(request: &Request) -> Result<(), No> {
    let within = |what: &str, length: usize, bound: usize| match length <= bound {
        true => Ok(()),
        false => Err(No::Fault(format!(
            "{}: the {what} is {length} long, the bound is {bound}",
            function(request)
        ))),
    };
    match request {
        Request::StateGet { key }
        | Request::StatePut { key, .. }
        | Request::StateDelete { key } => within("key", key.len(), MAX_STATE_KEY),
        Request::SecretsOpen { key } => within("key", key.len(), MAX_SECRET_KEY),
        Request::DevicesFind { rule, id } | Request::DevicesWait { rule, id, .. } => {
            within("rule", rule.len(), MAX_RULE)?;
            within("id", id.len(), MAX_ID)
        }
        Request::FilesystemsFormat { fs_type, options, .. } => {
            within("filesystem", fs_type.len(), MAX_NAME)?;
            within("list of options", options.len(), MAX_OPTIONS)?;
            options.iter().try_for_each(|(name, value)| {
                within("option", name.len(), MAX_NAME)?;
                within("option's value", value.len(), MAX_VALUE)
            })
        }
        Request::FilesystemsCheck { fs_type, .. } => within("filesystem", fs_type.len(), MAX_NAME),
        Request::MountsBlock { fs_type, options, .. } => {
            within("filesystem", fs_type.len(), MAX_NAME)?;
            within("list of options", options.len(), MAX_OPTIONS)?;
            options.iter().try_for_each(|option| within("option", option.len(), MAX_NAME))
        }
        Request::TmpfsWriteFile { name, .. }
        | Request::TmpfsWriteSecret { name, .. }
        | Request::ImagesOpen { name }
        | Request::ImagesCreate { name, .. } => within("name", name.len(), MAX_FILE_NAME),
        Request::ImageLease { node, .. } | Request::ImagesRelease { node } => {
            within("node", node.len(), MAX_NODE)
        }
        // The wire bounds a message; the log cuts a line.
        Request::Log { .. } => Ok(()),
        Request::SecretReveal { .. }
        | Request::TargetIsMounted
        | Request::TargetAttach { .. }
        | Request::TargetUnmount
        | Request::DeviceSize { .. }
        | Request::DeviceIsReadOnly { .. }
        | Request::DeviceProbe { .. }
        | Request::FilesystemsGrow
        | Request::MountsBind { .. }
        | Request::TmpfsCreate { .. }
        | Request::TmpfsSeal { .. }
        | Request::ImageSize { .. }
        | Request::ImageGrow { .. }
        | Request::ImageHolder { .. }
        | Request::ImageAttach { .. }
        | Request::ImagesAttached
        | Request::ImagesDetach
        | Request::Drop { .. } => Ok(()),
    }
}
