//! Progress of long work: a line when a step begins, one with its duration when it has ended.
//!
//! On stderr, so that what a command prints for a program to read stays clean.

use std::time::{Duration, Instant};

/// Runs one step. What the step's own programs print appears between the two lines.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    eprintln!("==> {name}");
    let begun = Instant::now();
    let result = work();
    let how = if result.is_ok() { "done" } else { "FAILED" };
    eprintln!("    {how}: {name} ({})", human(begun.elapsed()));
    result
}

fn human(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        assert_eq!(human(Duration::from_millis(340)), "0.3 s");
        assert_eq!(human(Duration::from_secs(125)), "2 min 05 s");
    }
}
