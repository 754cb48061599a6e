//! Time, for that of `std` panics in a component. Needs no grant.

use std::ops::Add;
use std::time::{Duration, SystemTime};

use crate::host::clock as raw;

/// The time of day. Everything that [`SystemTime`] does works in a component but its own `now`
/// and `elapsed`.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(raw::now())
}

/// Waits, rounded up to whole milliseconds and at most 49 days. The call's deadline goes on
/// running.
pub fn sleep(time: Duration) {
    raw::sleep(milliseconds(time));
}

/// A moment, for measuring how long something takes: what `std::time::Instant` is elsewhere.
/// It never goes back, and means nothing outside this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self(Duration::from_nanos(raw::monotonic()))
    }

    /// The time since this moment.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    /// The time from an earlier moment to this one; zero if that one is later.
    #[must_use]
    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// A moment later by so much; the last there is, if that is too far.
    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// Never shorter than asked for: a deadline that is awaited has then passed.
pub(crate) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_shorter_than_asked_for() {
        let table = [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(20), 20),
            (Duration::from_micros(20_001), 21),
            (Duration::MAX, u32::MAX),
        ];
        for (time, expected) in table {
            assert_eq!(milliseconds(time), expected, "{time:?}");
        }
    }

    #[test]
    fn moments_neither_overflow_nor_go_back() {
        let early = Instant(Duration::from_secs(1));
        let late = early + Duration::from_secs(2);
        assert_eq!(late.duration_since(early), Duration::from_secs(2));
        assert_eq!(early.duration_since(late), Duration::ZERO);
        assert_eq!(late + Duration::MAX, Instant(Duration::MAX));
    }
}
