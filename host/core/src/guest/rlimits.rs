//! What the guest process may use up of the node, by resource limits (setrlimit(2)): the kernel
//! holds them against whatever code runs there. What a component is told when it meets a bound of
//! its own is [`limits`](super::limits)'.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::confine::{put_up, refused};
use super::limits;
use crate::failure::Failure;
use crate::wall::{Layer, stands};

/// What the process may allocate besides the component's linear memory, in bytes: what the engine
/// makes of an image of at most 64 MiB, and what it itself needs.
const HOST_MEMORY: u64 = 128 << 20;

/// The addresses that wasmtime reserves for a memory, in bytes: 4 GiB, so that no index leads out of
/// it, and 32 MiB before and after.
const RESERVATION: u64 = (4 << 30) + (64 << 20);

/// The stack of the process, in bytes: what is usual. It is inherited, and may be without bound.
const STACK: u64 = 8 << 20;

/// What it needs nothing of.
const NOTHING: [(Layer, Resource); 6] = [
    (Layer::LimitCore, Resource::Core),
    (Layer::LimitFsize, Resource::Fsize),
    // It is a user of its own, which has this one process already.
    (Layer::LimitNproc, Resource::Nproc),
    (Layer::LimitMemlock, Resource::Memlock),
    (Layer::LimitMsgqueue, Resource::Msgqueue),
    // The kernel's own signals, such as those of a trap, are not counted.
    (Layer::LimitSigpending, Resource::Sigpending),
];

/// Puts up the limits that are the same for all components, but one: what is to be loaded has to be
/// received first.
pub(super) fn limit_all() -> Result<(), Failure> {
    for (layer, resource) in NOTHING {
        limit(layer, resource, 0)?;
    }
    // 0 is what nearly everybody inherits; no unit file of kubelet's is to change that.
    for resource in [Resource::Nice, Resource::Rtprio] {
        let nothing = Rlimit { current: Some(0), maximum: Some(0) };
        setrlimit(resource, nothing).map_err(|error| refused(USE, error))?;
    }
    let inherited = getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
    limit(Layer::LimitStack, Resource::Stack, inherited.min(STACK))
}

/// Gives up the chance to open anything. What is open stays open.
pub(super) fn seal() -> Result<(), Failure> {
    limit(Layer::LimitNofile, Resource::Nofile, 0)
}

/// Bounds CPU time and memory for the component that is about to run. At the end of its time
/// SIGXCPU ends the process, and SIGKILL a second later if that did not.
///
/// What counts as memory is what can be written to. That is all there can be, since the filter lets
/// no page be shared, grow by itself or become read-only again, all of which would not be counted.
pub(super) fn bound(cpu_seconds: u64, memory_bytes: u64) -> Result<(), Failure> {
    // A memory that has to move while it grows exists twice for that moment.
    bound_work(cpu_seconds, memory_bytes.saturating_mul(2).saturating_add(HOST_MEMORY))
}

/// The same for work of another kind: so much of memory is all.
pub(super) fn bound_work(cpu_seconds: u64, data: u64) -> Result<(), Failure> {
    if stands(Layer::LimitCpu) {
        let maximum = Some(cpu_seconds.saturating_add(1));
        let cpu = Rlimit { current: Some(cpu_seconds), maximum };
        setrlimit(Resource::Cpu, cpu).map_err(|error| refused(USE, error))?;
    }
    limit(Layer::LimitData, Resource::Data, data)?;
    // Tables of pages are not counted at all. With so few addresses they take 40 MiB at most.
    let addresses = RESERVATION * (limits::MEMORIES as u64 + 1);
    limit(Layer::LimitAs, Resource::As, data.saturating_add(addresses))
}

const USE: &str = "limit what it may use";

fn limit(layer: Layer, resource: Resource, most: u64) -> Result<(), Failure> {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    put_up(layer, USE, || setrlimit(resource, limit))
}
