//! What a node has of a volume, as lines that are the same for every volume that went the same way:
//! mounts, loop devices, the image and its lease, claims, the record, directories and whatever else
//! lies where the driver writes. Only what a new volume has anew is left out: names, numbers, times.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use wasmount_core::call::DriverName;
use wasmount_core::journal::Journal;
use wasmount_core::kernel::images::LeaseRecord;
use wasmount_tests::{Driver, Node};

use crate::backends::Volume;

/// Everything of a volume that is on the node.
pub(crate) fn of(node: &Node, driver: &Driver<'_>, volume: &Volume) -> Vec<String> {
    let mut lines = mounts(node);
    for device in node.loops() {
        let name = device.file_name().expect("a name").display().to_string();
        let about = Path::new("/sys/block").join(name);
        let says = |file: &str| fs::read_to_string(about.join(file)).unwrap_or_default();
        let image = says("loop/backing_file");
        let image = image.trim().rsplit('/').next().unwrap_or_default().to_owned();
        let (autoclear, read_only) = (says("loop/autoclear"), says("ro"));
        let (autoclear, read_only) = (autoclear.trim(), read_only.trim());
        lines.push(format!("loop of {image}, autoclear {autoclear}, ro {read_only}"));
    }
    let images = node.path("images");
    lines.extend(names(&images).iter().map(|name| match name.starts_with('.') {
        true => match fs::read(images.join(name)).map(|bytes| LeaseRecord::parse(&bytes)) {
            Ok(Ok(lease)) => {
                format!("lease of {} {} for {}", lease.driver, lease.volume, lease.node)
            }
            other => format!("among the images {name}: {other:?}"),
        },
        false => format!("image {name}"),
    }));
    let claims = node.path("data/claims");
    lines.extend(names(&claims).iter().map(|name| {
        let of = fs::read_link(claims.join(name)).expect("a claim");
        format!("claim of {}", of.display())
    }));
    let name: DriverName = driver.name().parse().expect("a driver's name");
    let journal = Journal::open(&node.path("data"), &name).expect("records");
    let records = node.path("data").join(name.tilde()).join("volumes");
    for name in names(&records) {
        match name.strip_suffix(".json") {
            // As the driver reads it: what an earlier boot had is gone.
            Some(key) if key.contains(&volume.name) => {
                let record = journal.load(key).expect("a record that can be read");
                let record = serde_json::to_value(record).expect("plain data");
                lines.push(format!("record {}", without_numbers(record)));
            }
            // Of a volume before this one it is remembered which image was formatted.
            Some(_) => {}
            None => lines.push(format!("among the records {name}")),
        }
    }
    lines.extend(volume.staging.iter().filter(|path| path.exists()).map(|_| "staging".to_owned()));
    lines.iter_mut().for_each(|line| *line = line.replace(&volume.name, "VOLUME"));
    lines
}

/// What of an inventory nobody has any use for once the volume is nowhere.
pub(crate) fn leftovers(inventory: &[String]) -> Vec<&String> {
    let stays = |line: &str| {
        let Some(record) = line.strip_prefix("record ") else {
            return line.starts_with("image ");
        };
        let record: Value = serde_json::from_str(record).expect("a record");
        ["attached_node", "image", "device", "staged"].iter().all(|key| record[*key].is_null())
            && record["published"] == json!([])
    };
    inventory.iter().filter(|line| !stays(line)).collect()
}

fn mounts(node: &Node) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let mut mounts = Vec::new();
    for line in table.lines() {
        let (own, of_filesystem) = line.split_once(" - ").expect("a line of mountinfo");
        let own: Vec<&str> = own.split(' ').collect();
        if let Ok(path) = Path::new(own[4]).strip_prefix(node.path("")) {
            let fs_type = of_filesystem.split(' ').next().unwrap_or_default();
            mounts.push(format!("mount {} {fs_type} {}", path.display(), own[5]));
        }
    }
    mounts.sort();
    mounts
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A record without what is another's for each volume.
fn without_numbers(mut record: Value) -> Value {
    fn mask(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (key, field) in fields {
                    let masked = ["identity", "lease", "boot_id", "number", "uuid"];
                    if masked.contains(&key.as_str()) || (key == "device" && field.is_array()) {
                        *field = Value::from(if field.is_null() { "none" } else { "some" });
                    } else if key == "mounted" {
                        *field = field.as_array().map(Vec::len).into();
                    } else {
                        mask(field);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(mask),
            _ => {}
        }
    }
    mask(&mut record);
    record
}
