//! The rounds: every subject once in each, and the node put back in between.
//!
//! Subjects that print or compute take part in every round, those that mount in one of four.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::mount::UnmountFlags;

use super::layers;
use super::programs::Programs;
use super::samples::Samples;
use crate::cargo;
use crate::kubelet::{Kubelet, Pod, Verdict, Volume, exec};
use crate::node::Node;

/// Rounds that count.
const ROUNDS: usize = 400;
/// Rounds before them, to fill caches and to format what is blank.
const WARMING_UP: usize = 4;
/// Mounting takes part in one round of so many.
const MOUNTING: usize = 4;
/// The size of every image in the run, in bytes: a common one for a volume. Nearly all of it is a
/// hole.
const SIZE: u64 = 10 << 30;

const POD: Pod =
    Pod { uid: "6a1fbc5d-5ca0-4f0c-9a5e-3b1d0c1f2e47", name: "bench-0", namespace: "default" };

/// All that was found out.
pub(super) struct Measured {
    /// Times by subject.
    pub(super) samples: Samples,
    /// The driver program's size in bytes.
    pub(super) driver_size: u64,
    /// The most memory that a process of the driver has had resident, in bytes. Tools that the
    /// driver runs are not part of it: only calls without one are looked at.
    pub(super) driver_resident: u64,
}

/// Where drivers are called.
pub(super) struct Nodes {
    /// With one volume.
    pub(super) plain: Node,
    /// `secret-files`, on the same.
    pub(super) secrets: Kubelet,
    /// With a thousand volumes, see [`crowd`](super::crowd).
    pub(super) crowded: Node,
    /// With a driver that can leave off layers of its wall, see [`layers`].
    pub(super) walled: Node,
}

/// Measures on the nodes, which are as they were afterwards.
pub(super) fn measure(nodes: &Nodes, programs: &Programs) -> anyhow::Result<Measured> {
    let mut run = Run::prepare(nodes, programs)?;
    for round in 0..WARMING_UP + ROUNDS {
        if round == WARMING_UP {
            run.samples.clear();
        }
        run.light(round)?;
        if round % MOUNTING == 0 {
            // Who comes first changes: what one leaves to write back must not slow always the same.
            for turn in 0..4 {
                match (round / MOUNTING + turn) % 4 {
                    0 => run.bash_jq()?,
                    1 => run.native()?,
                    2 => run.ours(round / MOUNTING)?,
                    _ => run.secret()?,
                }
            }
        }
    }
    let samples = &mut run.samples;
    layers::measure(&nodes.walled, samples, ROUNDS)?;
    let driver_resident = run.resident()?;
    let driver_size = fs::metadata(&nodes.plain.kubelet.executable)?.len();
    Ok(Measured { samples: run.finish()?, driver_size, driver_resident })
}

struct Run<'a> {
    nodes: &'a Nodes,
    programs: &'a Programs,
    directory: PathBuf,
    ours: [Ours<'a>; 3],
    /// What `secret-files` mounts.
    secret: Volume,
    /// The options of the bash driver, which takes paths.
    bash_options: String,
    samples: Samples,
}

/// A volume of `loop-image`, attached.
struct Ours<'a> {
    kubelet: &'a Kubelet,
    volume: Volume,
    /// What `attach` has answered.
    token: String,
    /// What its `mountdevice` and its `mount` are called here.
    names: [&'static str; 2],
}

impl<'a> Run<'a> {
    fn prepare(nodes: &'a Nodes, programs: &'a Programs) -> anyhow::Result<Run<'a>> {
        let directory = nodes.plain.path().join("bench");
        for name in ["bash.img", "native.img"] {
            let image = directory.join(name);
            File::create_new(&image)?.set_len(SIZE)?;
            cargo::run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        }
        for name in ["bash-device", "bash-pod", "native-device", "native-pod", "records"] {
            fs::create_dir(directory.join(name))?;
        }

