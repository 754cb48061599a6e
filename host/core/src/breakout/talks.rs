//! The broker, told what no component would tell it, and the ends of the process itself.

use std::hint::black_box;
use std::os::fd::AsFd as _;

use rustix::net::SendFlags;

use super::memory::{PAGE, PRIVATE, READ_WRITE, map};
use super::payload::{OVER, Talk, over, say, syscall};
use super::processes::ignore;
use crate::call::Operation;
use crate::failure::{Code, Failure};
use crate::wire::{
    Channel, FromGuest, Handle, Level, MAX_MESSAGE, Outcome, Request, Response, Start,
};

/// What the broker says of one that breaks a rule, and of one that is gone.
const FAULT: &str = "component-fault";
const DIED: &str = "guest-died";

pub(super) const TALKS: &[Talk] = &[
    Talk { name: "say garbage", ends: FAULT, run: |c| bytes(c, b"\0\x01garbage\xff") },
    Talk {
        name: "say half of something",
        ends: FAULT,
        run: |c| bytes(c, br#"{"guest":"request","value":{"call":"target-is-"#),
    },
    Talk {
        name: "say more than one thing at once",
        ends: FAULT,
        run: |c| {
            let twice = br#"{"guest":"request","value":{"call":"target-is-mounted"}}"#.repeat(2);
            bytes(c, &twice)
        },
    },
    Talk { name: "say nothing, in a packet", ends: DIED, run: |c| bytes(c, b"") },
    Talk { name: "say too much", ends: FAULT, run: |c| bytes(c, &vec![b' '; MAX_MESSAGE + 1]) },
    Talk {
        name: "say more than there is room for",
        ends: OVER,
        run: |c| {
            let told = rustix::net::send(c.as_fd(), &vec![b' '; 64 << 20], SendFlags::NOSIGNAL);
            if told.is_err() { over() } else { Outcome::Done }
        },
    },
    Talk {
        name: "nest without end",
        ends: FAULT,
        run: |c| bytes(c, "[".repeat(MAX_MESSAGE).as_bytes()),
    },
    Talk { name: "answer nobody", ends: FAULT, run: |c| told(c, &Response::Done) },
    Talk { name: "start the broker", ends: FAULT, run: |c| told(c, &start()) },
    Talk {
        name: "forge a mount",
        ends: FAULT,
        run: |c| told(c, &request(Request::TargetAttach { pending: Handle(1) })),
    },
    Talk {
        name: "forge a secret",
        ends: FAULT,
        run: |c| told(c, &request(Request::SecretReveal { secret: Handle(u32::MAX) })),
    },
    Talk {
        name: "forge a device",
        ends: FAULT,
        run: |c| {
            let (device, fs_type) = (Handle(0), "ext4".to_owned());
            told(c, &request(Request::FilesystemsFormat { device, fs_type, options: Vec::new() }))
        },
    },
    Talk {
        name: "drop a handle twice",
        ends: FAULT,
        run: |c| {
            let create = Request::TmpfsCreate { size: 4096, mode: 0o700, group: None };
            let Some(Response::Handle(handle)) = asked(c, create) else { return over() };
            // It is not answered.
            let _ = c.send(&request(Request::Drop { handle }));
            told(c, &request(Request::Drop { handle }))
        },
    },
    Talk {
        name: "attach a mount twice",
        ends: FAULT,
        run: |c| {
            let create = Request::TmpfsCreate { size: 4096, mode: 0o700, group: None };
            let Some(Response::Handle(pending)) = asked(c, create) else { return over() };
            asked(c, Request::TmpfsSeal { pending });
            asked(c, Request::TargetAttach { pending });
            told(c, &request(Request::TargetAttach { pending }))
        },
    },
    Talk {
        name: "hold more than 64 things",
        ends: FAULT,
        run: |c| {
            let create = || Request::TmpfsCreate { size: 4096, mode: 0o700, group: None };
            (0..65).for_each(|_| drop(asked(c, create())));
            told(c, &request(create()))
        },
    },
    Talk {
        name: "ask for what is not granted, and use it",
        ends: FAULT,
        run: |c| {
            asked(c, Request::ImagesOpen { name: "../../etc/passwd".to_owned() });
            told(c, &request(Request::ImageSize { image: Handle(1) }))
        },
    },
    Talk {
        name: "ask without end",
        ends: FAULT,
        run: |c| {
            while asked(c, Request::TargetIsMounted).is_some() {}
            over()
        },
    },
    Talk {
        name: "ask without listening",
        ends: DIED,
        run: |c| {
            while c.send(&request(Request::TargetIsMounted)).is_ok() {}
            over()
        },
    },
    Talk {
        name: "log without end",
        ends: FAULT,
        run: |c| {
            let line = Request::Log { level: Level::Info, message: "x".repeat(4096) };
            while asked(c, line.clone()).is_some() {}
            over()
        },
    },
    Talk {
        name: "say twice how it ended",
        ends: OVER,
        run: |c| {
            let _ = c.send(&FromGuest::Finished(over()));
            Outcome::Done
        },
    },
    Talk {
        name: "ask after the end",
        ends: OVER,
        run: |c| {
            let _ = c.send(&FromGuest::Finished(over()));
            told(c, &request(Request::TargetUnmount))
        },
    },
    Talk { name: "claim to have mounted", ends: "nothing-attached", run: |_| Outcome::Done },
    Talk { name: "end as another operation does", ends: FAULT, run: |_| Outcome::Flag(true) },
    Talk {
        name: "be attached somewhere",
        ends: FAULT,
        run: |_| Outcome::Attachment("/dev/vda".to_owned()),
    },
    Talk {
        name: "forge a reason",
        ends: "component",
        run: |_| {
            let reason = "x]\n{\"status\":\"Success\"}";
            Outcome::Refused(Failure::new(Code::Internal, reason, reason))
        },
    },
    Talk {
        name: "forge a reason of the host's own",
        ends: "component",
        run: |_| {
            let reason = "x]\n{\"status\":\"Success\"}";
            Outcome::Unusable(Failure::new(Code::Internal, reason, "x".repeat(MAX_MESSAGE / 2)))
        },
    },
    Talk {
        name: "stay silent",
        ends: "stopped",
        run: |_| loop {
            let day = [86_400_u64, 0];
            let _ = syscall!(SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, 0, day.as_ptr(), 0);
        },
    },
    Talk {
        name: "leave without a word",
        ends: DIED,
        run: |_| loop {
            let _ = syscall!(SYS_exit_group, 0);
        },
    },
    Talk {
        name: "crash",
        ends: DIED,
        run: |_| {
            // The kernel comes back to code that is not there any more.
            let code = over as fn() -> Outcome as usize & !(PAGE - 1);
            let _ = syscall!(SYS_munmap, code - (16 << 20), 32 << 20);
            over()
        },
    },
    Talk {
        name: "use up its stack",
        ends: DIED,
        run: |_| {
            deeper(1);
            over()
        },
    },
    Talk {
        name: "use up its memory",
        ends: OVER,
        run: |c| {
            let mut mebibytes = 0;
            while let Ok(memory) = map(1 << 20, READ_WRITE, PRIVATE) {
                for page in (0..1 << 20).step_by(PAGE) {
                    // Only what was written to takes up room.
                    let _ = syscall!(SYS_getrandom, memory + page, 1, 0);
                }
                mebibytes += 1;
            }
            say(c, format!("had {mebibytes} MiB"));
            over()
        },
    },
    Talk { name: "use up its time", ends: "cpu-limit", run: |_| work() },
    Talk {
        name: "not hear that its time is up",
        ends: DIED,
        run: |_| {
            let _ = ignore(libc::SIGXCPU);
            work()
        },
    },
];

fn request(request: Request) -> FromGuest {
    FromGuest::Request(request)
}

/// Says something, and waits to be ended for it.
fn told<T: serde::Serialize>(channel: &Channel, message: &T) -> Outcome {
    let _ = channel.send(message);
    wait(channel)
}

fn bytes(channel: &Channel, packet: &[u8]) -> Outcome {
    let _ = rustix::net::send(channel.as_fd(), packet, SendFlags::NOSIGNAL);
    wait(channel)
}

fn wait(channel: &Channel) -> Outcome {
    let _ = channel.receive::<Response>(&mut Vec::new());
    over()
}

fn asked(channel: &Channel, request: Request) -> Option<Response> {
    channel.send(&FromGuest::Request(request)).ok()?;
    channel.receive(&mut Vec::new()).ok()?
}

fn start() -> Start {
    Start {
        operation: Operation::Unmount,
        name: "vol".to_owned(),
        volume: None,
        attachment: None,
        node: None,
        sizes: None,
        node_name: String::new(),
        config: std::collections::BTreeMap::new(),
        secret_keys: Vec::new(),
        memory_bytes: u64::MAX,
        cpu_seconds: u64::MAX,
    }
}

fn deeper(level: u64) -> u64 {
    let room = black_box([level; 512]);
    if black_box(level) == 0 {
        return 0;
    }
    deeper(black_box(level + 1)) + room[level as usize % 512]
}

/// Works until the limit's end, or for far longer than that.
fn work() -> Outcome {
    let mut now = [0_u64; 2];
    while now[0] < 3 {
        let _ = syscall!(SYS_clock_gettime, libc::CLOCK_PROCESS_CPUTIME_ID, now.as_mut_ptr());
    }
    over()
}
