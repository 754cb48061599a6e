//! One operation of a call, out of what was observed: what the component did in it becomes a call of
//! a recording, and what the host did by itself a text.

use std::collections::BTreeMap;

use serde_json::Value;
use toml::Table;
use wasmount_core::call::{Access, Operation};
use wasmount_core::failure::Failure;
use wasmount_core::grants::Limits;
use wasmount_core::observe::Event;
use wasmount_core::wire::{Handle, Outcome, Request, Response, Start};
use wasmount_recording::{
    self as recording, Answer, Argument, Asked, Call, FUNCTIONS, Held, HostCall,
};

use super::Cleaner;
use crate::test::words;

/// What was observed of an operation.
pub(super) struct Part<'e> {
    operation: Operation,
    start: Option<&'e Start>,
    answered: Vec<(&'e Request, &'e Result<Response, Failure>)>,
    end: Option<End<'e>>,
    host: Vec<String>,
}

enum End<'e> {
    Finished(&'e Outcome),
    Ended(&'e Failure),
}

/// A host call of a component's and its answer, in the words of a recording. What the component
/// holds has the names that it was given before.
#[derive(Debug, Default)]
struct Answered {
    names: BTreeMap<u32, String>,
}

impl<'e> Part<'e> {
    /// The operations of a call, in their order.
    pub(super) fn all(events: &'e [Event]) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for event in events {
            if let Event::Operation(operation) = event {
                let (operation, answered, host) = (*operation, Vec::new(), Vec::new());
                parts.push(Self { operation, start: None, answered, end: None, host });
            }
            let Some(part) = parts.last_mut() else { continue };
            match event {
                Event::Operation(_) | Event::End => {}
                Event::Started(start) => part.start = Some(start.as_ref()),
                Event::HostCall(Request::Log { .. } | Request::Drop { .. }, Ok(_)) => {}
                Event::HostCall(request, answer) => {
                    part.answered.push((request, answer));
                    if let Err(failure) = answer {
                        part.end = Some(End::Ended(failure));
                    }
                }
                Event::Finished(outcome) => part.end = Some(End::Finished(outcome)),
                Event::Gone(failure) => part.end = Some(End::Ended(failure)),
                Event::Line { kind, fields, .. } => part.host.extend(done_by_host(kind, fields)),
            }
        }
        parts
    }

    /// What the host did by itself.
    pub(super) fn host(&self) -> Vec<String> {
        let name = self.operation.name();
        let asked = match (&self.start, &self.end) {
            (Some(_), Some(_)) => None,
            (Some(_), None) => Some(format!("{name}: the component's end is not on record")),
            (None, _) => Some(format!("{name}: no component was asked")),
        };
        asked.into_iter().chain(self.host.iter().map(|act| format!("{name}: {act}"))).collect()
    }

    /// What is said of a component that came to an end which has no words.
    pub(super) fn untold(&self) -> Option<String> {
        let name = self.operation.name();
        let untold = self.start.is_some() && self.end.is_some();
        untold
            .then(|| format!("{name}: what the component did is nothing that a recording can say"))
    }

    /// What the component did; none if it was not asked, or its end was not waited for.
    pub(super) fn call(&self, id: &str, cleaner: &Cleaner) -> Option<Call> {
        let (start, end) = (self.start?, self.end.as_ref()?);
        let text = |text: &String| cleaner.text(text);
        let texts = |texts: &BTreeMap<String, String>| {
            texts.iter().map(|(key, value)| (text(key), text(value))).collect()
        };
        let facts = start.volume.as_ref();
        let pod = facts.map(|facts| facts.pod.each_ref().map(|field| field.as_ref().map(text)));
        let [name, namespace, uid, service_account] = pod.unwrap_or_default();
        let mut answered = Answered::default();
        let outcome = match end {
            End::Finished(outcome) => words::outcome(match cleaner.outcome(outcome) {
                Outcome::Trapped { cause, .. } => Outcome::Trapped { cause, frames: Vec::new() },
                outcome => outcome,
            }),
            End::Ended(failure) => Ok(recording::Outcome::Ended(recording::Failure {
                message: text(&failure.message),
                ..words::recorded_failure(failure)
            })),
        };
        let usual = Limits::default();
        let bounds = (start.memory_bytes, start.cpu_seconds);
        let limits = recording::Limits { memory: bounds.0, cpu_seconds: bounds.1 };
        Some(Call {
            name: format!("{} of {}", start.operation.name(), text(&start.name)),
            part_of: Some(id.to_owned()),
            limits: (bounds != (usual.memory_bytes(), usual.cpu_seconds())).then_some(limits),
            operation: words::recorded_operation(start.operation)?,
            volume: text(&start.name),
            options: facts.map(|facts| texts(&facts.options)).unwrap_or_default(),
            fs_type: facts.and_then(|facts| facts.fs_type.as_ref()).map(text),
            access: match facts.map(|facts| facts.access) {
                Some(Access::ReadOnly) => recording::Access::ReadOnly,
                _ => recording::Access::ReadWrite,
            },
            fs_group: facts.and_then(|facts| facts.fs_group),
            pod: recording::Pod { name, namespace, uid, service_account },
            secret_keys: start.secret_keys.iter().map(text).collect(),
            config: texts(&start.config),
            node_name: text(&start.node_name),
            node: start.node.as_ref().map(text),
            attachment: start.attachment.as_ref().map(text),
            sizes: start.sizes,
            on_record: facts.is_some(),
            host_calls: self
                .answered
                .iter()
                .filter_map(|(request, answer)| answered.host_call(request, answer, cleaner))
                .collect(),
            // An image that cannot be run has no end of its own.
            outcome: outcome.ok()?,
        })
    }
}

