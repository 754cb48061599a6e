//! What there is on a node that a call could change: mounts, loop devices and files, the plugin
//! directory's and the records' among them. All of it is compared, so nothing has to be thought of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::{Node, until};

/// How often it is looked whether a node is as it was.
const LOOKS: u32 = 300;

/// A node, as it is at a moment.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    /// The lines of mountinfo.
    mounts: Vec<String>,
    /// The loop devices that are made of its images.
    loops: Vec<PathBuf>,
    /// Its files, and what there is to be known of each.
    files: BTreeMap<PathBuf, String>,
    /// Whether that is all which a call that does nothing leaves alone.
    all: bool,
}

impl State {
    /// What a call that fails leaves alone. Nothing of a call may run any more.
    pub fn of(node: &Node) -> Self {
        Self::look(node, false)
    }

    /// The same with what every call changes, logs, their heads and locks, and with when
    /// the images were last written to: all that a rehearsal leaves alone.
    pub fn all_of(node: &Node) -> Self {
        node.is_idle();
        Self::look(node, true)
    }

    fn look(node: &Node, all: bool) -> Self {
        let root = node.path("");
        let info = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        let own =
            |line: &&str| line.split(' ').nth(4).is_some_and(|at| Path::new(at).starts_with(&root));
        // One that a call has taken down goes once nobody looks at it any more.
        until("no loop device is about to go", || {
            node.loops_about_to_go().is_empty().then_some(())
        });
        let mut loops = node.loops();
        loops.sort();
        let mut state = Self {
            mounts: info.lines().filter(own).map(str::to_owned).collect(),
            loops,
            files: BTreeMap::new(),
            all,
        };
        let mounted = state.mounted_images();
        state.list(&root, &root, &mounted);
        state
    }

    /// What is not as it was, a line each. A loop device clears itself in the kernel's own time
    /// after its last user is gone, so it is looked again a few times.
    pub fn changes(&self, node: &Node) -> String {
        let look = || self.differences(&Self::look(node, self.all));
        let again = || {
            std::thread::sleep(Duration::from_millis(10));
            look()
        };
        (0..LOOKS).fold(look(), |changes, _| if changes.is_empty() { changes } else { again() })
    }

    fn differences(&self, later: &Self) -> String {
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

    /// The images that the kernel writes to whenever it likes: a filesystem on them is mounted.
    fn mounted_images(&self) -> Vec<PathBuf> {
        let source = |line: &String| {
            let of_filesystem = line.split(" - ").nth(1)?;
            of_filesystem.split(' ').nth(1).map(PathBuf::from)
        };
        let mounted: Vec<PathBuf> = self.mounts.iter().filter_map(source).collect();
        let image = |device: &PathBuf| {
            let name = device.file_name().expect("a device").display();
            fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()
        };
        let mounted = self.loops.iter().filter(|device| mounted.contains(device));
        mounted.filter_map(image).map(|image| PathBuf::from(image.trim_end())).collect()
    }

    /// Everything below a directory but what is mounted there.
    fn list(&mut self, root: &Path, directory: &Path, mounted: &[PathBuf]) {
        let device = fs::symlink_metadata(root).expect("the node").dev();
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            let below = path.strip_prefix(root).expect("below it").to_owned();
            let is_lock = below.extension().is_some_and(|end| end == "lock");
            let is_log = below == Path::new("log") || below.ends_with("log-head.json");
            if found.dev() != device || (!self.all && (is_log || is_lock)) {
                continue;
            }
            let kind = found.file_type();
            let mut known = format!("{:o} {}:{}", found.mode(), found.uid(), found.gid());
            if kind.is_symlink() {
                known += &format!(" -> {}", fs::read_link(&path).expect("a link").display());
            } else if kind.is_file() {
                known += &format!(" {} links", found.nlink());
                known += &match below.starts_with("images") {
                    true if self.all && !mounted.contains(&path) => times(&found),
                    true => format!(", {} bytes", found.len()),
                    false => contents(&path, &found),
                };
            }
            if kind.is_dir() {
                self.list(root, &path, mounted);
            }
            self.files.insert(below, known);
        }
    }
}

/// What is in a file, in a way to tell whether it is another later.
fn contents(path: &Path, found: &Metadata) -> String {
    // The programs are known by their times: to read them each time would take longer.
    if found.len() >= 1 << 20 {
        return times(found);
    }
    let bytes = fs::read(path).expect("readable");
    if path.parent().is_some_and(|parent| parent.ends_with("volumes")) {
        let mut record: Value = serde_json::from_slice(&bytes).expect("a record");
        // What a volume was ever mounted from is remembered for good.
        record["mounted"].take();
        return format!(", {record}");
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    format!(", {:x}", hasher.finish())
}

fn times(found: &Metadata) -> String {
    format!(", {} bytes of {}.{}", found.len(), found.mtime(), found.mtime_nsec())
}
