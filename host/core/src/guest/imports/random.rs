//! `random`: the kernel's random bytes, read in the guest process.

use rustix::rand::{GetRandomFlags, getrandom};
use wasmtime::{Result, bail};

use super::Imports;
use crate::guest::bindings::imported::random::Host;

/// The most bytes at a time.
const MOST: u32 = 4096;

impl Host for Imports {
    fn bytes(&mut self, count: u32) -> Result<Vec<u8>> {
        if count > MOST {
            bail!("asked for {count} random bytes at once, and the host gives {MOST}");
        }
        let mut bytes = vec![0; count as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            let rest = &mut bytes[filled..];
            // A signal or more than 256 bytes can end a read early (getrandom(2)).
            filled += rustix::io::retry_on_intr(|| getrandom(&mut *rest, GetRandomFlags::empty()))
                .map_err(|error| wasmtime::Error::msg(format!("no random bytes: {error}")))?;
        }
        Ok(bytes)
    }
}
