//! A directory of our own on this machine, and the certainty that nothing stays behind: no
//! process running from it, no mount in it, no loop device on a file of it.
//!
//! A second process waits beside it and sweeps when this one ends, however it ends, Ctrl-C and
//! SIGKILL included. Only what lies in the directory is ever touched.

use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};

/// The hidden command that waits for its stdin to end and then sweeps.
pub(crate) const SWEEP: &str = "sweep-when-orphaned";

/// What the names of scratch directories begin with; nothing else is ever swept.
const PREFIX: &str = "wasmount-";

/// How long a driver may take to answer SIGTERM before it is killed.
const TERMINATION: Duration = Duration::from_secs(12);

/// How long the kernel may take to let go of a loop device whose last user is gone.
const SETTLING: Duration = Duration::from_secs(2);

/// A scratch directory. Dropping it sweeps it.
pub(crate) struct Scratch {
    path: PathBuf,
    sweeper: Child,
}

impl Scratch {
    /// Makes the directory, readable by nobody else, in TMPDIR or, since that is on a disk more
    /// often than /tmp is, in /var/tmp.
    pub(crate) fn new(purpose: &str) -> anyhow::Result<Scratch> {
        let parent = match std::env::var_os("TMPDIR") {
            Some(directory) if !directory.is_empty() => PathBuf::from(directory),
            _ if Path::new("/var/tmp").is_dir() => PathBuf::from("/var/tmp"),
            _ => std::env::temp_dir(),
        };
        // The kernel names mounts and backing files by their real path.
        let parent = fs::canonicalize(&parent)
            .with_context(|| format!("cannot use the directory {}", parent.display()))?;
        let own = std::env::current_exe().context("cannot find this program")?;
        let path = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{purpose}-"))
            .tempdir_in(&parent)
            .with_context(|| format!("cannot make a directory in {}", parent.display()))?
            .keep();
        // A process group of its own keeps the terminal's Ctrl-C from the sweeper.
        let sweeper = Command::new(own)
            .arg(SWEEP)
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn();
        match sweeper {
            Ok(sweeper) => Ok(Scratch { path, sweeper }),
            Err(error) => {
                fs::remove_dir(&path)?;
                Err(error).context("cannot start the sweeper")
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What of ours is alive on the node, as lines to print. Empty is clean.
    pub(crate) fn leftovers(&self) -> anyhow::Result<Vec<String>> {
        let deadline = Instant::now() + SETTLING;
        loop {
            let found = leftovers(&self.path)?;
            if found.is_empty() || Instant::now() > deadline {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sweeps and says if anything could not be swept.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let swept = if self.path.exists() { sweep(&self.path) } else { Ok(()) };
        drop(self.sweeper.stdin.take());
        self.sweeper.wait().context("the sweeper is lost")?;
        swept
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            eprintln!("cannot clean up: {error:#}");
        }
    }
}

/// The hidden command: waits until whoever started it has closed the pipe or is gone.
pub(crate) fn sweep_when_orphaned(arguments: &[String]) -> anyhow::Result<()> {
    let [path] = arguments else { bail!("one directory is expected") };
    let path = Path::new(path);
    let metadata = fs::symlink_metadata(path)?;
    let is_scratch = path.is_absolute()
        && metadata.is_dir()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && path.file_name().is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()));
    ensure!(is_scratch, "not a scratch directory");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    if path.exists() { sweep(path) } else { Ok(()) }
}

/// Mount points in the directory, in the order in which they were mounted.
pub(crate) fn mounts(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mountinfo").context("cannot read the mount table")?;
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let point = line.split(|byte| *byte == b' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(unescape(point))))
    });
    Ok(points.filter(|point| point.starts_with(directory)).collect())
}

/// Sweeps until it is done: a tool that a driver has started is nobody's to kill, and may be at
/// work for a moment longer.
fn sweep(directory: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + TERMINATION;
    loop {
        match sweep_once(directory) {
            Err(_) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

/// Ends, unmounts and detaches what lies in the directory, then removes it.
fn sweep_once(directory: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + TERMINATION;
    let mut signal = Signal::TERM;
    loop {
        let running = processes(directory)?;
        if running.is_empty() {
            break;
        }
        for (pid, _) in running {
            // A process that is gone by now is what is wanted.
            let _ = kill_process(pid, signal);
        }
        if Instant::now() > deadline {
            signal = Signal::KILL;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    for point in mounts(directory)?.iter().rev() {
        let unmounted = rustix::mount::unmount(point, UnmountFlags::NOFOLLOW).or_else(|_| {
            rustix::mount::unmount(point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
        });
        unmounted.with_context(|| format!("cannot unmount {}", point.display()))?;
    }
    for (device, _) in loop_devices(directory)? {
        crate::cargo::run(Command::new("losetup").arg("-d").arg(&device))?;
    }
    // Removing files reaches through mounts: not one may be left.
    ensure!(mounts(directory)?.is_empty(), "mounts are left in {}", directory.display());
    fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))
}

fn leftovers(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (pid, program) in processes(directory)? {
        found.push(format!("process {} ({})", pid.as_raw_nonzero(), program.display()));
    }
    for point in mounts(directory)? {
        found.push(format!("mount {}", point.display()));
    }
    for (device, file) in loop_devices(directory)? {
        found.push(format!("loop device {} ({})", device.display(), file.display()));
    }
    Ok(found)
}

/// Processes whose program lies in the directory.
fn processes(directory: &Path) -> anyhow::Result<Vec<(Pid, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list the processes")? {
        let entry = entry?;
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { continue };
        // Processes end while we look, and kernel threads have no program.
        let Ok(program) = fs::read_link(entry.path().join("exe")) else { continue };
        if program.starts_with(directory) {
            found.push((pid, program));
        }
    }
    Ok(found)
}

/// Loop devices whose backing file lies in the directory, with that file.
fn loop_devices(directory: &Path) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").context("cannot list the block devices")? {
        let entry = entry?;
        let Ok(file) = fs::read(entry.path().join("loop/backing_file")) else { continue };
        let file = PathBuf::from(OsString::from_vec(file.trim_ascii_end().to_vec()));
        if file.starts_with(directory) {
            found.push((Path::new("/dev").join(entry.file_name()), file));
        }
    }
    Ok(found)
}

/// Undoes the octal escapes of mountinfo (proc_pid_mountinfo(5)).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_escapes_are_undone() {
        let cases =
            [("/a", "/a"), (r"/a\040b", "/a b"), (r"/a\134040", r"/a\040"), (r"\04", r"\04")];
        for (escaped, plain) in cases {
            assert_eq!(unescape(escaped.as_bytes()), plain.as_bytes(), "{escaped}");
        }
    }

