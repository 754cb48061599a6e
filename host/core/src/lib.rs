//! Everything between kubelet's argv and the JSON reply.
//!
//! One module for each stop on the way of a call, in this order: [`supervisor`] and [`link`]
//! (the process that kubelet waits for), [`init`], [`broker`](self) (the process that serves the
//! call), [`bundle`] (which driver is this), [`guest`] (the component's process, behind its [`wall`]) and [`wire`]
//! (what it says), [`call`] (what kubelet wants), [`grants`] and [`session`] (what is allowed
//! here), [`journal`] (what is remembered), [`decide`] (yes or no), [`kernel`] (the act),
//! [`reply`] and [`audit`]. `docs/architecture.md` tells the whole way.
//!
//! There is no compiler here but behind the feature `compiler`, and no engine but behind
//! `engine`: everything else builds and is tested without.

pub mod audit;
mod bpf;
pub mod breakout;
#[cfg(feature = "engine")]
mod broker;
pub mod bundle;
pub mod call;
#[cfg(feature = "engine")]
pub mod conclusion;
pub mod crash;
pub mod decide;
pub mod failure;
pub mod grants;
#[cfg(feature = "engine")]
pub mod guest;
#[cfg(feature = "engine")]
pub mod init;
pub mod journal;
pub mod kernel;
#[cfg(feature = "engine")]
pub mod link;
pub mod observe;
#[cfg(feature = "engine")]
pub mod offer;
pub mod redact;
mod rehearsal;
pub mod reply;
pub mod session;
#[cfg(feature = "engine")]
pub mod supervisor;
pub mod wall;
pub mod wire;

// Test components are shared by the tests in `guest` and those in `tests/`, which know this crate
// by its name.
#[cfg(all(test, feature = "compiler"))]
extern crate self as wasmount_core;
