//! What there is on a node that a call could change: mounts, loop devices and files, the plugin
//! directory's and the records' among them. All of it is compared, so nothing has to be thought of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wasmount_tests::Node;

/// A node, as it is at a moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The lines of mountinfo.
    mounts: Vec<String>,
    /// The loop devices that are made of its images.
    loops: Vec<PathBuf>,
    /// Its files, and what there is to be known of each.
    files: BTreeMap<PathBuf, String>,
}

impl Seen {
    /// Looks, once nothing of a call runs any more.
    pub(crate) fn on(node: &Node) -> Self {
        let root = node.path("");
        let info = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        let own =
            |line: &&str| line.split(' ').nth(4).is_some_and(|at| Path::new(at).starts_with(&root));
        let mut loops = node.loops();
        loops.sort();
        let mut files = BTreeMap::new();
        list(&root, &root, &mut files);
        Self { mounts: info.lines().filter(own).map(str::to_owned).collect(), loops, files }
    }

    /// What is another there, a line each.
    pub(crate) fn differences(&self, later: &Self) -> String {
        let mut text = String::new();
        if self.mounts != later.mounts {
            text += &format!("  mounts: {:?}\n     now: {:?}\n", self.mounts, later.mounts);
        }
        if self.loops != later.loops {
            text +=
                &format!("  loop devices: {:?}\n           now: {:?}\n", self.loops, later.loops);
        }
        let paths: BTreeSet<_> = self.files.keys().chain(later.files.keys()).collect();
        for path in paths {
            let (was, is) = (self.files.get(path), later.files.get(path));
            if was != is {
                text += &format!("  {}: {was:?}\n    now: {is:?}\n", path.display());
            }
        }
        text
    }
}

/// Everything below a directory but logs, their heads and locks, which every call changes, and what is
/// mounted there.
fn list(root: &Path, directory: &Path, files: &mut BTreeMap<PathBuf, String>) {
    let device = fs::symlink_metadata(root).expect("the node").dev();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let below = path.strip_prefix(root).expect("below it").to_owned();
        let is_lock = below.extension().is_some_and(|end| end == "lock");
        let is_log = below == Path::new("log") || below.ends_with("log-head.json");
        if is_log || is_lock || found.dev() != device {
            continue;
        }
        let kind = found.file_type();
        let mut known = format!("{:o} {}:{}", found.mode(), found.uid(), found.gid());
        if kind.is_symlink() {
            known += &format!(" -> {}", fs::read_link(&path).expect("a link").display());
        } else if kind.is_file() {
            known += &format!(" {} links", found.nlink());
            // The kernel writes to an image while a filesystem on it is mounted, whenever it likes.
            if below.starts_with("images") {
                known += &format!(", {} bytes", found.len());
            } else {
                known += &format!(", {}", contents(&path, &found));
            }
        }
        if kind.is_dir() {
            list(root, &path, files);
        }
        files.insert(below, known);
    }
}

/// What is in a file, in a way to tell whether it is another later.
fn contents(path: &Path, found: &Metadata) -> String {
    // The programs are known by their times: to read them each time would take longer.
    if found.len() >= 1 << 20 {
        return format!("{} bytes of {}.{}", found.len(), found.mtime(), found.mtime_nsec());
    }
    let bytes = fs::read(path).expect("readable");
    if path.parent().is_some_and(|parent| parent.ends_with("volumes")) {
        let mut record: Value = serde_json::from_slice(&bytes).expect("a record");
        // What a volume was ever mounted from is remembered for good.
        record["mounted"].take();
        return record.to_string();
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    format!("{:x}", hasher.finish())
}
