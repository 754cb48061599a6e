//! One run of the machine. Dropped, it is off.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// How often is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(20);

/// The kernel's parameters. It tells of a task that is stuck before anybody here loses patience.
const PARAMETERS: &str = "console=ttyS0 quiet panic=-1 random.trust_cpu=on \
                          sysctl.kernel.hung_task_timeout_secs=30";

/// What the first process says before it does anything. Until then nothing of ours has run.
const UP: &str = "up";

/// How long a kernel may take to get there: many times what it takes.
const BOOT: Duration = Duration::from_secs(60);

/// How often a machine is switched on that does not get there.
const TRIES: usize = 3;

/// A machine that runs.
pub(super) struct Machine {
    qemu: Child,
    /// The kernel's messages and what the command prints.
    console: PathBuf,
    /// What the command says to us.
    results: PathBuf,
}

/// How a machine's command ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this exit code.
    Exit(i32),
    /// Not at all: the machine did, by a panic of its kernel.
    Died,
}

impl Machine {
    /// Switches a machine on that runs a command, which may not hold a `+`, with one disk. An
    /// emulated machine now and then stands still before its kernel has begun; that says nothing of
    /// what is to be tried in it, so it is switched off and on again.
    pub(super) fn boot(
        directory: &Path,
        kernel: &Path,
        initramfs: &Path,
        command: &str,
        disk: &Path,
    ) -> anyhow::Result<Machine> {
        let mut tried = 1;
        loop {
            let mut machine = Self::switch_on(directory, kernel, initramfs, command, disk)?;
            match machine.wait_for(UP, BOOT) {
                Ok(()) => return Ok(machine),
                Err(error) if tried == TRIES => return Err(error),
                Err(error) => eprintln!("    switched off and on again: {error:#}"),
            }
            tried += 1;
        }
    }

    fn switch_on(
        directory: &Path,
        kernel: &Path,
        initramfs: &Path,
        command: &str,
        disk: &Path,
    ) -> anyhow::Result<Machine> {
        let (console, results) = (directory.join("console"), directory.join("results"));
        for file in [&console, &results] {
            fs::write(file, "")?;
        }
        let command = command.replace(' ', "+");
        let mut qemu = Command::new("qemu-system-x86_64");
        // Emulated, since a machine that is virtual itself often cannot do better, and the same
        // everywhere. With a random number generator the kernel need not gather noise for seconds.
        qemu.args(["-accel", "tcg,thread=multi", "-M", "pc", "-cpu", "Nehalem,+rdrand"]);
        qemu.args(["-smp", "2", "-m", "1536", "-nodefaults", "-no-user-config"]);
        qemu.args(["-display", "none", "-no-reboot", "-kernel"]).arg(kernel);
        qemu.arg("-initrd")
            .arg(initramfs)
            .arg("-append")
            .arg(format!("{PARAMETERS} command={command}"));
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        qemu.arg("-serial").arg(format!("file:{}", results.display()));
        // Without a cache of QEMU's: what was not written when the power goes is gone.
        let drive = format!("file={},if=virtio,format=raw,cache=none", disk.display());
        qemu.args(["-drive", &drive]);
        let qemu = qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let qemu = qemu.spawn().context("cannot run qemu-system-x86_64")?;
        Ok(Machine { qemu, console, results })
    }

    /// Waits until the machine is off.
    pub(super) fn wait(&mut self, most: Duration) -> anyhow::Result<Ended> {
        let end = Instant::now() + most;
        while self.qemu.try_wait()?.is_none() {
            if Instant::now() > end {
                bail!("nothing ends within {} s:\n{}", most.as_secs(), self.console()?);
            }
            std::thread::sleep(LOOK);
        }
        let results = self.results()?;
        let exit = results.lines().find_map(|line| line.strip_prefix("exit "));
        Ok(exit.and_then(|code| code.trim().parse().ok()).map_or(Ended::Died, Ended::Exit))
    }

    /// Waits until the command has said a line that begins so.
    pub(super) fn wait_for(&mut self, line: &str, most: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + most;
        while !self.results()?.lines().any(|said| said.starts_with(line)) {
            let how = match self.qemu.try_wait()? {
                Some(status) => format!("it ended ({status}) and had not said `{line}`"),
                None if Instant::now() > end => format!("no `{line}` within {} s", most.as_secs()),
                None => {
                    std::thread::sleep(LOOK);
                    continue;
                }
            };
            bail!("the machine: {how}:\n{}{}", self.console()?, self.results()?);
        }
        Ok(())
    }

    /// Cuts the power. What the command has said until then; of a last line that was being said,
    /// nothing.
    pub(super) fn cut(&mut self) -> anyhow::Result<String> {
        self.qemu.kill()?;
        self.qemu.wait()?;
        let said = self.results()?;
        Ok(said[..said.rfind('\n').map_or(0, |end| end + 1)].to_owned())
    }

    /// What the kernel and the command have printed.
    pub(super) fn console(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.console)?).replace('\r', ""))
    }

    /// What the command has said to us.
    pub(super) fn results(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.results)?).into_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "it ended with exit code {code}"),
            Self::Died => f.write_str("the machine's kernel died"),
        }
    }
}
