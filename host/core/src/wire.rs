//! What the guest process and the broker say to each other: one value a message, one message a
//! packet of a `SOCK_SEQPACKET` pair, as JSON, so that the audit log, a recording and the wire
//! show the same thing.
//!
//! The guest's side is untrusted: whatever does not parse to the last byte, is too long, or
//! comes out of turn ends the guest. Nothing here decides whether a request is granted.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::call::{Access, Operation};
use crate::failure::Failure;

mod channel;

pub use channel::{Channel, MAX_MESSAGE, MAX_WITH_FILE};

/// The longest byte string in a message.
pub const MAX_BYTES: usize = 64 * 1024;

/// Names something that the broker holds for this call: a device, a mount, an image, a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(pub u32);

/// Bytes, in hexadecimal where they are written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// One host call of the component that the broker answers. The names are the WIT's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "each is the WIT function of the same name")]
pub enum Request {
    Log {
        level: Level,
        message: String,
    },
    StateGet {
        key: String,
    },
    StatePut {
        key: String,
        value: Bytes,
    },
    StateDelete {
        key: String,
    },
    SecretsOpen {
        key: String,
    },
    SecretReveal {
        secret: Handle,
    },
    TargetIsMounted,
    TargetAttach {
        pending: Handle,
    },
    TargetUnmount,
    DevicesFind {
        rule: String,
        id: String,
    },
    DevicesWait {
        rule: String,
        id: String,
        milliseconds: u32,
    },
    DeviceSize {
        device: Handle,
    },
    DeviceIsReadOnly {
        device: Handle,
    },
    DeviceProbe {
        device: Handle,
    },
    FilesystemsFormat {
        device: Handle,
        fs_type: String,
        options: Vec<(String, String)>,
    },
    FilesystemsCheck {
        device: Handle,
        fs_type: String,
    },
    FilesystemsGrow,
    MountsBlock {
        device: Handle,
        fs_type: String,
        access: Access,
        options: Vec<String>,
    },
    MountsBind {
        access: Access,
    },
    TmpfsCreate {
        size: u64,
        mode: u32,
        group: Option<u32>,
    },
    TmpfsWriteFile {
        pending: Handle,
        name: String,
        contents: Bytes,
        mode: u32,
    },
    TmpfsWriteSecret {
        pending: Handle,
        name: String,
        secret: Handle,
        mode: u32,
    },
    TmpfsSeal {
        pending: Handle,
    },
    ImagesOpen {
        name: String,
    },
    ImagesCreate {
        name: String,
        size: u64,
    },
    ImageSize {
        image: Handle,
    },
    ImageGrow {
        image: Handle,
        size: u64,
    },
    ImageLease {
        image: Handle,
        node: String,
    },
    ImageHolder {
        image: Handle,
    },
    ImageAttach {
        image: Handle,
        access: Access,
    },
    ImagesAttached,
    ImagesDetach,
    ImagesRelease {
        node: String,
    },
    /// The component dropped a resource. The one request that is not answered.
    Drop {
        handle: Handle,
    },
}

/// A log line's level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the WIT's")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// The broker's answer to a request. Which case a request gets is fixed by the WIT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "kebab-case")]
pub enum Response {
    /// Done; there is nothing to say about it.
    Done,
    /// Yes or no.
    Flag(bool),
    /// A size or a count.
    Number(u64),
    /// A text, or none.
    Text(Option<String>),
    /// Bytes, or none.
    Bytes(Option<Bytes>),
    /// Something the broker now holds for the component.
    Handle(Handle),
    /// A device that the broker now holds, with its identity; or none.
    Device(Option<(Handle, String)>),
    /// It did not happen.
    Failed(Failure),
}

/// What the guest process says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "guest", content = "value", rename_all = "kebab-case")]
pub enum FromGuest {
    /// A host call. The guest waits for the response.
    Request(Request),
    /// The export has returned, or never will. The last message of a call.
    Finished(Outcome),
}

/// How the export ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "value", rename_all = "kebab-case")]
pub enum Outcome {
    /// `ok` without a value.
    Done,
    /// `ok` with an attachment token.
    Attachment(String),
    /// `ok` with a truth.
    Flag(bool),
    /// `ok` with a size.
    Number(u64),
    /// `err`: the component's own refusal.
    Refused(Failure),
    /// The component cannot be run: image, imports or exports do not fit this host.
    Unusable(Failure),
    /// The component trapped.
    Trapped {
        /// Why, in words.
        cause: String,
        /// The innermost functions, innermost first.
        frames: Vec<String>,
    },
}

/// What the broker says first, of each call: it, as far as the component may know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Which export to call.
    pub operation: Operation,
    /// The volume's name.
    pub name: String,
    /// The volume as this call describes it; for teardown, as it was recorded.
    pub volume: Option<VolumeFacts>,
    /// `attachment` of `mount-device` and `wait-for-attach`.
    pub attachment: Option<String>,
    /// `node` of `attach`, `detach` and `is-attached`.
    pub node: Option<String>,
    /// `new-size` and `old-size` of the expander, in bytes.
    pub sizes: Option<(u64, u64)>,
    /// The name of the node this runs on.
    pub node_name: String,
    /// The operator's settings.
    pub config: BTreeMap<String, String>,
    /// The names of the secret's keys, where any secret is granted.
    pub secret_keys: Vec<String>,
    /// The component's linear memory may grow to this, in bytes.
    pub memory_bytes: u64,
    /// Nanoseconds of CPU time are bounded by a resource limit: this many seconds.
    pub cpu_seconds: u64,
}

/// A volume, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeFacts {
    /// The user's options.
    pub options: BTreeMap<String, String>,
    /// `kubernetes.io/fsType`, if not empty.
    pub fs_type: Option<String>,
    /// `kubernetes.io/readwrite`.
    pub access: Access,
    /// `kubernetes.io/mounterArgs.FsGroup`.
    pub fs_group: Option<u32>,
    /// `kubernetes.io/pod.name` and its like: name, namespace, uid, service account.
    pub pod: [Option<String>; 4],
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(self.0.len() * 2);
        for byte in &self.0 {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
        let pairs = text.as_bytes().chunks_exact(2);
        if !pairs.remainder().is_empty() || text.len() > 2 * MAX_BYTES {
            return Err(D::Error::custom("not hexadecimal bytes within the bound"));
        }
        pairs
            .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
            .collect::<Option<_>>()
            .map(Bytes)
            .ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}
