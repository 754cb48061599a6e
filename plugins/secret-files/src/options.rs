//! The options of a volume, from what a user wrote: which files there are to be, and who may read
//! them. Whether the secret has a key, and whether it is granted, is the host's to say.

use wasmount_guest_sdk::{Error, Result};

/// What may stand among a volume's options.
const VALID: &str = "`keys` and `mode`";

/// The longest key of a secret, in bytes: Kubernetes' own bound.
const MAX_KEY: usize = 253;

/// The longest file name, in bytes: the kernel's bound.
const MAX_NAME: usize = 255;

/// The permissions that a file may have. Nobody can write here, and nothing is executed.
const READABLE: u32 = 0o444;

/// A volume's options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// `keys`: which keys become files, and under which names. By default all do, under their own.
    pub(crate) files: Option<Vec<File>>,
    /// `mode`: the files' permissions.
    pub(crate) mode: Option<u32>,
}

/// A key of the secret, and the file that it becomes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// The key.
    pub(crate) key: String,
    /// The file's name.
    pub(crate) name: String,
}

impl Options {
    /// Reads the options, all of which have to be known.
    pub(crate) fn parse(given: Vec<(String, String)>) -> Result<Self> {
        let mut options = Self { files: None, mode: None };
        for (key, value) in given {
            match key.as_str() {
                "keys" => options.files = Some(files(&value)?),
                "mode" => options.mode = Some(mode(&value)?),
                other => {
                    return Err(Error::invalid_argument(
                        "unknown-option",
                        format!("the option `{other}` is not known; there are {VALID}"),
                    ));
                }
            }
        }
        Ok(options)
    }
}

impl File {
    /// The file that has its key's name, if it can have it.
    pub(crate) fn named_as(key: String) -> Result<Self> {
        if !is_plain(&key) {
            return Err(Error::invalid_argument(
                "file-name",
                format!(
                    "the secret's key {key:?} cannot be the name of a file; rename it in the \
                     secret, or say in the volume's option `keys` which keys become files, such as \
                     \"{}=name\"",
                    key.escape_debug()
                ),
            ));
        }
        Ok(Self { name: key.clone(), key })
    }
}

/// `key` or `key=name`, separated by commas. No key of a secret has a comma or `=` in it.
fn files(value: &str) -> Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    for (number, entry) in value.split(',').enumerate() {
        let (key, name) = entry.split_once('=').unwrap_or((entry, entry));
        let (key, name) = (key.trim(), name.trim());
        let mistake = if !is_key(key) {
            "names no key that a secret can have"
        } else if !is_plain(name) {
            "has a name that a file cannot have"
        } else if files.iter().any(|file| file.name == name) {
            "has a name that another file has"
        } else {
            files.push(File { key: key.to_owned(), name: name.to_owned() });
            continue;
        };
        return Err(Error::invalid_argument(
            "option-value",
            format!(
                "entry {} of the option `keys` {mistake}; write keys, or keys and file names such \
                 as \"username, tls.key=server.key\"",
                number + 1
            ),
        ));
    }
    Ok(files)
}

/// Octal digits, of which a few combinations make sense.
fn mode(value: &str) -> Result<u32> {
    let digits = (3..=4).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    u32::from_str_radix(value, 8)
        .ok()
        .filter(|mode| digits && *mode != 0 && mode & !READABLE == 0)
        .ok_or_else(|| {
            Error::invalid_argument(
                "option-value",
                "the option `mode` is not the mode of a file that is only read; write it in \
                 octal: \"0400\" for root alone, \"0440\" for the pod's fsGroup too, \"0444\" for \
                 everyone in the pod",
            )
        })
}

/// Whether Kubernetes lets a secret have the key.
fn is_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether a file of a directory can have the name.
fn is_plain(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.chars().any(|c| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&str, &str)]) -> Result<Options> {
        let given = given.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        Options::parse(given)
    }

    #[test]
    fn options_that_are_right() {
        assert_eq!(parse(&[]), Ok(Options { files: None, mode: None }));
        for (text, mode) in [("0400", 0o400), ("440", 0o440), ("0444", 0o444), ("040", 0o040)] {
            assert_eq!(parse(&[("mode", text)]).expect(text).mode, Some(mode), "{text}");
        }
        for (text, expected) in [
            ("a", &[("a", "a")][..]),
            ("a,b", &[("a", "a"), ("b", "b")]),
            (" a = x y , b", &[("a", "x y"), ("b", "b")]),
            ("a=1,a=2", &[("a", "1"), ("a", "2")]),
            ("..=dots", &[("..", "dots")]),
            ("a=b=c", &[("a", "b=c")]),
        ] {
            let files = parse(&[("keys", text)]).expect(text).files.expect("given");
            let files: Vec<_> = files.iter().map(|file| (&*file.key, &*file.name)).collect();
            assert_eq!(files, expected, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_refused_and_its_value_is_not_repeated() {
        let (long_key, long_name) = ("hush".repeat(64), format!("a={}", "hush".repeat(64)));
        for (option, reason) in [
            (("kyes", "hush"), "unknown-option"),
            (("Mode", "0400"), "unknown-option"),
            (("", "hush"), "unknown-option"),
            (("mode", ""), "option-value"),
            (("mode", "hush"), "option-value"),
            (("mode", "0"), "option-value"),
            (("mode", "0000"), "option-value"),
            (("mode", "0600"), "option-value"),
            (("mode", "0555"), "option-value"),
            (("mode", "4400"), "option-value"),
            (("mode", "00400"), "option-value"),
            (("mode", "+400"), "option-value"),
            (("mode", "0o400"), "option-value"),
            (("mode", "256"), "option-value"),
            (("keys", ""), "option-value"),
            (("keys", "a,,b"), "option-value"),
            (("keys", "=hush"), "option-value"),
            (("keys", "hush/b"), "option-value"),
            (("keys", &long_key), "option-value"),
            (("keys", "a="), "option-value"),
            (("keys", "a=hush/b"), "option-value"),
            (("keys", "a=.."), "option-value"),
            (("keys", "."), "option-value"),
            (("keys", "a=hu\nsh"), "option-value"),
            (("keys", "a,b=a"), "option-value"),
            (("keys", &long_name), "option-value"),
        ] {
            let error = parse(&[option]).expect_err(option.0);
            assert_eq!(error.reason, reason, "{option:?}");
            assert!(!error.message.contains("hush"), "{}", error.message);
        }
    }

    #[test]
    fn a_key_that_cannot_be_a_file_is_named() {
        let long = "k".repeat(MAX_NAME + 1);
        for (key, shown) in [
            ("..", "\"..\""),
            (".", "\".\""),
            ("a/b", "\"a/b\""),
            ("a\nb", "\"a\\nb\""),
            ("", "\"\""),
            (&long, &long),
        ] {
            let error = File::named_as(key.to_owned()).expect_err(key);
            assert_eq!(error.reason, "file-name");
            assert!(error.message.contains(shown), "{}", error.message);
        }
        assert!(File::named_as("k".repeat(MAX_NAME)).is_ok());
    }
}
