//! Times by name, and what is said of them: the median, since a single slow one says nothing.

use std::collections::BTreeMap;
use std::time::Duration;

/// The times of every subject, in the order in which they were taken.
#[derive(Default)]
pub(super) struct Samples(BTreeMap<&'static str, Vec<Duration>>);

impl Samples {
    pub(super) fn add(&mut self, subject: &'static str, time: Duration) {
        self.0.entry(subject).or_default().push(time);
    }

    /// Forgets everything: what came before was for warming up.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn count(&self, subject: &str) -> usize {
        self.0.get(subject).map_or(0, Vec::len)
    }

    /// In milliseconds; zero if nothing was measured.
    pub(super) fn median(&self, subject: &str) -> f64 {
        self.quantile(subject, 0.5)
    }

    /// The time in milliseconds that the given share of the samples does not exceed.
    pub(super) fn quantile(&self, subject: &str, share: f64) -> f64 {
        let mut times = self.0.get(subject).cloned().unwrap_or_default();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let mut samples = Samples::default();
        for milliseconds in [9, 1, 2, 100, 3] {
            samples.add("a", Duration::from_millis(milliseconds));
        }
        assert_eq!(samples.count("a"), 5);
        assert_eq!(samples.median("a"), 3.0);
        assert_eq!(samples.quantile("a", 0.9), 100.0);
        assert_eq!(samples.median("b"), 0.0);
    }
}
