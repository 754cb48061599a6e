//! What `bindgen!` makes of `wit/`, and nothing else.
//!
//! The world is never instantiated as a whole, because a component exports only what it
//! supports: `exports.rs` takes up each exported interface by itself.

#![expect(missing_docs, reason = "bindgen's output; wit/ documents it")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "driver",
    imports: { default: trappable },
});

pub use self::exports::wasmount::driver as exported;
pub use self::wasmount::driver as imported;
