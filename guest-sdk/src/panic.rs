//! Panics go to the log: without this one would end the call as a bare trap, with nothing said.
//! It catches nothing, since a component has no unwinding; memory exhausted and a stack overrun
//! trap without a panic, and no hook is run for them.

use std::panic::PanicHookInfo;
use std::sync::Once;

use crate::log::{self, Level};

/// Sets the hook, once an instance. What the host calls calls this first.
pub(crate) fn enter() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|info| log::write(Level::Error, &line(info)))));
}

/// One line, since the log replaces line ends.
fn line(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("a value that is not a text");
    match info.location() {
        Some(place) => {
            format!("panicked at {}:{}:{}: {message}", place.file(), place.line(), place.column())
        }
        None => format!("panicked: {message}"),
    }
}
