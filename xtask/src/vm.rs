//! A virtual machine with a kernel of its own, for what the machine that runs the tests cannot
//! show: its kernel may not be asked to lose power, or to fail a read.
//!
//! QEMU without hardware's help boots Debian's cloud kernel with everything in one initramfs: the
//! tests' static programs, what they test, and the filesystem tools of this machine. No network,
//! no share: what is to outlive a power cut is on a disk image. How a machine runs is in
//! [`machine`], what it boots in [`kernel`] and [`initramfs`].

mod initramfs;
mod kernel;
mod machine;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use self::initramfs::Initramfs;
use self::kernel::Kernel;
use self::machine::{Ended, Machine};
use crate::cargo::{self, Workspace};
use crate::packages::{self, Program};
use crate::steps::step;

/// What building and running the machine takes.
const TOOLS: &[Program] = &[
    Program("qemu-system-x86_64", "qemu-system-x86"),
    Program("busybox", "busybox-static"),
    Program("cpio", "cpio"),
    Program("depmod", "kmod"),
    Program("dmsetup", "dmsetup"),
    Program("losetup", "mount"),
];

/// The tests that run in a machine: the name of their target, and what selects them there.
const TESTS: &[(&str, &str)] = &[("sequence", "read_write_and_then_read_only"), ("faults", "")];

/// How often the power is cut.
const CUTS: usize = 20;

/// What the volumes that lose power hold: each time another.
const FILESYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// A disk's size, in bytes.
const DISK: u64 = 512 << 20;

/// Runs the tests. `environment` is what tells them where the programs are.
pub(crate) fn run(workspace: &Workspace, crash_driver: &Path) -> anyhow::Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "the virtual machine is an x86-64 one");
    packages::ensure(TOOLS, "the virtual machine")?;
    packages::ensure(packages::EXT4_TOOLS, "the virtual machine")?;
    let directory = workspace.target.join("vm");
    std::fs::create_dir_all(&directory)?;
    let (kernel, initramfs) = step("making the virtual machine", || {
        let kernel = Kernel::fetch(&directory)?;
        let mut initramfs = Initramfs::new(&directory, &kernel)?;
        initramfs.put_directory(&workspace.dist(), "/t/dist")?;
        initramfs.put_directory(&workspace.components(), "/t/components")?;
        initramfs.put(crash_driver, "/t/crash-driver")?;
        for (name, program) in test_programs(workspace)? {
            initramfs.put(&program, &format!("/t/tests/{name}"))?;
        }
        Ok((kernel, initramfs.finish()?))
    })?;
    let bench = Bench { kernel, initramfs, directory };
    for (name, filter) in TESTS {
        let what = format!("running the test {name} in the virtual machine");
        step(&what, || bench.test(name, filter))?;
    }
    step(&format!("cutting the power {CUTS} times"), || bench.power_cuts())
}

/// What every machine is made from.
struct Bench {
    kernel: Kernel,
    initramfs: PathBuf,
    directory: PathBuf,
}

impl Bench {
    /// Boots a machine that runs one test program, and waits for its end.
    fn test(&self, name: &str, filter: &str) -> anyhow::Result<()> {
        let disk = self.disk("scratch")?;
        let command = format!("/t/tests/{name} --test-threads=1 {filter}");
        let mut machine = self.boot(command.trim(), &disk)?;
        let ended = machine.wait(Duration::from_secs(600))?;
        print!("{}", machine.console()?);
        ensure!(ended == Ended::Exit(0), "{name} in the virtual machine: {ended}");
        Ok(())
    }

    /// Boots the same disk again and again, each time to be cut off at another moment. What the
    /// program in the machine has acknowledged has to be there the next time, which it looks to
    /// itself before it goes on.
    fn power_cuts(&self) -> anyhow::Result<()> {
        let disk = self.disk("power")?;
        cargo::run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk))?;
        let mut acknowledged = [0_u64; FILESYSTEMS.len()];
        // The last boot of each goes to its end.
        for boot in 0..CUTS + FILESYSTEMS.len() {
            let which = boot % FILESYSTEMS.len();
            let (fs_type, known) = (FILESYSTEMS[which], &mut acknowledged[which]);
            let is_last = boot >= CUTS;
            let command = format!("/t/tests/power_cut {fs_type} {known} {}", u32::from(is_last));
            let mut machine = self.boot(&command, &disk)?;
            let lines = if is_last {
                ensure!(*known > 0, "too little was written to {fs_type} to show anything");
                let ended = machine.wait(Duration::from_secs(180))?;
                ensure!(ended == Ended::Exit(0), "{fs_type}: {ended}:\n{}", machine.console()?);
                machine.results()?
            } else {
                machine.wait_for("began", Duration::from_secs(180))?;
                // The first cuts are to meet the format. A slow machine would never get past it.
                if *known == 0 && boot / FILESYSTEMS.len() >= 2 {
                    machine.wait_for("ack", Duration::from_secs(180))?;
                }
                // Spread over what a round of calls takes, by a step that meets each moment.
                std::thread::sleep(Duration::from_millis(100 + boot as u64 * 1579 % 5900));
                machine.cut()?
            };
            for line in lines.lines() {
                ensure!(
                    !line.starts_with("failed"),
                    "after {boot} cuts, {fs_type}: {line}\n{}",
                    machine.console()?
                );
                if let Some(number) = line.strip_prefix("ack ") {
                    *known = number.parse().context("an acknowledgement")?;
                }
            }
        }
        let acknowledged: u64 = acknowledged.iter().sum();
        eprintln!("    {CUTS} cuts, {acknowledged} writes acknowledged, none lost");
        Ok(())
    }

    fn boot(&self, command: &str, disk: &Path) -> anyhow::Result<Machine> {
        Machine::boot(&self.directory, &self.kernel.image, &self.initramfs, command, disk)
    }

    fn disk(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(format!("{name}.img"));
        File::create(&path)?.set_len(DISK)?;
        Ok(path)
    }
}

/// Builds the tests as `cargo xtask test` does, static, and finds their programs. Of its packages, too:
/// with fewer, cargo would turn on fewer features of what they share, and compile it all anew.
fn test_programs(workspace: &Workspace) -> anyhow::Result<Vec<(String, PathBuf)>> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let mut build = workspace.build("test", "release");
    build.args(["--no-run", "--message-format", "json"]);
    for (name, _) in TESTS.iter().chain(&[("power_cut", "")]) {
        build.args(["--test", name]);
    }
    let output = build.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the tests cannot be built");
    let messages = String::from_utf8(output.stdout)?;
    let mut found = Vec::new();
    for line in messages.lines() {
        if let Ok(Message { executable: Some(program), target: Some(target) }) =
            serde_json::from_str(line)
        {
            found.push((target.name, program));
        }
    }
    ensure!(found.len() == TESTS.len() + 1, "cargo names {} test programs", found.len());
    Ok(found)
}
