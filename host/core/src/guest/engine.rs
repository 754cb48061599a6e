//! The engine's settings, from component to image and from image to component.
//!
//! Who compiles and who runs have to agree on nearly all settings, so there is one [`config`] for
//! both. Nothing here runs a component.

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, ModuleVersionStrategy, WasmBacktraceDetails};

use super::exports::Exports;
use super::image::{self, Image};
use super::imports::{self, Imports};
use super::limits;
use crate::failure::{Code, Failure};

/// The exact version of wasmtime. An image made by any other is refused, because after a fix of
/// the compiler the images made before it are what has to go.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// The version in an image; our own is in it because [`config`] is part of what must be the same.
const IMAGE_VERSION: &str = concat!("wasmount ", env!("CARGO_PKG_VERSION"), " wasmtime ", "48.0.8");

/// The full version of the engine that a driver program has, as the version of the images that it
/// can load says; none if the program is none of ours.
pub fn version_in(program: &[u8]) -> Option<&str> {
    const BEFORE: &[u8] = b" wasmtime ";
    memchr::memmem::find_iter(program, BEFORE).find_map(|at| {
        let head = program[..at].rsplit(|byte| !is_version(*byte)).next()?;
        let ours = program[..at - head.len()].ends_with(b"wasmount ");
        let tail = &program[at + BEFORE.len()..];
        let length = tail.iter().position(|byte| !is_version(*byte)).unwrap_or(tail.len());
        let text = std::str::from_utf8(&tail[..length]).ok()?;
        ours.then_some(text)
    })
}

fn is_version(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

/// The settings of everything that makes or runs an image.
///
/// One call is made for each process, so what counts is the time until that call has returned,
/// and an image is read, hashed and copied on the way: small beats fast.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .module_version(ModuleVersionStrategy::Custom(IMAGE_VERSION.to_owned()))
        .expect("the version is shorter than 255 bytes");
    // Nothing is taken from the environment.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.max_wasm_stack(limits::STACK);
    config.concurrency_support(false);
    // CPU time is bounded by a resource limit, which also bounds the host's own code and costs
    // nothing where the component runs.
    config.consume_fuel(false).epoch_interruption(false);
    // A trap names functions, which is kept elsewhere in the image; these tables would add what
    // offset they were at.
    config.generate_address_map(false).native_unwind_info(false).debug_symbols(false);
    // A memory that is made once is as quickly copied as mapped from a memfd, and to copy needs
    // no file. The other settings of memory stay as they are by default: a smaller reservation or
    // guard makes nothing faster, and puts bounds checks into the code (one sixth more image).
    config.memory_init_cow(false);
    config
}

/// A component that is linked and ready to be instantiated.
pub struct Prepared {
    /// What makes an instance.
    pub pre: InstancePre<Imports>,
    /// What can be called.
    pub exports: Exports,
}

/// What loads an image, made before there is one.
pub(super) struct Loader {
    engine: Engine,
    linker: Linker<Imports>,
}

impl Loader {
    /// Gets everything ready that does not depend on the image.
    pub(super) fn new() -> Result<Self, Failure> {
        let mut config = config();
        config.with_custom_code_memory(Some(image::code_memory()));
        // Where there is a compiler, loading must not take the time to set it up.
        #[cfg(feature = "compiler")]
        config.enable_compiler(false);
        let engine = Engine::new(&config);
        engine.and_then(|engine| Ok(Self { linker: imports::link(&engine)?, engine })).map_err(
            |error| unusable("engine", format!("this machine cannot run components: {error:#}")),
        )
    }

    /// Loads an image where it lies.
    pub(super) fn load(&self, image: &Image) -> Result<Prepared, Failure> {
        #[expect(unsafe_code, reason = "wasmtime cannot validate machine code")]
        // SAFETY: `Component::deserialize_raw` demands bytes that wasmtime's own `serialize` has
        // made, and that stay where and as they are. These bytes' digest was compared, in this
        // process and over this very memory, with the receipt's, which only root can write and
        // `install` writes for what `compile` has returned; an `Image` is never written to, and
        // never unmapped.
        let component = unsafe { Component::deserialize_raw(&self.engine, image.memory()) };
        let component = component.map_err(|error| {
            let message = format!(
                "the compiled component cannot be loaded by this driver: {error:#}; run `wasmount \
                 install` again with the component, so that it is compiled for this driver and \
                 machine"
            );
            unusable("image", message)
        })?;
        prepare(&self.linker, &component).map_err(|error| {
            let message = format!(
                "the component does not fit this driver: {error:#}; it was built for another \
                 version of the wasmount:driver interfaces"
            );
            unusable("interfaces", message)
        })
    }
}

/// Links a component.
pub(super) fn prepare(
    linker: &Linker<Imports>,
    component: &Component,
) -> wasmtime::Result<Prepared> {
    let pre = linker.instantiate_pre(component)?;
    Ok(Prepared { exports: Exports::of(&pre)?, pre })
}

fn unusable(reason: &str, message: String) -> Failure {
    Failure::new(Code::FailedPrecondition, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image carries the version that `Cargo.lock` has, whole.
    #[test]
    fn the_version_is_the_one_in_the_lock_file() {
        let lock = include_str!("../../../../Cargo.lock");
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(lock.contains(&entry));
        assert!(IMAGE_VERSION.ends_with(WASMTIME_VERSION));
        let program = format!("\0wasmtime 1.2.3 wasmount {IMAGE_VERSION}the next text");
        assert_eq!(version_in(program.as_bytes()), Some(WASMTIME_VERSION));
        assert_eq!(version_in(b"wasmount x wasmtime 48.0.8"), None);
    }
}
