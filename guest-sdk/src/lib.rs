//! What a vendor writes a wasmount driver with: one trait for each interface that a driver can
//! export, a module for each that it can import, and [`export!`], which makes a component of them.
//!
//! A driver reaches nothing but these modules. Each says which part of the operator's
//! `grants.toml` it needs; a refusal is [`Code::PermissionDenied`] and names the lines to add.
//! What a component imports is what its code can reach, function by function, and
//! `wasmount inspect` shows it: leave a call out, and it is not asked for.
//!
//! ```
//! use wasmount_guest_sdk::{MountTarget, Result, VolumeRecord, VolumeSpec, export, mounts::tmpfs::Tmpfs};
//!
//! struct Scratch;
//!
//! export! {
//!     impl Volume for Scratch {
//!         fn mount(_: &VolumeSpec, target: &MountTarget) -> Result {
//!             target.attach(Tmpfs::create(1 << 20, 0o777, None)?)
//!         }
//!         fn unmount(_: &str, _: Option<&VolumeRecord>, target: &MountTarget) -> Result {
//!             target.unmount()
//!         }
//!     }
//! }
//! ```
//!
//! The crate of a driver is a `cdylib`. It also builds natively, so that `cargo test` can run its
//! tests; there the host is a recording, which the module `testing` plays.
//!
//! What does not work in a component, for want of an operating system: threads, files, sockets,
//! the environment, `println!` (its output is lost) and the clocks and sleeping of `std` (they
//! panic; use [`clock`]). `HashMap` works, but its seed is the same in every call: do not rely on
//! it against keys made to collide. A panic ends the call; its message is in the driver's log.

mod bindings;
#[cfg(target_arch = "wasm32")]
mod convert;
mod error;
mod export;
mod host;
#[cfg(target_arch = "wasm32")]
mod panic;

mod attacher;
mod device;
mod expander;
mod volume;

pub mod clock;
pub mod config;
pub mod devices;
pub mod filesystems;
pub mod images;
pub mod log;
pub mod mounts;
pub mod random;
pub mod secrets;
pub mod state;
pub mod target;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod volumes;

pub use attacher::Attacher;
pub use bindings::capabilities::wasmount::driver::types::{Access, Code};
pub use device::Device;
pub use devices::BlockDevice;
pub use error::{Error, Result};
pub use expander::Expander;
pub use images::Image;
pub use mounts::PendingMount;
pub use secrets::Secret;
pub use target::MountTarget;
pub use volume::Volume;
pub use volumes::{VolumeRecord, VolumeSpec};

/// What the expansion of [`export!`] names. Not for anyone else.
#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub mod __export {
    pub use crate::bindings::{attacher, device, expander, volume};
}
