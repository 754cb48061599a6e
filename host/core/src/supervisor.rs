//! The process that kubelet waits for.
//!
//! It owns standard output and writes exactly one JSON document to it, whatever happens to the
//! processes behind it: they may crash, hang in the kernel or be killed. So it parses nothing,
//! opens nothing (but for [`init`], which has no more to do than read two files) and waits only
//! where a timer and SIGTERM end the wait. What it does not do
//! itself it leaves to the `broker`, over one socket:
//!
//! - broker → supervisor: the failure exit code as soon as it is known, the reply;
//! - supervisor → broker: stop. It says so once; after that nothing is attached.

use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::ForkResult;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::thread::CapabilitySet;

use crate::broker::{self, privileges};
use crate::bundle::receipt::sha256_hex;
use crate::call::Operation;
use crate::call::arguments::Arguments;
use crate::failure::{Code, Failure};
use crate::init;
use crate::link::{FromBroker, Link};
use crate::observe;
use crate::offer;
use crate::reply::Reply;

/// How long any call may take. CSI drivers chose 110 s for kubelet's two minutes, and kubelet
/// sends SIGTERM to `waitforattach` after ten.
const DEADLINE: Duration = Duration::from_secs(110);

/// How long the broker may take to undo things once it was told to stop. kubelet panics when a
/// driver is still there ten seconds after SIGTERM; the answer is promised within one.
const STOPPING: Duration = Duration::from_millis(800);

/// Answers one call of kubelet's: writes the reply to standard output and returns the exit code.
pub fn run(mut arguments: Arguments) -> i32 {
    // A panic's text on standard error would be part of the reply.
    std::panic::set_hook(Box::new(|_| {}));
    // SIGTERM is read from a descriptor, in order with everything else. SIGPIPE would end us
    // before the exit code says anything.
    let signals =
        SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE]);
    let blocked = signals.thread_block();
    let (document, exit) = catch_unwind(AssertUnwindSafe(|| match blocked {
        Ok(()) => answer(&mut arguments, &signals),
        Err(error) => alone(&Failure::io("blocking signals", &error.into()), None, 1),
    }))
    .unwrap_or_else(|_| {
        let failure = Failure::new(
            Code::Internal,
            "panic",
            "the driver's supervisor panicked; this is a bug in wasmount",
        );
        alone(&failure, None, safe_exit_code(&arguments))
    });
    write_out(&document);
    exit
}

fn answer(arguments: &mut Arguments, signals: &SigSet) -> (Vec<u8>, i32) {
    let args = arguments.args();
    let Some(first) = args.first() else {
        let message = "no operation given; kubelet calls this driver as `OPERATION ARGUMENT…`, \
                       and `wasmount call` does the same by hand";
        let failure = Failure::new(Code::InvalidArgument, "no-operation", message);
        return at_once(alone(&failure, None, 1));
    };
    match Operation::parse(first) {
        None => {
            at_once(finished(&Reply::NotSupported { message: "no such operation".to_owned() }, 1))
        }
        Some(Operation::GetVolumeName) => at_once(finished(&offer::nameless(), 1)),
        Some(Operation::Init) => at_once(init::answer(&args[1..])),
        Some(operation) => supervise(operation, arguments, signals)
            .unwrap_or_else(|failure| alone(&failure, Some(operation), safe_exit_code(arguments))),
    }
}

/// What is answered here and by nobody else.
fn at_once(answered: (Vec<u8>, i32)) -> (Vec<u8>, i32) {
    observe::end();
    answered
}

