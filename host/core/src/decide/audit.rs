//! A request as the audit log shows it: everything but what could be a secret or is long.

use serde_json::{Value, json};

use super::function;
use crate::wire::Request;

/// The request, with bytes and log lines replaced by their lengths.
pub fn audit_view(request: &Request) -> Value {
    let mut view = match request {
        Request::Log { level, message } => json!({ "level": level, "bytes": message.len() }),
        Request::StatePut { key, value } => json!({ "key": key, "bytes": value.0.len() }),
        Request::TmpfsWriteFile { pending, name, contents, mode } => {
            json!({ "pending": pending, "name": name, "bytes": contents.0.len(), "mode": mode })
        }
        other => serde_json::to_value(other).unwrap_or_else(|_| json!({})),
    };
    view["call"] = json!(function(request));
    view
}
