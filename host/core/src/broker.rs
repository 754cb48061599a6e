//! The process that serves one call: it parses, decides, acts and remembers.
//!
//! It is root on a node, may block in the kernel, and holds the volume's lock while it lives. It has
//! no part in kubelet's descriptors: its reply goes to the [`supervisor`](crate::supervisor).
//! [`attempt`] and [`Turn::operate`] are the way of a call in two screens; what each step does is in
//! the module that it names. Nothing is decided here (`decide`), nothing done (`kernel`).

use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};
use serde_json::json;

use crate::audit::Audit;
use crate::breakout;
use crate::bundle::receipt::Attaching;
use crate::bundle::{Bundle, Receipt};
use crate::call::arguments::Arguments;
use crate::call::{Access, Call, Operation, Secrets, TargetPath};
use crate::crash;
use crate::failure::{Code, Failure};
use crate::grants::Grants;
use crate::guest::process::{self, Child};
use crate::guest::{engine, landlock};
use crate::journal::NO_DIRECTORY;
use crate::kernel::target::{self, Target};
use crate::kernel::{device, loopdev, mounts};
use crate::link::{FromBroker, Link};
use crate::observe;
use crate::offer::Offer;
use crate::rehearsal;
use crate::reply::Reply;
use crate::session::{Opened, Place, Session};
use crate::supervisor::safe_exit_code;
use crate::wall::{Layer, stands};

mod ahead;
mod claims;
mod compose;
mod conversation;
mod effects;
mod ledger;
mod node_only;
mod perform;
pub(crate) mod privileges;
pub(crate) mod route;
mod settled;
mod teardown;

use claims::Known;
use effects::Effects;
use ledger::Ledger;
use route::Route;

/// Serves a call and ends the process.
pub(crate) fn run(operation: Operation, arguments: &mut Arguments, link: Link) -> ! {
    leave_the_caller();
    breakout::arm();
    let unknown = safe_exit_code(arguments);
    let (mut guest, mut audit) = (start_guest(arguments), None);
    let served = catch_unwind(AssertUnwindSafe(|| {
        serve(operation, arguments, &link, &mut guest, &mut audit)
    }));
    let (reply, exit) = served.unwrap_or_else(|_| {
        let failure = Failure::new(
            Code::Internal,
            "panic",
            "the driver's broker panicked; this is a bug in wasmount",
        );
        let driver = crate::bundle::own_driver_name();
        (Reply::failure(driver.as_ref(), Some(operation), &failure), unknown)
    });
    observe::end();
    link.tell(&FromBroker::Reply { document: reply.to_json_line(), exit: reply.exit_code(exit) });
    // kubelet has its answer; only now is it time to write down what it was, and to end and reap
    // the guest.
    if let Some(audit) = &mut audit {
        audit.flush_last();
    }
    drop(guest);
    std::process::exit(0)
}

/// Starts the process that is to run the component, before it is known whether one will run: most
/// calls need one, and it has privileges to give up meanwhile. It inherits no argument, since
/// arguments may hold secrets.
fn start_guest(arguments: &mut Arguments) -> Result<Child, Failure> {
    if stands(Layer::Arguments) {
        let wiped = arguments.wipe_on_fork();
        wiped.map_err(|error| Failure::io("protecting the arguments", &error))?;
    }
    process::start()
}

/// Whose turn it is: what the operations have in common that a call of kubelet's consists of. That
/// is one, unless the host attaches volumes itself (`node_only`).
struct Turn<'a> {
    bundle: &'a Bundle,
    grants: Rc<Grants>,
    link: &'a Link,
    audit: &'a mut Audit,
    guest: &'a mut Result<Child, Failure>,
    /// Whether anything may be owed off the node if the component fails to take it back: so unless
    /// it is known that its `attach` has never succeeded.
    attached: bool,
    /// None away from the node. It outlives all that an operation holds: who gets the lock next
    /// finds devices and mounts as they will be.
    ledger: Option<Ledger>,
}

/// One operation's doings: what [`Turn::operate`] has gathered before the component is asked.
struct Work<'a> {
    call: &'a Call,
    bundle: &'a Bundle,
    link: &'a Link,
    audit: &'a mut Audit,
    session: Session,
    effects: Effects,
    attached: bool,
    ledger: &'a mut Option<Ledger>,
}

