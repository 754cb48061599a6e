//! A component that does what the volume's option `do` says: fail in every way that a component
//! can fail, or make one host call that its grants may not allow. With nothing to do it is a
//! well-behaved driver of small tmpfs volumes.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that it prints is the point")]

mod host_call;

use wasmount_guest_sdk::mounts::tmpfs::Tmpfs;
use wasmount_guest_sdk::{
    Code, Error, MountTarget, Result, VolumeRecord, VolumeSpec, clock, devices, export, images,
    info, secrets,
};

struct Hostile;

export! {
    impl Volume for Hostile {
        fn mount(volume: &VolumeSpec, target: &MountTarget) -> Result {
            misbehave(&|key| volume.option(key), Some(target))?;
            if volume.option("do").as_deref() == Some("attach-nothing") {
                return Ok(());
            }
            target.attach(Tmpfs::create(1 << 20, 0o755, None)?)?;
            misbehave(&|key| volume.option(&format!("then-{key}")), Some(target))
        }

        fn unmount(_: &str, previous: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            misbehave(&|key| previous?.option(&format!("unmount-{key}")), Some(target))?;
            target.unmount()
        }
    }

    impl Device for Hostile {
        fn mount_device(
            volume: &VolumeSpec,
            attachment: Option<&str>,
            target: &MountTarget,
        ) -> Result {
            // The one thing that can differ between calls for a volume that is in use.
            if let Some(name) = attachment.and_then(|token| token.strip_prefix("call:")) {
                host_call::make(name, Some(target))?;
            }
            misbehave(&|key| volume.option(key), Some(target))?;
            target.attach(Tmpfs::create(1 << 20, 0o755, None)?)
        }

        fn unmount_device(_: &str, previous: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            misbehave(&|key| previous?.option(&format!("unmount-{key}")), Some(target))?;
            target.unmount()
        }
    }

    impl Attacher for Hostile {
        fn attach(volume: &VolumeSpec, _: &str) -> Result<String> {
            misbehave(&|key| volume.option(key), None)?;
            Ok(volume.option("token").unwrap_or_else(|| "token".to_owned()))
        }

        fn detach(_: &str, previous: Option<&VolumeRecord>, _: &str) -> Result {
            misbehave(&|key| previous?.option(&format!("detach-{key}")), None)
        }

        fn wait_for_attach(volume: &VolumeSpec, attachment: Option<&str>) -> Result<String> {
            misbehave(&|key| volume.option(key), None)?;
            Ok(attachment.unwrap_or("token").to_owned())
        }

        fn is_attached(volume: &VolumeSpec, _: &str) -> Result<bool> {
            misbehave(&|key| volume.option(key), None)?;
            Ok(true)
        }
    }
}

/// Does what the options say.
fn misbehave(option: &dyn Fn(&str) -> Option<String>, target: Option<&MountTarget>) -> Result {
    match option("do").as_deref() {
        None | Some("attach-nothing") => Ok(()),
        Some("trap") => panic!("told to"),
        Some("loop") => loop {
            std::hint::black_box(());
        },
        Some("memory") => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1; 1 << 20]));
            }
        }
        Some("recurse") => {
            std::hint::black_box(recurse(1));
            Ok(())
        }
        Some("log") => loop {
            info!("{}", "x".repeat(4096));
        },
        // What it does after so much noise is what the noise is for.
        Some("flood") => {
            let name = "x".repeat(250);
            (0..5000).for_each(|_| drop(images::open(&name)));
            (0..3).try_for_each(|_| secrets::open("password")?.reveal().map(drop))
        }
        Some("print") => {
            println!("{{\"status\":\"Success\"}}");
            eprintln!("noise");
            Ok(())
        }
        Some("sleep") => {
            clock::sleep(std::time::Duration::from_secs(100));
            Ok(())
        }
        Some("wait") => {
            devices::wait("disk", "vol-1", std::time::Duration::from_secs(100)).map(drop)
        }
        // More than is observed of a call.
        Some("swamp") => {
            let value = vec![b'x'; 65_000];
            (0..530).for_each(|_| drop(wasmount_guest_sdk::state::put("key", &value)));
            Ok(())
        }
        Some("reveal") => {
            let value = secrets::open("password")?.reveal()?;
            let text = String::from_utf8_lossy(&value).into_owned();
            info!("the secret is {text}");
            Err(Error::internal("told", format!("the secret is {text}")))
        }
        Some("call") => host_call::make(&option("call").unwrap_or_default(), target),
        Some(code) => Err(Error::new(code_named(code)?, "told", "told to fail")),
    }
}

/// Uses stack until there is none.
fn recurse(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    // Never so deep; without an end the compiler would warn of what is meant.
    if depth == u64::MAX {
        return depth;
    }
    recurse(depth + 1) + room[(depth % 64) as usize]
}

fn code_named(name: &str) -> Result<Code> {
    Ok(match name {
        "cancelled" => Code::Cancelled,
        "unknown" => Code::Unknown,
        "invalid-argument" => Code::InvalidArgument,
        "deadline-exceeded" => Code::DeadlineExceeded,
        "not-found" => Code::NotFound,
        "already-exists" => Code::AlreadyExists,
        "permission-denied" => Code::PermissionDenied,
        "resource-exhausted" => Code::ResourceExhausted,
        "failed-precondition" => Code::FailedPrecondition,
        "aborted" => Code::Aborted,
        "out-of-range" => Code::OutOfRange,
        "unimplemented" => Code::Unimplemented,
        "internal" => Code::Internal,
        "unavailable" => Code::Unavailable,
        "data-loss" => Code::DataLoss,
        "unauthenticated" => Code::Unauthenticated,
        other => return Err(Error::invalid_argument("told", format!("nothing is called {other}"))),
    })
}
