//! From component to image: the one place where the compiler is used.
//!
//! It runs when a driver is installed, never on kubelet's path. A component that could not be run
//! is refused here, where somebody is there to read why.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::apart::{Bounds, apart};
use super::engine::{config, prepare};
use super::image::MAX_IMAGE;
use super::{fit, imports};
use crate::failure::{Code, Failure};

/// The CPU that an image is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cpu {
    /// The one this runs on, with all it can do.
    #[default]
    Native,
    /// Any of this architecture's that has the named level, for images of nodes.
    Level(&'static str),
}

impl Cpu {
    /// The levels that can be named on this architecture, by the x86-64 psABI's names. One that
    /// is not x86-64 has none.
    pub const LEVELS: &[&str] =
        if cfg!(target_arch = "x86_64") { &["x86-64-v2", "x86-64-v3", "x86-64-v4"] } else { &[] };

    /// Parses `native` or one of [`LEVELS`](Self::LEVELS).
    pub fn parse(name: &str) -> Option<Self> {
        if name == "native" {
            return Some(Self::Native);
        }
        Self::LEVELS.iter().find(|level| **level == name).map(|level| Self::Level(level))
    }

    /// The name that [`parse`](Self::parse) takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Level(level) => level,
        }
    }
}

/// Compiles a component and checks that this host can run it, in processes that have nothing to lose.
/// Takes seconds. The calling process must have one thread.
pub fn compile(component: &[u8], cpu: Cpu) -> Result<Vec<u8>, Failure> {
    let what = "compiling the component";
    let image = apart(what, COMPILING, || Ok(()), |()| make(component, cpu))?;
    // Code of a compiler that may have been taken over, so it is loaded where components are.
    let what = "loading the compiled component";
    apart(what, LOADING, || load(&image, cpu), |loaded| fit(&loaded).map(|()| Vec::new()))?;
    Ok(image)
}

/// The same in this process, for tests, which have many threads.
#[cfg(test)]
pub(super) fn compile_here(component: &[u8], cpu: Cpu) -> Result<Vec<u8>, Failure> {
    let image = make(component, cpu)?;
    load(&image, cpu).and_then(|loaded| fit(&loaded))?;
    Ok(image)
}

/// What a component of 64 MiB takes, and somewhat more.
const COMPILING: Bounds =
    Bounds { cpu_seconds: 600, memory_bytes: 4 << 30, result_bytes: MAX_IMAGE };
const LOADING: Bounds = Bounds { cpu_seconds: 60, memory_bytes: 1 << 30, result_bytes: 0 };

fn make(component: &[u8], cpu: Cpu) -> Result<Vec<u8>, Failure> {
    let engine = engine(cpu).map_err(|error| unfit("no compiler for this CPU", error))?;
    engine
        .precompile_component(component)
        .map_err(|error| unfit("this is not a component that can be compiled", error))
}

fn load(image: &[u8], cpu: Cpu) -> Result<(Engine, Component), Failure> {
    let engine = engine(cpu).map_err(|error| unfit("no compiler for this CPU", error))?;
    #[expect(unsafe_code, reason = "wasmtime cannot validate machine code")]
    // SAFETY: `Component::deserialize` demands bytes that wasmtime's own compiler has made. These
    // come from `make`. Should a component have taken that over, they are no worse than what it
    // could do there: this process, too, has nothing but its memory.
    let component = unsafe { Component::deserialize(&engine, image) };
    let component = component.map_err(|error| unfit("the image cannot be loaded", error))?;
    Ok((engine, component))
}

fn fit((engine, component): &(Engine, Component)) -> Result<(), Failure> {
    imports::link(engine)
        .and_then(|linker| {
            prepare(&linker, component)?;
            fit::check(&linker, component)
        })
        .map_err(|error| unfit("the component does not fit wasmount:driver@0.1.0", error))
}

fn unfit(what: &str, error: wasmtime::Error) -> Failure {
    Failure::new(Code::InvalidArgument, "component", format!("{what}: {error:#}"))
}

fn engine(cpu: Cpu) -> wasmtime::Result<Engine> {
    let mut config = config();
    if let Cpu::Level(level) = cpu {
        // Naming the target turns off what would be taken from the CPU this runs on.
        config.target(TARGET)?;
        #[expect(unsafe_code, reason = "Cranelift's flags can make wrong code")]
        // SAFETY: the flag is one of `Cpu::LEVELS`, each of which turns on instructions and
        // nothing else, and loading an image checks that the CPU has them.
        unsafe {
            config.cranelift_flag_enable(level);
        }
    }
    Engine::new(&config)
}

const TARGET: &str = if cfg!(target_arch = "x86_64") {
    "x86_64-unknown-linux-gnu"
} else {
    "aarch64-unknown-linux-gnu"
};
