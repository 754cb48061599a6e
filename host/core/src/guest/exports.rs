//! What a component can be asked: the interfaces it exports, and the one call.
//!
//! What it means that an interface is absent is not decided here: the broker knows the exports
//! from the receipt and answers for the component where it can.

use wasmtime::component::{Instance, InstancePre, Resource};
use wasmtime::{Result, Store, bail};

use super::bindings::exported;
use super::bindings::imported::types::Error;
use super::imports::Imports;
use crate::call::Operation;
use crate::failure::Failure;
use crate::wire::{Outcome, Start};

/// The longest message that a component's error may have, in bytes.
const MESSAGE: usize = 2 * 1024;

/// The longest reason token, in bytes.
const REASON: usize = 64;

/// The exported interfaces, found once a component.
pub struct Exports {
    volume: Option<exported::volume::GuestIndices>,
    device: Option<exported::device::GuestIndices>,
    attacher: Option<exported::attacher::GuestIndices>,
    expander: Option<exported::expander::GuestIndices>,
}

/// The indices of one interface: none if it is not exported, an error if one of its functions is
/// missing. The version is the WIT's; another 0.1 in the component is compatible and found too.
macro_rules! found {
    ($pre:expr, $interface:ident) => {{
        let name = concat!("wasmount:driver/", stringify!($interface), "@0.1.0");
        match $pre.component().get_export_index(None, name) {
            None => None,
            Some(_) => Some(exported::$interface::GuestIndices::new($pre)?),
        }
    }};
}

/// One interface, ready to be called; an error if it is not exported.
macro_rules! loaded {
    ($exports:expr, $store:expr, $instance:expr, $interface:ident) => {
        match &$exports.$interface {
            Some(indices) => indices.load(&mut *$store, $instance)?,
            None => bail!("the component does not export `{}`", stringify!($interface)),
        }
    };
}

impl Exports {
    /// Finds what a component exports.
    pub fn of(pre: &InstancePre<Imports>) -> Result<Self> {
        Ok(Self {
            volume: found!(pre, volume),
            device: found!(pre, device),
            attacher: found!(pre, attacher),
            expander: found!(pre, expander),
        })
    }

    /// Calls the export that belongs to the call's operation. An error is a trap.
    pub fn call(&self, store: &mut Store<Imports>, instance: &Instance) -> Result<Outcome> {
        let start = store.data().start();
        let Start { operation, name, attachment, node, sizes, .. } = start.clone();
        let previous = start.volume.is_some().then(|| Resource::new_borrow(0));
        let (name, attachment) = (name.as_str(), attachment.as_deref());
        // The broker gives each operation what it takes.
        let node = node.as_deref().unwrap_or_default();
        let (new_size, old_size) = sizes.unwrap_or_default();
        match operation {
            Operation::Mount => {
                let volume = loaded!(self, store, instance, volume);
                volume.call_mount(store, the(), the()).map(done)
            }
            Operation::Unmount => {
                let volume = loaded!(self, store, instance, volume);
                volume.call_unmount(store, name, previous, the()).map(done)
            }
            Operation::MountDevice => {
                let device = loaded!(self, store, instance, device);
                device.call_mount_device(store, the(), attachment, the()).map(done)
            }
            Operation::UnmountDevice => {
                let device = loaded!(self, store, instance, device);
                device.call_unmount_device(store, name, previous, the()).map(done)
            }
            Operation::Attach => {
                let attacher = loaded!(self, store, instance, attacher);
                let token = attacher.call_attach(store, the(), node)?;
                Ok(ended(token, Outcome::Attachment))
            }
            Operation::Detach => {
                let attacher = loaded!(self, store, instance, attacher);
                attacher.call_detach(store, name, previous, node).map(done)
            }
            Operation::WaitForAttach => {
                let attacher = loaded!(self, store, instance, attacher);
                let token = attacher.call_wait_for_attach(store, the(), attachment)?;
                Ok(ended(token, Outcome::Attachment))
            }
            Operation::IsAttached => {
                let attacher = loaded!(self, store, instance, attacher);
                let attached = attacher.call_is_attached(store, the(), node)?;
                Ok(ended(attached, Outcome::Flag))
            }
            Operation::ExpandVolume => {
                let expander = loaded!(self, store, instance, expander);
                let size = expander.call_expand_volume(store, the(), new_size, old_size)?;
                Ok(ended(size, Outcome::Number))
            }
            Operation::ExpandFs => {
                let expander = loaded!(self, store, instance, expander);
                expander.call_expand_fs(store, the(), the(), new_size, old_size).map(done)
            }
            Operation::Init | Operation::GetVolumeName => {
                bail!("a bug in wasmount: no component answers this operation")
            }
        }
    }
}

/// The volume or the target of this call: there is one of each.
fn the<T: 'static>() -> Resource<T> {
    Resource::new_borrow(0)
}

fn done(result: Result<(), Error>) -> Outcome {
    ended(result, |()| Outcome::Done)
}

fn ended<T>(result: Result<T, Error>, outcome: fn(T) -> Outcome) -> Outcome {
    result.map_or_else(|error| Outcome::Refused(refusal(error)), outcome)
}

/// A component's error, within the bounds that the WIT states.
fn refusal(Error { code, reason, message }: Error) -> Failure {
    let token = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b':' | b'-');
    let fit = (1..=REASON).contains(&reason.len()) && reason.bytes().all(token);
    let message = match message.trim() {
        "" => "the component failed and does not say why; tell its vendor".to_owned(),
        _ => plain(&message, MESSAGE),
    };
    Failure {
        code: code.into(),
        reason: if fit { reason } else { "component".to_owned() },
        message,
    }
}

/// Text of a component, cut to so many bytes and without control characters.
pub(super) fn plain(text: &str, most: usize) -> String {
    let cut = &text[..text.floor_char_boundary(most)];
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;
    use crate::guest::bindings::imported::types;

    #[test]
    fn a_refusal_is_kept_within_its_bounds() {
        let long = "é".repeat(MESSAGE);
        let silent = "the component failed and does not say why; tell its vendor";
        for (reason, message, kept_reason, kept_message) in [
            ("not-blank", "on it: xfs", "not-blank", "on it: xfs"),
            ("grant:mounts.block", "", "grant:mounts.block", silent),
            ("not-blank", " \n", "not-blank", silent),
            ("", "a\nb\u{1b}[31m", "component", "a b [31m"),
            ("Not Blank", "m", "component", "m"),
            (&"r".repeat(REASON), "m", &"r".repeat(REASON), "m"),
            (&"r".repeat(REASON + 1), "m", "component", "m"),
            ("r", &long, "r", &long[..MESSAGE]),
        ] {
            let (reason, message) = (reason.to_owned(), message.to_owned());
            let error = Error { code: types::Code::DataLoss, reason, message };
            assert_eq!(refusal(error), Failure::new(Code::DataLoss, kept_reason, kept_message));
        }
    }
}
