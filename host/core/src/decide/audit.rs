//! A request as the audit log shows it: everything but what could be a secret or is long, and what
//! its handles stand for.

use serde_json::{Value, json};

use super::{Handles, Held, function};
use crate::session::Session;
use crate::wire::{Handle, Request};

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

/// The same, with what the reader of a log cannot know: the image's name, the device's identity or
/// the secret's key that a handle stands for, the directory of an image, the type of a mounted
/// filesystem. A handle that is not held stays a number.
pub fn audit_view_in(session: &Session, handles: &Handles, request: &Request) -> Value {
    let mut view = audit_view(request);
    for of in ["image", "device", "secret"] {
        let number = view.get(of).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        if let Some(Ok(held)) = number.map(|number| handles.get(Handle(number))) {
            view[of] = match held {
                Held::Image(image) => json!(image.name.as_str()),
                Held::Device(device) => json!(device.identity),
                Held::Secret(key) => json!(key),
                Held::Pending(_) | Held::Tmpfs(_) => continue,
            };
        }
    }
    match request {
        Request::ImagesOpen { .. } | Request::ImagesCreate { .. } => {
            let granted = session.grants.images.as_ref();
            view["directory"] = json!(granted.map(|granted| granted.directory.path()));
        }
        Request::FilesystemsGrow => {
            view["fs_type"] = json!(session.mounted.as_ref().map(|mount| &mount.fs_type));
        }
        _ => {}
    }
    view
}
