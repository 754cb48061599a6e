//! Which volumes of a driver are in use on this node, by the driver's own records, and whether a
//! call of it is under way. It reads; it does not ask the kernel what is mounted, since what the
//! records list is what the driver would still have to undo.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use wasmount_core::bundle::LOCK;
use wasmount_core::journal::record::VolumeRecord;

use crate::layout::{self, DriverDir, VersionId};

/// Where, in a driver's data directory, the records are.
pub const VOLUMES: &str = "volumes";

/// A volume that is in use, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct InUse {
    /// Its name.
    pub volume: String,
    /// For the operator: `mounted at …`, `attached as …`.
    pub how: Vec<String>,
    /// How much of that interrupted calls have left, by another's look at the node.
    pub left: Left,
}

/// How much of what is on record of a volume is not there any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Left {
    /// Nothing, as far as anybody knows.
    #[default]
    Nothing,
    /// Some of it.
    Some,
    /// All of it.
    All,
}

/// The volumes in use by the records in `data_dir`, which is this one driver's, sorted by name.
///
/// Fails if a record cannot be read: it may be of a volume that is mounted.
pub fn volumes(data_dir: &Path, boot_id: &str, kubelet_root: &Path) -> Result<Vec<InUse>> {
    let directory = data_dir.join(VOLUMES);
    let unreadable =
        |path: &Path| format!("{} cannot be read, so its volume may be in use", path.display());
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| unreadable(&directory))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| unreadable(&directory))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = match fs::read(&path) {
            // Torn down while we were looking.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.with_context(|| unreadable(&path))?,
        };
        let record = VolumeRecord::parse(&text).with_context(|| unreadable(&path))?;
        let how = how_used(&record, boot_id, kubelet_root);
        if !how.is_empty() {
            found.push(InUse { volume: record.volume, how, left: Left::Nothing });
        }
    }
    found.sort_by(|a, b| a.volume.cmp(&b.volume));
    Ok(found)
}

/// Devices and mounts are gone with the boot that made them; what `attach` promised is not.
fn how_used(record: &VolumeRecord, boot_id: &str, kubelet_root: &Path) -> Vec<String> {
    let mut how = Vec::new();
    if record.boot_id == boot_id {
        for mount in record.published.iter().chain(&record.staged) {
            how.push(format!("mounted at {}", kubelet_root.join(&mount.beneath_root).display()));
        }
        if let Some(device) = &record.device {
            let (major, minor) = device.number;
            how.push(format!("attached as device {major}:{minor}"));
        }
    }
    if let Some(node) = &record.attached_node {
        how.push(format!("given to node {node}"));
    }
    how
}

/// This boot's id, as records have it.
pub fn boot_id() -> Result<String> {
    let text =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").context("reading the boot id")?;
    Ok(text.trim_end().to_owned())
}

/// The processes that are running a version of this driver, in whatever mount namespace. Those
/// of other users are seen by root only.
pub fn running(driver: &DriverDir) -> Result<Vec<u32>> {
    running_any(&versions(driver)?)
}

/// A version that no call uses, nor any can begin to use until this is dropped: a call that is
/// started meanwhile fails, and is tried again by kubelet.
#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
pub struct Vacant {
    file: Option<File>,
    directory: OwnedFd,
}

/// Keeps calls out of a version; none if there is one in it.
///
/// A call locks its version before it reads the first file of it. Before that it is seen by what
/// it runs, unless the kernel has not begun to run it.
///
/// What it locks is a file that only root can open; its directory, if there is no such file, or if
/// its program is an older one that was rolled back to. Anybody can lock the directory. So where
/// there is the file, who has the directory has to be seen to run the program as well.
pub fn vacate(version: &Path) -> Result<Option<Vacant>> {
    let is_running = || Ok::<_, Error>(!running_any(&[version.to_owned()])?.is_empty());
    if is_running()? {
        return Ok(None);
    }
    let what = || format!("locking {}", version.display());
    let file = match File::open(version.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => Some(opened.with_context(what)?),
    };
    if let Some(file) = &file
        && !lock(file).with_context(what)?
    {
        return Ok(None);
    }
    let directory = layout::open_directory(version).with_context(what)?;
    if !lock(&directory).with_context(what)? && (file.is_none() || is_running()?) {
        return Ok(None);
    }
    Ok(Some(Vacant { file, directory }))
}

/// Locks it for nobody else, unless somebody has it.
fn lock(file: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        locked => Ok(locked.map(|()| true)?),
    }
}

