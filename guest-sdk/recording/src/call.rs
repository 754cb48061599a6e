//! A recording's text, and what it says of each call.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use crate::answer::{Outcome, is_attachment};
use crate::host_call::HostCall;
use crate::recorded::Recorded;

/// Calls on record.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// In the order of the file; each stands for itself.
    #[serde(rename = "call", default)]
    pub calls: Vec<Call>,
    /// The calls of kubelet that they were recorded of, if they were.
    #[serde(rename = "recorded", default)]
    pub recorded: Vec<Recorded>,
}

/// The longest recording that is read, in bytes.
pub const MAX_RECORDING: u64 = 64 << 20;

/// Why a file is no recording.
#[derive(Debug)]
pub struct Error(String);

/// One call of a driver's: kubelet's, or the part of one that is this operation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Call {
    /// What it shows, for people.
    pub name: String,
    /// The [`Recorded`] that it is part of, if it was recorded.
    pub part_of: Option<String>,
    /// The driver's bounds, where they are not the usual ones.
    pub limits: Option<Limits>,
    /// What kubelet asks for.
    pub operation: Operation,
    /// The volume's name.
    pub volume: String,
    /// The volume's options. Where a volume is taken down these are what the host recorded of it,
    /// as are `fs_type` and `access`.
    pub options: BTreeMap<String, String>,
    /// The filesystem that is asked for.
    pub fs_type: Option<String>,
    /// How the volume may be used.
    pub access: Access,
    /// The pod's group.
    pub fs_group: Option<u32>,
    /// The pod.
    pub pod: Pod,
    /// The names of the keys of the volume's secret.
    pub secret_keys: Vec<String>,
    /// What the operator has set.
    pub config: BTreeMap<String, String>,
    /// The node that the call is made on.
    pub node_name: String,
    /// The node that a volume is attached to, or detached from.
    pub node: Option<String>,
    /// What `attach` or `waitforattach` has returned, if kubelet knows it.
    pub attachment: Option<String>,
    /// The new size and the old one, in bytes.
    pub sizes: Option<(u64, u64)>,
    /// Where a volume is taken down: whether the host has a record of it.
    pub on_record: bool,
    /// What is asked of the host, in this order.
    pub host_calls: Vec<HostCall>,
    /// How it ends.
    pub outcome: Outcome,
}

/// What kubelet can ask a driver for, by the names that kubelet has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is kubelet's operation of the same name")]
pub enum Operation {
    Attach,
    Detach,
    WaitForAttach,
    IsAttached,
    MountDevice,
    UnmountDevice,
    Mount,
    Unmount,
    ExpandVolume,
    ExpandFs,
}

/// How a volume may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the WIT's")]
pub enum Access {
    ReadOnly,
    #[default]
    ReadWrite,
}

/// What a call says of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the WIT's")]
pub struct Pod {
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub uid: Option<String>,
    pub service_account: Option<String>,
}

/// What a driver may use in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory: u64,
    /// Processor time, in seconds.
    pub cpu_seconds: u64,
}

/// A call as it stands in the file, before it is known to make sense.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Raw {
    name: String,
    part_of: Option<String>,
    limits: Option<Limits>,
    operation: Operation,
    volume: String,
    #[serde(default)]
    options: BTreeMap<String, String>,
    fs_type: Option<String>,
    #[serde(default)]
    access: Access,
    fs_group: Option<u32>,
    pod: Option<Pod>,
    secret_keys: Option<Vec<String>>,
    #[serde(default)]
    config: BTreeMap<String, String>,
    #[serde(default = "node_name")]
    node_name: String,
    node: Option<String>,
    attachment: Option<String>,
    new_size: Option<u64>,
    old_size: Option<u64>,
    on_record: Option<bool>,
    #[serde(default)]
    host_calls: Vec<Table>,
    returns: Option<Value>,
    fails: Option<crate::Failure>,
    crashes: Option<String>,
    ended: Option<crate::Failure>,
}

fn node_name() -> String {
    "node-1".to_owned()
}

impl Recording {
    /// Reads a file. An error names it, the line and the mistake.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let at = |what: &dyn fmt::Display| Error(format!("{}: {what}", path.display()));
        // What is no file may never end, or never begin.
        if !std::fs::metadata(path).map_err(|error| at(&error))?.is_file() {
            return Err(at(&"it is not a regular file"));
        }
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_RECORDING + 1).read_to_string(&mut text))
            .map_err(|error| at(&error))?;
        if text.len() as u64 > MAX_RECORDING {
            return Err(at(&format_args!("it is longer than {MAX_RECORDING} bytes")));
        }
        Self::parse(&text).map_err(|error| at(&error))
    }

    /// Parses a text. An error names the line, the mistake and, where there are some, the valid
    /// choices.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let recording: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..before].iter().filter(|&&b| b == b'\n').count();
            Error(format!("line {line}: {}", error.message()))
        })?;
        match recording.calls.is_empty() && recording.recorded.is_empty() {
            true => Err(Error("line 1: there is no `[[call]]` in it".to_owned())),
            false => Ok(recording),
        }
    }
}

