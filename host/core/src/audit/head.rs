//! The head of an audit log: which line is the last, and which the oldest that rotation has kept.
//!
//! The log alone cannot tell that its end or its beginning is gone, so this is kept apart from it:
//! `<data-dir>/<vendor>~<driver>/log-head.json`, which is no volume's record, since those are in
//! `volumes/`. It is written over in place with each append, after the log and under its lock, and
//! made durable only when it is the first, and before a file of the log is given up. Where it cannot
//! be, as in kube-controller-manager, there is none, and a file that is empty is none yet.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde_json::{Map, Value, json};

use super::now;

/// The file's name in the data directory of a driver.
const NAME: &str = "log-head.json";

/// How long the file is, in bytes: what is written over leaves nothing behind, and no part of it
/// is ever in another sector than the rest.
const LENGTH: usize = 256;

/// What is known of a log apart from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The number of the last line.
    pub seq: u64,
    /// Its SHA-256, in hexadecimal.
    pub digest: String,
    /// The number of the oldest line that rotation has kept.
    pub oldest: u64,
    /// From which line on it has been kept: 0, unless the log was there without it.
    pub began: u64,
    /// When it was written, in seconds since 1970.
    pub time: f64,
    /// In which boot of the node, see random(4). None in a head of before this was noted.
    pub boot: Option<String>,
}

impl Head {
    /// Where the head of a driver's log is.
    pub fn path(data_dir: &Path, tilde_name: &str) -> PathBuf {
        data_dir.join(tilde_name).join(NAME)
    }

    /// Reads a head. None if it is not one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        let number = |key| head.get(key).and_then(Value::as_u64);
        Some(Self {
            seq: number("seq")?,
            digest: head.get("digest").and_then(Value::as_str)?.to_owned(),
            oldest: number("oldest")?,
            began: number("began")?,
            time: head.get("time").and_then(Value::as_f64)?,
            boot: head.get("boot").and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// Whether the node was started again since it was written.
    pub fn is_of_earlier_boot(&self) -> bool {
        match (&self.boot, boot()) {
            (Some(then), Some(now)) => *then != now,
            // By the clock, which may have been set meanwhile.
            _ => self.time < node_started(),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let Self { seq, digest, oldest, began, time, boot } = self;
        let mut head = json!({
            "seq": seq, "digest": digest, "oldest": oldest, "began": began, "time": time,
        });
        if let Some(boot) = boot {
            head["boot"] = json!(boot);
        }
        head
    }
}

/// The boot that this is, if anybody can tell.
pub(super) fn boot() -> Option<String> {
    crate::journal::boot_id().ok()
}

/// When the node was started, in seconds since 1970, give or take one; 0 if nobody can tell.
fn node_started() -> f64 {
    // Not by clock_gettime(2): with it come several kilobytes that read the kernel's vDSO.
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up = text.split('.').next().and_then(|seconds| seconds.parse::<u32>().ok());
    up.map_or(0.0, |up| now() - f64::from(up))
}

/// The file, if there can be one.
pub(super) struct HeadFile(Option<File>);

impl HeadFile {
    /// Opens it, making it with its directory where it is absent.
    pub(super) fn open(path: &Path) -> Self {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
        let opened = match open() {
            Err(rustix::io::Errno::NOENT) => path
                .parent()
                .and_then(|dir| crate::journal::private_dir(dir).ok())
                .and_then(|_| open().ok()),
            opened => opened.ok(),
        };
        Self(opened.map(File::from))
    }

    pub(super) fn read(&self) -> Option<Head> {
        let mut bytes = [0; LENGTH];
        self.0.as_ref()?.read_exact_at(&mut bytes, 0).ok()?;
        Head::parse(&bytes)
    }

    /// A head that cannot be written stops nothing: the log then goes on past it, which is told.
    pub(super) fn write(&self, head: &Head) {
        if let Some(file) = &self.0 {
            let mut text = format!("{:1$}", head.to_json().to_string(), LENGTH - 1);
            text.push('\n');
            let _ = file.write_all_at(text.as_bytes(), 0);
        }
    }

    /// Makes durable what was written.
    pub(super) fn sync(&self) {
        if let Some(file) = &self.0 {
            let _ = file.sync_data();
        }
    }
}
