//! The wall around the process that runs the component, by the names of its layers.
//!
//! Any one of them may turn out to have a hole, so each stops by itself what it is there for; the table
//! in `docs/architecture.md` says what, and `tests/wall.rs` shows it, by leaving off the others. What a
//! layer consists of is in `guest`: `confine`, `landlock`, `rlimits` and `filter`.

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "breakout", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "breakout", serde(rename_all = "kebab-case"))]
pub enum Layer {
    /// kubelet's arguments are not inherited.
    Arguments,
    /// Nothing is open but the socket to the broker.
    Descriptors,
    /// No program that is executed can have a capability.
    BoundingSet,
    /// A user and a group that no other process has.
    User,
    /// No capabilities.
    Capabilities,
    /// No program that is executed has more privileges.
    NoNewPrivileges,
    /// Landlock: no path can be opened, made, changed or removed.
    LandlockFiles,
    /// Landlock: no file can be cut off by its path.
    LandlockTruncate,
    /// Landlock: no TCP port can be bound or connected to.
    LandlockNetwork,
    /// Landlock: no signals to other processes, and no abstract unix sockets of theirs.
    LandlockScopes,
    /// No core file.
    LimitCore,
    /// No bytes written to a file.
    LimitFsize,
    /// No further process or thread.
    LimitNproc,
    /// No memory that cannot be swapped out.
    LimitMemlock,
    /// No message queue.
    LimitMsgqueue,
    /// No queued signal and no timer.
    LimitSigpending,
    /// The stack.
    LimitStack,
    /// No further descriptor.
    LimitNofile,
    /// Processor time.
    LimitCpu,
    /// Memory that can be written to.
    LimitData,
    /// Addresses, whatever is behind them.
    LimitAs,
    /// No other process of this user can look in, and no core is dumped.
    NotDumpable,
    /// Its end comes with the broker's.
    ParentDeath,
    /// The filter of system calls.
    Seccomp,
}

/// Whether a layer is put up: always, but where a test has built a driver to leave some off.
#[cfg(not(feature = "breakout"))]
#[inline(always)]
pub fn stands(_: Layer) -> bool {
    true
}

#[cfg(feature = "breakout")]
pub use crate::breakout::stands;
