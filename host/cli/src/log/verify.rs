//! `wasmount log verify`: whether logs are what the driver wrote, and the first place where one is
//! not. It reads, and while it opens the files no call writes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use wasmount_core::audit::head::Head;
use wasmount_core::bundle::Receipt;
use wasmount_core::call::DriverName;

use super::chain::{self, Broken, Findings};
use super::exported::{Shown, compare};
use super::head::Exported;
use super::snapshot::Snapshot;
use crate::arguments;
use crate::layout::PluginDir;
use crate::output::{Output, printable};

/// What was found about one driver's log.
struct Verified {
    driver: DriverName,
    log: Snapshot,
    findings: Findings,
    /// What the exported head shows, if there is one and there is anything for it to show.
    exported: Option<Shown>,
}

/// Verifies. Fails if a log is not in order, or if an exported head does not vouch for it.
pub(super) fn run(arguments: &arguments::LogVerify, output: &mut Output<'_>) -> Result<()> {
    let exported = arguments.head.as_deref().map(Exported::read).transpose()?;
    let mut all = Vec::new();
    for (driver, log, head) in places(arguments)? {
        let log = Snapshot::take(&log.join(super::file_name(&driver)), &head)?;
        let findings = chain::examine(&log);
        let shown = exported.as_ref().and_then(|exported| {
            let known = exported.of(&driver);
            // A driver that was never called has no head to export.
            let is_any = known.is_some() || !log.lines.is_empty();
            is_any.then(|| compare(&log, &findings, known))
        });
        all.push(Verified { driver, log, findings, exported: shown });
    }
    let missed = match (&exported, &arguments.driver) {
        (Some(exported), None) => missed(exported, &all),
        _ => Vec::new(),
    };
    if arguments.json {
        let logs: Vec<Value> = all.iter().map(Verified::json).collect();
        let ok = missed.is_empty() && all.iter().all(Verified::is_ok);
        output.json(&json!({ "ok": ok, "logs": logs, "missed": missed }))?;
    } else {
        all.iter().try_for_each(|verified| output.text(&verified.text()))?;
        missed.iter().try_for_each(|driver| output.text(&not_there(driver)))?;
    }
    let broken = all.iter().filter(|verified| !verified.is_in_order()).count();
    let failed = all.iter().filter(|verified| !verified.is_ok()).count() + missed.len();
    match (broken, failed) {
        (_, 0) => Ok(()),
        (0, 1) => bail!("1 log is not vouched for by the exported head"),
        (0, count) => bail!("{count} logs are not vouched for by the exported head"),
        (1, _) => bail!("1 log is not in order"),
        (count, _) => bail!("{count} logs are not in order"),
    }
}

/// The drivers that an exported head knows, and nobody has verified the logs of.
fn missed(exported: &Exported, all: &[Verified]) -> Vec<String> {
    let verified = |name: &str| all.iter().any(|verified| verified.driver.slash() == name);
    exported.drivers().filter(|name| !verified(name)).map(printable).collect()
}

fn not_there(driver: &str) -> String {
    format!(
        "{driver}: not verified\n  {:<9}the driver is not there, and had a log when the head was \
         exported; name where log and records were with --log-dir and --data-dir\n",
        "exported"
    )
}

/// The first place where an installed driver's log is not what the driver wrote; none if it is.
pub(crate) fn broken(receipt: &Receipt) -> Result<Option<String>> {
    let path = receipt.log_dir.join(super::file_name(&receipt.driver));
    let head = Head::path(&receipt.data_dir, &receipt.driver.tilde());
    let log = Snapshot::take(&path, &head)?;
    Ok(chain::examine(&log).broken.map(|Broken { at, what }| match at {
        Some(at) => format!("{at}: {what}"),
        None => what,
    }))
}