fn supervise(
    operation: Operation,
    arguments: &mut Arguments,
    signals: &SigSet,
) -> Result<(Vec<u8>, i32), Failure> {
    let end = Instant::now() + DEADLINE;
    let (ours, theirs) =
        Link::pair().map_err(|error| Failure::io("making a socket pair", &error))?;
    let terminate = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| Failure::io("listening for signals", &error.into()))?;
    // What the processor can do is asked once, and not by each process that is forked from here: in a
    // virtual machine every such question is one for the hypervisor.
    let _ = (sha256_hex(b""), memchr::memmem::find(b"", b" "));
    #[expect(unsafe_code, reason = "fork has no safe form")]
    // SAFETY: fork(2) demands that a child of a process with several threads restricts itself to
    // async-signal-safe functions; this process has made no thread.
    match unsafe { nix::unistd::fork() } {
        Err(error) => return Err(Failure::io("starting the broker", &error.into())),
        Ok(ForkResult::Child) => {
            drop((ours, terminate));
            broker::run(operation, arguments, theirs)
        }
        Ok(ForkResult::Parent { .. }) => drop(theirs),
    }
    // All that is left to do is to wait and to write; what cannot be given up is not used either.
    let _ = privileges::keep(CapabilitySet::empty());
    let watch = Watch { link: ours, operation, exit: None, in_time: true };
    Ok(watch.until(end, &terminate, arguments))
}

/// What the supervisor knows of the call it waits for.
struct Watch {
    link: Link,
    operation: Operation,
    /// The failure exit code, if the broker has found one in the grants.
    exit: Option<i32>,
    /// Whether stop was said before anything of the call took effect.
    in_time: bool,
}

impl Watch {
    fn until(
        mut self,
        mut end: Instant,
        terminate: &SignalFd,
        arguments: &Arguments,
    ) -> (Vec<u8>, i32) {
        let mut stopped = None;
        let failure = loop {
            let (message, signal) = wait(&self.link, terminate, end);
            if message {
                match self.link.from_broker() {
                    Ok(Some(FromBroker::FailureExit(code))) => self.exit = Some(code),
                    Ok(Some(FromBroker::Reply { document, exit })) => return (document, exit),
                    Ok(None) | Err(_) => break self.died(),
                }
                continue;
            }
            if let Some(why) = stopped {
                if signal {
                    continue;
                }
                break self.still_running(why);
            }
            let why =
                if signal { "was told to stop by a signal" } else { "took longer than 110 s" };
            self.in_time = self.link.stop();
            stopped = Some(why);
            end = Instant::now() + STOPPING;
        };
        alone(
            &failure,
            Some(self.operation),
            self.exit.unwrap_or_else(|| safe_exit_code(arguments)),
        )
    }

    fn died(&self) -> Failure {
        let message = "the process that serves the call died; the next call for the volume repairs \
                       what it left, and the kernel log may say why it died";
        Failure::new(Code::Internal, "broker-died", message)
    }

    fn still_running(&self, why: &str) -> Failure {
        let sets_up = matches!(
            self.operation,
            Operation::Attach
                | Operation::WaitForAttach
                | Operation::MountDevice
                | Operation::Mount
        );
        let fate = match (sets_up, self.in_time) {
            (true, true) => "what it sets up will be discarded",
            (true, false) => {
                "what it has set up may have taken effect, which the next call will find out"
            }
            // What is taken down or grown is not put back.
            (false, _) => "what it has done stays, and the next call does the rest",
        };
        let message = format!(
            "the call {why} while something it waits for has not answered; it is still running \
             and holds the volume's lock, and {fate}"
        );
        Failure::new(Code::DeadlineExceeded, "still-running", message)
    }
}

