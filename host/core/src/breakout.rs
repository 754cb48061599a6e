//! Native code behind the wall, in the component's place: what the guest process would do had vendor
//! code broken out of the engine. Without the feature `breakout`, which no shipped binary has, there
//! is nothing here.
//!
//! A file in the run directory says what is tried, and which layers of the wall are left off
//! meanwhile. What is tried is the tables `ATTEMPTS` and `TALKS`; how each has ended is told to
//! the broker, as a component tells lines for the log.

#[cfg(feature = "breakout")]
mod files;
#[cfg(feature = "breakout")]
mod kernel;
#[cfg(feature = "breakout")]
mod memory;
#[cfg(feature = "breakout")]
mod payload;
#[cfg(feature = "breakout")]
mod processes;
#[cfg(feature = "breakout")]
mod sockets;
#[cfg(feature = "breakout")]
mod talks;

#[cfg(feature = "breakout")]
pub use payload::{Attempt, FILE, OVER, Plan, Scene, Talk, arm, instead_of_the_component, stands};

/// All that is tried by system calls and in memory; each is reported.
#[cfg(feature = "breakout")]
pub const ATTEMPTS: [&[Attempt]; 5] =
    [files::ATTEMPTS, sockets::ATTEMPTS, processes::ATTEMPTS, kernel::ATTEMPTS, memory::ATTEMPTS];

/// All that is tried on the broker itself, or ends the process: each takes a call of its own.
#[cfg(feature = "breakout")]
pub const TALKS: &[Talk] = talks::TALKS;

/// Nothing.
#[cfg(not(feature = "breakout"))]
#[inline(always)]
pub fn arm() {}

/// Nothing.
#[cfg(not(feature = "breakout"))]
#[inline(always)]
pub fn instead_of_the_component(_: &crate::wire::Channel) -> Option<crate::wire::Outcome> {
    None
}
