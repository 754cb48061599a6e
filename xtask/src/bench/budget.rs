//! The design's budget, and the report of one run against it.

use std::fmt::Write as _;

use serde::Serialize;

use super::layers;
use super::samples::Samples;
use super::subjects::Measured;
use crate::dist;

/// Every subject, in the order of the report.
const SUBJECTS: &[&str] = &[
    "static-c",
    "bash",
    "bash-jq",
    "bash-jq-mountdevice",
    "bash-jq-mount",
    "native-mountdevice",
    "native-mount",
    "init",
    "isattached",
    "mountdevice",
    "mount",
    "mountdevice-xfs",
    "mount-xfs",
    "mount-secret",
    "isattached-1000",
    "mountdevice-1000",
    "mount-1000",
];

/// One line of the budget: the first's median is at most `limit` times the sum of the others'.
struct Line {
    subject: &'static str,
    against: &'static [&'static str],
    limit: f64,
}

/// `docs/architecture.md` has the reasons.
const BUDGET: &[Line] = &[
    Line { subject: "init", against: &["static-c"], limit: 1.5 },
    Line { subject: "isattached", against: &["static-c"], limit: 3.5 },
    Line { subject: "mountdevice", against: &["native-mountdevice"], limit: 1.25 },
    Line { subject: "mount", against: &["native-mount", "isattached"], limit: 1.0 },
    Line { subject: "mountdevice", against: &["bash-jq-mountdevice"], limit: 1.0 / 3.0 },
    Line { subject: "mount", against: &["bash-jq-mount"], limit: 1.0 / 3.0 },
    Line { subject: "isattached-1000", against: &["isattached"], limit: 1.1 },
    Line { subject: "mountdevice-1000", against: &["mountdevice"], limit: 1.1 },
    Line { subject: "mount-1000", against: &["mount"], limit: 1.1 },
];

/// The most memory that the driver may have resident, in bytes.
const RESIDENT_LIMIT: u64 = 8 << 20;

/// A run, ready to be printed. Its JSON is this very structure.
#[derive(Serialize)]
pub(super) struct Report {
    v: u32,
    ok: bool,
    subjects: Vec<Subject>,
    budget: Vec<Check>,
    /// How much longer `isattached` takes with layers of the wall than without.
    layers: Vec<Layers>,
}

#[derive(Serialize)]
struct Layers {
    name: &'static str,
    microseconds: f64,
}

#[derive(Serialize)]
struct Subject {
    name: &'static str,
    samples: usize,
    median_ms: f64,
    p90_ms: f64,
    /// Times the median of `static-c`.
    ratio: f64,
}

#[derive(Serialize)]
struct Check {
    name: String,
    measured: f64,
    limit: f64,
    unit: &'static str,
    ok: bool,
}

impl Report {
    /// Holds the run against the budget.
    pub(super) fn new(Measured { samples, driver_size, driver_resident }: Measured) -> Report {
        let of_static = samples.median("static-c");
        let subjects = SUBJECTS.iter().map(|name| Subject {
            name,
            samples: samples.count(name),
            median_ms: rounded(samples.median(name)),
            p90_ms: rounded(samples.quantile(name, 0.9)),
            ratio: rounded(samples.median(name) / of_static),
        });
        let mut budget: Vec<Check> = BUDGET.iter().map(|line| line.check(&samples)).collect();
        budget.push(Check::of_bytes("driver size", driver_size, dist::DRIVER_SIZE_LIMIT));
        budget.push(Check::of_bytes("driver resident", driver_resident, RESIDENT_LIMIT));
        let ok = budget.iter().all(|check| check.ok);
        let whole = samples.median(layers::WHOLE);
        let layers = layers::LEFT_OFF.iter().map(|(name, _)| {
            let microseconds = rounded(whole - samples.median(name)) * 1e3;
            Layers { name: name.trim_start_matches("without-"), microseconds }
        });
        Report { v: 1, ok, subjects: subjects.collect(), budget, layers: layers.collect() }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text are always JSON")
    }

    pub(super) fn to_table(&self) -> String {
        let mut table = format!(
            "\n{:<36} {:>7} {:>11} {:>9} {:>10}\n",
            "subject", "samples", "median ms", "p90 ms", "× static-c"
        );
        for Subject { name, samples, median_ms, p90_ms, ratio } in &self.subjects {
            let _ = writeln!(
                table,
                "{name:<36} {samples:>7} {median_ms:>11.3} {p90_ms:>9.3} {ratio:>10.2}"
            );
        }
        let _ = writeln!(table, "\n{:<36} {:>11} {:>11}", "budget", "measured", "at most");
        for Check { name, measured, limit, unit, ok } in &self.budget {
            let verdict = if *ok { "pass" } else { "OVER" };
            let (measured, limit) = (format!("{measured:.2} {unit}"), format!("{limit:.2} {unit}"));
            let _ = writeln!(table, "{name:<36} {measured:>11} {limit:>11}  {verdict}");
        }
        let _ = writeln!(table, "\n{:<36} {:>11}", "layers of the wall", "cost");
        for Layers { name, microseconds } in &self.layers {
            let _ = writeln!(table, "{name:<36} {:>11}", format!("{microseconds:.0} µs"));
        }
        table.push('\n');
        table
    }

    /// The last line.
    pub(super) fn verdict(&self) -> String {
        if self.ok {
            return "bench: ok".to_string();
        }
        let over: Vec<&str> =
            self.budget.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
        format!("bench: over budget: {}", over.join(", "))
    }
}

impl Line {
    fn check(&self, samples: &Samples) -> Check {
        let against: f64 = self.against.iter().map(|name| samples.median(name)).sum();
        let measured = samples.median(self.subject) / against;
        let name = format!("{} / {}", self.subject, self.against.join(" + "));
        // Nothing divided by nothing is not a number, and then not within the limit.
        Check { name, measured, limit: self.limit, unit: "×", ok: measured <= self.limit }
    }
}

impl Check {
    fn of_bytes(name: &str, measured: u64, limit: u64) -> Check {
        let ok = measured <= limit;
        Check {
            name: name.to_string(),
            measured: mib(measured),
            limit: mib(limit),
            unit: "MiB",
            ok,
        }
    }
}

fn mib(bytes: u64) -> f64 {
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}

/// To the microsecond: what is finer is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(init_us: u64) -> Report {
        let mut samples = Samples::default();
        for name in SUBJECTS {
            samples.add(name, Duration::from_micros(1000));
        }
        for name in ["bash-jq-mountdevice", "bash-jq-mount"] {
            samples.add(name, Duration::from_micros(10_000));
        }
        samples.add("init", Duration::from_micros(init_us));
        Report::new(Measured { samples, driver_size: 3 << 20, driver_resident: 2 << 20 })
    }

    #[test]
    fn the_budget_decides_the_last_line() {
        assert_eq!(report(1400).verdict(), "bench: ok");
        assert_eq!(report(1600).verdict(), "bench: over budget: init / static-c");
    }

    #[test]
    fn every_line_of_the_budget_is_of_subjects() {
        for line in BUDGET {
            for name in line.against.iter().chain([&line.subject]) {
                assert!(SUBJECTS.contains(name), "{name}");
            }
        }
        let report = report(1400);
        assert_eq!(report.budget.len(), BUDGET.len() + 2);
        assert!(report.to_table().contains("driver resident"));
        assert!(report.to_json().starts_with(r#"{"v":1,"ok":true,"#));
    }
}
