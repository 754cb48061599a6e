//! The other side of every host call, and the only place that knows which it is: in a component what
//! wit-bindgen makes of `wit/`, natively a recording. The modules of this crate are the same over
//! either, and so is a driver.

#[cfg(target_arch = "wasm32")]
use crate::bindings::capabilities::wasmount::driver as side;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host as side;

pub(crate) use side::{
    clock, config, devices, filesystems, images, log, mounts, mounts_bind, mounts_block,
    mounts_tmpfs, random, secrets, state, target, volumes,
};
