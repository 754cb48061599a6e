//! The one JSON document of a call, and the exit code that goes with it.
//!
//! kubelet parses standard output strictly, remembers "Not supported", and dies of
//! `"capabilities": null`: so every key is either there with a value of exactly its type or not
//! there at all. Messages become pod events: they are one line, bounded, and hold what they were
//! given and no more. Secrets are blotted out before they get here, by `redact`.

use serde::Serialize;

use crate::call::{DriverName, Operation};
use crate::failure::Failure;

/// The longest message, in bytes. It has to fit a pod event beside what kubelet adds.
const MAX_MESSAGE: usize = 4096;

/// The longest reason that is shown with a failure, in bytes. Components choose their own.
const MAX_REASON: usize = 128;

/// What a driver can do, as `init` tells kubelet. All of them are always told: kubelet takes
/// what is absent for true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Volumes are attached to a node before they are mounted.
    pub attach: bool,
    /// The container runtime relabels the volume's files.
    pub selinux_relabel: bool,
    /// kubelet reads the filesystem's usage.
    pub supports_metrics: bool,
    /// kubelet changes group and modes of the volume's files to the pod's `fsGroup`.
    pub fs_group: bool,
    /// kubelet calls `expandfs` after `expandvolume`.
    #[serde(rename = "requiresFSResize")]
    pub requires_fs_resize: bool,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Success(Told),
    /// It is not done.
    Failure {
        /// For people: driver, operation, cause, remedy and reason.
        message: String,
    },
    /// The driver has no such operation. kubelet never asks again, so this is no answer to
    /// anything that may pass.
    NotSupported {
        /// For people.
        message: String,
    },
}

/// What a success tells beside that. The fields are those of kubelet's `DriverStatus`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// For people.
    pub message: Option<String>,
    /// Of `attach` and `waitforattach`.
    pub device: Option<String>,
    /// Of `isattached`.
    pub attached: Option<bool>,
    /// Of `expandvolume` and `expandfs`, in bytes.
    pub volume_new_size: Option<u64>,
    /// Of `init`.
    pub capabilities: Option<Capabilities>,
}

impl Told {
    const NOTHING: Self = Self {
        message: None,
        device: None,
        attached: None,
        volume_new_size: None,
        capabilities: None,
    };
}

impl Reply {
    /// Done, and there is nothing to say about it.
    pub const DONE: Self = Self::Success(Told::NOTHING);

    /// The answer to `init`.
    pub fn capable(capabilities: Capabilities) -> Self {
        Self::Success(Told { capabilities: Some(capabilities), ..Told::NOTHING })
    }

    /// The answer to `attach` and `waitforattach`: what kubelet passes on.
    pub fn attached_as(device: String) -> Self {
        Self::Success(Told { device: Some(device), ..Told::NOTHING })
    }

    /// The answer to `isattached`.
    pub fn is_attached(attached: bool) -> Self {
        Self::Success(Told { attached: Some(attached), ..Told::NOTHING })
    }

    /// The answer to `expandvolume`: the new size in bytes.
    pub fn grown_to(size: u64) -> Self {
        Self::Success(Told { volume_new_size: Some(size), ..Told::NOTHING })
    }

    /// A failure as kubelet shows it: `<vendor/name> <operation>: <message> [<reason>]`. Where
    /// the driver's name is not known it is `wasmount` that speaks.
    pub fn failure(
        driver: Option<&DriverName>,
        operation: Option<Operation>,
        failure: &Failure,
    ) -> Self {
        let mut head = driver.map_or_else(|| "wasmount".to_owned(), DriverName::slash);
        if let Some(operation) = operation {
            head.push(' ');
            head.push_str(operation.name());
        }
        let reason = line(&failure.reason, MAX_REASON);
        // The reason is what scripts look for: it is the message that gets shorter.
        let room = MAX_MESSAGE - head.len() - reason.len() - ":  []".len();
        let message = line(&failure.message, room);
        Self::Failure { message: format!("{head}: {message} [{reason}]") }
    }

    /// The document's `status`.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Success(_) => "Success",
            Self::Failure { .. } => "Failure",
            Self::NotSupported { .. } => "Not supported",
        }
    }

    /// The document: one line of JSON, with its newline.
    pub fn to_json_line(&self) -> Vec<u8> {
        let (message, told) = match self {
            Self::Success(told) => (told.message.as_ref(), told),
            Self::Failure { message } | Self::NotSupported { message } => {
                (Some(message), &Told::NOTHING)
            }
        };
        let document = Document {
            status: self.status(),
            message: message.map(|text| line(text, MAX_MESSAGE)),
            device: told.device.as_deref(),
            attached: told.attached,
            // kubelet's type is signed, and one number beyond it spoils the whole reply. It makes
            // no use of the number.
            volume_new_size: told.volume_new_size.and_then(|size| size.try_into().ok()),
            capabilities: told.capabilities,
        };
        let mut json = serde_json::to_vec(&document).expect("strings and numbers are JSON");
        json.push(b'\n');
        json
    }

    /// The process's exit code: 0 for success, the setting `reply.failure-exit-code` of the
    /// grants for a failure, and always 1 for "Not supported", as the contract has it.
    pub fn exit_code(&self, failure_exit_code: i32) -> i32 {
        match self {
            Self::Success(_) => 0,
            Self::Failure { .. } => failure_exit_code,
            Self::NotSupported { .. } => 1,
        }
    }
}

