//! Components against a broker that a test plays: what is asked, and how the call ends.
//!
//! Here the guest is a thread; `tests/guest_process.rs` has the process around it.

#![expect(clippy::unwrap_used, reason = "tests")]

mod components;

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sha2::{Digest as _, Sha256};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{LiftLowerAbi, ManglingAndAbi};

use self::components::{start, volume, volume_with_memory, wit};
use super::compiler::{Cpu, compile_here};
use super::engine::{Loader, Prepared};
use super::image::Image;
use super::run;
use crate::call::Operation;
use crate::failure::{Code, Failure};
use crate::wire::{Bytes, Channel, FromGuest, Handle, Level, Outcome, Request, Response, Start};

/// A component of the right types that does nothing else right.
fn dummy(world: &str, change: impl Fn(String) -> String) -> Vec<u8> {
    let (resolve, package) = wit(change);
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = wit_component::dummy_module(&resolve, world, abi);
    let utf8 = StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8, false).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

fn channels() -> (Channel, Channel) {
    let (unix, packets) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (ours, theirs): (OwnedFd, OwnedFd) =
        rustix::net::socketpair(unix, packets, SocketFlags::CLOEXEC, None).unwrap();
    (Channel::new(ours), Channel::new(theirs))
}

fn load(image: &[u8]) -> Result<Prepared, Failure> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(image).unwrap();
    let digest: String = Sha256::digest(image).iter().map(|byte| format!("{byte:02x}")).collect();
    Loader::new()?.load(&Image::open(&file, &digest)?)
}

/// Runs a component and plays the broker: what it asked, and how it ended; `None` if the broker
/// stopped answering.
fn play(
    component: &[u8],
    start: Start,
    mut answer: impl FnMut(&Request) -> Option<Response>,
) -> (Vec<Request>, Option<Outcome>) {
    let image = compile_here(component, Cpu::Native).unwrap();
    let (ours, theirs) = channels();
    let guest = thread::spawn(move || {
        let theirs = Arc::new(theirs);
        if let (Some(outcome), _) = run::run(&load(&image).unwrap(), Arc::clone(&theirs), start) {
            run::finish(&theirs, outcome);
        }
    });
    let mut asked = Vec::new();
    let outcome = loop {
        match ours.receive(&mut Vec::new()).unwrap() {
            Some(FromGuest::Request(request)) => {
                let response = answer(&request);
                let is_drop = matches!(request, Request::Drop { .. });
                asked.push(request);
                match response {
                    Some(_) if is_drop => {}
                    Some(response) => ours.send(&response).unwrap(),
                    None => break None,
                }
            }
            Some(FromGuest::Finished(outcome)) => break Some(outcome),
            None => panic!("the guest went away"),
        }
    };
    drop(ours);
    guest.join().unwrap();
    (asked, outcome)
}

fn done(_: &Request) -> Option<Response> {
    Some(Response::Done)
}

