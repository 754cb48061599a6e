//! Patterns for what a volume may name, and templates for where the host looks it up.
//!
//! A pattern is literal text with `{volume}` for the volume's name and at most one `*`. There is
//! no escape, no character class and no second `*`: what one pattern lets through can be said in
//! a sentence.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::call::VolumeName;

/// The longest pattern or template, in bytes.
const MAX_TEXT: usize = 255;

const VOLUME: &str = "{volume}";
const ID: &str = "{id}";

/// Which image files a volume may use: a pattern over plain file names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ImagePattern(Pattern);

/// Which device ids a volume may use: a pattern over [`is_id`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct IdPattern(Pattern);

/// Where a device with some id is found: a path below `/dev` with `{id}` in it once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DevicePath(String);

/// What the device's attribute has to read: a text with `{id}` in it once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AttributeValue(String);

/// The attribute that proves a device's identity: a file below `/sys/dev/block/MAJOR:MINOR/`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Attribute(PathBuf);

/// A directory of the node, by a path that means the same however it is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Directory(PathBuf);

/// Which keys of a secret: one by its name or, with a `*`, all that fit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyPattern(String);

/// The longest device id, in bytes.
pub const MAX_ID: usize = 128;

/// The longest key of a secret, in bytes: Kubernetes' own bound.
const MAX_KEY: usize = 253;

/// Whether a text can be a device's id: 1 to [`MAX_ID`] of `A-Z a-z 0-9 . _ : -`, beginning with
/// a letter or digit, so that it is always part of one path component and never `..`.
pub fn is_id(text: &str) -> bool {
    text.len() <= MAX_ID
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(is_id_byte)
}

/// Whether a text can be a rule's name: 1 to 64 of `a-z 0-9 -`.
pub fn is_rule_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

impl ImagePattern {
    /// Whether this volume may use the image of this name.
    pub fn matches(&self, volume: &VolumeName, name: &str) -> bool {
        self.0.matches(volume, name)
    }

    /// The pattern as written.
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

impl IdPattern {
    /// Whether this volume may use the device of this id.
    pub fn matches(&self, volume: &VolumeName, id: &str) -> bool {
        self.0.matches(volume, id)
    }

    /// The pattern as written.
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

impl DevicePath {
    /// The path for one id. The caller has checked [`is_id`].
    pub fn of(&self, id: &str) -> PathBuf {
        PathBuf::from(self.0.replacen(ID, id, 1))
    }

    /// As it is in the file.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl AttributeValue {
    /// The value for one id.
    pub fn of(&self, id: &str) -> String {
        self.0.replacen(ID, id, 1)
    }

    /// As it is in the file.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Attribute {
    /// The path, relative to the device's directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Directory {
    /// The path: absolute, without `.` and `..`.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl KeyPattern {
    /// Whether a key fits.
    pub fn matches(&self, key: &str) -> bool {
        match self.0.split_once('*') {
            None => key == self.0,
            Some((before, after)) => encloses(before, after, key),
        }
    }

    /// The key or the pattern as written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether it is one key's name, and not a pattern for any number of keys.
    pub fn is_name(&self) -> bool {
        !self.0.contains('*')
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    text: String,
    /// Where the `*` is in `text`.
    star: Option<usize>,
}

impl Pattern {
    fn parse(text: String, allowed: fn(u8) -> bool, alphabet: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_TEXT {
            return Err(format!("a pattern has 1 to {MAX_TEXT} bytes; valid: such as \"vol-*\""));
        }
        let mut stars = text.match_indices('*');
        let star = stars.next().map(|(at, _)| at);
        if stars.next().is_some() {
            return Err(format!("`{text}` has more than one `*`; valid: at most one `*`"));
        }
        let literal = text.replace(VOLUME, "").replace('*', "");
        if literal.contains(['{', '}']) {
            return Err(format!("`{text}` has braces that are not {VOLUME}; valid: {VOLUME}"));
        }
        if !literal.bytes().all(allowed) {
            return Err(format!("`{text}` cannot match; valid: {alphabet}, {VOLUME} and one `*`"));
        }
        Ok(Self { text, star })
    }

    fn matches(&self, volume: &VolumeName, name: &str) -> bool {
        let fill = |part: &str| part.replace(VOLUME, volume.as_str());
        match self.star {
            None => name == fill(&self.text),
            Some(at) => {
                let (before, after) = (fill(&self.text[..at]), fill(&self.text[at + 1..]));
                encloses(&before, &after, name) && !name.contains('/')
            }
        }
    }
}

/// What is before and after the `*` may not overlap: `a*a` does not match `a`.
fn encloses(before: &str, after: &str, name: &str) -> bool {
    name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
}

impl TryFrom<String> for ImagePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('.') {
            return Err(format!("`{text}` begins with a dot; valid: names that are not hidden"));
        }
        let allowed = |byte: u8| byte != b'/' && !byte.is_ascii_control();
        Pattern::parse(text, allowed, "a plain file name").map(Self)
    }
}

impl TryFrom<String> for IdPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Pattern::parse(text, is_id_byte, "A-Z a-z 0-9 . _ : -").map(Self)
    }
}

