//! What is to be tried, and the code that goes through it.

use std::ffi::{CString, c_long};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::bundle::{RECEIPT, Receipt};
use crate::failure::{Code, Failure};
use crate::wall::Layer;
use crate::wire::{Channel, FromGuest, Level, Outcome, Request, Response};

/// The name of the plan's file in the run directory.
pub const FILE: &str = "breakout.json";

/// What the call fails with once everything was tried.
pub const OVER: &str = "breakout-over";

/// What is to be done in the component's place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The names of attempts, or of one talk.
    pub tries: Vec<String>,
    /// The layers of the wall that are left off.
    pub without: Vec<Layer>,
    /// What the attempts are made on.
    #[serde(default)]
    pub scene: Scene,
}

/// What the attempts are made on: only what the test has made, and looks at afterwards.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scene {
    /// A directory that everybody may write to.
    pub scratch: String,
    /// A file in it that everybody may read and write.
    pub open: String,
    /// A file that only root may read.
    pub private: String,
    /// A file whose mode lets nobody read it.
    pub sealed: String,
    /// `test(1)`, as a program that runs as root whoever executes it.
    pub setuid: String,
    /// `grep(1)`, as a program that may read every file whoever executes it.
    pub capable: String,
    /// Directories of the node: where drivers are installed, the records, the audit log.
    pub directories: [String; 3],
    /// A TCP port on which the test listens.
    pub port: u16,
    /// The name of an abstract unix socket on which the test listens.
    pub socket: String,
    /// A process of the test's, of root's.
    pub victim: i32,
    /// A secret of the call, in all forms, each byte of it inverted: as it is, it would be found here.
    pub secret: Vec<Vec<u8>>,
    /// The socket to the broker. This and what follows is known only where it is tried.
    #[serde(skip)]
    pub channel: i32,
    /// The process that serves the call.
    #[serde(skip)]
    pub broker: i32,
    /// The process that kubelet waits for.
    #[serde(skip)]
    pub supervisor: i32,
}

/// One way out that ends in an answer of the kernel's.
#[derive(Debug)]
pub struct Attempt {
    /// What it is.
    pub name: &'static str,
    /// The layer that stops it by itself, and the layers that would, too.
    pub stopped_by: Option<(Layer, &'static [Layer])>,
    pub(super) run: fn(&Scene) -> Tried,
}

/// One way out that leads through the broker, or to the end of the process.
#[derive(Debug)]
pub struct Talk {
    /// What it is.
    pub name: &'static str,
    /// The reason of the Failure that the call ends with.
    pub ends: &'static str,
    pub(super) run: fn(&Channel) -> Outcome,
}

/// Whether it got through.
pub(super) type Tried = Result<usize, Errno>;

static PLAN: OnceLock<Plan> = OnceLock::new();

/// Reads the plan, before there is a process that it is for.
pub fn arm() {
    let Some(mut plan) = read() else { return };
    plan.scene.broker = nix::unistd::getpid().as_raw();
    plan.scene.supervisor = nix::unistd::getppid().as_raw();
    let _ = PLAN.set(plan);
}

fn read() -> Option<Plan> {
    let program: PathBuf = std::fs::read_link("/proc/self/exe").ok()?;
    let receipt = Receipt::parse(&std::fs::read(program.parent()?.join(RECEIPT)).ok()?).ok()?;
    let plan = std::fs::read(receipt.run_dir.join(FILE)).ok()?;
    Some(serde_json::from_slice(&plan).expect("the test writes plans that can be read"))
}

/// Whether a layer is put up.
pub fn stands(layer: Layer) -> bool {
    let stands = PLAN.get().is_none_or(|plan| !plan.without.contains(&layer));
    if layer == Layer::NotDumpable && !stands {
        // The broker has seen to that for itself, and it is inherited.
        let dumpable = rustix::process::DumpableBehavior::Dumpable;
        let _ = rustix::process::set_dumpable_behavior(dumpable);
    }
    stands
}

/// Does what the plan says; none if there is nothing to be done in the component's place.
pub fn instead_of_the_component(channel: &Channel) -> Option<Outcome> {
    let Plan { tries, scene, .. } = PLAN.get().filter(|plan| !plan.tries.is_empty())?;
    let scene = Scene { channel: channel.as_fd().as_raw_fd(), ..scene.clone() };
    for name in tries {
        if let Some(talk) = super::TALKS.iter().find(|talk| talk.name == name) {
            return Some((talk.run)(channel));
        }
        let mut attempts = super::ATTEMPTS.iter().copied().flatten();
        let attempt = attempts.find(|attempt| attempt.name == name);
        match (attempt.expect("the test names those that there are").run)(&scene) {
            Ok(_) => say(channel, format!("{name}: got out")),
            Err(errno) => say(channel, format!("{name}: {errno:?}")),
        }
    }
    Some(over())
}

/// Tells the test something.
pub(super) fn say(channel: &Channel, message: String) {
    let line = Request::Log { level: Level::Info, message };
    let _ = channel.send(&FromGuest::Request(line));
    // What is left unread when the process ends takes the place of what it has said last, and what an
    // attempt has sent may have come back here.
    while let Err(error) = channel.receive::<Response>(&mut Vec::new()) {
        if error.kind() != std::io::ErrorKind::InvalidData {
            break;
        }
    }
}

/// The end of a call in which everything was tried.
pub(super) fn over() -> Outcome {
    Outcome::Refused(Failure::new(Code::PermissionDenied, OVER, "everything was tried"))
}

/// A system call with whatever arguments.
macro_rules! syscall {
    ($number:ident $(, $argument:expr)* $(,)?) => {
        $crate::breakout::payload::call(libc::$number, &[$($argument as usize),*])
    };
}
pub(super) use syscall;

pub(super) fn call(number: c_long, given: &[usize]) -> Tried {
    let mut all = [0; 6];
    all[..given.len()].copy_from_slice(given);
    let [a, b, c, d, e, f] = all;
    #[expect(unsafe_code, reason = "to make calls that no safe interface has is the point")]
    // SAFETY: syscall(2) reads and writes what the arguments point to: buffers of the attempt that
    // makes the call, or nothing. It changes no memory that is in use otherwise: what an attempt maps
    // is new, and what it protects it has mapped.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    Errno::result(result).map(|value| value as usize)
}

/// No descriptor, no process, no size: -1.
pub(super) const NOBODY: i32 = -1;

/// A path as the kernel takes it.
pub(super) fn path(text: &str) -> CString {
    CString::new(text).expect("a path has no NUL in it")
}

/// An attempt that no layer but the filter and what is behind it is for.
pub(super) const fn any(name: &'static str, run: fn(&Scene) -> Tried) -> Attempt {
    Attempt { name, stopped_by: None, run }
}

/// An attempt that a layer stops by itself; `others` are those that would, too.
pub(super) const fn by(
    layer: Layer,
    others: &'static [Layer],
    name: &'static str,
    run: fn(&Scene) -> Tried,
) -> Attempt {
    Attempt { name, stopped_by: Some((layer, others)), run }
}

/// What stops whatever takes a descriptor.
pub(super) const DESCRIPTORS: &[Layer] = &[Layer::Seccomp, Layer::LimitNofile];

/// What stops whatever opens a path.
pub(super) const PATHS: &[Layer] = &[Layer::Seccomp, Layer::LimitNofile, Layer::LandlockFiles];