impl Answered {
    /// The host call. None if a recording has no word for it.
    fn host_call(
        &mut self,
        request: &Request,
        answer: &Result<Response, Failure>,
        cleaner: &Cleaner,
    ) -> Option<HostCall> {
        let clean = cleaner.request(request);
        let Asked { function, arguments } = words::asked(&clean).ok()?;
        let function = FUNCTIONS.iter().find(|known| known.name == function)?;
        let value = |argument: Argument| match argument {
            Argument::Value(value) => value,
            Argument::Held(number) => {
                // One that it does not hold has no name.
                let name = self.names.get(&number).map_or("?", String::as_str);
                toml::Value::String(name.to_owned())
            }
        };
        let arguments: Table =
            arguments.into_iter().map(|(name, it)| (name.to_owned(), value(it))).collect();
        let answer = match answer {
            Err(_) => Answer::Ended,
            Ok(Response::Bytes(Some(_))) if matches!(request, Request::SecretReveal { .. }) => {
                Answer::Bytes(Some(cleaner.revealed()))
            }
            Ok(Response::Bytes(bytes)) => {
                Answer::Bytes(bytes.as_ref().map(|bytes| cleaner.bytes(&bytes.0)))
            }
            Ok(Response::Done) => Answer::Done,
            Ok(Response::Flag(flag)) => Answer::Flag(*flag),
            Ok(Response::Number(number)) => Answer::Number(*number),
            Ok(Response::Text(text)) => Answer::Text(text.as_ref().map(|text| cleaner.text(text))),
            Ok(Response::Handle(handle)) => {
                let name = self.name(*handle, kind(function.name));
                Answer::Handle(Held { number: handle.0, name })
            }
            Ok(Response::Device(None)) => Answer::Device(None),
            Ok(Response::Device(Some((handle, identity)))) => {
                let name = cleaner.text(identity);
                self.names.insert(handle.0, name.clone());
                Answer::Device(Some(Held { number: handle.0, name }))
            }
            Ok(Response::Failed(failure)) => Answer::Failed(recording::Failure {
                message: cleaner.text(&failure.message),
                ..words::recorded_failure(failure)
            }),
        };
        Some(HostCall { function, arguments, answer })
    }

    /// Names something: `image`, `image-2` and so on.
    fn name(&mut self, handle: Handle, kind: &str) -> String {
        let names = (1..).map(|number| match number {
            1 => kind.to_owned(),
            _ => format!("{kind}-{number}"),
        });
        let taken: Vec<&String> = self.names.values().collect();
        let mut names = names.filter(|name| !taken.contains(&name));
        let name = names.next().expect("numbers do not end");
        self.names.insert(handle.0, name.clone());
        name
    }
}

/// What a function hands out.
fn kind(function: &str) -> &'static str {
    match function.split_once('.') {
        Some(("secrets", _)) => "secret",
        Some(("images", _)) => "image",
        _ => "mount",
    }
}

/// What a line of the audit log says that the host did without being asked.
fn done_by_host(kind: &str, fields: &Value) -> Option<String> {
    let text = match (kind, fields["act"].as_str()) {
        ("host-act", Some("mount-bind")) => "the host bound the device mount",
        ("host-act", Some("grow")) => {
            "the host grew the filesystem if it was smaller than its device"
        }
        ("host-act", Some("check")) => "the host checked the filesystem before it was asked to",
        ("host-act", Some("target-unmount")) => "the host unmounted what the component had left",
        ("host-act", Some("loop-detach")) => "the host took down the loop device that was left",
        ("host-act", Some("mount-again")) => "the host mounted again what is still in use",
        ("host-act", Some("image-release")) => "the host ended the lease that was left",
        ("component-failed", _) => "the component failed, and the host went on without it",
        ("format-record-void", _) => "the host found the record of an interrupted format void",
        _ => return None,
    };
    Some(text.to_owned())
}