impl TryFrom<String> for KeyPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*');
        if !(1..=MAX_KEY).contains(&text.len()) || !text.bytes().all(allowed) {
            let valid = "1 to 253 of A-Z a-z 0-9 . _ - and at most one `*`";
            return Err(format!("`{text}` cannot be a secret's key; valid: {valid}"));
        }
        if text.matches('*').count() > 1 {
            return Err(format!("`{text}` has more than one `*`; valid: at most one `*`"));
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for DevicePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let valid = "such as \"/dev/disk/by-id/nvme-{id}\"";
        let Some(below) = text.strip_prefix("/dev/") else {
            return Err(format!("`{text}` is not below /dev; valid: {valid}"));
        };
        if !is_plain_relative(below) {
            return Err(format!("`{text}` is not a plain path; valid: {valid}"));
        }
        once(&text, valid)?;
        Ok(Self(text))
    }
}

impl TryFrom<String> for AttributeValue {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(format!("the value has control characters or over {MAX_TEXT} bytes"));
        }
        once(&text, "such as \"{id}\"")?;
        Ok(Self(text))
    }
}

impl TryFrom<String> for Attribute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !is_plain_relative(&text) || text.contains(['{', '}']) {
            return Err(format!(
                "`{text}` is not a plain path below the device's directory in /sys; valid: such \
                 as \"device/serial\""
            ));
        }
        Ok(Self(PathBuf::from(text)))
    }
}

impl TryFrom<String> for Directory {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let below = text.strip_prefix('/').map(|below| below.strip_suffix('/').unwrap_or(below));
        match below {
            Some(below) if is_plain_relative(below) => Ok(Self(Path::new("/").join(below))),
            _ => Err(format!(
                "`{text}` is not an absolute path without `.` and `..`; valid: such as \
                 \"/srv/images\""
            )),
        }
    }
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

/// Whether a text names something below a directory, with no component that could lead out of
/// it and none that is left out.
fn is_plain_relative(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len())
        && !text.chars().any(char::is_control)
        && text.split('/').all(|part| {
            let mut components = Path::new(part).components();
            matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none()
        })
}

fn once(text: &str, valid: &str) -> Result<(), String> {
    let rest = text.replacen(ID, "", 1);
    if rest.len() == text.len() || rest.contains(['{', '}']) {
        return Err(format!("`{text}` does not have {ID} in it exactly once; valid: {valid}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_patterns_match_this_volume_only() {
        let volume: VolumeName = "pv-1".parse().expect("a name");
        for (pattern, name, expected) in [
            ("{volume}.img", "pv-1.img", true),
            ("{volume}.img", "pv-2.img", false),
            ("{volume}.img", "{volume}.img", false),
            ("{volume}-*.img", "pv-1-.img", true),
            ("{volume}-*.img", "pv-1-a.img", true),
            ("{volume}-*.img", "pv-10.img", false),
            ("*", "anything", true),
            ("*", "a/b", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*-{volume}", "x-pv-1", true),
            ("disk.img", "disk.img", true),
            ("disk.img", "disk.img2", false),
        ] {
            let parsed = ImagePattern::try_from(pattern.to_owned()).expect(pattern);
            assert_eq!(parsed.matches(&volume, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn key_patterns_match_what_is_around_their_star() {
        for (pattern, key, expected) in [
            ("password", "password", true),
            ("password", "password2", false),
            ("*", "anything", true),
            ("*", "..", true),
            ("tls.*", "tls.key", true),
            ("tls.*", "tls.", true),
            ("tls.*", "tls", false),
            ("*.crt", "ca.crt", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
        ] {
            let parsed = KeyPattern::try_from(pattern.to_owned()).expect(pattern);
            assert_eq!(parsed.matches(key), expected, "{pattern} on {key}");
            assert_eq!(parsed.is_name(), !pattern.contains('*'), "{pattern}");
        }
        for pattern in ["", "a b", "a/b", "{volume}", "**", "*a*", &"k".repeat(254)] {
            assert!(KeyPattern::try_from(pattern.to_owned()).is_err(), "{pattern}");
        }
    }

    #[test]
    fn templates_have_the_id_once_and_stay_below() {
        for path in [
            "/dev/{id}/{id}",
            "/dev/x",
            "/dev/../{id}",
            "/dev//{id}",
            "/sys/{id}",
            "dev/{id}",
            "/dev/{volume}-{id}",
            "/dev/./{id}",
            "/dev/{id}/",
        ] {
            assert!(DevicePath::try_from(path.to_owned()).is_err(), "{path}");
        }
        let path = DevicePath::try_from("/dev/disk/by-id/nvme-{id}".to_owned()).expect("valid");
        assert_eq!(path.of("vol-1"), Path::new("/dev/disk/by-id/nvme-vol-1"));
        for id in ["", "..", ".a", "a/b", "a b", "-a", "a\0"] {
            assert!(!is_id(id), "{id}");
        }
        for directory in ["/", "", "srv", "/srv/../etc", "/srv//x", "/srv/./x", "//srv"] {
            assert!(Directory::try_from(directory.to_owned()).is_err(), "{directory}");
        }
    }
}
