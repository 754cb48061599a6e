//! Named points at which a test kills the broker and the supervisor, to show that the next call
//! repairs whatever they left. Without the feature `crash-points`, which no shipped binary has,
//! there is nothing here.

/// Every point, in the order in which a volume's life meets them.
#[cfg(feature = "crash-points")]
pub const POINTS: &[&str] = &[
    "locked",
    "guest-started",
    "image-created",
    "image-leased",
    "loop-attached",
    "format-recorded",
    "formatted",
    "format-ended",
    "foreseen",
    "filesystem-checked",
    "mount-made",
    "claimed",
    "record-saved",
    "loop-kept",
    "permitted",
    "attached",
    "image-grown",
    "filesystem-grown",
    "unmounted",
    "loop-detached",
    "lease-released",
    "teardown-recorded",
];

/// Those that are met only where the host attaches volumes itself, within `mount` and `unmount`.
#[cfg(feature = "crash-points")]
pub const NODE_ONLY_POINTS: &[&str] =
    &["attach-noted", "staging-made", "staged", "unpublished", "staging-removed"];

#[cfg(feature = "crash-points")]
static WANTED: std::sync::OnceLock<(String, nix::unistd::Pid)> = std::sync::OnceLock::new();

/// Reads from the run directory at which point to die.
#[cfg(feature = "crash-points")]
pub fn arm(run_dir: &std::path::Path) {
    if let Ok(name) = std::fs::read_to_string(run_dir.join("crash-point")) {
        let _ = WANTED.set((name.trim().to_owned(), nix::unistd::getppid()));
    }
}

/// Dies here if the test said so.
#[cfg(feature = "crash-points")]
pub fn point(name: &'static str) {
    debug_assert!(
        POINTS.contains(&name) || NODE_ONLY_POINTS.contains(&name),
        "{name} is not listed"
    );
    if let Some((wanted, supervisor)) = WANTED.get()
        && wanted == name
    {
        use nix::sys::signal::{Signal, kill};
        // One that has ended already has left us to a process that is none of ours.
        if nix::unistd::getppid() == *supervisor {
            let _ = kill(*supervisor, Signal::SIGKILL);
        }
        let _ = kill(nix::unistd::getpid(), Signal::SIGKILL);
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
