//! The targets.

mod call;
mod component;
mod decide;
mod grants;
mod manifest;
mod records;
mod redact;
mod superblocks;
mod wire;

use crate::Target;

/// All of them.
pub static TARGETS: &[Target] = &[
    call::TARGET,
    component::TARGET,
    decide::TARGET,
    grants::TARGET,
    manifest::TARGET,
    records::TARGET,
    redact::TARGET,
    superblocks::TARGET,
    wire::TARGET,
];
