//! Programs that one thread of a test starts while another has files of a volume open. Until it
//! executes its program, a new process has them open, too, and keeps the volume from being unmounted.

use std::io;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock};

static STARTING: RwLock<()> = RwLock::new(());

/// Starts a program. When this returns, it has no file of this process's but those meant for it.
pub(crate) fn start(command: &mut Command) -> io::Result<Child> {
    let _starting = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Does something with a volume's files while no thread starts a program.
pub fn between_starts<T>(work: impl FnOnce() -> T) -> T {
    let _not_starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    work()
}
