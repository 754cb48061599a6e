//! What a component can call: each host call becomes one request to the broker, and the broker's
//! response becomes what the WIT says is returned.
//!
//! Nothing here decides whether a host call is granted, and nothing here acts on the node. What
//! is answered without asking is what the broker has said at the start (the volume's options, the
//! settings), the time, and randomness.

mod clock;
mod config;
mod devices;
mod filesystems;
mod images;
mod log;
mod mounts;
mod random;
mod secrets;
mod state;
mod target;
mod volumes;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime::{Engine, Result, bail};

use super::bindings::imported::types;
use super::limits::Limits;
use crate::call::Access;
use crate::failure::{Code, Failure};
use crate::wire::{Bytes, Channel, FromGuest, Handle, MAX_BYTES, Request, Response, Start};

/// The answer to a host call: the WIT's result, or a trap.
type Answer<T> = Result<Result<T, types::Error>>;

/// The host, as the component sees it during one call.
///
/// A component's handle stands for a [`Handle`] that the broker minted, and the number of one is
/// the number of the other; wasmtime sees to it that a component cannot make up either.
pub struct Imports {
    channel: Arc<Channel>,
    buffer: Vec<u8>,
    start: Start,
    began: Instant,
    limits: Limits,
    log: log::Budget,
    /// The identities of the devices that the component holds, which need no asking.
    identities: BTreeMap<u32, String>,
    gone: bool,
}

impl Imports {
    /// The host calls of one call: `start` is what the broker told about it.
    pub fn new(channel: Arc<Channel>, start: Start) -> Self {
        Self {
            channel,
            buffer: Vec::new(),
            began: Instant::now(),
            limits: Limits::new(start.memory_bytes),
            log: log::Budget::default(),
            identities: BTreeMap::new(),
            gone: false,
            start,
        }
    }

    /// What the broker told about the call.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The bounds on the component.
    pub fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// Whether the broker has gone away; then nobody is left to run the component for.
    pub fn broker_is_gone(&self) -> bool {
        self.gone
    }

    /// Asks the broker. An error ends the component.
    fn ask(&mut self, request: Request) -> Result<Response> {
        match self.channel.send(&FromGuest::Request(request)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                bail!("a host call's arguments are longer than the host takes")
            }
            Err(_) => return self.lost(),
        }
        self.channel.look_out();
        match self.channel.receive(&mut self.buffer) {
            Ok(Some(response)) => Ok(response),
            Ok(None) | Err(_) => self.lost(),
        }
    }

    fn lost(&mut self) -> Result<Response> {
        self.gone = true;
        bail!("the host has gone away")
    }

    /// Asks the broker for what the WIT calls a `result`.
    fn obtain<T>(&mut self, request: Request, pick: fn(Response) -> Option<T>) -> Answer<T> {
        match self.ask(request)? {
            Response::Failed(failure) => Ok(Err(failure.into())),
            response => match pick(response) {
                Some(value) => Ok(Ok(value)),
                None => bail!("a bug in wasmount: a response of the wrong kind"),
            },
        }
    }

    fn done(&mut self, request: Request) -> Answer<()> {
        self.obtain(request, |response| matches!(response, Response::Done).then_some(()))
    }

    fn flag(&mut self, request: Request) -> Answer<bool> {
        self.obtain(request, |response| match response {
            Response::Flag(flag) => Some(flag),
            _ => None,
        })
    }

    fn number(&mut self, request: Request) -> Answer<u64> {
        self.obtain(request, |response| match response {
            Response::Number(number) => Some(number),
            _ => None,
        })
    }

    fn text(&mut self, request: Request) -> Answer<Option<String>> {
        self.obtain(request, |response| match response {
            Response::Text(text) => Some(text),
            _ => None,
        })
    }

    fn bytes(&mut self, request: Request) -> Answer<Option<Vec<u8>>> {
        self.obtain(request, |response| match response {
            Response::Bytes(bytes) => Some(bytes.map(|Bytes(bytes)| bytes)),
            _ => None,
        })
    }

    fn handle<T: 'static>(&mut self, request: Request) -> Answer<Resource<T>> {
        self.obtain(request, |response| match response {
            Response::Handle(Handle(number)) => Some(Resource::new_own(number)),
            _ => None,
        })
    }

    /// Tells the broker that the component has dropped a handle, and does not wait: most are
    /// dropped as the call ends.
    fn dropped<T: 'static>(&mut self, resource: &Resource<T>) -> Result<()> {
        let dropped = FromGuest::Request(Request::Drop { handle: handle(resource) });
        self.channel.send(&dropped).or_else(|_| self.lost().map(drop))
    }
}

/// Makes everything that is imported available, granted or not: what is granted is the broker's
/// to say, at each host call.
pub(super) fn link(engine: &Engine) -> Result<Linker<Imports>> {
    let mut linker = Linker::new(engine);
    super::bindings::Driver::add_to_linker::<_, HasSelf<_>>(&mut linker, |imports| imports)?;
    Ok(linker)
}

impl types::Host for Imports {}

fn handle<T: 'static>(resource: &Resource<T>) -> Handle {
    Handle(resource.rep())
}

/// Bytes on their way to the broker, which takes no more than [`MAX_BYTES`] at a time.
fn bounded(bytes: Vec<u8>) -> Result<Bytes> {
    if bytes.len() > MAX_BYTES {
        bail!("passed {} bytes at once, and the host takes {MAX_BYTES}", bytes.len());
    }
    Ok(Bytes(bytes))
}

impl From<types::Access> for Access {
    fn from(access: types::Access) -> Self {
        match access {
            types::Access::ReadOnly => Self::ReadOnly,
            types::Access::ReadWrite => Self::ReadWrite,
        }
    }
}

impl From<Access> for types::Access {
    fn from(access: Access) -> Self {
        match access {
            Access::ReadOnly => Self::ReadOnly,
            Access::ReadWrite => Self::ReadWrite,
        }
    }
}

impl From<Failure> for types::Error {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code.into(), reason: failure.reason, message: failure.message }
    }
}

/// The WIT's codes and ours are the same sixteen; a case that only one of them has does not build.
macro_rules! same_codes {
    ($($case:ident)*) => {
        impl From<Code> for types::Code {
            fn from(code: Code) -> Self {
                match code { $(Code::$case => Self::$case,)* }
            }
        }
        impl From<types::Code> for Code {
            fn from(code: types::Code) -> Self {
                match code { $(types::Code::$case => Self::$case,)* }
            }
        }
    };
}

same_codes! {
    Cancelled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied
    ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable
    DataLoss Unauthenticated
}
