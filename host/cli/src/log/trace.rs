//! The audit log of one call that is about to be made here, for `wasmount call --trace`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use wasmount_core::call::DriverName;

use super::files::Files;
use super::line::Line;
use super::story::Story;
use crate::layout::PluginDir;

/// How long the driver may take to write down what it has replied already.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// What is written to a driver's log from now on.
pub struct Trace {
    driver: DriverName,
    files: Files,
}

impl Trace {
    /// Begins at the end of the log.
    pub fn begin(plugins: &PluginDir, driver: &DriverName) -> Result<Self> {
        let path = super::log_dir(plugins, driver)?.join(super::file_name(driver));
        let mut files = Files::new(path);
        files.skip()?;
        Ok(Self { driver: driver.clone(), files })
    }

    /// All that the log tells of the call that this process was started for, and has ended; none
    /// if it tells nothing. Other calls may be under way at the same time.
    pub fn tell(mut self, process: u32) -> Result<Option<String>> {
        let mut calls: HashMap<String, Vec<Line>> = HashMap::new();
        let end = Instant::now() + PATIENCE;
        loop {
            let mut found = None;
            self.files.read(&mut |line| {
                let reply = line.fields.get("process").and_then(serde_json::Value::as_u64);
                let id = line.call.clone();
                let lines = calls.entry(id.clone()).or_default();
                lines.push(line);
                if reply == Some(process.into()) {
                    found = Some(id);
                }
            })?;
            if let Some(lines) = found.and_then(|id| calls.remove(&id)) {
                return Ok(Some(Story { driver: self.driver, lines }.tell()));
            }
            if Instant::now() >= end {
                // Of a call that was killed there is no reply. If it was the only one, it is known.
                let alone = calls.len() == 1;
                let only = calls.into_values().next().filter(|_| alone);
                return Ok(only.map(|lines| Story { driver: self.driver, lines }.tell()));
            }
            std::thread::sleep(LOOK);
        }
    }
}
