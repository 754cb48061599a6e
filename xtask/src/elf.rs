//! Whether a program is statically linked, read from its ELF program headers.
//!
//! Not a general reader of ELF: 64-bit little-endian programs, which is all that is shipped.

use anyhow::{Context as _, ensure};

/// The header that names a dynamic loader (`PT_INTERP`, ELF specification, "Program Header").
const INTERPRETER: u32 = 3;

/// True if the program names no dynamic loader: it then runs where there is no libc.
pub(crate) fn is_static(program: &[u8]) -> anyhow::Result<bool> {
    ensure!(program.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF program");
    let headers = u64::from_le_bytes(field(program, 32)?);
    let size = u16::from_le_bytes(field(program, 54)?);
    let count = u16::from_le_bytes(field(program, 56)?);
    for index in 0..u64::from(count) {
        let at = headers.checked_add(index * u64::from(size)).context("header out of range")?;
        let kind = field(program, usize::try_from(at).context("header out of range")?)?;
        if u32::from_le_bytes(kind) == INTERPRETER {
            return Ok(false);
        }
    }
    Ok(true)
}

fn field<const N: usize>(program: &[u8], at: usize) -> anyhow::Result<[u8; N]> {
    at.checked_add(N)
        .and_then(|end| program.get(at..end))
        .and_then(|bytes| bytes.try_into().ok())
        .context("the program is cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(kinds.len()).expect("few").to_le_bytes());
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn a_loader_is_what_makes_it_dynamic() {
        assert!(is_static(&program(&[1, 2])).expect("whole"));
        assert!(!is_static(&program(&[1, 3])).expect("whole"));
        assert!(is_static(&program(&[1])[..70]).expect("whole enough"));
        assert!(is_static(&program(&[1, 1])[..100]).is_err());
        assert!(is_static(b"#!/bin/sh").is_err());
    }
}