    #[test]
    fn a_mount_and_a_loop_device_are_found_and_swept() {
        if !crate::packages::is_root() {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "this needs root");
            eprintln!("skipped: needs root");
            return;
        }
        let directory = fs::canonicalize(tempfile::tempdir().expect("a directory").keep())
            .expect("it is there");
        let (image, point) = (directory.join("an image"), directory.join("a mount"));
        fs::File::create(&image).and_then(|file| file.set_len(1 << 20)).expect("an image");
        fs::create_dir(&point).expect("a directory");
        assert_eq!(leftovers(&directory).expect("readable"), [""; 0]);

        let mut losetup = Command::new("losetup");
        crate::cargo::run(losetup.arg("--find").arg(&image)).expect("a loop device");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", &point, "tmpfs", flags, None).expect("a mount");
        let found = leftovers(&directory).expect("readable").join("\n");
        assert!(found.contains("a mount\n") && found.ends_with("an image)"), "{found}");

        sweep(&directory).expect("swept");
        assert_eq!(leftovers(&directory).expect("readable"), [""; 0]);
        assert!(!directory.exists());
    }

    #[test]
    fn only_scratch_directories_are_swept() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for path in ["/", "relative/wasmount-x", &directory.path().to_string_lossy()] {
            assert!(sweep_when_orphaned(&[path.to_string()]).is_err(), "{path}");
        }
        assert!(directory.path().exists());
    }
}
