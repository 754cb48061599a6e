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
    /// What kubelet asked for.
    pub operation: String,
    /// The volume, if the arguments made sense.
    pub volume: Option<String>,
    /// What the host did by itself, in order.
    #[serde(default)]
    pub host: Vec<String>,
    /// The reply: one JSON document.
    pub reply: String,
    /// The exit code.
    pub exit: i32,
}
