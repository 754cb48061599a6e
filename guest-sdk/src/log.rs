//! Lines for the node's log of this driver. Needs no grant.
//!
//! At most 4 KiB a line and 64 KiB a call are kept; control characters are replaced, and the
//! call's secrets are blotted out. The macros [`error!`](crate::error!),
//! [`warn!`](crate::warn!), [`info!`](crate::info!) and [`debug!`](crate::debug!) take what
//! [`format!`] takes.

use crate::host::log as raw;

pub use crate::bindings::capabilities::wasmount::driver::log::Level;

/// Writes a line.
pub fn write(level: Level, message: &str) {
    raw::write(level, message);
}

/// Logs that something failed.
#[macro_export]
macro_rules! error {
    ($($text:tt)+) => {
        $crate::log::write($crate::log::Level::Error, &::std::format!($($text)+))
    };
}

/// Logs that something is odd.
#[macro_export]
macro_rules! warn {
    ($($text:tt)+) => {
        $crate::log::write($crate::log::Level::Warn, &::std::format!($($text)+))
    };
}

/// Logs that something happened.
#[macro_export]
macro_rules! info {
    ($($text:tt)+) => {
        $crate::log::write($crate::log::Level::Info, &::std::format!($($text)+))
    };
}

/// Logs what is of use to the driver's developers.
#[macro_export]
macro_rules! debug {
    ($($text:tt)+) => {
        $crate::log::write($crate::log::Level::Debug, &::std::format!($($text)+))
    };
}
