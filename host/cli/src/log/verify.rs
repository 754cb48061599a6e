//! `wasmount log verify`: whether logs are what the driver wrote, and the first place where one is
//! not. It reads, and while it opens the files no call writes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use wasmount_core::audit::head::Head;
use wasmount_core::bundle::Receipt;
use wasmount_core::call::DriverName;

use super::chain::{self, Broken, Findings};
use super::each::Each;
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
    let places = Places::of(arguments)?;
    let drivers = match &arguments.driver {
        Some(driver) => vec![driver.clone()],
        None => places.drivers()?,
    };
    let each = Each::find(&drivers, output, |driver, _| {
        let (log, head) = places.log_and_head(driver)?;
        let log = Snapshot::take(&log, &head)?;
        let findings = chain::examine(&log);
        let shown = exported.as_ref().and_then(|exported| {
            let known = exported.of(driver);
            // A driver that was never called has no head to export.
            let is_any = known.is_some() || !log.lines.is_empty();
            is_any.then(|| compare(&log, &findings, known))
        });
        Ok(Verified { driver: driver.clone(), log, findings, exported: shown })
    })?;
    let all = &each.found;
    let missed = match (&exported, &arguments.driver) {
        (Some(exported), None) => missed(exported, &drivers),
        _ => Vec::new(),
    };
    if arguments.json {
        let logs: Vec<Value> = all.iter().map(Verified::json).collect();
        let is_all = missed.is_empty() && each.left_out.is_empty();
        let left_out: Vec<_> = each.left_out.iter().map(DriverName::slash).collect();
        output.json(&json!({
            "ok": is_all && all.iter().all(Verified::is_ok),
            "logs": logs,
            "missed": missed,
            "left-out": left_out,
        }))?;
    } else {
        all.iter().try_for_each(|verified| output.text(&verified.text()))?;
        missed.iter().try_for_each(|driver| output.text(&not_there(driver)))?;
    }
    let broken = all.iter().filter(|verified| !verified.is_in_order()).count();
    let failed = all.iter().filter(|verified| !verified.is_ok()).count() + missed.len();
    match (broken, failed) {
        (_, 0) => each.is_all(),
        (0, 1) => bail!("1 log is not vouched for by the exported head"),
        (0, count) => bail!("{count} logs are not vouched for by the exported head"),
        (1, _) => bail!("1 log is not in order"),
        (count, _) => bail!("{count} logs are not in order"),
    }
}

/// The drivers that an exported head knows, and that are not there.
fn missed(exported: &Exported, drivers: &[DriverName]) -> Vec<String> {
    let is_there = |name: &str| drivers.iter().any(|driver| driver.slash() == name);
    exported.drivers().filter(|name| !is_there(name)).map(printable).collect()
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

/// Where logs and their heads are: in directories that are named, or where each installed driver has
/// its own.
enum Places<'a> {
    Named { logs: &'a Path, data: &'a Path },
    Installed(PluginDir),
}

impl<'a> Places<'a> {
    fn of(arguments: &'a arguments::LogVerify) -> Result<Self> {
        match (&arguments.log_dir, &arguments.data_dir) {
            (Some(logs), Some(data)) => Ok(Self::Named { logs, data }),
            _ => PluginDir::find(arguments.plugin_dir.as_deref()).map(Self::Installed),
        }
    }

    fn drivers(&self) -> Result<Vec<DriverName>> {
        match self {
            Self::Named { logs, data } => known(logs, data),
            Self::Installed(plugins) => plugins.drivers(),
        }
    }

    fn log_and_head(&self, driver: &DriverName) -> Result<(PathBuf, PathBuf)> {
        let within = |logs: &Path, data: &Path| {
            (logs.join(super::file_name(driver)), Head::path(data, &driver.tilde()))
        };
        match self {
            Self::Named { logs, data } => Ok(within(logs, data)),
            Self::Installed(plugins) => super::receipt(plugins, driver)
                .map(|receipt| within(&receipt.log_dir, &receipt.data_dir)),
        }
    }
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

    /// Whether there is nothing to verify, and nothing that says that there was.
    fn is_absent(&self) -> bool {
        self.log.lines.is_empty() && self.log.torn.is_none() && self.is_ok()
    }

    fn text(&self) -> String {
        let Findings { broken, remarks } = &self.findings;
        let order = match (self.is_in_order(), self.is_ok()) {
            (true, true) if self.is_absent() => "no log",
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
            _ if self.is_absent() => row(
                "entries",
                &format!(
                    "none in {}, and no head: no call was ever logged, or both were removed",
                    self.log.path.display()
                ),
            ),
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