/// Keeps calls out of all versions of a driver; none if there is one in any.
pub fn vacate_all(driver: &DriverDir) -> Result<Option<Vec<Vacant>>> {
    versions(driver)?.iter().map(|version| vacate(version)).collect()
}

/// The directories of all versions of a driver that are complete.
fn versions(driver: &DriverDir) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", driver.versions().display());
    let entries = match fs::read_dir(driver.versions()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(reading)?,
    };
    let mut versions = Vec::new();
    for entry in entries {
        let entry = entry.with_context(reading)?;
        let name = entry.file_name();
        if name.to_str().and_then(VersionId::from_directory).is_some() {
            versions.push(entry.path());
        }
    }
    Ok(versions)
}

/// The processes that are running the program of any of these versions.
fn running_any(versions: &[PathBuf]) -> Result<Vec<u32>> {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let programs: BTreeSet<_> = versions
        .iter()
        .filter_map(|version| fs::metadata(version.join(layout::DRIVER)).ok().map(identity))
        .collect();
    let processes = fs::read_dir("/proc").context("reading /proc")?;
    let processes = processes.filter_map(Result::ok).filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let program = fs::metadata(entry.path().join("exe")).ok().map(identity)?;
        programs.contains(&program).then_some(pid)
    });
    Ok(processes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(changes: serde_json::Value) -> serde_json::Value {
        let mut record = serde_json::json!({
            "v": 1, "volume": "pv-1", "options": {}, "fs_type": null, "access": "read-write",
            "boot_id": "this", "attached_node": null, "image": null, "device": null,
            "staged": null, "published": [], "formatting": null, "mounted": [],
            "state": {},
        });
        for (key, value) in changes.as_object().expect("changes are an object") {
            record[key] = value.clone();
        }
        record
    }

    #[test]
    fn what_a_record_says_is_in_use() {
        let mount = |path: &str| {
            serde_json::json!({
                "beneath_root": path, "asked": "read-write", "access": "read-write",
                "fs_type": "ext4", "device": [7, 3],
            })
        };
        let device = serde_json::json!({"number": [7, 3], "identity": "image:1", "is_loop": true});
        for (changes, expected) in [
            (serde_json::json!({}), &[][..]),
            (serde_json::json!({"mounted": ["image:1:2:3"]}), &[]),
            (serde_json::json!({"device": device}), &["attached as device 7:3"]),
            (
                serde_json::json!({"staged": mount("plugins/m"), "published": [mount("pods/a"), mount("pods/b")]}),
                &["mounted at /k/pods/a", "mounted at /k/pods/b", "mounted at /k/plugins/m"],
            ),
            (serde_json::json!({"attached_node": "node-1"}), &["given to node node-1"]),
            (
                serde_json::json!({
                    "boot_id": "earlier", "device": device, "published": [mount("pods/a")],
                    "attached_node": "node-1",
                }),
                &["given to node node-1"],
            ),
        ] {
            let record = record(changes).to_string();
            let record: VolumeRecord = serde_json::from_str(&record).expect("it is a record");
            assert_eq!(how_used(&record, "this", Path::new("/k")), expected, "{record:?}");
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_may_be_of_a_mounted_volume() {
        let data = tempfile::tempdir().expect("there is a temporary directory");
        let of = |data: &Path| volumes(data, "this", Path::new("/k"));
        assert_eq!(of(data.path()).expect("no records are no volumes"), []);
        let directory = data.path().join(VOLUMES);
        fs::create_dir(&directory).expect("it can be made");
        let name = |name: &str| directory.join(name);
        let used = record(serde_json::json!({"volume": "pv-2", "attached_node": "n"})).to_string();
        fs::write(name("b.json"), used).expect("it can be written");
        let unused = record(serde_json::json!({})).to_string();
        fs::write(name("a.json"), unused).expect("it can be written");
        fs::write(name("a.lock"), "").expect("it can be written");
        let how = vec!["given to node n".into()];
        let expected = InUse { volume: "pv-2".into(), how, left: Left::Nothing };
        assert_eq!(of(data.path()).expect("the records are in order"), [expected]);
        fs::write(name("c.json"), "{").expect("it can be written");
        let error = of(data.path()).expect_err("one is not");
        assert_eq!(
            format!("{error:#}"),
            format!(
                "{} cannot be read, so its volume may be in use: it is damaged (EOF while parsing \
                 an object at line 1 column 1); move it away after checking that the volume is not \
                 mounted",
                name("c.json").display()
            )
        );
    }
}
