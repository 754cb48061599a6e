//! Calls that still run, and what can be seen of their processes from outside: so a test waits
//! until a call is where it wants it, however slow the machine is, and not for so many seconds.
//!
//! The process that kubelet waits for is the only one that kubelet would ever send a signal.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::starts::start;
use crate::{Answer, Driver, Process, node};

/// How long anything may take that has to happen: only a failure takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a call may take that is left alone: its deadline and more.
const CALL: Duration = Duration::from_secs(200);

/// How long the answer to SIGTERM may take. One second is promised; a loaded machine is slow.
const ANSWER: Duration = Duration::from_secs(5);

/// Looks again and again until there is something to be seen.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A call that nobody has waited for yet. Dropped, it is killed; what it has started ends by
/// itself then.
#[derive(Debug)]
pub struct Running {
    call: String,
    child: Option<Child>,
    supervisor: Process,
    run_dir: PathBuf,
}

impl Driver<'_> {
    /// Starts a call, as kubelet does.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_with(args, &[])
    }

    /// Starts a call with some variables more in its environment.
    pub fn start_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Running {
        let mut command = Command::new(self.executable());
        command.args(args).envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = start(&mut command).expect("a driver");
        let supervisor = Process::open(Pid::from_child(&child)).expect("nobody waited for it");
        let run_dir = self.path("run");
        Running { call: args.join(" "), child: Some(child), supervisor, run_dir }
    }
}

impl Running {
    /// The process that kubelet waits for.
    pub fn supervisor(&self) -> &Process {
        &self.supervisor
    }

    /// The process that serves the call.
    pub fn broker(&self) -> Process {
        until("there is a broker", || self.broker_now())
    }

    /// The same, if there is one at this moment.
    pub fn broker_now(&self) -> Option<Process> {
        self.supervisor.children().pop()
    }

    /// The process that runs the component.
    pub fn guest(&self) -> Process {
        until("there is a guest", || self.guest_now())
    }

    /// The same, if there is one at this moment.
    pub fn guest_now(&self) -> Option<Process> {
        let broker = self.broker_now()?;
        broker.children().into_iter().find(|child| child.program() == broker.program())
    }

    /// All processes of the call.
    pub fn processes(&self) -> [Process; 3] {
        [self.supervisor.clone(), self.broker(), self.guest()]
    }

    /// Waits until SIGTERM does no longer what it does to any program that has just started.
    pub fn listens(&self) {
        until("SIGTERM is listened for", || self.supervisor.blocks(Signal::TERM).then_some(()));
    }

    /// Waits until it asks for the volume's lock, which somebody else is to have.
    pub fn waits_for_its_turn(&self) {
        self.lock();
    }

    /// The volume's lock, which it has or asks for, once it does.
    pub fn lock(&self) -> Lock {
        let broker = self.broker();
        let is_lock = |file: &PathBuf| {
            file.starts_with(&self.run_dir) && file.extension().is_some_and(|end| end == "lock")
        };
        Lock(until("the volume's lock is asked for", || broker.files().into_iter().find(is_lock)))
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.listens();
        let child = self.child.as_ref().expect("not answered yet");
        kill_process(Pid::from_child(child), Signal::TERM).expect("nobody waited for it");
    }

    /// What kubelet gets, once both outputs have come to their ends, which has to be soon.
    pub fn answer(mut self) -> Answer {
        let output = self.ends_within(ANSWER);
        node::read(output, std::mem::take(&mut self.call))
    }

    /// The same, of a call that takes its time.
    pub fn answer_at_last(mut self) -> Answer {
        let output = self.ends_within(CALL);
        node::read(output, std::mem::take(&mut self.call))
    }

    /// The same, of one that may have been killed.
    pub fn output(mut self) -> Output {
        self.ends_within(CALL)
    }

    fn ends_within(&mut self, time: Duration) -> Output {
        let child = self.child.take().expect("not answered yet");
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let output = receiver.recv_timeout(time);
        let output = output.unwrap_or_else(|_| panic!("{}: no answer in {time:?}", self.call));
        output.expect("readable")
    }

    /// Sends SIGTERM; the message of the Failure that is answered.
    pub fn stop(self) -> String {
        self.terminate();
        self.answer().failure()
    }
}

/// The file of a volume's lock, by whose age others see how long a call has had its turn.
#[derive(Debug)]
pub struct Lock(PathBuf);

impl Lock {
    /// As if it had been taken so many seconds ago.
    pub fn is_old(&self, seconds: u64) {
        self.was_taken(SystemTime::now() - Duration::from_secs(seconds));
    }

    /// However slow the machine is, who has it is waited for as if it had just been taken.
    pub fn stays_new(&self) {
        self.was_taken(SystemTime::now() + Duration::from_secs(3600));
    }

    fn was_taken(&self, at: SystemTime) {
        let file = File::options().write(true).open(&self.0);
        file.and_then(|file| file.set_modified(at)).expect("a lock is a file");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
