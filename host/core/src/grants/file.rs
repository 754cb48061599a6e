//! The shape of grants.toml, and what serde cannot say about it: what is named twice, what has
//! to be stated because something else is, what fits only some filesystem.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{
    BlockGrant, Bounded, DevicePath, DeviceRule, Directory, FilesystemsGrant, Grants, GrantsError,
    IdPattern, ImagePattern, ImagesGrant, Isolation, KeyPattern, Limits, MAX_FILE, SecretGrant,
    Size, TmpfsGrant, Use, VERSION, Verify, is_rule_name,
};
use crate::kernel::filesystems::{BlockOption, Filesystem};

/// `[config]`: how many settings, and how many bytes keys and values have together.
const MAX_SETTINGS: usize = 64;
const MAX_SETTINGS_BYTES: usize = 16 * 1024;

/// How many entries any list of the file may have.
const MAX_ENTRIES: usize = 64;

/// An image file may be as long as this where the file does not say.
pub const DEFAULT_IMAGE_SIZE: Size = Size::of(1 << 40);

pub(super) fn parse(text: &str) -> Result<Grants, GrantsError> {
    if text.len() > MAX_FILE {
        return Err(GrantsError::at(text, 0, format!("the file is over {MAX_FILE} bytes")));
    }
    let file: File = toml::from_str(text).map_err(|e| GrantsError::from_toml(text, &e))?;
    file.into_grants().map_err(|(offset, mistake)| GrantsError::at(text, offset, mistake))
}

/// A mistake and where it is, in bytes.
type Mistake = (usize, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: Version,
    #[serde(default)]
    isolation: Isolation,
    #[serde(default)]
    reply: Reply,
    config: Option<Spanned<BTreeMap<String, String>>>,
    #[serde(default)]
    limits: Limits,
    state: Option<Nothing>,
    #[serde(default)]
    secrets: Vec<Secret>,
    images: Option<Images>,
    #[serde(default)]
    devices: Vec<Device>,
    filesystems: Option<Filesystems>,
    #[serde(default)]
    mounts: Mounts,
}

/// There is only one.
#[derive(Deserialize)]
#[serde(try_from = "i64")]
struct Version;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Reply {
    failure_exit_code: Option<Bounded<0, 1>>,
}

