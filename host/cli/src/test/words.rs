//! What a guest process says, in the words of a recording, and the other way round. Both have the
//! same values under the WIT's names; only how they are written differs.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wasmount_core::call::{Access, Operation};
use wasmount_core::decide::function;
use wasmount_core::failure::{Code, Failure};
use wasmount_core::grants::Limits;
use wasmount_core::wire::{self, Bytes, Handle, Level, Request, Response, Start, VolumeFacts};
use wasmount_recording::{self as recording, Answer, Asked, Call, FUNCTIONS, Kind};

/// What the grants can give a component at most: memory in bytes, and processor time in seconds.
const MOST_MEMORY: u64 = 1 << 30;
const MOST_SECONDS: u64 = 100;

/// What a guest process is told of a call.
pub(crate) fn start(call: &Call) -> Start {
    let pod = &call.pod;
    let usual = Limits::default();
    // A file may say anything.
    let (memory, seconds) = match call.limits {
        Some(limits) => (limits.memory.min(MOST_MEMORY), limits.cpu_seconds.clamp(1, MOST_SECONDS)),
        None => (usual.memory_bytes(), usual.cpu_seconds()),
    };
    let facts = || VolumeFacts {
        options: call.options.clone(),
        fs_type: call.fs_type.clone(),
        access: match call.access {
            recording::Access::ReadOnly => Access::ReadOnly,
            recording::Access::ReadWrite => Access::ReadWrite,
        },
        fs_group: call.fs_group,
        pod: [&pod.name, &pod.namespace, &pod.uid, &pod.service_account].map(Clone::clone),
    };
    Start {
        operation: operation(call.operation),
        name: call.volume.clone(),
        volume: call.on_record.then(facts),
        attachment: call.attachment.clone(),
        node: call.node.clone(),
        sizes: call.sizes,
        node_name: call.node_name.clone(),
        config: call.config.clone(),
        secret_keys: call.secret_keys.clone(),
        memory_bytes: memory,
        cpu_seconds: seconds,
    }
}

/// The operation.
pub(crate) fn operation(operation: recording::Operation) -> Operation {
    use recording::Operation as Recorded;
    match operation {
        Recorded::Attach => Operation::Attach,
        Recorded::Detach => Operation::Detach,
        Recorded::WaitForAttach => Operation::WaitForAttach,
        Recorded::IsAttached => Operation::IsAttached,
        Recorded::MountDevice => Operation::MountDevice,
        Recorded::UnmountDevice => Operation::UnmountDevice,
        Recorded::Mount => Operation::Mount,
        Recorded::Unmount => Operation::Unmount,
        Recorded::ExpandVolume => Operation::ExpandVolume,
        Recorded::ExpandFs => Operation::ExpandFs,
    }
}

/// The operation as a recording has it; none of those that no component answers.
pub(crate) fn recorded_operation(operation: Operation) -> Option<recording::Operation> {
    recording::Operation::ALL.into_iter().find(|recorded| self::operation(*recorded) == operation)
}

/// A host call, by what a recording knows of its function.
pub(crate) fn asked(request: &Request) -> Result<Asked<'static>> {
    let name = function(request);
    let known = FUNCTIONS.iter().find(|function| function.name == name);
    let known = known.with_context(|| format!("no recording knows {name}"))?;
    let request = serde_json::to_value(request)?;
    let mut asked = Asked::new(known.name);
    for (argument, kind) in known.arguments {
        let value = &request[argument.replace('-', "_")];
        asked = match kind {
            Kind::Text | Kind::Access => asked.text(argument, &read::<String>(value)?),
            Kind::Number => asked.number(argument, read::<u64>(value)?),
            Kind::MaybeNumber => match read::<Option<u64>>(value)? {
                Some(number) => asked.number(argument, number),
                None => asked,
            },
            Kind::Bytes => asked.bytes(argument, &read::<Bytes>(value)?.0),
            Kind::Names => asked.names(argument, &read::<Vec<String>>(value)?),
            Kind::Pairs => asked.pairs(argument, &read::<Vec<(String, String)>>(value)?),
            Kind::Held => asked.held(argument, read::<Handle>(value)?.0),
        };
    }
    Ok(asked)
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value).context("a host call is not what a recording takes it for")
}

/// An answer.
pub(crate) fn response(answer: Answer) -> Result<Response> {
    Ok(match answer {
        Answer::Done => Response::Done,
        Answer::Flag(flag) => Response::Flag(flag),
        Answer::Number(number) => Response::Number(number),
        Answer::Text(text) => Response::Text(text),
        Answer::Bytes(bytes) => Response::Bytes(bytes.map(Bytes)),
        Answer::Handle(held) => Response::Handle(Handle(held.number)),
        Answer::Device(held) => Response::Device(held.map(|held| (Handle(held.number), held.name))),
        Answer::Failed(failure) => Response::Failed(told_failure(&failure)?),
        Answer::Ended => bail!("there is no answer to what ends a component"),
    })
}

/// How a call has ended.
pub(crate) fn outcome(outcome: wire::Outcome) -> Result<recording::Outcome> {
    Ok(match outcome {
        wire::Outcome::Done => recording::Outcome::Done,
        wire::Outcome::Attachment(text) => recording::Outcome::Attachment(text),
        wire::Outcome::Flag(flag) => recording::Outcome::Flag(flag),
        wire::Outcome::Number(number) => recording::Outcome::Number(number),
        wire::Outcome::Refused(failure) => recording::Outcome::Failed(recorded_failure(&failure)),
        wire::Outcome::Trapped { cause, frames } => {
            let inside = if frames.is_empty() { "" } else { "; in " };
            recording::Outcome::Trapped(format!("{cause}{inside}{}", frames.join(", ")))
        }
        wire::Outcome::Unusable(failure) => {
            bail!("the component cannot be run: {}", failure.message)
        }
    })
}

