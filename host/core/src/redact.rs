//! Blots the secrets of a call out of text that leaves it: messages, log lines, audit lines; and
//! finds them in what a component wants to store.
//!
//! A component may see secrets only by grant, but one that does may still print them by
//! mistake, as they are or in one of the encodings that programs put them in. This catches
//! mistakes; a component that means to smuggle a secret out can encode it in some other way.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use memchr::memmem;
use zeroize::Zeroizing;

use crate::call::Secrets;

/// What stands in a secret's place.
const BLOT: &str = "[secret]";

/// Shorter secrets are left alone: they would be found in every other word.
const SHORTEST: usize = 4;

/// So many first bytes of a secret at the very end of a text count as a secret that was cut off.
const SHORTEST_CUT: usize = 8;

/// Bytes that are overwritten when dropped.
type Wiped = Zeroizing<Vec<u8>>;

/// Knows the secrets of one call.
pub struct Redactor {
    secrets: Vec<Wiped>,
    /// Made when they are first needed: most calls print nothing.
    forms: OnceCell<Vec<Wiped>>,
}

impl Redactor {
    /// For the secrets of a call.
    pub fn new(secrets: &Secrets) -> Self {
        // `echo secret | base64` is how many a secret got its newline, and programs trim it.
        let trimmed = secrets.values().map(<[u8]>::trim_ascii);
        let both =
            secrets.values().chain(trimmed).filter(|value| value.trim_ascii().len() >= SHORTEST);
        let both: BTreeSet<&[u8]> = both.collect();
        let secrets = both.into_iter().map(|value| Zeroizing::new(value.to_vec())).collect();
        Self { secrets, forms: OnceCell::new() }
    }

    /// The text with `[secret]` in place of each secret. Do this before the text is shortened.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found = Vec::new();
        for view in self.views(text.as_bytes()) {
            for form in self.forms() {
                view.find(form, &mut found);
                view.find_cut(form, &mut found);
            }
        }
        if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(blot(text, found)) }
    }

    /// Whether a secret is in the bytes.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        self.views(bytes)
            .iter()
            .any(|view| self.forms().iter().any(|form| memmem::find(&view.bytes, form).is_some()))
    }

    /// The ways in which a text may be meant: as it is, and with its URL encoding undone, once
    /// with `+` for a space.
    fn views<'a>(&self, text: &'a [u8]) -> Vec<View<'a>> {
        if self.secrets.is_empty() || text.is_empty() {
            return Vec::new();
        }
        let mut views = vec![View { bytes: Cow::Borrowed(text), origins: None }];
        if text.contains(&b'%') {
            views.push(View::decoded(text, false));
        }
        if text.contains(&b'+') {
            views.push(View::decoded(text, true));
        }
        views
    }

    fn forms(&self) -> &[Wiped] {
        self.forms.get_or_init(|| {
            let mut forms: Vec<Wiped> = self.secrets.iter().flat_map(|s| encodings(s)).collect();
            forms.retain(|form| form.len() >= SHORTEST);
            forms.sort_by(|one, other| one.as_slice().cmp(other));
            forms.dedup();
            forms
        })
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({})", self.secrets.len())
    }
}

/// A secret as it is, in JSON, in hexadecimal and in base64.
fn encodings(secret: &[u8]) -> Vec<Wiped> {
    let mut forms = vec![secret.to_vec(), hex(secret, false), hex(secret, true)];
    if let Ok(text) = std::str::from_utf8(secret) {
        let quoted = Zeroizing::new(serde_json::to_string(text).expect("a string is JSON"));
        forms.push(quoted.as_bytes()[1..quoted.len() - 1].to_vec());
    }
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        forms.push(engine.encode(secret).into_bytes());
    }
    // Within something longer, such as `user:password`, a secret may begin at any of a group's
    // three bytes. The characters that it shares with its neighbours are left out.
    for (lead, shared) in [(0, 0), (1, 2), (2, 3)] {
        let padded = Zeroizing::new([&b"\0\0"[..lead], secret].concat());
        let whole = padded.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = Zeroizing::new(engine.encode(&padded));
            forms.push(text.as_bytes()[shared..whole].to_vec());
        }
    }
    forms.into_iter().map(Zeroizing::new).collect()
}

fn hex(bytes: &[u8], upper: bool) -> Vec<u8> {
    let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let digit = |nibble: u8| digits[usize::from(nibble)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A text, or what one decodes to.
struct View<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where in the text each byte begins, and where the text ends; `None` if nothing moved.
    origins: Option<Vec<usize>>,
}

impl View<'_> {
    fn decoded(text: &[u8], plus_is_space: bool) -> Self {
        let (mut bytes, mut origins) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < text.len() {
            origins.push(at);
            let (byte, length) = match text[at..] {
                [b'%', high, low, ..] => match (nibble(high), nibble(low)) {
                    (Some(high), Some(low)) => (high << 4 | low, 3),
                    _ => (b'%', 1),
                },
                [b'+', ..] if plus_is_space => (b' ', 1),
                [byte, ..] => (byte, 1),
                [] => break,
            };
            bytes.push(byte);
            at += length;
        }
        origins.push(text.len());
        Self { bytes: Cow::Owned(bytes), origins: Some(origins) }
    }

    /// Adds the places of the text that hold `form`, those that overlap included.
    fn find(&self, form: &[u8], found: &mut Vec<Range<usize>>) {
        let mut from = 0;
        while let Some(at) = memmem::find(&self.bytes[from..], form) {
            let mut start = from + at;
            let mut end = start + form.len();
            // The last one that begins within the one before continues it. Looking for that one
            // only keeps a text like `aaaa…` from taking quadratic time.
            loop {
                let reach = (end + form.len() - 1).min(self.bytes.len());
                match memmem::rfind(&self.bytes[start + 1..reach], form) {
                    None => break,
                    Some(at) => start += 1 + at,
                }
                end = start + form.len();
            }
            found.push(self.origin(from + at)..self.origin(end));
            from = end;
        }
    }

    /// Adds the end of the text if it is the beginning of `form`.
    fn find_cut(&self, form: &[u8], found: &mut Vec<Range<usize>>) {
        let longest = (form.len() - 1).min(self.bytes.len());
        let cut = (SHORTEST_CUT..=longest).rev().find(|n| self.bytes.ends_with(&form[..*n]));
        if let Some(length) = cut {
            found.push(self.origin(self.bytes.len() - length)..self.origin(self.bytes.len()));
        }
    }

    fn origin(&self, at: usize) -> usize {
        self.origins.as_ref().map_or(at, |origins| origins[at])
    }
}

