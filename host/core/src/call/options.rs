//! The options of a volume: one JSON object of strings, of which Kubernetes wrote the keys under
//! `kubernetes.io/` and whoever described the volume wrote the others.
//!
//! kubelet lets a user's key replace one of Kubernetes' own and relies on the API server to
//! refuse such keys. Static pods and other callers never pass there, so they are refused here
//! again. No failure repeats a value, and a key only shortened and escaped.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroize as _;

use super::names::is_plain;
use super::{Access, MountDir, Secrets, TargetPath, Volume, VolumeName, invalid};
use crate::failure::Failure;
use crate::wire::VolumeFacts;

/// The longest options, in bytes: Linux' own bound on one argument (`MAX_ARG_STRLEN`).
const MAX_OPTIONS: usize = 128 * 1024;

/// How much of a key is shown, in characters.
const SHOWN_KEY: usize = 64;

/// The longest key of a secret, in bytes: Kubernetes' own bound.
const MAX_SECRET_KEY: usize = 253;

/// The system's namespace.
const SYSTEM: &str = "kubernetes.io/";

/// Namespaces that no user may use, with all below them.
const RESERVED: [&str; 2] = ["kubernetes.io", "k8s.io"];

/// What the options say, before it is known whether they fit the call.
#[derive(Debug)]
pub(super) struct Options {
    name: Option<VolumeName>,
    facts: VolumeFacts,
    secrets: Secrets,
    ignored: Vec<String>,
}

impl Options {
    /// Reads the options.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if text.len() > MAX_OPTIONS {
            return Err(bad("OPTIONS is longer than 128 KiB"));
        }
        let object: Object<'_> = serde_json::from_str(text).map_err(|error| {
            // Only where, never what: the library's own words repeat what they stumble over.
            let (line, column) = (error.line(), error.column());
            bad(format!("OPTIONS is not valid JSON (line {line}, column {column})"))
        })?;
        if let Some(mistake) = object.mistake {
            return Err(bad(mistake));
        }
        let mut known = Known::default();
        let mut options = BTreeMap::new();
        for (key, value) in object.entries {
            match key.strip_prefix(SYSTEM) {
                Some(rest) => known.take(rest, value)?,
                None if is_reserved(&key) => {
                    let key = shown(&key);
                    return Err(bad(format!(
                        "the option {key} is in a namespace that is Kubernetes' own; rename it"
                    )));
                }
                None => {
                    options.insert(key.into_owned(), value.into_owned());
                }
            }
        }
        Ok(known.finish(options))
    }

    /// The volume that the options describe, if they fit the directory that the call names.
    /// Without a directory the options have to name the volume.
    pub(super) fn volume(self, target: Option<&TargetPath>) -> Result<Volume, Failure> {
        let name = match (self.name, target) {
            (Some(name), Some(target)) if name != target.name => {
                let message = "the last part of DIRECTORY is not kubernetes.io/pvOrVolumeName";
                return Err(invalid("path", message));
            }
            (Some(name), _) => name,
            (None, Some(target)) => target.name.clone(),
            (None, None) => {
                let message = "OPTIONS lacks kubernetes.io/pvOrVolumeName, the volume's name";
                return Err(bad(message));
            }
        };
        if let Some(TargetPath { dir: MountDir::Pod { uid }, .. }) = target
            && let [_, _, Some(given), _] = &self.facts.pod
            && given != uid
        {
            let message = "DIRECTORY belongs to another pod than kubernetes.io/pod.uid";
            return Err(invalid("path", message));
        }
        let Self { facts, secrets, ignored, .. } = self;
        Ok(Volume { name, facts, secrets, ignored })
    }
}

/// Kubernetes' own keys, as far as they were met.
#[derive(Default)]
struct Known {
    name: Option<VolumeName>,
    fs_type: Option<String>,
    access: Option<Access>,
    fs_group: Option<u32>,
    pod: [Option<String>; 4],
    secrets: Secrets,
    ignored: Vec<String>,
}

