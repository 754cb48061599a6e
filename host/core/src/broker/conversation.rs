//! The talk with the component: its host calls, one after the other, until it has returned.
//!
//! Each request is decided, performed and answered before the next is read. A guest that breaks
//! the protocol, forges a handle or exceeds a bound is ended, not answered.

use std::os::fd::AsFd as _;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use serde_json::{Value, json};

use crate::call::Call;
use crate::conclusion::{Asked, concluded, gone};
use crate::crash;
use crate::decide::{self, No};
use crate::failure::{Code, Failure};
use crate::guest::process::Child;
use crate::observe;
use crate::reply::Reply;
use crate::wire::{FromGuest, Outcome, Request, Response, Start, VolumeFacts};

use super::Work;

impl Work<'_> {
    /// Runs the component's export; its success becomes the reply to give once all is committed.
    pub(super) fn converse(&mut self, slot: &mut Result<Child, Failure>) -> Result<Reply, Failure> {
        let guest = match slot {
            Ok(guest) => guest,
            Err(failure) => return Err(failure.clone()),
        };
        let start = self.start();
        observe::started(&start);
        let mut answer = guest.channel().send_now(&start);
        self.get_ahead()?;
        let mut buffer = Vec::new();
        loop {
            if answer.is_err() {
                return Err(self.ended(slot));
            }
            self.wait_for(guest)?;
            match guest.channel().receive(&mut buffer) {
                Ok(Some(FromGuest::Request(request))) => {
                    let is_drop = matches!(request, Request::Drop { .. });
                    let response = self.host_call(request)?;
                    if is_drop {
                        continue;
                    }
                    // A guest that sends without reading is not waited for.
                    answer = guest.channel().send_now(&response);
                }
                Ok(Some(FromGuest::Finished(outcome))) => {
                    crash::point("concluded");
                    return self.concluded(outcome);
                }
                Ok(None) => return Err(self.ended(slot)),
                // A guest that dies with an answer unread resets the connection.
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                    return Err(self.ended(slot));
                }
                Err(_) => return Err(fault("it broke the protocol of host calls")),
            }
        }
    }

    /// One host call: decided, performed, noted.
    pub(super) fn host_call(&mut self, request: Request) -> Result<Response, Failure> {
        let began = Instant::now();
        let view = decide::audit_view_in(&self.session, &self.effects.handles, &request);
        let asked = observe::Asked::of(&request);
        let is_log = matches!(request, Request::Log { .. });
        let decided = decide::decide(&self.session, &mut self.effects.handles, request);
        let (decision, response) = match decided {
            Ok(act) => match self.perform(act) {
                Ok(response) => ("allowed", Ok(response)),
                Err(failure) => ("allowed", Ok(Response::Failed(failure))),
            },
            Err(No::Refused(failure)) => ("refused", Ok(Response::Failed(failure))),
            Err(fault) => ("fault", Err(fault.into())),
        };
        asked.answered(&response);
        let failure = match &response {
            Ok(Response::Failed(failure)) => Some(failure),
            // A log line is its own line in the audit log.
            Ok(_) if is_log => return response,
            Ok(_) => None,
            Err(failure) => Some(failure),
        };
        self.audit.line(
            "host-call",
            json!({
                "request": self.cleaned(view),
                "decision": decision,
                "reason": failure.map(|failure| &failure.reason),
                "message": failure.map(|failure| self.session.redactor().clean(&failure.message)),
                "us": began.elapsed().as_micros() as u64,
            }),
        );
        response
    }

    /// A value for the audit log, without secrets in its strings.
    fn cleaned(&self, mut value: Value) -> Value {
        match &mut value {
            Value::String(text) => *text = self.session.redactor().clean(text).into_owned(),
            Value::Array(items) => {
                items.iter_mut().for_each(|item| *item = self.cleaned(item.take()));
            }
            Value::Object(fields) => {
                fields.iter_mut().for_each(|(_, field)| *field = self.cleaned(field.take()));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        value
    }

    /// Waits until the guest has said something, or the supervisor says stop.
    fn wait_for(&self, guest: &Child) -> Result<(), Failure> {
        guest.channel().look_out();
        let mut fds = [
            PollFd::from_borrowed_fd(self.link.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(guest.channel().as_fd(), PollFlags::IN),
        ];
        match rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None)) {
            Err(error) => Err(Failure::io("waiting for the component", &error.into())),
            Ok(_) if !fds[0].revents().is_empty() => Err(stopped()),
            Ok(_) => Ok(()),
        }
    }

    fn start(&self) -> Start {
        let (attachment, node, sizes) = match self.call {
            Call::Attach { node, .. }
            | Call::Detach { node, .. }
            | Call::IsAttached { node, .. } => (None, Some(node.as_str().to_owned()), None),
            Call::WaitForAttach { attachment, .. } | Call::MountDevice { attachment, .. } => {
                (attachment.as_ref().map(|attachment| attachment.as_str().to_owned()), None, None)
            }
            Call::ExpandVolume { new_size, old_size, .. }
            | Call::ExpandFs { new_size, old_size, .. } => {
                (None, None, Some((*new_size, *old_size)))
            }
            _ => (None, None, None),
        };
        let recorded = || {
            let record = self.ledger.as_ref()?.record.as_ref().filter(|record| record.in_use())?;
            Some(VolumeFacts {
                options: record.options.clone(),
                fs_type: record.fs_type.clone(),
                access: record.access,
                fs_group: None,
                pod: [const { None }; 4],
            })
        };
        Start {
            operation: self.call.operation(),
            name: self.call.name().as_str().to_owned(),
            volume: self.call.volume().map(|volume| volume.facts.clone()).or_else(recorded),
            attachment,
            node,
            sizes,
            node_name: self.session.node_name.clone(),
            config: self.session.grants.config.clone(),
            secret_keys: self.session.secret_keys(),
            memory_bytes: self.session.grants.limits.memory_bytes(),
            cpu_seconds: self.session.grants.limits.cpu_seconds(),
        }
    }

    /// What the export's end means for kubelet.
    fn concluded(&mut self, outcome: Outcome) -> Result<Reply, Failure> {
        observe::finished(&outcome);
        if let Outcome::Trapped { frames, .. } = &outcome {
            let frames = self.cleaned(json!(frames));
            self.audit.line("trap", json!({ "frames": frames }));
        }
        let asked = Asked {
            operation: self.call.operation(),
            driver: &self.session.driver,
            volume: self.call.name(),
        };
        concluded(asked, outcome, self.effects.attach.is_some(), self.session.redactor())
    }

    /// Why a guest that is gone is gone.
    fn ended(&self, slot: &mut Result<Child, Failure>) -> Failure {
        let guest = std::mem::replace(slot, Err(no_component()));
        let how = guest.ok().map(|guest| {
            // What has ended already has ended as it did; what only closed its socket ends now.
            guest.kill();
            guest.wait()
        });
        let failure = gone(how, self.session.grants.limits.cpu_seconds());
        observe::gone(&failure);
        failure
    }
}

/// The supervisor said stop, or is gone.
pub(super) fn stopped() -> Failure {
    let message =
        "the call was stopped; what it had set up is undone, what it had taken down is not";
    Failure::new(Code::Cancelled, "stopped", message)
}

/// For routes on which no component runs.
pub(super) fn no_component() -> Failure {
    Failure::new(Code::Internal, "guest-died", "no component runs in this call")
}

/// A guest at fault.
fn fault(what: &str) -> Failure {
    No::Fault(what.to_owned()).into()
}
