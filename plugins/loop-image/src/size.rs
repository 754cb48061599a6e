//! Sizes as Kubernetes writes them: a whole number and a binary or decimal suffix. Fractions and
//! exponents, which Kubernetes has too, are not taken.

/// Each suffix and what it multiplies by. None is the end of another.
const SUFFIXES: [(&str, u64); 8] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

/// The size in bytes; none if it is not one, is zero, or does not fit.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (digits, factor) = SUFFIXES
        .iter()
        .find_map(|&(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)))
        .unwrap_or((text, 1));
    // `u64::from_str` takes a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|&size| size > 0)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_are_whole_numbers_with_a_suffix() {
        let table = [
            ("1", Some(1)),
            ("512", Some(512)),
            ("64Mi", Some(64 << 20)),
            ("3Ki", Some(3072)),
            ("1Gi", Some(1 << 30)),
            ("2Ti", Some(2 << 40)),
            ("5k", Some(5000)),
            ("100M", Some(100_000_000)),
            ("1G", Some(1_000_000_000)),
            ("1T", Some(1_000_000_000_000)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("16777216Ti", None),
            ("", None),
            ("Mi", None),
            ("0", None),
            ("0Gi", None),
            ("-1", None),
            ("+1", None),
            ("1 Gi", None),
            (" 1", None),
            ("1.5Gi", None),
            ("1gi", None),
            ("1K", None),
            ("1MiMi", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
