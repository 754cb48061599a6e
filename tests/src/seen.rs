//! A mount as others see it: users that are not root, and the mount table.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::Node;

/// Mode, owner and group.
pub fn owner(path: &Path) -> (u32, u32, u32) {
    let found = fs::metadata(path).expect("it is there");
    (found.mode() & 0o7777, found.uid(), found.gid())
}

/// What a process of another user and group reads of a file, if it can.
pub fn read_as((user, group): (u32, u32), file: &Path) -> Option<Vec<u8>> {
    let output = Command::new("cat").arg(file).uid(user).gid(group).output().expect("cat runs");
    output.status.success().then_some(output.stdout)
}

/// Lets everyone through to a volume that is not mounted yet. A container has the mount without
/// what is above it, which is kubelet's and root's.
pub fn open_the_way(node: &Node, dir: &str) {
    let kubelet = node.path("kubelet");
    let above = Path::new(dir).ancestors().skip(1);
    for directory in above.take_while(|directory| directory.starts_with(&kubelet)) {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("the test's own");
    }
}

/// What the mount table says of a mount: its own options, and its filesystem's.
pub fn mount_options(dir: &str) -> (Vec<String>, Vec<String>) {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let line = table.lines().find(|line| line.split(' ').nth(4) == Some(dir)).expect("mounted");
    let (own, of_filesystem) = line.split_once(" - ").expect("a line of mountinfo");
    let list = |text: Option<&str>| text.expect("options").split(',').map(str::to_owned).collect();
    (list(own.split(' ').nth(5)), list(of_filesystem.split(' ').nth(2)))
}
