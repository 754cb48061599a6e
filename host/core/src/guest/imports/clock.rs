//! `clock`: the time, read in the guest process.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasmtime::Result;

use super::Imports;
use crate::guest::bindings::imported::clock::Host;

impl Host for Imports {
    fn now(&mut self) -> Result<u64> {
        // A clock before 1970 is as wrong as one that reads 1970.
        Ok(nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    fn monotonic(&mut self) -> Result<u64> {
        Ok(nanoseconds(self.began.elapsed()))
    }

    fn sleep(&mut self, milliseconds: u32) -> Result<()> {
        // However long it is: when the call's deadline has passed, the broker kills the guest.
        thread::sleep(Duration::from_millis(milliseconds.into()));
        Ok(())
    }
}

/// 64 bits of nanoseconds last until the year 2554.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
