//! Sizes as the grants file writes them: `"64Mi"`, `"100Gi"`. Bytes in, bytes out; nothing else
//! is done with them here.

use std::fmt;

use serde::Deserialize;

/// The binary suffixes and the powers of two that they stand for, largest first.
const SUFFIXES: [(&str, u32); 4] = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];

/// A number of bytes, at least one and at most [`Size::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(u64);

impl Size {
    /// One pebibyte: more than any file or loop device of the supported filesystems can have.
    pub const MAX: Self = Self(1 << 50);

    /// A size of so many bytes; zero becomes one and what is over [`Size::MAX`] that.
    pub const fn of(bytes: u64) -> Self {
        match bytes {
            0 => Self(1),
            bytes if bytes > Self::MAX.0 => Self::MAX,
            bytes => Self(bytes),
        }
    }

    /// The smallest size that reads well and is at least so many bytes, for advice: whole
    /// gibibytes from one gibibyte on, otherwise whole mebibytes.
    pub fn covering(bytes: u64) -> Self {
        let unit = if bytes > 1 << 30 { 1 << 30 } else { 1 << 20 };
        Self::of(bytes.max(1).div_ceil(unit).saturating_mul(unit))
    }

    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (digits, shift) = SUFFIXES
            .iter()
            .find_map(|(suffix, shift)| Some((text.strip_suffix(suffix)?, *shift)))
            .unwrap_or((&text, 0));
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !plain || digits.len() > 18 {
            return Err(format!(
                "`{text}` is not a size; valid: a whole number of bytes, or one with Ki, Mi, Gi \
                 or Ti, such as \"100Gi\""
            ));
        }
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift))
            .filter(|bytes| (1..=Self::MAX.0).contains(bytes))
            .map(Self)
            .ok_or_else(|| format!("the size `{text}` is out of bounds; valid: 1 to {}", Self::MAX))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, shift) in SUFFIXES {
            if self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{suffix}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("1", 1, "1"),
            ("4096", 4096, "4Ki"),
            ("64Mi", 64 << 20, "64Mi"),
            ("1024Gi", 1 << 40, "1Ti"),
            ("1024Ti", 1 << 50, "1024Ti"),
        ] {
            let size = Size::try_from(text.to_owned()).expect(text);
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shown), "{text}");
        }
        for text in ["", "0", "0Gi", "Gi", "-1", "+1", "1 Gi", "1G", "1gi", "1.5Gi", "1025Ti"] {
            assert!(Size::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn advice_covers_what_was_asked() {
        for (bytes, shown) in [(0, "1Mi"), (1, "1Mi"), (5 << 20, "5Mi"), ((1 << 30) + 1, "2Gi")] {
            assert_eq!(Size::covering(bytes).to_string(), shown);
        }
        assert_eq!(Size::covering(u64::MAX), Size::MAX);
    }
}