/// A section that is granted by being there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    key: Spanned<KeyPattern>,
    uses: Spanned<Vec<Use>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Images {
    directory: Directory,
    names: Spanned<Vec<ImagePattern>>,
    #[serde(default)]
    create: bool,
    #[serde(default)]
    grow: bool,
    max_size: Option<Size>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    rule: Spanned<String>,
    path: DevicePath,
    id: IdPattern,
    verify: Verify,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filesystems {
    types: Spanned<Vec<FilesystemName>>,
    #[serde(default)]
    format: bool,
    #[serde(default)]
    check: bool,
    #[serde(default)]
    grow: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mounts {
    block: Option<Block>,
    bind: Option<Nothing>,
    tmpfs: Option<TmpfsGrant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    filesystems: Spanned<Vec<FilesystemName>>,
    #[serde(default)]
    options: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct FilesystemName(Filesystem);

impl File {
    fn into_grants(self) -> Result<Grants, Mistake> {
        let secrets_at = self.secrets.first().map(|secret| secret.key.span().start);
        let secrets = secrets(self.secrets)?;
        // A failing driver that exits non-zero has its arguments logged by kubelet, secrets
        // included: whoever grants secrets is to have decided about that.
        if let (Some(at), None) = (secrets_at, self.reply.failure_exit_code) {
            return Err((
                at,
                "[[secrets]] needs `failure-exit-code` to be stated in [reply]: with 1, kubelet \
                 logs a failing call's arguments, secrets included; valid: 0, 1"
                    .to_owned(),
            ));
        }
        Ok(Grants {
            isolation: self.isolation,
            failure_exit_code: self.reply.failure_exit_code.map(|code| code.get() as u8),
            config: self.config.map(config).transpose()?.unwrap_or_default(),
            limits: self.limits,
            state: self.state.is_some(),
            secrets,
            images: self.images.map(Images::into_grant).transpose()?,
            devices: devices(self.devices)?,
            filesystems: self.filesystems.map(Filesystems::into_grant).transpose()?,
            block: self.mounts.block.map(Block::into_grant).transpose()?,
            bind: self.mounts.bind.is_some(),
            tmpfs: self.mounts.tmpfs,
        })
    }
}

impl Images {
    fn into_grant(self) -> Result<ImagesGrant, Mistake> {
        Ok(ImagesGrant {
            directory: self.directory,
            names: entries("names", self.names)?,
            create: self.create,
            grow: self.grow,
            max_size: self.max_size.unwrap_or(DEFAULT_IMAGE_SIZE),
        })
    }
}

impl Filesystems {
    fn into_grant(self) -> Result<FilesystemsGrant, Mistake> {
        let types = entries("types", self.types)?.into_iter().map(|name| name.0).collect();
        Ok(FilesystemsGrant { types, format: self.format, check: self.check, grow: self.grow })
    }
}

impl Block {
    fn into_grant(self) -> Result<BlockGrant, Mistake> {
        let filesystems: Vec<Filesystem> =
            entries("filesystems", self.filesystems)?.into_iter().map(|name| name.0).collect();
        let mut options = Vec::new();
        for option in self.options {
            let (at, option) = (option.span().start, option.into_inner());
            // It has to be one of some filesystem here; whether of the one mounted, each mount tells.
            let parsed = filesystems.iter().map(|fs| BlockOption::parse(*fs, &option));
            if let Err(failure) = parsed.reduce(Result::or).expect("the list is not empty") {
                return Err((at, failure.message.replace("; there are ", "; valid: ")));
            }
            options.push(option);
        }
        Ok(BlockGrant { filesystems, options })
    }
}

fn secrets(entries: Vec<Secret>) -> Result<Vec<SecretGrant>, Mistake> {
    let mut grants: Vec<SecretGrant> = Vec::with_capacity(entries.len());
    for secret in entries {
        let (at, key) = (secret.key.span().start, secret.key.into_inner());
        if grants.iter().any(|grant| grant.key == key) {
            return Err((at, format!("the secret key `{}` is granted twice", key.text())));
        }
        let uses = self::entries("uses", secret.uses)?;
        // What is in a key that nobody has named, nobody has thought about.
        if !key.is_name() && uses.contains(&Use::Reveal) {
            let key = key.text();
            return Err((
                at,
                format!(
                    "`{key}` is a pattern, and a key is revealed by its name only; valid: uses = [\"file\"]"
                ),
            ));
        }
        grants.push(SecretGrant { key, uses });
    }
    Ok(grants)
}

fn devices(entries: Vec<Device>) -> Result<Vec<DeviceRule>, Mistake> {
    let mut rules: Vec<DeviceRule> = Vec::with_capacity(entries.len());
    for device in entries {
        let (at, rule) = (device.rule.span().start, device.rule.into_inner());
        if !is_rule_name(&rule) {
            let valid = "1 to 64 of a-z 0-9 -";
            return Err((at, format!("`{rule}` cannot be a rule's name; valid: {valid}")));
        }
        if rules.iter().any(|other| other.rule == rule) {
            return Err((at, format!("the device rule `{rule}` is there twice")));
        }
        let Device { path, id, verify, .. } = device;
        rules.push(DeviceRule { rule, path, id, verify });
    }
    Ok(rules)
}

fn config(
    settings: Spanned<BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, Mistake> {
    let (at, settings) = (settings.span().start, settings.into_inner());
    let bytes: usize = settings.iter().map(|(key, value)| key.len() + value.len()).sum();
    if settings.len() > MAX_SETTINGS || bytes > MAX_SETTINGS_BYTES {
        return Err((
            at,
            format!(
                "[config] is too large; valid: {MAX_SETTINGS} keys, {MAX_SETTINGS_BYTES} bytes"
            ),
        ));
    }
    Ok(settings)
}

/// A list that has to grant something.
fn entries<T>(key: &str, list: Spanned<Vec<T>>) -> Result<Vec<T>, Mistake> {
    let (at, list) = (list.span().start, list.into_inner());
    match list.len() {
        0 => Err((at, format!("`{key}` is empty and grants nothing; leave the section out"))),
        1..=MAX_ENTRIES => Ok(list),
        _ => Err((at, format!("`{key}` has too many entries; valid: at most {MAX_ENTRIES}"))),
    }
}

impl TryFrom<i64> for Version {
    type Error = String;

    fn try_from(version: i64) -> Result<Self, String> {
        match version {
            VERSION => Ok(Self),
            _ => Err(format!("version {version} is not known here; valid: {VERSION}")),
        }
    }
}

impl TryFrom<String> for FilesystemName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Filesystem::parse(&name).map(Self).map_err(|_| {
            let valid: Vec<&str> = Filesystem::ALL.iter().map(|fs| fs.name()).collect();
            format!("unknown filesystem `{name}`; valid: {}", valid.join(", "))
        })
    }
}
