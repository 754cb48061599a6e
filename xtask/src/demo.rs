//! `cargo xtask demo`: kubelet's whole sequence on a real ext4 volume, call by call; and then a
//! secret.
//!
//! It shows one volume's life: made, written, grown, taken down, set up again and found as it
//! was. What a pod's secret becomes is [`secret`]'s. Every call goes through the installed executable, and every answer must be one that
//! kubelet can use; what the driver refuses is the tests' business.

mod secret;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::cargo::Workspace;
use crate::kubelet::{Exec, Kubelet, Pod, Verdict, Volume};
use crate::node::Node;
use crate::steps::step;
use crate::{dist, packages};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 64 * MIB;
const GROWN: u64 = 128 * MIB;

const POD: Pod =
    Pod { uid: "6a1fbc5d-5ca0-4f0c-9a5e-3b1d0c1f2e47", name: "writer-0", namespace: "default" };

/// The command. Its last line is `demo: ok` or, from the caller, `demo: failed: …`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    ensure!(arguments.is_empty(), "the demo takes no arguments");
    ensure!(
        packages::is_root(),
        "the demo makes a real filesystem and mounts it: run it as root (sudo -E cargo xtask demo)"
    );
    packages::ensure(packages::EXT4_TOOLS, "the demo")?;
    let workspace = Workspace::discover()?;
    dist::build(&workspace)?;
    let mut node =
        step("installing loop-image on a node of its own", || Node::install(&workspace, "demo"))?;
    node.kubelet.observer = show;
    println!("Everything is in {}", node.path().display());
    play(&node)?;
    secret::play(&workspace, &node)?;
    node.uninstall()?;
    println!("Uninstalled; no mount, loop device, process or file is left.\n");
    println!("demo: ok");
    Ok(())
}

fn play(node: &Node) -> anyhow::Result<()> {
    let kubelet = &node.kubelet;
    let volume = volume();
    let note = kubelet.pod_directory(&volume, &POD).join("note.txt");
    let written = "Written through the pod's mount.\n";

    title("kubelet finds the driver");
    let capabilities = kubelet.init()?;
    ensure!(capabilities.attach, "loop-image must be attachable");
    ensure!(capabilities.requires_fs_resize, "loop-image must be expandable");

    title("A pod starts: the volume is attached, formatted and mounted");
    let device = set_up(kubelet, &volume)?;
    let size = size_of(&note)?;
    let mut file = File::create_new(&note).context("cannot write through the pod's mount")?;
    file.write_all(written.as_bytes())?;
    file.sync_all()?;
    drop(file);
    println!("  the pod writes note.txt; its filesystem has {} MiB", size / MIB);

    title("The claim is made larger");
    kubelet.expand_volume(&volume, GROWN, SIZE)?;
    match kubelet.expand_fs((&volume, &POD), &device, GROWN, SIZE)? {
        Verdict::Success(_) => {}
        Verdict::Failure(reason) if reason.contains("[kernel-refused]") => {
            println!("  this kernel does not grow a mounted ext4: the next mountdevice will");
        }
        Verdict::Failure(reason) => bail!("expandfs: {reason}"),
        Verdict::NotSupported => bail!("expandfs is not supported"),
    }

    title("The pod ends");
    take_down(node, &volume)?;

    title("Another pod starts: everything is there");
    set_up(kubelet, &volume)?;
    let read = fs::read_to_string(&note).context("the file is gone")?;
    ensure!(read == written, "note.txt has changed: {read:?}");
    let grown = size_of(&note)?;
    ensure!(grown > size + (GROWN - SIZE) / 2, "the filesystem has not grown: {grown} bytes");
    println!("  note.txt is found; the filesystem has {} MiB", grown / MIB);

    title("The pod ends");
    take_down(node, &volume)
}

/// The calls of a pod's start; returns the device for `expandfs`.
fn set_up(kubelet: &Kubelet, volume: &Volume) -> anyhow::Result<String> {
    kubelet.get_volume_name(volume)?;
    let device = kubelet.attach(volume)?;
    ensure!(kubelet.is_attached(volume)?, "attach succeeded, but isattached says no");
    let device = kubelet.wait_for_attach(volume, &device)?;
    kubelet.mount_device(volume, &device)?;
    kubelet.mount(volume, &POD)?;
    Ok(device)
}

/// The calls of a pod's end. Nothing but the image may be left of the volume.
fn take_down(node: &Node, volume: &Volume) -> anyhow::Result<()> {
    node.kubelet.unmount(volume, &POD)?;
    node.kubelet.unmount_device(volume)?;
    node.kubelet.detach(volume)?;
    node.check_clean(&[&format!("{}.img", volume.name)])
}

/// The volume of the demo. Its image does not exist yet.
fn volume() -> Volume {
    Volume {
        name: "pv-demo",
        fs_type: "ext4",
        writable: true,
        user: vec![("size", "64Mi".to_string()), ("create", "true".to_string())],
        secret: Vec::new(),
    }
}

/// The size in bytes of the filesystem that a new file would be on.
fn size_of(file: &Path) -> anyhow::Result<u64> {
    let directory = file.parent().context("a file without a directory")?;
    let statistics = rustix::fs::statvfs(directory)?;
    Ok(statistics.f_blocks * statistics.f_frsize)
}

fn title(text: &str) {
    println!("\n{text}");
}

fn show(call: &Exec) {
    println!("  > {}", call.arguments.iter().map(|a| shortened(a)).collect::<Vec<_>>().join(" "));
    println!("    {}   {:.1} ms", call.output.trim_end(), call.elapsed.as_secs_f64() * 1e3);
}

/// Options without what every call has in common, which is kubelet's word and not the user's;
/// long paths without what comes before the kubelet's own.
fn shortened(argument: &str) -> String {
    if argument.is_empty() {
        return "''".to_string();
    }
    if let Ok(serde_json::Value::Object(options)) = serde_json::from_str(argument) {
        let total = options.len();
        let mut words: Vec<String> = options
            .iter()
            .filter(|(key, _)| !key.starts_with("kubernetes.io/") || key.ends_with("/readwrite"))
            .map(|(key, value)| format!("{key:?}:{value}"))
            .collect();
        if words.len() < total {
            words.push(format!("and {} more", total - words.len()));
        }
        return format!("'{{{}}}'", words.join(","));
    }
    ["/plugins/kubernetes.io/", "/pods/"]
        .into_iter()
        .find_map(|mark| argument.find(mark).map(|at| format!("…{}", &argument[at..])))
        .unwrap_or_else(|| argument.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_shown_short() {
        let cases = [
            ("", "''"),
            ("attach", "attach"),
            ("134217728", "134217728"),
            ("/var/tmp/x/kubelet/pods/1/volumes/a~b/pv", "…/pods/1/volumes/a~b/pv"),
            (
                r#"{"image":"a","kubernetes.io/fsType":"ext4","kubernetes.io/readwrite":"rw"}"#,
                r#"'{"image":"a","kubernetes.io/readwrite":"rw",and 1 more}'"#,
            ),
        ];
        for (argument, short) in cases {
            assert_eq!(shortened(argument), short);
        }
    }
}
