//! Calls of a driver on record: what kubelet asks of it, what it then asks of the host, what the
//! host answers, and how the call ends. A driver is tested by playing it again.
//!
//! There is one format, for the driver as a native library (`wasmount_guest_sdk::testing`) and as
//! a component (`wasmount test`). This crate reads it and compares; it runs nothing.
//!
//! ```
//! # let text = r#"
//! [[call]]
//! name = "a blank image gets a filesystem"
//! operation = "mountdevice"
//! volume = "pv-1"
//! options = { label = "data" }
//! host-calls = [
//!     { call = "images.open", name = "pv-1.img", returns = "image" },
//!     { call = "image.attach", image = "image", access = "read-write", returns = "loop0" },
//!     { call = "block-device.probe", device = "loop0" },
//!     { call = "filesystems.format", device = "loop0", fs-type = "ext4", options = [["label", "data"]], fails = { code = "failed-precondition", reason = "too-small" } },
//! ]
//! fails = { code = "failed-precondition", reason = "too-small" }
//! # "#;
//! # assert_eq!(wasmount_recording::Recording::parse(text).unwrap().calls.len(), 1);
//! ```
//!
//! A `[[call]]` is one call of kubelet. The names of host calls and of their arguments are those
//! of `wit/`, as `wasmount log --call` prints them; what the host hands out (an image, a device, a
//! mount) has the name that `returns` gives it, which is a device's identity as well. Without
//! `returns` and `fails`, the answer is that it is done, or that there is none. Lists that are
//! empty may be left out. Log lines are not part of a recording: they are for people.
//!
//! What `wasmount call --record` has recorded of a real call has more: a `[[recorded]]` for what kubelet
//! asked and was told, and `part-of` in each `[[call]]` that was made of it. Such a call may end as no
//! test would have it, by `crashes` or `ended`.

mod answer;
mod call;
mod host_call;
mod player;
mod recorded;
#[cfg(test)]
mod tests;
mod words;
mod write;

pub use answer::{Answer, CODES, Failure, Held, Outcome};
pub use call::{Access, Call, Error, Limits, MAX_RECORDING, Operation, Pod, Recording};
pub use host_call::{Argument, Asked, FUNCTIONS, Function, HostCall, Kind, Returns, bytes_value};
pub use player::{Mismatch, Player};
pub use recorded::Recorded;