/// Waits for a message or a signal until `end`: whether there is a message, whether a signal came.
fn wait(link: &Link, terminate: &SignalFd, end: Instant) -> (bool, bool) {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut fds = [
            PollFd::from_borrowed_fd(link.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(terminate.as_fd(), PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return (true, false),
            Ok(_) => {}
        }
        // A message comes first. The signal stays where it is until it is its turn.
        if !fds[0].revents().is_empty() {
            return (true, false);
        }
        let signal = !fds[1].revents().is_empty();
        if signal {
            let _ = terminate.read_signal();
        }
        return (false, signal);
    }
}

/// A failure that the supervisor states on its own account.
fn alone(failure: &Failure, operation: Option<Operation>, exit: i32) -> (Vec<u8>, i32) {
    finished(&Reply::failure(crate::bundle::own_driver_name().as_ref(), operation, failure), exit)
}

fn finished(reply: &Reply, failure_exit: i32) -> (Vec<u8>, i32) {
    (reply.to_json_line(), reply.exit_code(failure_exit))
}

/// The exit code of a failure while the grants are not known. kubelet logs all arguments of a
/// call that exits with another code than 0, so a call that carries a secret exits with 0.
pub(crate) fn safe_exit_code(arguments: &Arguments) -> i32 {
    const SECRET: &[u8] = b"kubernetes.io/secret/";
    let carries_secret =
        arguments.args().iter().any(|arg| arg.windows(SECRET.len()).any(|window| window == SECRET));
    i32::from(!carries_secret)
}

/// Nobody is left to tell if this fails.
fn write_out(mut document: &[u8]) {
    let stdout = std::io::stdout();
    debug_assert_eq!(stdout.as_raw_fd(), 1);
    while !document.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(stdout.as_fd(), document)) {
            Ok(0) | Err(_) => return,
            Ok(written) => document = &document[written..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// kubelet sends SIGTERM once: it may not be lost because the broker spoke at that moment.
    #[test]
    fn a_signal_waits_for_the_message_before_it() {
        let signals = SigSet::from_iter([Signal::SIGTERM]);
        signals.thread_block().expect("a thread's mask");
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let terminate = SignalFd::with_flags(&signals, flags).expect("a descriptor");
        let (ours, theirs) = Link::pair().expect("a pair");
        theirs.tell(&FromBroker::FailureExit(1));
        // Of this thread alone, which is the one that reads the descriptor.
        nix::sys::pthread::pthread_kill(nix::sys::pthread::pthread_self(), Signal::SIGTERM)
            .expect("itself");
        let soon = || Instant::now() + Duration::from_secs(5);
        assert_eq!(wait(&ours, &terminate, soon()), (true, false));
        assert!(matches!(ours.from_broker(), Ok(Some(FromBroker::FailureExit(1)))));
        assert_eq!(wait(&ours, &terminate, soon()), (false, true));
        assert_eq!(wait(&ours, &terminate, Instant::now()), (false, false));
    }

    /// A broker that the kernel keeps past the deadline is told to stop, and then answered for.
    #[test]
    fn the_deadline_is_kept_without_the_broker() {
        let terminate = SignalFd::new(&SigSet::empty()).expect("a descriptor");
        let (ours, theirs) = Link::pair().expect("a pair");
        let arguments = Arguments::copy(&["mountdevice"]).expect("memory");
        let operation = Operation::MountDevice;
        let watch = Watch { link: ours, operation, exit: None, in_time: true };
        let (document, exit) = watch.until(Instant::now(), &terminate, &arguments);
        let reply: serde_json::Value = serde_json::from_slice(&document).expect("one document");
        let message = reply["message"].as_str().expect("a message");
        assert!(message.contains("took longer than 110 s"), "{message}");
        assert!(message.contains("will be discarded"), "{message}");
        assert!(message.ends_with("[still-running]"), "{message}");
        assert_eq!((reply["status"].as_str(), exit), (Some("Failure"), 1));
        // Whenever the kernel lets go of it, it may not take effect any more.
        assert_eq!(theirs.take_effect(|| ()), None);
    }

    #[test]
    fn a_secret_in_the_arguments_keeps_kubelet_from_logging_them() {
        let exit = |args: &[&str]| safe_exit_code(&Arguments::copy(args).expect("memory"));
        assert_eq!(exit(&["mount", "/dir", r#"{"a":"b"}"#]), 1);
        assert_eq!(exit(&["mount", "/dir", r#"{"kubernetes.io/secret/key":"eA=="}"#]), 0);
    }
}
