//! The guest process: gives up every privilege, then runs the vendor's component.
//!
//! In the order of a call: `process` (fork) → `confine`, `landlock` and `rlimits` (privileges) →
//! `image` (read and verified) → `engine` (image → linked component) → `filter` (system calls) →
//! `run` (the call) ⇄ `imports` (host call → request to the broker) and `exports` (which function,
//! which outcome), within `limits`. When a driver is examined or installed: `apart` (a process for
//! that), `compiler` (component → image) and `fit` (does it match the WIT).
//!
//! Nothing below this module decides about a host call or acts on the node, and nothing above it
//! runs or parses what the vendor made.

#[cfg(feature = "compiler")]
pub mod apart;
pub mod bindings;
#[cfg(feature = "compiler")]
pub mod compiler;
mod confine;
pub mod engine;
mod exports;
mod filter;
#[cfg(feature = "compiler")]
mod fit;
mod image;
mod imports;
pub mod landlock;
mod limits;
pub mod process;
mod rlimits;
mod run;

#[cfg(all(test, feature = "compiler"))]
mod tests;
