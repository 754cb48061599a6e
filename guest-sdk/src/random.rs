//! Randomness from the kernel, fit for cryptography. Needs no grant.

use crate::host::random as raw;

/// The most that the host gives at once, in bytes.
const MOST: usize = 4096;

/// Fills the buffer with random bytes.
///
/// # Panics
///
/// If the host breaks its promise to give as many bytes as asked for.
pub fn fill(buffer: &mut [u8]) {
    for part in buffer.chunks_mut(MOST) {
        let count = u32::try_from(part.len()).expect("a part is at most 4096 bytes");
        part.copy_from_slice(&raw::bytes(count));
    }
}

/// An array of random bytes, such as a key or an identifier.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut buffer = [0; N];
    fill(&mut buffer);
    buffer
}
