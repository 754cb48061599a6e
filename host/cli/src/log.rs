//! `wasmount log`: what drivers were asked, what was decided and done, from their audit logs.
//!
//! It reads and changes nothing. `verify` and `head` are about the log as a whole. A line that is
//! torn, or nobody knows whose, is told of and skipped: a log is read most eagerly after something
//! went wrong.

mod chain;
mod each;
mod exported;
mod files;
mod head;
mod line;
mod snapshot;
mod story;
pub mod trace;
pub(crate) mod verify;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use wasmount_core::audit::{KEPT, plain};
use wasmount_core::bundle::{Bundle, Receipt};
use wasmount_core::call::DriverName;

use crate::arguments::{self, WholeLog};
use crate::layout::PluginDir;
use crate::output::Output;
use each::Each;
pub(crate) use files::Files;
use files::Skipped;
pub(crate) use line::Line;
use story::Story;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// No line is longer, in bytes: not even one of which every character is written as six. What is, is
/// none of the log's.
const LONGEST_LINE: usize = 1024 * 1024;

/// Shows what is asked for; with `--follow`, until somebody stops it.
pub fn run(arguments: &arguments::Log, output: &mut Output<'_>) -> Result<()> {
    match &arguments.whole {
        Some(WholeLog::Verify(arguments)) => return verify::run(arguments, output),
        Some(WholeLog::Head(arguments)) => return head::run(arguments, output),
        None => {}
    }
    let places = Places::of(arguments)?;
    let drivers = match &arguments.driver {
        Some(driver) => vec![driver.clone()],
        None => places.drivers()?,
    };
    let with_driver = drivers.len() > 1;
    let told_of = |story: &Story| {
        wanted(arguments, story).then(|| (story.began(), tell(arguments, story, with_driver)))
    };
    // All that was written so far, or nothing, since it is all read again if a part cannot be.
    let begin = |driver: &DriverName, told: &mut Told, output: &mut Output<'_>| {
        let mut log = Log::new(driver.clone(), &places.directory(driver)?);
        let mut so_far = Told::new();
        log.read(&mut |story| so_far.extend(told_of(&story)), output)?;
        told.append(&mut so_far);
        Ok(log)
    };
    let mut told = Told::new();
    let mut logs = Each::find(&drivers, output, |driver, output| {
        let mut log = begin(driver, &mut told, output)?;
        if !arguments.follow {
            told.extend(log.open.drain().filter_map(|(_, story)| told_of(&story)));
            warn(log.files.unfinished(), output);
        }
        Ok(log)
    })?;
    told.sort_by_key(|(began, _)| *began);
    if let (Some(id), true) = (&arguments.call, told.is_empty()) {
        bail!("no call whose id begins with {id} is in the log; `wasmount log` shows which are");
    }
    told.into_iter().try_for_each(|(_, text)| output.text(&text))?;
    if !arguments.follow {
        return logs.is_all();
    }
    loop {
        std::thread::sleep(LOOK);
        let mut told = Told::new();
        for log in &mut logs.found {
            log.read_on(&mut |story| told.extend(told_of(&story)), output);
        }
        logs.try_again(|driver| begin(driver, &mut told, output));
        told.into_iter().try_for_each(|(_, text)| output.text(&text))?;
    }
}

/// What is told of calls, each with when it began.
type Told = Vec<(SystemTime, String)>;

/// One driver's log, while it is read.
struct Log {
    driver: DriverName,
    files: Files,
    /// The calls that have not ended, by their ids.
    open: HashMap<String, Story>,
    /// Whether it could not be read the last time.
    is_left_out: bool,
}

impl Log {
    fn new(driver: DriverName, directory: &Path) -> Self {
        let files = Files::new(directory.join(file_name(&driver)));
        Self { driver, files, open: HashMap::new(), is_left_out: false }
    }

    /// Reads on, and hands on each call as it ends.
    fn read(&mut self, take: &mut dyn FnMut(Story), output: &mut Output<'_>) -> Result<()> {
        let (open, driver) = (&mut self.open, &self.driver);
        let mut take_line = |line: Line| {
            let id = line.call.clone();
            let story = open.entry(id.clone());
            let story =
                story.or_insert_with(|| Story { driver: driver.clone(), lines: Vec::new() });
            story.lines.push(line);
            if story.has_ended() {
                open.remove(&id).into_iter().for_each(&mut *take);
            }
        };
        warn(self.files.read(&mut take_line)?, output);
        Ok(())
    }