/// kubelet's `DriverStatus`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_new_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Capabilities>,
}

/// Whether a character controls a terminal, breaks the line, is invisible, or turns the text around
/// it.
pub(crate) fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A text as one line of at most so many bytes: control characters, line breaks and what deceives
/// the eye become spaces, and what is cut off is marked by `…`.
fn line(text: &str, longest: usize) -> String {
    const CUT: char = '…';
    let mut line = String::with_capacity(text.len().min(longest));
    for c in text.chars() {
        let c = if deceives(c) { ' ' } else { c };
        if line.len() + c.len_utf8() > longest {
            while line.len() + CUT.len_utf8() > longest {
                line.pop();
            }
            line.push(CUT);
            break;
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    fn text(reply: &Reply) -> String {
        String::from_utf8(reply.to_json_line()).expect("JSON is UTF-8")
    }

    #[test]
    fn documents_to_the_byte() {
        let driver: DriverName = "example.com/x".parse().expect("a driver");
        let failure = Failure::new(Code::Internal, "some-reason", "a\nb\t\"c\" \u{7}\u{202e}ü");
        let capabilities = Capabilities {
            attach: false,
            selinux_relabel: true,
            supports_metrics: false,
            fs_group: true,
            requires_fs_resize: false,
        };
        let full = Reply::Success(Told {
            message: Some("m".to_owned()),
            device: Some("wm1:00000000:t".to_owned()),
            attached: Some(false),
            volume_new_size: Some(i64::MAX.unsigned_abs()),
            capabilities: Some(capabilities),
        });
        for (reply, document, exit) in [
            (Reply::DONE, r#"{"status":"Success"}"#, 0),
            (
                Reply::attached_as("wm1:00000000:t".to_owned()),
                r#"{"status":"Success","device":"wm1:00000000:t"}"#,
                0,
            ),
            (Reply::is_attached(false), r#"{"status":"Success","attached":false}"#, 0),
            (Reply::grown_to(2), r#"{"status":"Success","volumeNewSize":2}"#, 0),
            (Reply::grown_to(u64::MAX), r#"{"status":"Success"}"#, 0),
            (
                Reply::capable(capabilities),
                r#"{"status":"Success","capabilities":{"attach":false,"selinuxRelabel":true,"supportsMetrics":false,"fsGroup":true,"requiresFSResize":false}}"#,
                0,
            ),
            (
                full,
                r#"{"status":"Success","message":"m","device":"wm1:00000000:t","attached":false,"volumeNewSize":9223372036854775807,"capabilities":{"attach":false,"selinuxRelabel":true,"supportsMetrics":false,"fsGroup":true,"requiresFSResize":false}}"#,
                0,
            ),
            (
                Reply::failure(Some(&driver), Some(Operation::Mount), &failure),
                r#"{"status":"Failure","message":"example.com/x mount: a b \"c\"   ü [some-reason]"}"#,
                7,
            ),
            (
                Reply::failure(None, None, &failure),
                r#"{"status":"Failure","message":"wasmount: a b \"c\"   ü [some-reason]"}"#,
                7,
            ),
            (
                Reply::NotSupported { message: "no such operation".to_owned() },
                r#"{"status":"Not supported","message":"no such operation"}"#,
                1,
            ),
        ] {
            assert_eq!(text(&reply), format!("{document}\n"));
            assert_eq!(reply.exit_code(7), exit);
        }
    }

    #[test]
    fn a_long_message_is_cut_and_keeps_its_reason() {
        for (filler, reason) in
            [("x", "r"), ("ü", "r"), ("€", "r"), ("\n", "r"), ("x", &"r".repeat(500))]
        {
            let failure = Failure::new(Code::Internal, reason, filler.repeat(5000));
            let reply = Reply::failure(None, Some(Operation::Mount), &failure);
            let Reply::Failure { message } = &reply else { panic!("{reply:?}") };
            assert!((4090..=4096).contains(&message.len()), "{}", message.len());
            assert!(message.contains("… [r") && message.ends_with(']'), "{message}");
            assert_eq!(text(&reply).lines().count(), 1);
        }
        let exact = Reply::NotSupported { message: "x".repeat(4096) };
        assert!(!text(&exact).contains('…'));
        let over = Reply::NotSupported { message: "x".repeat(4097) };
        assert!(text(&over).contains("x…\""));
    }
}