fn serve(
    operation: Operation,
    arguments: &mut Arguments,
    link: &Link,
    guest: &mut Result<Child, Failure>,
    audit: &mut Option<Audit>,
) -> (Reply, i32) {
    let mut exit = safe_exit_code(arguments);
    let bundle = match Bundle::open(engine::WASMTIME_VERSION) {
        Ok(bundle) => bundle,
        Err(failure) => {
            let driver = crate::bundle::own_driver_name();
            return (Reply::failure(driver.as_ref(), Some(operation), &failure), exit);
        }
    };
    crash::arm(&bundle.receipt.run_dir);
    let audit = audit.insert(Audit::new(
        &bundle.receipt.log_dir,
        &bundle.receipt.data_dir,
        &bundle.driver.tilde(),
    ));
    let result = attempt(operation, arguments, link, &bundle, audit, guest, &mut exit);
    let mut line = match &result {
        Ok(reply) => json!({ "status": reply.status() }),
        Err(failure) => json!({
            "status": "Failure", "code": failure.code, "reason": failure.reason, "message": failure.message,
        }),
    };
    // A call that could not be read has no line of its own. The process is the one that kubelet
    // started and waits for.
    line["operation"] = json!(operation.name());
    line["version"] = json!(bundle.id);
    line["process"] = json!(rustix::process::getppid().map(|process| process.as_raw_nonzero()));
    audit.line("reply", line);
    let reply = result
        .unwrap_or_else(|failure| Reply::failure(Some(&bundle.driver), Some(operation), &failure));
    (reply, exit)
}

fn attempt(
    operation: Operation,
    arguments: &mut Arguments,
    link: &Link,
    bundle: &Bundle,
    audit: &mut Audit,
    guest: &mut Result<Child, Failure>,
    exit: &mut i32,
) -> Result<Reply, Failure> {
    let receipt = &bundle.receipt;
    let offer = Offer::of(receipt);
    if let Some(reply) = offer.reply(operation) {
        return Ok(reply);
    }
    let route = Route::of_call(operation, &offer);
    // It loads the component while the arguments are parsed.
    let runs_component = route != Route::Host;
    if let (true, Ok(child)) = (runs_component, &*guest)
        && let Err(failure) = bundle.image().and_then(|(image, digest)| child.load(image, digest))
    {
        *guest = Err(failure);
    }
    crash::point("guest-started");

    let grants = Grants::parse(&bundle.grants_text).map_err(|error| error.as_failure())?;
    // Where the operator states nothing, a call that carries a secret goes on exiting with 0.
    if let Some(stated) = grants.failure_exit_code {
        *exit = stated.into();
        link.tell(&FromBroker::FailureExit(*exit));
    }
    let mut call =
        Call::parse(operation, &arguments.args()[1..], &bundle.driver, &receipt.kubelet_root)?;
    let secrets = call.take_secrets();
    audit.line("call", about(&call, &bundle.id));
    // What is set up is taken down without the component, too.
    if let (true, Err(failure)) = (runs_component, landlock::demand(grants.isolation)) {
        *guest = Err(failure);
    }
    // What stands in for an act in a rehearsal may take what the act itself does not.
    if !rehearsal::is_on() {
        privileges::keep(privileges::of_call(operation, route, &grants))
            .map_err(|error| Failure::io("giving up capabilities", &error.into()))?;
    }

    let on_node = rustix::process::geteuid().is_root();
    if !on_node && operation.needs_root() {
        let message = "can only be done as root on a node";
        return Err(Failure::new(Code::FailedPrecondition, "not-root", message));
    }
    let ledger = match on_node.then(|| Ledger::open(receipt, &bundle.driver, &call, link)) {
        // kube-controller-manager may run as root and still have nothing to write to.
        Some(Err(failure)) if failure.reason == NO_DIRECTORY && !operation.needs_root() => None,
        Some(ledger) => Some(ledger?),
        None => None,
    };
    crash::point("locked");
    let grants = Rc::new(grants);
    let mut turn = Turn { bundle, grants, link, audit, guest, attached: true, ledger };
    match route {
        Route::Steps => turn.go_through(&call, secrets),
        Route::Component | Route::Host | Route::Nobody => turn.operate(&call, secrets),
    }
}

