//! The guest process as the broker and the kernel see it.
//!
//! These tests fork, so they run one after another on one thread and without the usual harness.

#![expect(clippy::print_stdout, reason = "what a test harness does")]
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../src/guest/tests/components.rs"]
mod components;

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::{ForkResult, Pid};
use sha2::{Digest, Sha256};
use wasmount_core::guest::compiler::{Cpu, compile};
use wasmount_core::guest::process::{Child, How, spawn};
use wasmount_core::wire::{FromGuest, Outcome, Request, Response, Start};

use components::{start, volume};

const ENDLESS: &str = "(loop (br 0))";

fn main() {
    let tests: &[(&str, fn())] = &[
        ("a_call_succeeds", a_call_succeeds),
        ("nothing_is_left_to_the_process", nothing_is_left_to_the_process),
        ("an_altered_image_is_not_loaded", an_altered_image_is_not_loaded),
        ("endless_work_ends_with_its_cpu_time", endless_work_ends_with_its_cpu_time),
        ("a_dropped_child_is_gone", a_dropped_child_is_gone),
        ("garbage_ends_the_process", garbage_ends_the_process),
        ("it_dies_with_the_broker", it_dies_with_the_broker),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

/// Starts a guest process for a component whose `mount` has this body.
fn guest(body: &str) -> Child {
    let image = compile(&volume(body), Cpu::Native).unwrap();
    let digest: String = Sha256::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    spawn(file(&image), &digest).unwrap()
}

fn file(contents: &[u8]) -> File {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(contents).unwrap();
    file.reopen().unwrap()
}

/// Tells the guest to start and grants it everything.
fn play(child: &Child, start: &Start) -> (Vec<Request>, Option<Outcome>) {
    child.channel().send(start).unwrap();
    let mut asked = Vec::new();
    loop {
        match child.channel().receive(&mut Vec::new()).unwrap() {
            None => return (asked, None),
            Some(FromGuest::Finished(outcome)) => return (asked, Some(outcome)),
            Some(FromGuest::Request(request)) => {
                let is_drop = matches!(request, Request::Drop { .. });
                asked.push(request);
                if !is_drop {
                    child.channel().send(&Response::Done).unwrap();
                }
            }
        }
    }
}

fn proc(child: &Child, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{file}", child.pid().unwrap())).unwrap()
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn a_call_succeeds() {
    let child = guest("(call $log (i32.const 0) (i32.const 512) (i32.const 3))");
    let (asked, outcome) = play(&child, &start());
    assert_eq!((asked.len(), outcome), (1, Some(Outcome::Done)));
    assert_eq!(child.wait(), How::Exited);
}

fn nothing_is_left_to_the_process() {
    let _open = file(b"a file that the broker has open");
    let child = guest("(call $log (i32.const 0) (i32.const 512) (i32.const 3))");
    child.channel().send(&start()).unwrap();
    // The component runs, so all of the wall is up; it waits for the answer while we look.
    let request = child.channel().receive::<FromGuest>(&mut Vec::new()).unwrap();
    assert!(matches!(request, Some(FromGuest::Request(Request::Log { .. }))), "{request:?}");
    let status = proc(&child, "status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.split(':').next() == Some(name)).unwrap();
        line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(name), "0000000000000000", "{name}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "2");
    assert_eq!(field("SigBlk"), "0000000000000000");
    // Beyond the 31 are those that the C library keeps for itself and lets nobody change.
    assert_eq!(u64::from_str_radix(&field("SigIgn"), 16).unwrap() & 0x7fff_ffff, 0);
    assert_eq!(field("Threads"), "1");
    let limits = proc(&child, "limits");
    for (limit, value) in [
        ("Max core file size", "0"),
        ("Max file size", "0"),
        ("Max processes", "0"),
        ("Max open files", "0"),
        ("Max locked memory", "0"),
        ("Max pending signals", "0"),
        ("Max msgqueue size", "0"),
        ("Max nice priority", "0"),
        ("Max realtime priority", "0"),
        ("Max cpu time", "10"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        assert_eq!(line[limit.len()..].split_whitespace().next(), Some(value), "{limit}");
    }
    if !for_root("the user and the descriptors of the process") {
        return;
    }
    let id = (0x7000_0000 + child.pid().unwrap()).to_string();
    assert_eq!(field("Uid"), [id.as_str(); 4].join(" "));
    assert_eq!(field("Gid"), [id.as_str(); 4].join(" "));
    assert_eq!(field("Groups"), "");
    assert_eq!(field("CapBnd"), "0000000000000000");
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.pid().unwrap())).unwrap();
    let open: Vec<_> = open.map(|fd| std::fs::read_link(fd.unwrap().path()).unwrap()).collect();
    assert!(open.len() == 1 && open[0].to_string_lossy().starts_with("socket:"), "{open:?}");
}

fn an_altered_image_is_not_loaded() {
    let image = compile(&volume(""), Cpu::Native).unwrap();
    for digest in ["", "00", &"0".repeat(64)] {
        let child = spawn(file(&image), digest).unwrap();
        let (_, outcome) = play(&child, &start());
        let Some(Outcome::Unusable(failure)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.reason, "image-digest");
        assert_eq!(child.wait(), How::Exited);
    }
}

fn endless_work_ends_with_its_cpu_time() {
    let child = guest(ENDLESS);
    let (_, outcome) = play(&child, &Start { cpu_seconds: 1, ..start() });
    assert_eq!(outcome, None);
    assert_eq!(child.wait(), How::CpuLimit);
}

fn a_dropped_child_is_gone() {
    let child = guest(ENDLESS);
    child.channel().send(&start()).unwrap();
    let pid = Pid::from_raw(child.pid().unwrap());
    drop(child);
    assert_eq!(nix::sys::signal::kill(pid, None), Err(nix::Error::ESRCH));

    let child = guest(ENDLESS);
    child.kill();
    assert_eq!(child.wait(), How::Killed(9));
}

fn garbage_ends_the_process() {
    let child = guest("");
    child.channel().send(&"garbage").unwrap();
    assert_eq!(child.channel().receive::<FromGuest>(&mut Vec::new()).unwrap(), None);
    assert_eq!(child.wait(), How::Exited);

    let child = guest("(call $log (i32.const 0) (i32.const 512) (i32.const 3)) (loop (br 0))");
    child.channel().send(&start()).unwrap();
    let request = child.channel().receive::<FromGuest>(&mut Vec::new()).unwrap();
    assert!(matches!(request, Some(FromGuest::Request(Request::Log { .. }))), "{request:?}");
    child.channel().send(&"garbage").unwrap();
    assert_eq!(child.channel().receive::<FromGuest>(&mut Vec::new()).unwrap(), None);
    assert_eq!(child.wait(), How::Exited);
}

fn it_dies_with_the_broker() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    #[expect(unsafe_code, reason = "fork")]
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() }.unwrap() {
        ForkResult::Child => {
            let child = guest(ENDLESS);
            child.channel().send(&start()).unwrap();
            eventually("it runs", || proc(&child, "status").contains("\nSeccomp:\t2\n"));
            (&writer).write_all(&child.pid().unwrap().to_ne_bytes()).unwrap();
            // As if it had crashed: nothing is dropped.
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        ForkResult::Parent { child: broker } => {
            drop(writer);
            let mut pid = [0; 4];
            (&reader).read_exact(&mut pid).unwrap();
            nix::sys::wait::waitpid(broker, None).unwrap();
            let guest = Pid::from_raw(i32::from_ne_bytes(pid));
            eventually("it is gone", || {
                let status = nix::sys::wait::waitpid(guest, Some(WaitPidFlag::WNOHANG)).unwrap();
                matches!(status, WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGKILL, _))
            });
            rustix::process::set_child_subreaper(None).unwrap();
        }
    }
}

/// Whether what only root can see is looked at. Under CI it has to be.
fn for_root(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "needs root: {what}");
    if !root {
        println!("skipped, needs root: {what}");
    }
    root
}
