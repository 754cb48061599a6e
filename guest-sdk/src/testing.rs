//! Tests of a driver without a node and without root: natively, by `cargo test`, the host is a
//! recording. There is no such module in a component.
//!
//! A recording is a file of calls: what kubelet asks of the driver, what the driver then asks of the
//! host, what the host answers, and how the call ends. [`wasmount_recording`] describes the
//! format; `wasmount test` plays the same file with the built component.
//!
//! ```
//! # struct Scratch;
//! # wasmount_guest_sdk::export! {
//! #     impl Volume for Scratch {
//! #         fn mount(_: &wasmount_guest_sdk::VolumeSpec, _: &wasmount_guest_sdk::MountTarget) -> wasmount_guest_sdk::Result { Ok(()) }
//! #         fn unmount(_: &str, _: Option<&wasmount_guest_sdk::VolumeRecord>, target: &wasmount_guest_sdk::MountTarget) -> wasmount_guest_sdk::Result { target.unmount() }
//! #     }
//! # }
//! # let directory = std::env::temp_dir();
//! # let path = directory.join(format!("wasmount-guest-sdk-{}.toml", std::process::id()));
//! # std::fs::write(&path, "[[call]]\nname = \"a pod is gone\"\noperation = \"unmount\"\nvolume = \"pv-1\"\nhost-calls = [{ call = \"mount-target.unmount\" }]\n").unwrap();
//! # let path = path.to_str().unwrap();
//! // In a test of the driver's crate: `play::<Scratch>("tests/calls.toml")`.
//! wasmount_guest_sdk::testing::play::<Scratch>(path);
//! # std::fs::remove_file(path).unwrap();
//! ```
//!
//! Time, sleeping and randomness are the machine's own. What bounds a component (its memory, its
//! CPU time, how much it may log) does not bound a native driver.

mod driver;
pub(crate) mod host;
mod stage;

use std::path::Path;

use wasmount_recording::Recording;

pub use driver::{Driver, Export};
#[doc(hidden)]
pub use driver::{attacher, device, expander, volume};

/// Plays every call of a recording with a driver that [`export!`](crate::export) was called
/// for.
///
/// The path is relative to the directory of the crate's Cargo.toml, where `cargo test` runs tests.
///
/// # Panics
///
/// If the file cannot be read, or if any call does not go as recorded. The message shows what is
/// on record, and what the driver did instead in the words of a recording.
pub fn play<D: Driver>(path: impl AsRef<Path>) {
    let path = path.as_ref();
    let recording = Recording::read(path).unwrap_or_else(|error| panic!("{error}"));
    let mut report = String::new();
    let mut failed = 0;
    for call in &recording.calls {
        if let Err(mismatch) = stage::play(D::EXPORTS, call) {
            failed += 1;
            report.push_str(&format!("\n\n{}\n{mismatch}", call.name));
        }
    }
    let count = recording.calls.len();
    let path = path.display();
    assert!(failed == 0, "{path}: {failed} of {count} calls did not go as recorded{report}\n");
}