impl Turn<'_> {
    /// One operation, from what is there to what is to be.
    fn operate(&mut self, call: &Call, secrets: Secrets) -> Result<Reply, Failure> {
        let (operation, receipt) = (call.operation(), &self.bundle.receipt);
        observe::operation(operation);
        let target = self.target(call)?;
        if let Some(reply) = self.settled(call, target.as_deref())? {
            return Ok(reply);
        }
        if let (Some(ledger), Operation::UnmountDevice | Operation::Detach) =
            (&self.ledger, operation)
        {
            let at_detach = operation == Operation::Detach;
            teardown::nothing_mounted(ledger, &receipt.kubelet_root, at_detach)?;
        }
        let opened = opened(call, self.ledger.as_ref(), target, receipt)?;
        let place = Place {
            driver: self.bundle.driver.clone(),
            node_name: receipt.node_name.clone(),
            keeps_records: self.ledger.is_some(),
            claims: Rc::new(Known::new(self.ledger.as_ref())),
        };
        let record = self.ledger.as_ref().and_then(|ledger| ledger.record.clone());
        let grants = Rc::clone(&self.grants);
        let mut work = Work {
            call,
            bundle: self.bundle,
            link: self.link,
            audit: self.audit,
            session: Session::new(place, grants, call, secrets, record, opened),
            effects: Effects::default(),
            attached: self.attached,
            ledger: &mut self.ledger,
        };
        if let Err(failure) = work.prepare() {
            return work.commit(Err(failure));
        }
        let outcome = match Route::of(operation, &receipt.exports) {
            Route::Component => work.converse(self.guest),
            Route::Host | Route::Steps | Route::Nobody => work.compose(),
        };
        match operation {
            Operation::Unmount | Operation::UnmountDevice => work.take_down(outcome),
            Operation::Detach if receipt.attaching() == Attaching::Node => work.give_back(outcome),
            _ => work.commit(outcome),
        }
    }

    /// The directory of a call.
    fn target(&self, call: &Call) -> Result<Option<Rc<Target>>, Failure> {
        let root = &self.bundle.receipt.kubelet_root;
        let open = |path: &TargetPath| target::open(root, &path.beneath_root).map(Rc::new);
        call.target().map(open).transpose()
    }

    /// The reply of a call that has nothing to do, or the refusal of one that is about another
    /// volume of that name.
    fn settled(&self, call: &Call, target: Option<&Target>) -> Result<Option<Reply>, Failure> {
        let Some(ledger) = &self.ledger else { return Ok(None) };
        ledger.same_volume(call)?;
        settled::reply(call, ledger, target)
    }
}

/// Opens what the record lists, as far as it is still what the record says.
fn opened(
    call: &Call,
    ledger: Option<&Ledger>,
    target: Option<Rc<Target>>,
    receipt: &Receipt,
) -> Result<Opened, Failure> {
    let Some(record) = ledger.and_then(|ledger| ledger.record.as_ref()) else {
        return Ok(Opened { target, ..Opened::default() });
    };
    let staging = match (&record.staged, call.operation()) {
        (Some(mount), Operation::Mount) => {
            Some(Rc::new(target::open(&receipt.kubelet_root, &mount.beneath_root)?))
        }
        _ => None,
    };
    let device = match (&record.device, call.operation()) {
        (None, _) | (Some(_), Operation::Mount | Operation::Unmount | Operation::IsAttached) => {
            None
        }
        (Some(device), _) if device.is_loop => {
            let image = record.image.as_ref().map(|image| image.directory.join(&image.name));
            loopdev::open(device.number, &device.identity, image.as_deref())?
        }
        (Some(device), _) => device::open(device.number, &device.identity)?,
    };
    let grows = matches!(call.operation(), Operation::MountDevice | Operation::ExpandFs);
    if let (Some(device), Access::ReadWrite, true) = (&device, record.access, grows) {
        // The image may have grown since the loop device was made of it.
        if device.is_loop() {
            loopdev::refresh(device)?;
        }
    }
    Ok(Opened { target, staging, device: device.map(Rc::new) })
}

impl Work<'_> {
    /// What is to be settled before anybody is asked to do anything.
    fn prepare(&mut self) -> Result<(), Failure> {
        let Some(device) = self.session.device.clone() else { return Ok(()) };
        match self.call.operation() {
            Operation::UnmountDevice => {
                self.effects.attributes =
                    self.session.target.as_deref().and_then(mounts::attributes);
                Ok(())
            }
            Operation::MountDevice => {
                let lease = self.recorded_lease();
                self.judge_format(&device, lease.as_deref())
            }
            // kubelet takes the device down by `unmountdevice` only if it was ever mounted. The lease
            // must not end while this node has the image.
            Operation::Detach if self.session.node == self.session.node_name => {
                drop(device);
                self.take_loop_down(|_| ())
            }
            _ => Ok(()),
        }
    }
}

/// What the audit log says of a call: nothing that a user wrote but names. The version stands for
/// program, component and grants, whose digests are in its receipt.
fn about(call: &Call, version: &str) -> serde_json::Value {
    json!({
        "operation": call.operation().name(),
        "version": version,
        "volume": call.name().as_str(),
        "target": call.target().map(|target| target.path.display().to_string()),
        "access": call.volume().map(|volume| volume.facts.access),
        "isolation": landlock::account(),
        "ignored": call.volume().map(|volume| &volume.ignored),
    })
}

/// Gives up everything that belongs to kubelet: its pipe, which it waits on until all who have it
/// are gone, and its process group, whose signals are not for us.
fn leave_the_caller() {
    // A group and not a session of its own: a new session gets a new scheduling group, too, which
    // costs a call more than all else here.
    let _ = rustix::process::setpgid(None, None);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    match null {
        Ok(null) => {
            debug_assert!(null.as_raw_fd() > 2);
            let _ = rustix::stdio::dup2_stdin(&null);
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        }
        // Without /dev/null there is still no holding on to the pipe.
        Err(_) => std::process::exit(1),
    }
    // Nor is the directory that it was in kept from being unmounted, by this process or by a tool.
    let _ = rustix::process::chdir("/");
    // A core dump or a debugger of the same user would show secrets.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
