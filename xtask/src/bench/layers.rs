//! What each layer of the wall around the component costs a call: how much less `isattached` takes
//! without it. The driver that can leave layers off is one that only tests have.

use std::fs;

use anyhow::ensure;

use super::samples::Samples;
use crate::kubelet::Volume;
use crate::node::Node;

/// The same driver with all layers.
pub(super) const WHOLE: &str = "isattached-walled";

/// What is left off at a time, by the names of `host/core/src/wall.rs`. That no privileges can be
/// gained stays, since the filter needs it.
pub(super) const LEFT_OFF: [(&str, &[&str]); 6] = [
    ("without-user", &["user", "capabilities", "bounding-set"]),
    ("without-landlock", &LANDLOCK),
    ("without-limits", &LIMITS),
    ("without-seccomp", &["seccomp"]),
    ("without-the-rest", &["arguments", "descriptors", "not-dumpable", "parent-death"]),
    ("without-any", &ALL),
];

const LANDLOCK: [&str; 4] =
    ["landlock-files", "landlock-truncate", "landlock-network", "landlock-scopes"];
const LIMITS: [&str; 11] = [
    "limit-core",
    "limit-fsize",
    "limit-nproc",
    "limit-memlock",
    "limit-msgqueue",
    "limit-sigpending",
    "limit-stack",
    "limit-nofile",
    "limit-cpu",
    "limit-data",
    "limit-as",
];
const ALL: [&str; 23] = [
    "arguments",
    "descriptors",
    "bounding-set",
    "user",
    "capabilities",
    "landlock-files",
    "landlock-truncate",
    "landlock-network",
    "landlock-scopes",
    "limit-core",
    "limit-fsize",
    "limit-nproc",
    "limit-memlock",
    "limit-msgqueue",
    "limit-sigpending",
    "limit-stack",
    "limit-nofile",
    "limit-cpu",
    "limit-data",
    "limit-as",
    "not-dumpable",
    "parent-death",
    "seccomp",
];

/// Calls the driver with each of them left off, and with none, in turn.
pub(super) fn measure(node: &Node, samples: &mut Samples, rounds: usize) -> anyhow::Result<()> {
    let user = vec![("size", "10Mi".to_string()), ("create", "true".to_string())];
    let volume = Volume { name: "pv-bench", fs_type: "ext4", writable: true, user, secret: vec![] };
    let kubelet = &node.kubelet;
    kubelet.attach(&volume)?;
    let plan = node.path().join("run/breakout.json");
    let whole: (&str, &[&str]) = (WHOLE, &[]);
    for round in 0..rounds {
        let mut subjects: Vec<_> = [whole].into_iter().chain(LEFT_OFF).collect();
        let first = round % subjects.len();
        subjects.rotate_left(first);
        for (name, without) in subjects {
            fs::write(&plan, serde_json::json!({ "tries": [], "without": without }).to_string())?;
            ensure!(kubelet.is_attached(&volume)?, "the volume is not attached");
            samples.add(name, kubelet.elapsed());
        }
    }
    fs::remove_file(plan)?;
    kubelet.detach(&volume)
}
