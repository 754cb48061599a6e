//! `wasmount log verify`: whether logs are what the driver wrote, and the first place where one is
//! not. It reads, and while it opens the files no call writes.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use wasmount_core::audit::head::Head;
use wasmount_core::bundle::Receipt;
use wasmount_core::call::DriverName;

use super::chain::{self, Broken, Findings};
use super::head::Exported;
use super::snapshot::Snapshot;
use crate::arguments;
use crate::layout::PluginDir;
use crate::output::Output;

/// What was found about one driver's log.
struct Verified {
    driver: DriverName,
    log: Snapshot,
    findings: Findings,
    /// What the exported head shows, if it has one of this driver.
    exported: Option<Result<String, Broken>>,
}

/// Verifies. Fails if a log is not in order.
pub(super) fn run(arguments: &arguments::LogVerify, output: &mut Output<'_>) -> Result<()> {
    let exported = arguments.head.as_deref().map(Exported::read).transpose()?;
    let mut all = Vec::new();
    for (driver, log, head) in places(arguments)? {
        let log = Snapshot::take(&log.join(super::file_name(&driver)), &head)?;
        let known = exported.as_ref().and_then(|exported| exported.of(&driver));
        if let (Some(path), None) = (&arguments.head, known) {
            output.warn(&format!("{} has no head of {driver}", path.display()));
        }
        all.push(Verified {
            findings: chain::examine(&log),
            exported: known.map(|head| chain::compare(&log, head)),
            driver,
            log,
        });
    }
    if arguments.json {
        let logs: Vec<Value> = all.iter().map(Verified::json).collect();
        output.json(&json!({ "ok": all.iter().all(Verified::is_in_order), "logs": logs }))?;
    } else {
        all.iter().try_for_each(|verified| output.text(&verified.text()))?;
    }
    match all.iter().filter(|verified| !verified.is_in_order()).count() {
        0 => Ok(()),
        1 => bail!("1 log is not in order"),
        count => bail!("{count} logs are not in order"),
    }
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
fn places(
    arguments: &arguments::LogVerify,
) -> Result<Vec<(DriverName, std::path::PathBuf, std::path::PathBuf)>> {
    if let (Some(logs), Some(data)) = (&arguments.log_dir, &arguments.data_dir) {
        let drivers = match &arguments.driver {
            Some(driver) => vec![driver.clone()],
            None => super::logged(logs)?,
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

impl Verified {
    fn is_in_order(&self) -> bool {
        self.findings.broken.is_none() && !matches!(self.exported, Some(Err(_)))
    }

    fn text(&self) -> String {
        let Findings { broken, remarks } = &self.findings;
        let order = if self.is_in_order() { "in order" } else { "not in order" };
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
            Some(Err(broken)) => tell("exported", broken),
            Some(Ok(what)) => row("exported", what),
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
            "ok": self.is_in_order(),
            "log": self.log.path.display().to_string(),
            "first": self.log.lines.first().map(|line| line.seq),
            "last": self.log.lines.last().map(|line| line.seq),
            "broken": self.findings.broken.as_ref().map(broken),
            "exported": self.exported.as_ref().map(|exported| match exported {
                Ok(what) => json!({ "ok": true, "what": what }),
                Err(found) => json!({ "ok": false, "broken": broken(found) }),
            }),
            "notes": self.findings.remarks,
        })
    }
}