impl Known {
    /// Takes one key without its `kubernetes.io/`.
    fn take(&mut self, key: &str, value: Cow<'_, str>) -> Result<(), Failure> {
        if let Some(secret) = key.strip_prefix("secret/") {
            if !is_secret_key(secret) {
                let key = shown(&(SYSTEM.to_owned() + key));
                return Err(bad(format!(
                    "{key} is not a secret's key; rename it in the secret, to 1 to 253 of A-Z a-z \
                     0-9 . _ -"
                )));
            }
            self.secrets.insert_encoded(secret.to_owned(), &value);
            if let Cow::Owned(mut text) = value {
                text.zeroize();
            }
            return Ok(());
        }
        let value = value.into_owned();
        match key {
            "pvOrVolumeName" => {
                self.name = Some(value.parse().map_err(|failure: Failure| {
                    failure.during("kubernetes.io/pvOrVolumeName is not a volume's name")
                })?);
            }
            "fsType" => self.fs_type = some(value),
            "readwrite" => {
                self.access = Some(match value.as_str() {
                    "ro" => Access::ReadOnly,
                    "rw" => Access::ReadWrite,
                    _ => return Err(bad("kubernetes.io/readwrite is neither ro nor rw")),
                });
            }
            "pod.name" => self.pod[0] = some(value),
            "pod.namespace" => self.pod[1] = some(value),
            // The older spelling is that of the documents.
            "pod.uid" | "pod.UID" => {
                agree(&mut self.pod[2], some(value), "pod.uid", "pod.UID")?;
            }
            "serviceAccount.name" => self.pod[3] = some(value),
            // The older name is that of Kubernetes 1.14 and before.
            "mounterArgs.FsGroup" | "fsGroup" => {
                let gid = group(&value, key)?;
                agree(&mut self.fs_group, Some(gid), "mounterArgs.FsGroup", "fsGroup")?;
            }
            _ => self.ignored.push(SYSTEM.to_owned() + key),
        }
        Ok(())
    }

    fn finish(self, options: BTreeMap<String, String>) -> Options {
        let facts = VolumeFacts {
            options,
            fs_type: self.fs_type,
            // kubelet always says which; by hand it may be left out, and rw is its default.
            access: self.access.unwrap_or(Access::ReadWrite),
            fs_group: self.fs_group,
            pod: self.pod,
        };
        Options { name: self.name, facts, secrets: self.secrets, ignored: self.ignored }
    }
}

/// Kubernetes writes an empty text for what is not set.
fn some(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

/// Stores what two keys may say, if they say the same.
fn agree<T: PartialEq>(
    place: &mut Option<T>,
    value: Option<T>,
    new: &str,
    old: &str,
) -> Result<(), Failure> {
    if place.is_some() && value.is_some() && *place != value {
        return Err(bad(format!("{SYSTEM}{new} and {SYSTEM}{old} differ")));
    }
    *place = value.or(place.take());
    Ok(())
}

/// A group's number. 2³²−1 is none: to chown(2) it means "leave as it is".
fn group(value: &str, key: &str) -> Result<u32, Failure> {
    let digits = value.bytes().all(|c| c.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|gid| digits && *gid != u32::MAX)
        .ok_or_else(|| bad(format!("{SYSTEM}{key} is not a group's number")))
}

/// Whether Kubernetes keeps a key's namespace to itself. Its own validation: without regard to
/// case, and a key without a slash is all namespace.
fn is_reserved(key: &str) -> bool {
    let namespace = key.split('/').next().unwrap_or(key).to_ascii_lowercase();
    RESERVED.iter().any(|reserved| {
        namespace.strip_suffix(reserved).is_some_and(|left| left.is_empty() || left.ends_with('.'))
    })
}

/// Kubernetes lets a secret's key begin with a dot or a hyphen.
fn is_secret_key(key: &str) -> bool {
    !key.is_empty() && is_plain(&format!("x{key}"), MAX_SECRET_KEY + 1)
}

/// A key as it may be shown.
fn shown(key: &str) -> String {
    let mut text: String = key.chars().take(SHOWN_KEY).flat_map(char::escape_debug).collect();
    if key.chars().nth(SHOWN_KEY).is_some() {
        text.push('…');
    }
    format!("\"{text}\"")
}

fn bad(message: impl Into<String>) -> Failure {
    invalid("options", message)
}

/// A JSON object of strings. What else is in it is a mistake, told after all has been read, so
/// that text which is no JSON at all is told first.
#[derive(Default)]
struct Object<'a> {
    entries: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    mistake: Option<String>,
}

/// A JSON value: a string, or the name of what it is instead.
enum Value<'a> {
    Text(Cow<'a, str>),
    Other(&'static str),
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut object = Object::default();
        while let Some((key, value)) = map.next_entry::<Value<'de>, Value<'de>>()? {
            // A key is a string, or the text is not JSON and does not get here.
            let Value::Text(key) = key else { continue };
            let mistake = match value {
                Value::Other(what) => format!("OPTIONS has {what} for {}", shown(&key)),
                Value::Text(_) if object.entries.contains_key(&key) => {
                    format!("OPTIONS has {} twice", shown(&key))
                }
                Value::Text(text) => {
                    object.entries.insert(key, text);
                    continue;
                }
            };
            object.mistake.get_or_insert(mistake + "; all values are strings, one a key");
        }
        Ok(object)
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::Other("true or false"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an object"))
    }
}