impl Operation {
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::Attach,
        Self::Detach,
        Self::WaitForAttach,
        Self::IsAttached,
        Self::MountDevice,
        Self::UnmountDevice,
        Self::Mount,
        Self::Unmount,
        Self::ExpandVolume,
        Self::ExpandFs,
    ];

    /// The name that kubelet has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::WaitForAttach => "waitforattach",
            Self::IsAttached => "isattached",
            Self::MountDevice => "mountdevice",
            Self::UnmountDevice => "unmountdevice",
            Self::Mount => "mount",
            Self::Unmount => "unmount",
            Self::ExpandVolume => "expandvolume",
            Self::ExpandFs => "expandfs",
        }
    }

    /// The interface of `wit/` that it belongs to.
    #[must_use]
    pub fn interface(self) -> &'static str {
        match self {
            Self::Mount | Self::Unmount => "volume",
            Self::MountDevice | Self::UnmountDevice => "device",
            Self::Attach | Self::Detach | Self::WaitForAttach | Self::IsAttached => "attacher",
            Self::ExpandVolume | Self::ExpandFs => "expander",
        }
    }
}

impl TryFrom<Raw> for Call {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        use Operation::{
            Attach, Detach, ExpandFs, ExpandVolume, IsAttached, Mount, MountDevice, Unmount,
            UnmountDevice, WaitForAttach,
        };
        let operation = raw.operation;
        // What a real driver has done may be anything, and so may what it was called with by hand.
        let real = raw.part_of.is_some();
        // What kubelet or the host says in some operations only.
        let given =
            |is: bool, key, among: &[Operation]| match is && !real && !among.contains(&operation) {
                true => Err(format!("{} has no `{key}`", operation.name())),
                false => Ok(()),
            };
        let needed = |is: bool, key, among: &[Operation]| match !is && among.contains(&operation) {
            true => Err(format!("{} needs `{key}`", operation.name())),
            false => given(is, key, among),
        };
        given(raw.fs_group.is_some(), "fs-group", &[Mount])?;
        given(raw.pod.is_some(), "pod", &[Mount])?;
        given(raw.secret_keys.is_some(), "secret-keys", &[Mount])?;
        given(raw.attachment.is_some(), "attachment", &[MountDevice, WaitForAttach])?;
        given(raw.on_record.is_some(), "on-record", &[Unmount, UnmountDevice, Detach])?;
        needed(raw.node.is_some(), "node", &[Attach, Detach, IsAttached])?;
        needed(raw.new_size.is_some(), "new-size", &[ExpandVolume, ExpandFs])?;
        needed(raw.old_size.is_some(), "old-size", &[ExpandVolume, ExpandFs])?;
        let outcome = match (raw.crashes, raw.ended) {
            (None, None) => outcome(operation, raw.returns, raw.fails, real)?,
            (crashes, ended) => sudden(operation, crashes, ended, raw.returns, raw.fails)?,
        };
        let mut secret_keys = raw.secret_keys.unwrap_or_default();
        secret_keys.sort();
        let host_calls: Vec<HostCall> = (1..)
            .zip(raw.host_calls)
            .map(|(number, table)| {
                HostCall::new(number, table).map_err(|error| format!("host call {number}: {error}"))
            })
            .collect::<Result<_, String>>()?;
        let sets_up = matches!(operation, Mount | MountDevice) && outcome == Outcome::Done;
        if sets_up && !real && !host_calls.iter().any(HostCall::leaves_it_mounted) {
            return Err(format!(
                "{} succeeds only with `mount-target.attach`, or where `mount-target.is-mounted` \
                 returns true; the host makes a failure of it otherwise",
                operation.name()
            ));
        }
        Ok(Self {
            name: raw.name,
            part_of: raw.part_of,
            limits: raw.limits,
            operation,
            volume: raw.volume,
            options: raw.options,
            fs_type: raw.fs_type,
            access: raw.access,
            fs_group: raw.fs_group,
            pod: raw.pod.unwrap_or_default(),
            secret_keys,
            config: raw.config,
            node_name: raw.node_name,
            node: raw.node,
            attachment: raw.attachment,
            sizes: raw.new_size.zip(raw.old_size),
            on_record: raw.on_record.unwrap_or(true),
            host_calls,
            outcome,
        })
    }
}

fn outcome(
    operation: Operation,
    returns: Option<Value>,
    fails: Option<crate::Failure>,
    real: bool,
) -> Result<Outcome, String> {
    let name = operation.name();
    match (operation, returns, fails) {
        (_, Some(_), Some(_)) => Err(format!("{name} either `returns` or `fails`")),
        (_, None, Some(failure)) => Ok(Outcome::Failed(failure)),
        (Operation::Attach | Operation::WaitForAttach, returns, None) => match returns {
            Some(Value::String(text)) if real || is_attachment(&text) => {
                Ok(Outcome::Attachment(text))
            }
            _ => Err(format!("{name} returns 1 to 256 bytes of visible ASCII, or fails")),
        },
        (Operation::IsAttached, Some(Value::Boolean(flag)), None) => Ok(Outcome::Flag(flag)),
        (Operation::IsAttached, ..) => Err(format!("{name} returns true or false, or fails")),
        (Operation::ExpandVolume, Some(Value::Integer(size)), None) if size >= 0 => {
            Ok(Outcome::Number(size.unsigned_abs()))
        }
        (Operation::ExpandVolume, ..) => Err(format!("{name} returns a size in bytes, or fails")),
        (_, None, None) => Ok(Outcome::Done),
        (_, Some(_), None) => Err(format!("{name} returns nothing")),
    }
}

/// An end that no driver states.
fn sudden(
    operation: Operation,
    crashes: Option<String>,
    ended: Option<crate::Failure>,
    returns: Option<Value>,
    fails: Option<crate::Failure>,
) -> Result<Outcome, String> {
    match (crashes, ended, returns, fails) {
        (Some(cause), None, None, None) => Ok(Outcome::Trapped(cause)),
        (None, Some(failure), None, None) => Ok(Outcome::Ended(failure)),
        _ => Err(format!("{} has one end, and this says several", operation.name())),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
