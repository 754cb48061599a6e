//! What must never be, not even for a moment: an image that two loop devices have, or that two
//! volumes have on record or on lease.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmount_core::kernel::images::LeaseRecord;
use wasmount_tests::notice;

use crate::fleet::Fleet;

/// How often it looks: a small part of what a call takes.
const OFTEN: Duration = Duration::from_millis(2);

/// Who looks.
pub(crate) struct Watch<'a> {
    fleet: &'a Fleet<'a>,
}

impl<'a> Watch<'a> {
    pub(crate) fn of(fleet: &'a Fleet<'a>) -> Self {
        Self { fleet }
    }

    pub(crate) fn until(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            for what in [self.loops(), self.records(), self.leases()].into_iter().flatten() {
                notice(&format!("double: {what}"));
                self.fleet.counted.double.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(OFTEN);
        }
    }

    fn loops(&self) -> Option<String> {
        let entries = fs::read_dir("/sys/block").expect("sysfs").flatten();
        let entries = entries.map(|entry| entry.path());
        twice(entries, |device| {
            let image = fs::read_to_string(device.join("loop/backing_file")).ok()?;
            // Another number each time that it is made.
            let which = fs::read_to_string(device.join("diskseq")).unwrap_or_default();
            let ours = Path::new(&image).starts_with(self.fleet.node.path("images"));
            ours.then_some((image, which))
        })
    }

    fn records(&self) -> Option<String> {
        let drivers = fs::read_dir(self.fleet.node.path("data")).into_iter().flatten().flatten();
        let directories = drivers.flat_map(|driver| fs::read_dir(driver.path().join("volumes")));
        let files = directories.flat_map(|files| files.flatten().map(|file| file.path()));
        // One that is being written is nobody's yet.
        let records = files.filter(|file| file.extension().is_some_and(|end| end == "json"));
        twice(records, |file| {
            let text = fs::read_to_string(file).ok()?;
            let record: serde_json::Value = serde_json::from_str(&text).ok()?;
            let identity = record["image"]["identity"].as_str()?.to_owned();
            Some((identity, record["image"]["lease"].to_string()))
        })
    }

    fn leases(&self) -> Option<String> {
        let images = fs::read_dir(self.fleet.node.path("images")).into_iter().flatten().flatten();
        let is_lease = |file: &PathBuf| {
            file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        };
        twice(images.map(|image| image.path()).filter(is_lease), |file| {
            let lease = LeaseRecord::parse(&fs::read(file).ok()?).ok()?;
            Some((lease.image, lease.id))
        })
    }
}

/// Two things that have the same at the same time: the first still has it, and never let go of it,
/// after the second was seen to.
fn twice(
    all: impl Iterator<Item = PathBuf>,
    has: impl Fn(&Path) -> Option<(String, String)>,
) -> Option<String> {
    let mut seen: BTreeMap<String, (PathBuf, String)> = BTreeMap::new();
    for one in all {
        let Some((what, since)) = has(&one) else { continue };
        if let Some((other, before)) = seen.insert(what.clone(), (one.clone(), since))
            && has(&other) == Some((what.clone(), before))
        {
            return Some(format!("{} and {} have {}", other.display(), one.display(), what.trim()));
        }
    }
    None
}