fn nibble(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

/// Replaces places of a text; those that touch become one.
fn blot(text: &str, mut found: Vec<Range<usize>>) -> String {
    found.sort_by_key(|range| range.start);
    let (mut clean, mut kept) = (Vec::with_capacity(text.len()), 0);
    for range in found {
        if range.start > kept || kept == 0 {
            clean.extend_from_slice(&text.as_bytes()[kept..range.start]);
            clean.extend_from_slice(BLOT.as_bytes());
        }
        kept = kept.max(range.end);
    }
    clean.extend_from_slice(&text.as_bytes()[kept..]);
    // A secret that is no text by itself may begin or end within a character.
    String::from_utf8_lossy(&clean).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(secrets: &[&[u8]]) -> Redactor {
        let pairs = secrets.iter().enumerate().map(|(n, s)| (n.to_string(), s.to_vec()));
        Redactor::new(&pairs.collect())
    }

    #[test]
    fn a_secret_is_found_in_every_usual_encoding() {
        let redactor = redactor(&[b"p\xc3\xa4ss/w+rd \"?>\n"]);
        for (text, clean) in [
            ("the password is päss/w+rd \"?>, see", "the password is [secret], see"),
            ("päss/w+rd \"?>\n", "[secret]"),
            (r#"{"p":"päss/w+rd \"?>"}"#, r#"{"p":"[secret]"}"#),
            (r#"{"p":"päss/w+rd \"?>\n"}"#, r#"{"p":"[secret]"}"#),
            ("=cMOkc3Mvdytyb2Qg!", "=cMOkc3Mvdytyb2Qg!"),
            ("cMOkc3MvdytyZCAiPz4K", "[secret]"),
            ("cMOkc3MvdytyZCAiPz4=", "[secret]"),
            ("cMOkc3MvdytyZCAiPz4", "[secret]"),
            ("url?p=p%C3%A4ss%2Fw%2Brd%20%22%3F%3E&x", "url?p=[secret]&x"),
            ("url?p=p%c3%a4ss/w%2brd%20%22?%3e", "url?p=[secret]"),
            ("p=p%C3%A4ss%2Fw%2Brd+%22%3F%3E;", "p=[secret];"),
            ("70c3a473732f772b726420223f3e", "[secret]"),
            ("70C3A473732F772B726420223F3E!", "[secret]!"),
            ("100% of it + nothing %zz", "100% of it + nothing %zz"),
            ("", ""),
        ] {
            assert_eq!(redactor.clean(text), clean);
            assert_eq!(redactor.contains(text.as_bytes()), text != clean, "{text}");
        }
    }

    #[test]
    fn base64_of_something_longer() {
        let redactor = redactor(&[b"hunter2!"]);
        for lead in ["", "u", "us", "user:"] {
            for tail in ["", "x", "xy"] {
                for engine in [&STANDARD, &URL_SAFE_NO_PAD] {
                    let text = engine.encode(format!("{lead}hunter2!{tail}"));
                    let clean = redactor.clean(&text);
                    assert!(clean.contains(BLOT), "{lead}…{tail}: {clean}");
                    assert!(clean.len() <= BLOT.len() + 16, "{lead}…{tail}: {clean}");
                }
            }
        }
    }

    #[test]
    fn what_is_left_alone_and_what_is_cut() {
        let secrets: &[&[u8]] =
            &[b"abc", b"   \n", b"", b"aaaa", b"correct horse", b"\xff\xfe\xfd\xfc"];
        let redactor = redactor(secrets);
        for (text, clean) in [
            ("abc", "abc"),
            ("   \n", "   \n"),
            ("xaaaaaax aaa", "x[secret]x aaa"),
            ("aaaacorrect horse", "[secret]"),
            ("tail correct ho", "tail [secret]"),
            ("tail correct", "tail correct"),
            ("correct ho, said he", "correct ho, said he"),
            ("fffefdfc", "[secret]"),
        ] {
            assert_eq!(redactor.clean(text), clean);
        }
        assert!(matches!(redactor.clean("nothing"), Cow::Borrowed(_)));
        assert!(redactor.contains(b"\0\xff\xfe\xfd\xfc\0"));
        assert!(!redactor.contains(b"\0\xff\xfe\xfd"));
        assert_eq!(format!("{redactor:?}"), "Redactor(3)");
    }

    #[test]
    fn large_and_repetitive_texts() {
        let secret = vec![b'a'; 30_000];
        let redactor = redactor(&[&secret]);
        assert_eq!(redactor.clean(&"a".repeat(64_000)), BLOT);
        let half = "a".repeat(20_000) + "b";
        assert_eq!(redactor.clean(&half), half);
    }
}
