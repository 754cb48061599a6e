//! A small store for each volume, kept on the node until the volume is torn down. Needs
//! `[state]`. Not for secrets: a component that stores a value with a secret's bytes in it is
//! ended.
//!
//! Keys are 1 to 64 bytes of `a-z`, `0-9`, `-`, `.` and `_`; a volume has at most 32 keys and
//! 16 KiB in all.

use crate::Result;
use crate::host::state as raw;

/// The value stored under a key.
pub fn get(key: &str) -> Result<Option<Vec<u8>>> {
    Ok(raw::get(key)?)
}

/// Stores a value. It becomes durable when the call succeeds.
pub fn put(key: &str, value: &[u8]) -> Result {
    Ok(raw::put(key, value)?)
}

/// Forgets a key. One that is not there is forgotten already.
pub fn delete(key: &str) -> Result {
    Ok(raw::delete(key)?)
}
