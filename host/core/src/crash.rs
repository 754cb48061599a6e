//! Named points at which a test kills processes of a call, to show that the next call repairs
//! whatever they left. Without the feature `crash-points`, which no shipped binary has, there is
//! nothing here.
//!
//! The test says in the run directory who is to die where: a [`Death`] in the file `crash-point`.
//! To find out where that could be, it makes a file `crash-points-met`, into which every point is
//! written that is met.

/// Every point, in the order in which a volume's life meets them.
#[cfg(feature = "crash-points")]
pub const POINTS: &[&str] = &[
    "guest-started",
    "locked",
    "image-created",
    "image-leased",
    "loop-attached",
    "format-recorded",
    "formatted",
    "format-ended",
    "foreseen",
    "filesystem-checked",
    "mount-made",
    "concluded",
    "claimed",
    "record-written",
    "record-saved",
    "loop-kept",
    "permitted",
    "attached",
    "image-grown",
    "filesystem-grown",
    "unmounted",
    "loop-detached",
    "lease-released",
    "record-replaced",
    "teardown-recorded",
];

/// Those that are met only where the host attaches volumes itself, within `mount` and `unmount`.
#[cfg(feature = "crash-points")]
pub const NODE_ONLY_POINTS: &[&str] =
    &["attach-noted", "staging-made", "staged", "unpublished", "staging-removed"];

#[cfg(feature = "crash-points")]
pub use armed::{Death, Victim, arm, point};

#[cfg(feature = "crash-points")]
mod armed {
    use std::fmt;
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::path::Path;
    use std::str::FromStr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use nix::unistd::{Pid, getpid, getppid};

    use super::{NODE_ONLY_POINTS, POINTS};

    /// Which processes of a call die, by SIGKILL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Victim {
        /// Broker and supervisor; the guest ends with its broker.
        Call,
        /// The broker.
        Broker,
        /// The guest.
        Guest,
        /// The supervisor, which kubelet waits for.
        Supervisor,
    }

    impl Victim {
        /// All there are.
        pub const ALL: [Self; 4] = [Self::Call, Self::Broker, Self::Guest, Self::Supervisor];

        /// Its name in a [`Death`].
        pub fn name(self) -> &'static str {
            match self {
                Self::Call => "call",
                Self::Broker => "broker",
                Self::Guest => "guest",
                Self::Supervisor => "supervisor",
            }
        }
    }

    /// Who dies where: `POINT`, or `POINT NTH VICTIM`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Death {
        /// The point's name.
        pub point: String,
        /// How often the call has met it then, from 1.
        pub nth: u32,
        /// Who dies.
        pub victim: Victim,
    }

    impl fmt::Display for Death {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} {} {}", self.point, self.nth, self.victim.name())
        }
    }

    impl FromStr for Death {
        type Err = ();

        fn from_str(text: &str) -> Result<Self, ()> {
            let mut words = text.split_whitespace();
            let point = words.next().ok_or(())?.to_owned();
            let nth = words.next().map_or(Ok(1), str::parse).map_err(drop)?;
            let victim = words.next().unwrap_or(Victim::Call.name());
            let victim = Victim::ALL.into_iter().find(|known| known.name() == victim).ok_or(())?;
            Ok(Self { point, nth, victim })
        }
    }

    struct Armed {
        death: Option<Death>,
        supervisor: Pid,
        /// How often the point has been met.
        count: AtomicU32,
        met: Option<File>,
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    /// Reads from the run directory who is to die where.
    pub fn arm(run_dir: &Path) {
        let death = std::fs::read_to_string(run_dir.join("crash-point")).ok();
        let met = OpenOptions::new().append(true).open(run_dir.join("crash-points-met")).ok();
        let _ = ARMED.set(Armed {
            death: death.and_then(|text| text.parse().ok()),
            supervisor: getppid(),
            count: AtomicU32::new(0),
            met,
        });
    }

    /// Lets die here whom the test said.
    pub fn point(name: &'static str) {
        debug_assert!(
            POINTS.contains(&name) || NODE_ONLY_POINTS.contains(&name),
            "{name} is not listed"
        );
        let Some(armed) = ARMED.get() else { return };
        if let Some(mut met) = armed.met.as_ref() {
            let _ = met.write_all(format!("{name}\n").as_bytes());
        }
        let Some(death) = armed.death.as_ref().filter(|death| death.point == name) else { return };
        if armed.count.fetch_add(1, Ordering::Relaxed) + 1 != death.nth {
            return;
        }
        let victim = death.victim;
        if victim == Victim::Guest {
            for guest in guests() {
                end(guest);
                // It is left to be waited for by whoever has started it.
                let _ = waitid(Id::Pid(guest), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            }
        }
        // A supervisor that has ended already has left us to a process that is none of ours.
        if matches!(victim, Victim::Call | Victim::Supervisor) && getppid() == armed.supervisor {
            end(armed.supervisor);
        }
        if matches!(victim, Victim::Call | Victim::Broker) {
            end(getpid());
        }
        if victim == Victim::Supervisor {
            // From then on it can be seen that nobody hears us.
            while getppid() == armed.supervisor {
                std::thread::yield_now();
            }
        }
    }

    /// The broker's children: while it is at a point, no tool runs.
    fn guests() -> impl Iterator<Item = Pid> {
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        let pids: Vec<_> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        pids.into_iter().map(Pid::from_raw)
    }

    fn end(process: Pid) {
        let _ = kill(process, Signal::SIGKILL);
    }
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn arm(_: &std::path::Path) {}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_: &'static str) {}