#[test]
fn a_component_at_fault_is_ended_with_an_account() {
    for (body, account) in [
        (
            "unreachable",
            "gave up (`unreachable`), as in a panic; `wasmount log` shows its message; in mount",
        ),
        (
            "(call $deeper)",
            "ran out of its stack of 512 KiB, as in endless recursion; in deeper, deeper",
        ),
        (
            "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
            "ran out of its memory limit of 16 MiB; `memory-mib` under [limits] in grants.toml raises it; in mount",
        ),
        ("(drop (i32.load (i32.const -4)))", "out of bounds memory access; in mount"),
        ("(call $size (i32.const 77) (i32.const 0))", "unknown handle index 77"),
        (
            "(call $size (local.get $volume) (i32.const 0))",
            "handle index 1 used with the wrong type",
        ),
        ("(call $drop-volume (local.get $volume))", "unknown handle index 1"),
        ("(call $random (i32.const 4097) (i32.const 0))", "asked for 4097 random bytes at once"),
        (
            "(drop (memory.grow (i32.const 2))) \
             (call $put (i32.const 512) (i32.const 3) (i32.const 0) (i32.const 65537) (i32.const 600))",
            "passed 65537 bytes at once, and the host takes 65536",
        ),
        (
            "(drop (memory.grow (i32.const 4))) \
             (call $open (i32.const 1024) (i32.const 170000) (i32.const 600))",
            "a host call's arguments are longer than the host takes",
        ),
        (
            "(drop (memory.grow (i32.const 32))) \
             (call $log (i32.const 0) (i32.const 0) (i32.const 2000000))",
            "fuel",
        ),
        ("(call $log (i32.const 9) (i32.const 0) (i32.const 0))", "unexpected discriminant: 9"),
        ("(call $log (i32.const 0) (i32.const 0) (i32.const -1))", ""),
        ("(call $is-mounted (local.get $target) (i32.const 0))", "a bug in wasmount"),
    ] {
        let (_, outcome) = play(&volume(body), start(), done);
        match outcome {
            Some(Outcome::Trapped { cause, frames }) => {
                let text = format!("{cause}; in {}", frames.join(", "));
                assert!(text.contains(account), "{body}: {text}");
                assert!(text.len() <= 2048);
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn handles_stand_for_what_the_broker_holds() {
    // Asks for the device at 512.., reads its size and identity, and lets go of it.
    let body = r"
        (call $attached (i32.const 600))
        (local.set $n (i32.load (i32.const 608)))
        (call $size (local.get $n) (i32.const 640))
        (call $identity (local.get $n) (i32.const 700))
        (call $log (i32.const 2) (i32.load (i32.const 700)) (i32.load (i32.const 704)))
        (call $drop-device (local.get $n))";
    let (asked, outcome) = play(&volume(body), start(), |request| {
        Some(match request {
            Request::ImagesAttached => {
                Response::Device(Some((Handle(4096), "image:1:2:3".to_owned())))
            }
            Request::DeviceSize { .. } => Response::Number(1 << 30),
            _ => Response::Done,
        })
    });
    assert_eq!(outcome, Some(Outcome::Done));
    let device = Handle(4096);
    let message = "image:1:2:3".to_owned();
    let expected = [
        Request::ImagesAttached,
        Request::DeviceSize { device },
        Request::Log { level: Level::Info, message },
        Request::Drop { handle: device },
    ];
    assert_eq!(asked, expected);
}

#[test]
fn at_most_64_handles_are_held() {
    let body = "(loop (call $open (i32.const 512) (i32.const 3) (i32.const 600)) (br 0))";
    let mut minted = 0;
    let (_, outcome) = play(&volume(body), start(), |_| {
        minted += 1;
        Some(Response::Handle(Handle(minted)))
    });
    assert!(matches!(outcome, Some(Outcome::Trapped { .. })), "{outcome:?}");
    assert!(minted <= 65, "{minted}");
}

#[test]
fn options_are_read_without_asking() {
    let body = r"
        (call $option (local.get $volume) (i32.const 512) (i32.const 3) (i32.const 600))
        (call $log (i32.const 0) (i32.load (i32.const 604)) (i32.load (i32.const 608)))";
    let (asked, outcome) = play(&volume(body), start(), done);
    assert_eq!(outcome, Some(Outcome::Done));
    let message = "value".to_owned();
    assert_eq!(asked, [Request::Log { level: Level::Error, message }]);
}

#[test]
fn a_flood_of_lines_is_cut_short() {
    let body = r"
        (loop
          (call $log (i32.const 3) (i32.const 512) (i32.const 3))
          (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1)))
            (i32.const 100000))))";
    let (asked, outcome) = play(&volume(body), start(), done);
    assert_eq!(outcome, Some(Outcome::Done));
    assert!(asked.len() < 2048, "{}", asked.len());
}

#[test]
fn a_refusal_reaches_the_broker_and_a_failure_the_component() {
    // What `put` failed with is at 600 in the form of mount's own result.
    let body = r"
        (call $put (i32.const 512) (i32.const 3) (i32.const 512) (i32.const 3) (i32.const 600))
        (call $drop-volume (local.get $volume))
        (call $drop-target (local.get $target))
        (return (i32.const 600))";
    let failure = Failure::new(Code::ResourceExhausted, "full", "no room; delete a key");
    let (asked, outcome) =
        play(&volume(body), start(), |_| Some(Response::Failed(failure.clone())));
    let value = Bytes(b"key".to_vec());
    assert_eq!(asked, [Request::StatePut { key: "key".to_owned(), value }]);
    assert_eq!(outcome, Some(Outcome::Refused(failure.clone())));
}

