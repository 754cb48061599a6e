//! Every quantity that a running component controls, and its bound.
//!
//! CPU time and what the whole process may take are bounded by `rlimits`; how long a message to
//! the broker may be, by `wire`; how many lines may be logged, by `imports::log`.

use wasmtime::{ResourceLimiter, Result, Store};

use super::imports::Imports;

/// The stack that the component's code may use, in bytes. Half of the smallest main-thread stack
/// that is usual (1 MiB): wasmtime's own frames come on top of it.
pub(super) const STACK: usize = 512 * 1024;

/// How many bytes a component may pass to the host in one host call.
const CALL_BYTES: usize = 1024 * 1024;

/// How many handles of any kind a component may hold. The broker allows itself as many.
const HANDLES: usize = 64;

/// Core instances, tables and memories. A component made from one module by wit-component has
/// three instances (the module and two that join it to the component), two tables and a memory.
const INSTANCES: usize = 32;
const TABLES: usize = 32;
pub(super) const MEMORIES: usize = 4;

/// Elements of all tables together, 8 bytes each.
const TABLE_ELEMENTS: usize = 128 * 1024;

/// The bounds on memory and tables, and what is used up of them.
#[derive(Debug)]
pub struct Limits {
    memory: usize,
    memory_used: usize,
    table_elements_used: usize,
    /// Whether growth was refused. The component sees that as a failed allocation and mostly
    /// traps without a word, so the cause has to be remembered here.
    pub memory_refused: bool,
}

impl Limits {
    /// Bounds all linear memories together to `memory` bytes.
    pub fn new(memory: u64) -> Self {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        Self { memory, memory_used: 0, table_elements_used: 0, memory_refused: false }
    }

    /// The bound on linear memory, in bytes.
    pub fn memory(&self) -> usize {
        self.memory
    }
}

/// Puts all bounds on a store.
pub(super) fn apply(store: &mut Store<Imports>) {
    store.set_hostcall_fuel(CALL_BYTES);
    store.set_max_component_handles(HANDLES);
    store.limiter(|imports| imports.limits());
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, now: usize, then: usize, _: Option<usize>) -> Result<bool> {
        let used = self.memory_used.saturating_sub(now).saturating_add(then);
        if used > self.memory {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory_used = used;
        Ok(true)
    }

    fn table_growing(&mut self, now: usize, then: usize, _: Option<usize>) -> Result<bool> {
        let used = self.table_elements_used.saturating_sub(now).saturating_add(then);
        if used > TABLE_ELEMENTS {
            return Ok(false);
        }
        self.table_elements_used = used;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}