/// How a call on record has ended: as its component has, or as the host has made of its process's end.
pub(crate) fn ending(outcome: &recording::Outcome) -> Result<Result<wire::Outcome, Failure>> {
    Ok(Ok(match outcome.clone() {
        recording::Outcome::Done => wire::Outcome::Done,
        recording::Outcome::Attachment(text) => wire::Outcome::Attachment(text),
        recording::Outcome::Flag(flag) => wire::Outcome::Flag(flag),
        recording::Outcome::Number(number) => wire::Outcome::Number(number),
        recording::Outcome::Failed(failure) => wire::Outcome::Refused(told_failure(&failure)?),
        recording::Outcome::Trapped(cause) => wire::Outcome::Trapped { cause, frames: Vec::new() },
        recording::Outcome::Ended(failure) => return Ok(Err(told_failure(&failure)?)),
    }))
}

/// A failure as a recording has it.
pub(crate) fn recorded_failure(failure: &Failure) -> recording::Failure {
    let Failure { code: kind, reason, message } = failure.clone();
    recording::Failure { code: code(kind), reason, message }
}

fn told_failure(failure: &recording::Failure) -> Result<Failure> {
    let recording::Failure { code, reason, message } = failure.clone();
    Ok(Failure { code: Code::deserialize(Value::String(code))?, reason, message })
}

/// A code.
fn code(code: Code) -> String {
    let code = serde_json::to_value(code).ok();
    code.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A log line's level.
pub(crate) fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request for every function that a recording knows, with the arguments that it knows.
    #[test]
    fn every_function_is_known_by_the_same_name_and_arguments() -> Result<()> {
        let it = Handle(7);
        let text = || "t".to_owned();
        let bytes = || Bytes(vec![0xff]);
        let access = Access::ReadOnly;
        let requests = [
            Request::StateGet { key: text() },
            Request::StatePut { key: text(), value: bytes() },
            Request::StateDelete { key: text() },
            Request::SecretsOpen { key: text() },
            Request::SecretReveal { secret: it },
            Request::TargetIsMounted,
            Request::TargetAttach { pending: it },
            Request::TargetUnmount,
            Request::DevicesFind { rule: text(), id: text() },
            Request::DevicesWait { rule: text(), id: text(), milliseconds: 5 },
            Request::DeviceSize { device: it },
            Request::DeviceIsReadOnly { device: it },
            Request::DeviceProbe { device: it },
            Request::FilesystemsFormat {
                device: it,
                fs_type: text(),
                options: vec![(text(), text())],
            },
            Request::FilesystemsCheck { device: it, fs_type: text() },
            Request::FilesystemsGrow,
            Request::MountsBlock { device: it, fs_type: text(), access, options: vec![text()] },
            Request::MountsBind { access },
            Request::TmpfsCreate { size: 5, mode: 5, group: Some(5) },
            Request::TmpfsWriteFile { pending: it, name: text(), contents: bytes(), mode: 5 },
            Request::TmpfsWriteSecret { pending: it, name: text(), secret: it, mode: 5 },
            Request::TmpfsSeal { pending: it },
            Request::ImagesOpen { name: text() },
            Request::ImagesCreate { name: text(), size: 5 },
            Request::ImageSize { image: it },
            Request::ImageGrow { image: it, size: 5 },
            Request::ImageLease { image: it, node: text() },
            Request::ImageHolder { image: it },
            Request::ImageAttach { image: it, access },
            Request::ImagesAttached,
            Request::ImagesDetach,
            Request::ImagesRelease { node: text() },
        ];
        assert_eq!(requests.len(), FUNCTIONS.len());
        for (request, known) in requests.iter().zip(FUNCTIONS) {
            let mut expected = Asked::new(known.name);
            for (argument, kind) in known.arguments {
                expected = match kind {
                    Kind::Text => expected.text(argument, "t"),
                    Kind::Access => expected.text(argument, "read-only"),
                    Kind::Number | Kind::MaybeNumber => expected.number(argument, 5_u64),
                    Kind::Bytes => expected.bytes(argument, &[0xff]),
                    Kind::Names => expected.names(argument, &[text()]),
                    Kind::Pairs => expected.pairs(argument, &[(text(), text())]),
                    Kind::Held => expected.held(argument, 7),
                };
            }
            assert_eq!(asked(request)?, expected);
            let json = serde_json::to_value(request)?;
            // The name of the call is beside its arguments.
            assert_eq!(
                json.as_object().map(|fields| fields.len() - 1),
                Some(known.arguments.len())
            );
        }
        Ok(())
    }

    #[test]
    fn every_code_is_known() -> Result<()> {
        for code in recording::CODES {
            let failure = recording::Failure {
                code: (*code).to_owned(),
                reason: "r".to_owned(),
                message: String::new(),
            };
            let Response::Failed(there) = response(Answer::Failed(failure.clone()))? else {
                bail!("{code} is no failure");
            };
            assert_eq!(
                outcome(wire::Outcome::Refused(there))?,
                recording::Outcome::Failed(failure)
            );
        }
        Ok(())
    }
}