        let volume =
            |name, fs_type, user| Volume { name, fs_type, writable: true, user, secret: vec![] };
        let bash = vec![
            ("imagePath", text(&directory.join("bash.img"))?),
            ("stagedPath", text(&directory.join("bash-device"))?),
        ];
        let bash_options = volume("pv-bench", "ext4", bash).options_for(&POD);
        let attached = |kubelet: &'a Kubelet, name, fs_type, names| {
            let user = vec![("size", "10Gi".to_string()), ("create", "true".to_string())];
            let volume = volume(name, fs_type, user);
            let token = kubelet.attach(&volume)?;
            anyhow::Ok(Ours { kubelet, volume, token, names })
        };
        let (plain, crowded) = (&nodes.plain.kubelet, &nodes.crowded.kubelet);
        let ours = [
            attached(plain, "pv-bench", "ext4", ["mountdevice", "mount"])?,
            attached(plain, "pv-xfs", "xfs", ["mountdevice-xfs", "mount-xfs"])?,
            attached(crowded, "pv-bench", "ext4", ["mountdevice-1000", "mount-1000"])?,
        ];
        let mut secret = volume("credentials", "", vec![]);
        secret.secret = vec![("username", "app"), ("password", "correct horse battery staple")];
        let samples = Samples::default();
        Ok(Run { nodes, programs, directory, ours, secret, bash_options, samples })
    }

    /// Those that do nothing on the node. Each driver's `isattached` comes after its `init`, another's
    /// first each time: what was executed just before is executed faster.
    fn light(&mut self, round: usize) -> anyhow::Result<()> {
        self.samples.add("static-c", time(&self.programs.static_c, &[])?);
        self.samples.add("bash", time(&self.programs.bash, &[])?);
        let [ours, _, crowded] = &self.ours;
        let mut subjects = [("isattached", ours), ("isattached-1000", crowded)];
        subjects.rotate_left(round % 2);
        for (name, Ours { kubelet, volume, .. }) in subjects {
            kubelet.init()?;
            if name == "isattached" {
                self.samples.add("init", kubelet.elapsed());
            }
            ensure!(kubelet.is_attached(volume)?, "the volume is not attached");
            self.samples.add(name, kubelet.elapsed());
        }
        Ok(())
    }

    fn bash_jq(&mut self) -> anyhow::Result<()> {
        let program = &self.programs.bash_jq;
        let options = &self.bash_options;
        let (device, pod) = (self.path("bash-device")?, self.path("bash-pod")?);
        let staging = time(program, &["mountdevice", &device, options])?;
        let publishing = time(program, &["mount", &pod, options])?;
        time(program, &["unmount", &pod])?;
        time(program, &["unmountdevice", &device])?;
        self.samples.add("bash-jq-mountdevice", staging);
        self.samples.add("bash-jq-mount", publishing);
        self.samples.add("bash-jq", staging + publishing);
        Ok(())
    }

    fn native(&mut self) -> anyhow::Result<()> {
        let program = &self.programs.native;
        let records = self.path("records")?;
        let (device, pod) = (self.path("native-device")?, self.path("native-pod")?);
        // As ours has been by `waitforattach`: new, and past the page cache.
        let mut losetup = Command::new("losetup");
        losetup.args(["--direct-io=on", "--find", "--show"]).arg(self.directory.join("native.img"));
        let attached = String::from_utf8(cargo::output(&mut losetup)?)?.trim().to_string();
        let staging = time(program, &["mountdevice", &attached, &device, &records])?;
        let publishing = time(program, &["mount", &device, &pod, &records])?;
        for directory in [&pod, &device] {
            rustix::mount::unmount(directory.as_str(), UnmountFlags::NOFOLLOW)?;
        }
        cargo::run(Command::new("losetup").arg("-d").arg(&attached))?;
        self.samples.add("native-mountdevice", staging);
        self.samples.add("native-mount", publishing);
        Ok(())
    }

    /// All volumes of ours, another one first each time.
    fn ours(&mut self, time: usize) -> anyhow::Result<()> {
        for turn in 0..self.ours.len() {
            let Ours { kubelet, volume, token, names: [staging, publishing] } =
                &self.ours[(time + turn) % self.ours.len()];
            let device = kubelet.wait_for_attach(volume, token)?;
            kubelet.mount_device(volume, &device)?;
            self.samples.add(staging, kubelet.elapsed());
            kubelet.mount(volume, &POD)?;
            self.samples.add(publishing, kubelet.elapsed());
            kubelet.unmount(volume, &POD)?;
            kubelet.unmount_device(volume)?;
        }
        Ok(())
    }

    fn secret(&mut self) -> anyhow::Result<()> {
        let kubelet = &self.nodes.secrets;
        kubelet.mount(&self.secret, &POD)?;
        self.samples.add("mount-secret", kubelet.elapsed());
        kubelet.unmount(&self.secret, &POD)
    }

    /// The largest of `init`, `isattached` and `mount`.
    fn resident(&self) -> anyhow::Result<u64> {
        let [Ours { kubelet, volume, token, .. }, ..] = &self.ours;
        let device = kubelet.wait_for_attach(volume, token)?;
        kubelet.mount_device(volume, &device)?;
        let pod = kubelet.pod_directory(volume, &POD);
        fs::create_dir_all(&pod)?;
        let calls = [
            vec!["init".to_string()],
            vec!["isattached".to_string(), volume.options(), kubelet.node.to_string()],
            vec!["mount".to_string(), text(&pod)?, volume.options_for(&POD)],
        ];
        let mut largest = 0;
        for arguments in calls {
            let mut resident = Command::new(&self.programs.resident);
            resident.arg(&kubelet.executable).args(arguments.iter().map(OsStr::new));
            let printed = String::from_utf8(cargo::output(&mut resident)?)?;
            let kib: u64 = printed.trim().parse().context("not a size")?;
            largest = largest.max(kib << 10);
        }
        kubelet.unmount(volume, &POD)?;
        kubelet.unmount_device(volume)?;
        Ok(largest)
    }

    fn finish(self) -> anyhow::Result<Samples> {
        for Ours { kubelet, volume, .. } in &self.ours {
            kubelet.detach(volume)?;
        }
        self.nodes.plain.check_clean(&["pv-bench.img", "pv-xfs.img"])?;
        Ok(self.samples)
    }

    fn path(&self, name: &str) -> anyhow::Result<String> {
        text(&self.directory.join(name))
    }
}

/// Execs a program as kubelet does and returns its time. It must have succeeded.
fn time(program: &Path, arguments: &[&str]) -> anyhow::Result<Duration> {
    let called = exec(program, arguments)?;
    match called.verdict {
        Verdict::Success(_) => Ok(called.elapsed),
        _ => bail!("{} {arguments:?}: {}", program.display(), called.output.trim_end()),
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_string())
}