    /// The same of a log that is followed. If it cannot be read, that is said once, and it goes on from
    /// here as soon as it can: begun again, it would tell again what was told.
    fn read_on(&mut self, take: &mut dyn FnMut(Story), output: &mut Output<'_>) {
        let read = self.read(take, output);
        if let (Err(error), false) = (&read, self.is_left_out) {
            each::warn(&self.driver, error, output);
        }
        self.is_left_out = read.is_err();
    }
}

/// Where logs are: in a directory that is named, or where each installed driver writes its own.
enum Places<'a> {
    Named(&'a Path),
    Installed(PluginDir),
}

impl<'a> Places<'a> {
    fn of(arguments: &'a arguments::Log) -> Result<Self> {
        match &arguments.log_dir {
            Some(directory) => Ok(Self::Named(directory)),
            None => PluginDir::find(arguments.plugin_dir.as_deref()).map(Self::Installed),
        }
    }

    fn drivers(&self) -> Result<Vec<DriverName>> {
        match self {
            Self::Named(directory) => logged(directory),
            Self::Installed(plugins) => plugins.drivers(),
        }
    }

    fn directory(&self, driver: &DriverName) -> Result<PathBuf> {
        match self {
            Self::Named(directory) => Ok((*directory).to_owned()),
            Self::Installed(plugins) => log_dir(plugins, driver),
        }
    }
}

pub(crate) fn file_name(driver: &DriverName) -> String {
    format!("{}.jsonl", driver.tilde())
}

/// The drivers whose logs are in a directory, if only as files that rotation has renamed.
fn logged(directory: &Path) -> Result<Vec<DriverName>> {
    let reading = || format!("reading {}", directory.display());
    let mut drivers = Vec::new();
    for entry in fs::read_dir(directory).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name();
        let (driver, nth) =
            name.to_str().and_then(|name| name.split_once(".jsonl")).unwrap_or_default();
        let is_log = nth.is_empty() || (1..=KEPT).any(|n| nth == format!(".{n}"));
        drivers.extend(driver.parse::<DriverName>().ok().filter(|_| is_log));
    }
    drivers.sort();
    drivers.dedup();
    Ok(drivers)
}

/// Where an installed driver writes its log.
pub(crate) fn log_dir(plugins: &PluginDir, driver: &DriverName) -> Result<PathBuf> {
    receipt(plugins, driver).map(|receipt| receipt.log_dir)
}

/// What says where an installed driver's log and its head are.
fn receipt(plugins: &PluginDir, driver: &DriverName) -> Result<Receipt> {
    let directory = plugins.driver(driver);
    if !directory.is_ours() {
        bail!(
            "{}; of a driver that was uninstalled, name the directory of the log with --log-dir",
            plugins.lacks(driver)
        );
    }
    let version = directory.current_version().ok().flatten();
    let receipt = version
        .with_context(|| format!("{} leads nowhere", directory.current().display()))
        .and_then(|version| Ok(Bundle::read_at(&directory.version(&version))?.receipt));
    receipt.context(
        "nothing tells where the driver's log is; name the directory with --log-dir \
         (/var/log/wasmount unless it was installed otherwise)",
    )
}

fn wanted(arguments: &arguments::Log, story: &Story) -> bool {
    let is =
        |wanted: Option<&str>, field| wanted.is_none_or(|text| story.about(field) == Some(text));
    is(arguments.volume.as_deref(), "volume")
        && is(arguments.operation.map(|operation| operation.name()), "operation")
        && (!arguments.failed || story.failed())
        && arguments.since.is_none_or(|since| story.began() >= since)
        && arguments.call.as_ref().is_none_or(|id| story.id().starts_with(id.as_str()))
}

/// What is shown of a call.
fn tell(arguments: &arguments::Log, story: &Story, with_driver: bool) -> String {
    match (arguments.json, &arguments.call) {
        (true, _) => story.lines.iter().map(|line| plain(&line.text) + "\n").collect(),
        (false, Some(_)) => story.tell(),
        (false, None) => story.line(with_driver),
    }
}

fn warn(skipped: Vec<Skipped>, output: &mut Output<'_>) {
    for Skipped { path, first, count } in skipped {
        let path = path.display();
        output.warn(&match count {
            1 => format!("line {first} of {path} is torn or somebody else's, and was skipped"),
            _ => format!(
                "{count} lines of {path}, the first of them line {first}, are torn or somebody \
                 else's, and were skipped"
            ),
        });
    }
}
