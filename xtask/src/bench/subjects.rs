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

use super::programs::Programs;
use super::samples::Samples;
use crate::cargo;
use crate::kubelet::{Pod, Verdict, Volume, exec};
use crate::node::Node;

/// Rounds that count.
const ROUNDS: usize = 200;
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

/// Measures on the node, which is as it was afterwards.
pub(super) fn measure(node: &Node, programs: &Programs) -> anyhow::Result<Measured> {
    let mut run = Run::prepare(node, programs)?;
    for round in 0..WARMING_UP + ROUNDS {
        if round == WARMING_UP {
            run.samples.clear();
        }
        run.light()?;
        if round % MOUNTING == 0 {
            // Who comes first changes: what one leaves to write back must not slow always the same.
            for turn in 0..3 {
                match (round / MOUNTING + turn) % 3 {
                    0 => run.bash_jq()?,
                    1 => run.native()?,
                    _ => run.ours()?,
                }
            }
        }
    }
    let driver_resident = run.resident()?;
    let driver_size = fs::metadata(&node.kubelet.executable)?.len();
    Ok(Measured { samples: run.finish()?, driver_size, driver_resident })
}

struct Run<'a> {
    node: &'a Node,
    programs: &'a Programs,
    directory: PathBuf,
    /// Ours.
    volume: Volume,
    /// What `attach` has answered.
    token: String,
    /// The options of the bash driver, which takes paths.
    bash_options: String,
    samples: Samples,
}

impl<'a> Run<'a> {
    fn prepare(node: &'a Node, programs: &'a Programs) -> anyhow::Result<Run<'a>> {
        let directory = node.path().join("bench");
        for name in ["bash.img", "native.img"] {
            let image = directory.join(name);
            File::create_new(&image)?.set_len(SIZE)?;
            cargo::run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        }
        for name in ["bash-device", "bash-pod", "native-device", "native-pod", "records"] {
            fs::create_dir(directory.join(name))?;
        }

        let volume = |user| Volume {
            name: "pv-bench",
            fs_type: "ext4",
            writable: true,
            user,
            secret: vec![],
        };
        let bash = volume(vec![
            ("imagePath", text(&directory.join("bash.img"))?),
            ("stagedPath", text(&directory.join("bash-device"))?),
        ]);
        let volume = volume(vec![("size", "10Gi".to_string()), ("create", "true".to_string())]);
        let token = node.kubelet.attach(&volume)?;
        let bash_options = bash.options_for(&POD);
        let samples = Samples::default();
        Ok(Run { node, programs, directory, volume, token, bash_options, samples })
    }

    /// Those that do nothing on the node.
    fn light(&mut self) -> anyhow::Result<()> {
        let kubelet = &self.node.kubelet;
        self.samples.add("static-c", time(&self.programs.static_c, &[])?);
        self.samples.add("bash", time(&self.programs.bash, &[])?);
        kubelet.init()?;
        self.samples.add("init", kubelet.elapsed());
        ensure!(kubelet.is_attached(&self.volume)?, "the volume is not attached");
        self.samples.add("isattached", kubelet.elapsed());
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

    fn ours(&mut self) -> anyhow::Result<()> {
        let kubelet = &self.node.kubelet;
        let device = kubelet.wait_for_attach(&self.volume, &self.token)?;
        kubelet.mount_device(&self.volume, &device)?;
        self.samples.add("mountdevice", kubelet.elapsed());
        kubelet.mount(&self.volume, &POD)?;
        self.samples.add("mount", kubelet.elapsed());
        kubelet.unmount(&self.volume, &POD)?;
        kubelet.unmount_device(&self.volume)
    }

    /// The largest of `init`, `isattached` and `mount`.
    fn resident(&self) -> anyhow::Result<u64> {
        let kubelet = &self.node.kubelet;
        let device = kubelet.wait_for_attach(&self.volume, &self.token)?;
        kubelet.mount_device(&self.volume, &device)?;
        let pod = kubelet.pod_directory(&self.volume, &POD);
        fs::create_dir_all(&pod)?;
        let calls = [
            vec!["init".to_string()],
            vec!["isattached".to_string(), self.volume.options(), kubelet.node.to_string()],
            vec!["mount".to_string(), text(&pod)?, self.volume.options_for(&POD)],
        ];
        let mut largest = 0;
        for arguments in calls {
            let mut resident = Command::new(&self.programs.resident);
            resident.arg(&kubelet.executable).args(arguments.iter().map(OsStr::new));
            let printed = String::from_utf8(cargo::output(&mut resident)?)?;
            let kib: u64 = printed.trim().parse().context("not a size")?;
            largest = largest.max(kib << 10);
        }
        kubelet.unmount(&self.volume, &POD)?;
        kubelet.unmount_device(&self.volume)?;
        Ok(largest)
    }

    fn finish(self) -> anyhow::Result<Samples> {
        self.node.kubelet.detach(&self.volume)?;
        self.node.check_clean(&["pv-bench.img"])?;
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
