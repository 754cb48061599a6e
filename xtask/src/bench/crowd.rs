//! A node that has much to remember: a call finds its own volume among a thousand on record, and
//! adds to a log of 100 MB. What a call costs must not depend on either.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::kubelet::{Verdict, exec};
use crate::node::Node;

/// How many volumes are on record besides the one that is measured.
const VOLUMES: usize = 999;

/// How much is in the log and the files that it was rotated to, in bytes, and how much of it in
/// the one that is written to: the driver begins another at 16 MiB.
const LOG: usize = 100 << 20;
const CURRENT: usize = 12 << 20;
const ROTATED: usize = 4;

/// Has volumes attached to the node, as their records show, and a long log written.
pub(super) fn gather(node: &Node) -> anyhow::Result<()> {
    for name in names() {
        let options = format!(
            r#"{{"create":"true","kubernetes.io/fsType":"ext4","kubernetes.io/pvOrVolumeName":"{name}","kubernetes.io/readwrite":"rw","size":"1Mi"}}"#
        );
        call(node, &["attach", &options, node.kubelet.node])?;
    }
    let data = node.path().join("data");
    let recorded = node.files()?.iter().filter(|file| file.starts_with(&data)).count();
    ensure!(recorded >= VOLUMES, "only {recorded} records of {VOLUMES} volumes");

    let log = log(node);
    let told = fs::read_to_string(&log).context("the driver wrote no log")?;
    let line = format!("{}\n", told.lines().last().context("the log is empty")?);
    let of_length = |length: usize| line.repeat(length / line.len());
    write(&log, &of_length(CURRENT))?;
    for number in 1..=ROTATED {
        let rotated = PathBuf::from(format!("{}.{number}", log.display()));
        write(&rotated, &of_length((LOG - CURRENT) / ROTATED))?;
    }
    Ok(())
}

/// Has them detached and forgotten, and their images removed.
pub(super) fn scatter(node: &Node) -> anyhow::Result<()> {
    for name in names() {
        call(node, &["detach", &name, node.kubelet.node])?;
        fs::remove_file(node.images().join(format!("{name}.img")))?;
    }
    Ok(())
}

/// Leaves nothing to be written back while calls are measured.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}

fn names() -> impl Iterator<Item = String> {
    (0..VOLUMES).map(|number| format!("pv-{number:03}"))
}

fn log(node: &Node) -> PathBuf {
    let name = node.kubelet.driver.replace('/', "~");
    node.path().join("log").join(format!("{name}.jsonl"))
}

fn call(node: &Node, arguments: &[&str]) -> anyhow::Result<()> {
    let executable: &Path = &node.kubelet.executable;
    match exec(executable, arguments)?.verdict {
        Verdict::Success(_) => Ok(()),
        Verdict::Failure(reason) => bail!("{arguments:?}: {reason}"),
        Verdict::NotSupported => bail!("{arguments:?} is not supported"),
    }
}
