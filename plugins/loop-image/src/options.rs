//! The options of a volume, from what a user wrote. Whether an image's name or a format
//! option is allowed is the host's to say.

use wasmount_guest_sdk::{Error, Result, VolumeSpec};

use crate::size;

/// What may stand among a volume's options.
const VALID: &str = "`image`, `size`, `create`, `mount-options` and `mkfs.<option>`";

/// A volume's options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// `image`: the image's file name; by default the volume's name and `.img`.
    pub(crate) image: String,
    /// `create`: whether an absent image is to be made. By default it is not.
    pub(crate) create: bool,
    /// `mkfs.<option>`: the options for making the filesystem, by their names without `mkfs.`.
    pub(crate) mkfs: Vec<(String, String)>,
    /// `mount-options`: names, separated by commas.
    pub(crate) mount: Vec<String>,
    /// `size`, in bytes.
    size: Option<u64>,
}

impl Options {
    /// The options of the volume that this call is about.
    pub(crate) fn of(volume: &VolumeSpec<'_>) -> Result<Self> {
        Self::parse(&volume.name(), volume.options())
    }

    /// The size to create the image with, in bytes. The volume has to set it.
    pub(crate) fn size(&self) -> Result<u64> {
        self.size.ok_or_else(|| {
            Error::invalid_argument(
                "missing-option",
                "the image is absent and the volume has no option `size` to create it with; set \
                 it to a size such as \"10Gi\"",
            )
        })
    }

    fn parse(volume: &str, given: Vec<(String, String)>) -> Result<Self> {
        let mut options = Self {
            image: format!("{volume}.img"),
            create: false,
            mkfs: Vec::new(),
            mount: Vec::new(),
            size: None,
        };
        for (key, value) in given {
            match key.as_str() {
                "image" => options.image = value,
                "create" => options.create = truth(&value)?,
                "size" => options.size = Some(parse_size(&value)?),
                "mount-options" => options.mount = names(&value),
                other => match other.strip_prefix("mkfs.") {
                    Some(option) if !option.is_empty() => {
                        options.mkfs.push((option.to_owned(), value));
                    }
                    _ => {
                        return Err(Error::invalid_argument(
                            "unknown-option",
                            format!("the option `{key}` is not known; there are {VALID}"),
                        ));
                    }
                },
            }
        }
        // The name is what `attach` returns, and that has to be visible ASCII.
        if options.image.is_empty() || !options.image.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid_argument(
                "image-name",
                "the image's name is not made of visible ASCII characters; set the volume's \
                 option `image` to one that is",
            ));
        }
        Ok(options)
    }
}

fn truth(value: &str) -> Result<bool> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::invalid_argument(
            "option-value",
            "the option `create` is neither \"true\" nor \"false\"",
        )),
    }
}

fn parse_size(value: &str) -> Result<u64> {
    size::parse(value).ok_or_else(|| {
        Error::invalid_argument(
            "option-value",
            "the option `size` is not a size; write a whole number of bytes, or one with Ki, Mi, \
             Gi, Ti, k, M, G or T behind it, such as \"10Gi\"",
        )
    })
}

fn names(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&str, &str)]) -> Result<Options> {
        let given = given.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        Options::parse("pv-1", given)
    }

    #[test]
    fn without_options_the_image_is_the_volumes_and_is_not_created() {
        let options = parse(&[]).expect("no option is needed");
        assert_eq!(options.image, "pv-1.img");
        assert!(!options.create && options.mkfs.is_empty() && options.mount.is_empty());
        assert_eq!(options.size().expect_err("no size").reason, "missing-option");
    }

    #[test]
    fn every_option_is_understood() {
        let options = parse(&[
            ("create", "true"),
            ("image", "data.img"),
            ("mkfs.block-size", "1024"),
            ("mkfs.label", "data"),
            ("mount-options", "noatime, discard,"),
            ("size", "64Mi"),
        ])
        .expect("all are valid");
        assert_eq!(options.image, "data.img");
        assert!(options.create);
        assert_eq!(options.size().expect("given"), 64 << 20);
        assert_eq!(options.mount, ["noatime", "discard"]);
        let mkfs = [("block-size", "1024"), ("label", "data")];
        assert_eq!(options.mkfs, mkfs.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_mistake_is_refused_and_its_value_is_not_repeated() {
        let table = [
            (("iamge", "hush"), "unknown-option"),
            (("mkfs.", "hush"), "unknown-option"),
            (("create", "hush"), "option-value"),
            (("create", "True"), "option-value"),
            (("size", "hush"), "option-value"),
            (("size", "0"), "option-value"),
            (("image", ""), "image-name"),
            (("image", "hush hush.img"), "image-name"),
            (("image", "hush\u{e9}.img"), "image-name"),
        ];
        for (option, reason) in table {
            let error = parse(&[option]).expect_err(option.0);
            assert_eq!(error.reason, reason, "{option:?}");
            assert!(!error.message.contains("hush"), "{}", error.message);
        }
    }
}
