//! Random identifiers (RFC 9562, version 4), in the text form that the filesystem tools use.
//!
//! They tell one making of a thing from the next. They are no secrets, and nothing is parsed
//! here: texts are compared.

use rustix::rand::{GetRandomFlags, getrandom};

use super::failed;
use crate::failure::{Code, Failure};

/// A new one. Early in a boot it waits until the kernel has randomness: two nodes must not come
/// to the same.
pub fn random() -> Result<String, Failure> {
    let what = "asking the kernel for random bytes";
    let mut bytes = [0; 16];
    // getrandom(2) fills up to 256 bytes in one go, unless a signal comes while it waits.
    let got = rustix::io::retry_on_intr(|| getrandom(&mut bytes, GetRandomFlags::empty()))
        .map_err(failed(what))?;
    if got != bytes.len() {
        return Err(Failure::new(Code::Unavailable, "again", format!("{what}: it gave {got}")));
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(text(bytes))
}

/// The text of one: lower case, grouped 8-4-4-4-12.
pub(super) fn text(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| &digits[group]);
    groups.join("-")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn the_text_is_that_of_the_standard() {
        let mut bytes = [0; 16];
        (0..).zip(&mut bytes).for_each(|(n, byte)| *byte = n * 0x11);
        assert_eq!(text(bytes), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(text([0; 16]), "00000000-0000-0000-0000-000000000000");
    }

    #[test]
    fn each_is_new_and_says_that_it_is_random() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_ne!(one, other);
        for uuid in [one, other] {
            assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "{uuid}");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        }
    }
}
