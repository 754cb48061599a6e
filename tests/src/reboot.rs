//! A reboot as a node's drivers see it: what was in memory is gone, what was on disk is there.

use std::fs;
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::{Node, until};

impl Node {
    /// Takes this node's mounts, loop devices and run directory away, and has its records be of an
    /// earlier boot. No call may be under way.
    pub fn reboots(&self) {
        for mount in self.mounts() {
            until("it can be unmounted", || {
                let unmounted = unmount(&mount, UnmountFlags::NOFOLLOW);
                assert!(matches!(unmounted, Ok(()) | Err(Errno::BUSY)), "{}", mount.display());
                unmounted.ok()
            });
        }
        // One that nobody kept goes by itself.
        for device in self.loops() {
            let _ = Command::new("losetup").arg("-d").arg(device).status();
        }
        until("the loop devices are gone", || self.loops().is_empty().then_some(()));
        for directory in fs::read_dir(self.path("run")).into_iter().flatten().flatten() {
            fs::remove_dir_all(directory.path()).expect("locks");
        }
        for driver in fs::read_dir(self.path("data")).into_iter().flatten().flatten() {
            let records = fs::read_dir(driver.path().join("volumes")).into_iter().flatten();
            for record in records.flatten().map(|entry| entry.path()) {
                let text = fs::read_to_string(&record).expect("readable");
                // What a crash left half written is no record.
                let Ok(mut json) = serde_json::from_str::<serde_json::Value>(&text) else {
                    continue;
                };
                json["boot_id"] = "an-earlier-boot".into();
                fs::write(&record, json.to_string()).expect("writable for root");
            }
        }
    }
}