/// Drivers, where their logs are, and the heads of them.
fn places(arguments: &arguments::LogVerify) -> Result<Vec<(DriverName, PathBuf, PathBuf)>> {
    if let (Some(logs), Some(data)) = (&arguments.log_dir, &arguments.data_dir) {
        let drivers = match &arguments.driver {
            Some(driver) => vec![driver.clone()],
            None => known(logs, data)?,
        };
        let place = |driver: DriverName| {
            let head = Head::path(data, &driver.tilde());
            (driver, logs.clone(), head)
        };
        return Ok(drivers.into_iter().map(place).collect());
    }
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let drivers = match &arguments.driver {
        Some(driver) => vec![driver.clone()],
        None => plugins.drivers()?,
    };
    let place = |driver: DriverName| {
        let receipt = super::receipt(&plugins, &driver)?;
        let head = Head::path(&receipt.data_dir, &driver.tilde());
        Ok((driver, receipt.log_dir, head))
    };
    drivers.into_iter().map(place).collect()
}

/// The drivers that have a log in one directory, or a head of one in the other.
fn known(logs: &Path, data: &Path) -> Result<Vec<DriverName>> {
    let mut drivers = super::logged(logs)?;
    let reading = || format!("reading {}", data.display());
    for entry in std::fs::read_dir(data).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name();
        let driver = name.to_str().and_then(|name| name.parse::<DriverName>().ok());
        let has_head = |driver: &DriverName| Head::path(data, &driver.tilde()).exists();
        drivers.extend(driver.filter(has_head));
    }
    drivers.sort();
    drivers.dedup();
    Ok(drivers)
}

impl Verified {
    fn is_in_order(&self) -> bool {
        self.findings.broken.is_none() && !matches!(self.exported, Some(Shown::Broken(_)))
    }

    fn is_ok(&self) -> bool {
        self.is_in_order() && !matches!(self.exported, Some(Shown::Nothing(_)))
    }

    fn text(&self) -> String {
        let Findings { broken, remarks } = &self.findings;
        let order = match (self.is_in_order(), self.is_ok()) {
            (true, true) => "in order",
            (true, false) => "not vouched for",
            (false, _) => "not in order",
        };
        let mut text = format!("{}: {order}\n", self.driver);
        let mut row = |heading: &str, what: &str| {
            text.push_str(&format!("  {heading:<9}{what}\n"));
        };
        match (self.log.lines.first(), self.log.lines.last()) {
            (Some(first), Some(last)) => {
                let rotated = match first.seq {
                    _ if broken.is_some() => "",
                    0 => ", the first of all included",
                    _ => ", older ones were rotated away",
                };
                row("entries", &format!("{} to {}{rotated}", first.seq, last.seq));
            }
            _ if broken.is_none() => row("entries", "none: no call was ever logged"),
            _ => row("entries", "none"),
        }
        let mut tell = |heading: &str, broken: &Broken| {
            if let Some(at) = &broken.at {
                row(heading, &at.to_string());
            }
            row(if broken.at.is_some() { "" } else { heading }, &broken.what);
        };
        if let Some(broken) = broken {
            tell("broken", broken);
        }
        match &self.exported {
            Some(Shown::Broken(broken)) => tell("exported", broken),
            Some(Shown::Kept(what) | Shown::Nothing(what)) => row("exported", what),
            None => {}
        }
        remarks.iter().for_each(|remark| row("note", remark));
        text
    }

    fn json(&self) -> Value {
        let broken = |broken: &Broken| {
            let file = broken.at.as_ref().map(|at| at.file.display().to_string());
            let line = broken.at.as_ref().map(|at| at.number);
            json!({ "file": file, "line": line, "what": broken.what })
        };
        json!({
            "driver": self.driver.slash(),
            "ok": self.is_ok(),
            "log": self.log.path.display().to_string(),
            "first": self.log.lines.first().map(|line| line.seq),
            "last": self.log.lines.last().map(|line| line.seq),
            "broken": self.findings.broken.as_ref().map(broken),
            "exported": self.exported.as_ref().map(|exported| match exported {
                Shown::Kept(what) => json!({ "ok": true, "what": what }),
                Shown::Nothing(what) => json!({ "ok": false, "what": what }),
                Shown::Broken(found) => json!({ "ok": false, "broken": broken(found) }),
            }),
            "notes": self.findings.remarks,
        })
    }
}