#[test]
fn a_guest_without_a_broker_ends() {
    let body = "(call $is-mounted (local.get $target) (i32.const 600)) (loop (br 0))";
    let (asked, outcome) = play(&volume(body), start(), |_| None);
    assert_eq!((asked.as_slice(), outcome), (&[Request::TargetIsMounted][..], None));
}

#[test]
fn what_cannot_be_started_is_unusable() {
    let big = volume_with_memory(1024, "");
    let (_, outcome) = play(&big, start(), done);
    let Some(Outcome::Unusable(failure)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.code, failure.reason.as_str()), (Code::ResourceExhausted, "memory"));
    assert!(failure.message.contains("limit of 16 MiB"), "{failure}");
    let image = compile_here(&volume(""), Cpu::Native).unwrap();
    let changed = String::from_utf8_lossy(&image).replace("wasmtime 48.0.8", "wasmtime 48.0.7");
    for image in [&b"\0asm"[..], b"\x7fELF", &image[..image.len() / 2], changed.as_bytes()] {
        let failure = load(image).map(drop).unwrap_err();
        assert!(failure.message.contains("`wasmount install`"), "{failure}");
    }
}

#[test]
fn an_export_that_is_absent_ends_the_call() {
    let start = Start { operation: Operation::MountDevice, ..start() };
    let (_, outcome) = play(&volume(""), start, done);
    let Some(Outcome::Trapped { cause: text, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(text.contains("does not export `device`"), "{text}");
}

/// The signatures in `fit` are the WIT's, and each way not to match them is told.
#[test]
fn only_what_fits_is_compiled() {
    compile_here(&dummy("driver", |text| text), Cpu::Native).unwrap();
    compile_here(&dummy("exports-volume", |text| text.replace("0.1.0", "0.1.7")), Cpu::Native)
        .unwrap();
    let unmount = "target: borrow<mount-target>) -> result<_, error>;";
    for (world, from, to, told) in [
        ("capabilities", "", "", "exports neither `volume` nor `device`"),
        ("exports-attacher", "", "", "exports neither `volume` nor `device`"),
        (
            "driver",
            "package wasmount:driver@0.1.0",
            "package wasmount:driver@0.2.0",
            "wasmount:driver",
        ),
        (
            "exports-volume",
            "exports-volume { export volume; }",
            "exports-volume { export volume; export attacher; }",
            "`attacher` without `device`",
        ),
        (
            "exports-volume",
            unmount,
            "target: borrow<mount-target>) -> result<u8, error>;",
            "the function `mount` is of another type",
        ),
        (
            "exports-device",
            "attachment: option<string>,",
            "attachment: string,",
            "`mount-device` is of another type",
        ),
        ("exports-device", "  unmount-device: func", "  mount-device2: func", "unmount-device"),
        ("driver", "    unauthenticated,", "    unauthenticated, odd,", "expected enum"),
    ] {
        let component = dummy(world, |text| text.replace(from, to));
        let failure = compile_here(&component, Cpu::Native).unwrap_err();
        assert!(failure.message.contains(told), "{world} {to}: {failure}");
    }
    for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"garbage", b"(component)"] {
        let failure = compile_here(bytes, Cpu::Native).unwrap_err();
        assert!(failure.message.contains("not a component"), "{failure}");
    }
}

#[test]
fn a_named_level_is_compiled_for_where_this_cpu_has_it() {
    assert_eq!(Cpu::parse("native"), Some(Cpu::Native));
    assert_eq!(Cpu::parse("has_avx"), None);
    for level in Cpu::LEVELS {
        let cpu = Cpu::parse(level).unwrap();
        assert_eq!(cpu.name(), *level);
        match compile_here(&volume(""), cpu) {
            Ok(image) => drop(load(&image).unwrap()),
            Err(failure) => assert!(failure.message.contains("CPU"), "{failure}"),
        }
    }
}
