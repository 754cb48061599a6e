//! One call of one export, from the instance to the outcome. Another call gets another instance.

use std::io;
use std::sync::Arc;

use wasmtime::{Error, Store, Trap, WasmBacktrace};

use super::engine::Prepared;
use super::exports::plain;
use super::imports::Imports;
use super::limits;
use crate::failure::{Code, Failure};
use crate::wire::{Channel, FromGuest, Outcome, Start};

/// The longest account of a trap, in bytes.
const ACCOUNT: usize = 1024;

/// How many of the innermost functions an account of a trap names.
const FRAMES: usize = 6;

/// The longest name of a function in an account, in bytes.
const FRAME: usize = 120;

/// Runs the call: how it ended; `None` if the broker is gone, and nobody is left to tell. Beside
/// that, the instance: to take it apart before the outcome is told would only make the broker wait.
pub(super) fn run(
    prepared: &Prepared,
    channel: Arc<Channel>,
    start: Start,
) -> (Option<Outcome>, Store<Imports>) {
    let mut store = Store::new(prepared.pre.engine(), Imports::new(channel, start));
    limits::apply(&mut store);
    let outcome = outcome(prepared, &mut store);
    ((!store.data().broker_is_gone()).then_some(outcome), store)
}

/// Tells the broker that the call has ended. There is nobody to tell if that fails.
pub(super) fn finish(channel: &Channel, outcome: Outcome) {
    if let Err(error) = channel.send(&FromGuest::Finished(outcome))
        && error.kind() == io::ErrorKind::InvalidInput
    {
        let cause = "returned more than the host takes".to_owned();
        let too_long = Outcome::Trapped { cause, frames: Vec::new() };
        let _ = channel.send(&FromGuest::Finished(too_long));
    }
}

fn outcome(prepared: &Prepared, store: &mut Store<Imports>) -> Outcome {
    let instance = match prepared.pre.instantiate(&mut *store) {
        Ok(instance) => instance,
        Err(error) if error.is::<Trap>() => return trapped(&error, store),
        Err(error) => return Outcome::Unusable(stillborn(&error, store)),
    };
    match prepared.exports.call(store, &instance) {
        Ok(outcome) => outcome,
        Err(error) => trapped(&error, store),
    }
}

/// Why no instance could be made.
fn stillborn(error: &Error, store: &mut Store<Imports>) -> Failure {
    let limits = store.data_mut().limits();
    if limits.memory_refused {
        let message = format!(
            "the component needs more memory to start than its limit of {} MiB; raise `memory-mib` \
             under [limits] in grants.toml",
            limits.memory() >> 20
        );
        return Failure::new(Code::ResourceExhausted, "memory", message);
    }
    let message =
        format!("the component cannot be started: {}", plain(&format!("{error:#}"), ACCOUNT));
    Failure::new(Code::FailedPrecondition, "instance", message)
}

fn trapped(error: &Error, store: &mut Store<Imports>) -> Outcome {
    let limits = store.data_mut().limits();
    let cause = match error.downcast_ref::<Trap>() {
        // A failed allocation ends in all kinds of traps, none of which tells.
        _ if limits.memory_refused => format!(
            "ran out of its memory limit of {} MiB; `memory-mib` under [limits] in grants.toml \
             raises it",
            limits.memory() >> 20
        ),
        Some(Trap::StackOverflow) => {
            format!("ran out of its stack of {} KiB, as in endless recursion", limits::STACK >> 10)
        }
        Some(Trap::UnreachableCodeReached) => {
            "gave up (`unreachable`), as in a panic; `wasmount log` shows its message".to_owned()
        }
        Some(trap) => trap.to_string(),
        None => plain(&error.root_cause().to_string(), ACCOUNT / 2),
    };
    let mut frames = Vec::new();
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        frames.extend(backtrace.frames().iter().take(FRAMES).map(
            |frame| match frame.func_name() {
                Some(name) => plain(name, FRAME),
                None => format!("function {}", frame.func_index()),
            },
        ));
    }
    Outcome::Trapped { cause: plain(&cause, ACCOUNT), frames }
}
