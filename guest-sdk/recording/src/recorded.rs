//! What kubelet asked and was told in a real call, beside what the component did in it.

use serde::Deserialize;

/// A real call of kubelet's, as `wasmount call --record` saw it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recorded {
    /// The call's id: that of its lines in the audit log, if it has any.
    pub id: String,
    /// When it began: RFC 3339, UTC.
    pub time: String,
    /// The driver.
    pub driver: String,
    /// The driver's version, as `wasmount list` shows it.
    pub version: String,
    /// The component: `sha256:` and 64 hexadecimal digits.
    pub component: String,
    /// The version of wasmount.
    pub wasmount: String,
    /// The version of the WebAssembly engine.
    pub wasmtime: String,
    /// Whether the driver was installed for a cluster that attaches nothing.
    #[serde(default)]
    pub node_only: bool,
    /// What kubelet asked for.
    pub operation: String,
    /// The volume, if the arguments made sense.
    pub volume: Option<String>,
    /// What the host did by itself, in order.
    #[serde(default)]
    pub host: Vec<String>,
    /// The reply: one JSON document.
    pub reply: String,
    /// Whether the reply follows from what is on record: from how the calls have ended that are part of
    /// it or, without any, from what the driver is. Otherwise the host had a say in it, or not all is on record.
    #[serde(default = "it_does")]
    pub reply_follows: bool,
    /// The exit code.
    pub exit: i32,
}

fn it_does() -> bool {
    true
}
