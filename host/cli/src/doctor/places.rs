//! The directories that a driver works in: whether they are where they have to be, on storage that
//! lasts as long as it has to, and nobody else's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use wasmount_core::bundle::Receipt;

use crate::finding::Findings;
use crate::leftovers;

// statfs(2), linux/magic.h.
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const NFS: u64 = 0x6969;

/// Below so much free room, in bytes, records may soon not be written.
const LITTLE: u64 = 16 << 20;

pub(super) fn examine(receipt: &Receipt, found: &mut Findings) {
    examine_kubelet_root(&receipt.kubelet_root, found);
    examine_directories(receipt, found);
}

/// What the driver keeps, and what it writes down.
pub(crate) fn examine_directories(receipt: &Receipt, found: &mut Findings) {
    for (name, path, lasts) in [
        ("data", &receipt.data_dir, true),
        ("run", &receipt.run_dir, false),
        ("log", &receipt.log_dir, false),
    ] {
        examine_directory(name, path, found);
        examine_storage(name, path, lasts, found);
    }
}

fn examine_kubelet_root(root: &Path, found: &mut Findings) {
    let shown = root.display();
    let remedy = "install the driver again with kubelet's --root-dir as --kubelet-root";
    let real = match fs::canonicalize(root) {
        Ok(real) if real.is_dir() => real,
        Ok(_) => {
            let what = format!("the kubelet root {shown} is not a directory");
            return found.error("kubelet-root", what, "every mount fails", remedy);
        }
        Err(error) => {
            let what = format!("the kubelet root {shown} cannot be used: {error}");
            return found.error("kubelet-root", what, "every mount fails", remedy);
        }
    };
    let Some(holds) = leftovers::mount_that_holds(&real) else { return };
    if !holds.shared {
        found.warning(
            "mount-propagation",
            format!(
                "the mount {} that holds the kubelet root {shown} is not shared",
                holds.path.display()
            ),
            "what the driver mounts is not seen by containers that run already, such as a kubelet \
             that runs in one",
            format!("mount --make-rshared {}", holds.path.display()),
        );
    }
}

fn examine_directory(name: &str, path: &Path, found: &mut Findings) {
    let shown = path.display();
    let Ok(metadata) = fs::metadata(path) else {
        // The driver makes it when it needs it.
        return;
    };
    let mode = metadata.mode() & 0o7777;
    let remedy = format!("chown root {shown} && chmod 0700 {shown}");
    if !metadata.is_dir() {
        found.error(
            "directory-missing",
            format!("the {name} directory {shown} is not a directory"),
            "every call on this node fails",
            "move it away",
        );
    } else if metadata.uid() != 0 {
        found.error(
            "directory-owner",
            format!("the {name} directory {shown} belongs to user {}", metadata.uid()),
            "that user can change what the driver remembers and believes",
            remedy,
        );
    } else if mode & 0o022 != 0 {
        found.error(
            "directory-writable",
            format!(
                "the {name} directory {shown} can be written to by others than root (mode {mode:o})"
            ),
            "others can change what the driver remembers and believes",
            remedy,
        );
    } else if mode & 0o055 != 0 && name != "run" {
        found.warning(
            "directory-readable",
            format!("the {name} directory {shown} can be read by others than root (mode {mode:o})"),
            "names and options of volumes are nobody else's business",
            remedy,
        );
    }
}

fn examine_storage(name: &str, path: &Path, lasts: bool, found: &mut Findings) {
    // One that is absent will be made in the nearest that is there.
    let Some((there, statistics)) =
        path.ancestors().find_map(|path| Some((path, rustix::fs::statfs(path).ok()?)))
    else {
        return;
    };
    let shown = path.display();
    let moved = format!(
        "install the driver again with another --{name}-dir, once no volume of it is in use"
    );
    let kind = statistics.f_type as u64;
    if lasts && matches!(kind, TMPFS | RAMFS) {
        found.error(
            "directory-unfit",
            format!("the {name} directory {shown} is on a filesystem in memory"),
            "after a reboot nobody remembers which devices hold data and must not be formatted",
            &moved,
        );
    }
    if kind == NFS {
        found.error(
            "directory-unfit",
            format!("the {name} directory {shown} is on NFS"),
            "it is about this node, and every call would wait for the server",
            &moved,
        );
    }
    let Ok(filesystem) = rustix::fs::statvfs(there) else { return };
    if filesystem.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        found.error(
            "directory-unfit",
            format!("the {name} directory {shown} is on a filesystem that is read-only"),
            "nothing can be written to it",
            &moved,
        );
    } else if filesystem.f_bavail.saturating_mul(filesystem.f_frsize) < LITTLE {
        found.warning(
            "little-room",
            format!("there is little room left for the {name} directory {shown}"),
            "where no record can be written, no volume is mounted",
            format!("free some of the filesystem that {} is on", there.display()),
        );
    }
}
