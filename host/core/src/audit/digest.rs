//! What `prev` says of a line: its SHA-256, and that of what follows it and is no line. Only the
//! arithmetic; which bytes belong to which line is for `tail`, and for `wasmount log verify`.

use sha2::{Digest as _, Sha256};

use crate::bundle::receipt::hex;

/// The digest of a line, given without its end.
pub fn digest(line: &[u8]) -> String {
    hex(&Sha256::digest(line))
}

/// The same of what is read piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Running(Sha256);

impl Running {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn digest(self) -> String {
        hex(&self.0.finalize())
    }
}
