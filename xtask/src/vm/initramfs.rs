//! What a machine boots into: programs of this machine with the libraries that they need, the
//! kernel's modules, and a first process that runs one command and ends.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use super::kernel::Kernel;
use crate::{cargo, packages};

/// The programs that the driver and the tests run. One that this machine lacks is left out, and
/// missed by the test that needs it.
const PROGRAMS: &[&str] = &[
    "mkfs.ext4",
    "e2fsck",
    "resize2fs",
    "mkfs.xfs",
    "xfs_repair",
    "mkfs.btrfs",
    "btrfs",
    "losetup",
    "mount",
    "umount",
    "dmsetup",
    "blockdev",
];

/// The kernel modules that are loaded at the start, with all that these need.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "loop",
    "ext4",
    "xfs",
    "btrfs",
    "crc32c_generic",
    "dm-mod",
    "dm-flakey",
    "dm-zero",
];

/// The first process. What it has to tell goes to the second serial port, which needs no module.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true DM_DISABLE_UDEV=1 RUST_BACKTRACE=1
export WASMOUNT_DIST=/t/dist WASMOUNT_COMPONENTS=/t/components WASMOUNT_CRASH_DRIVER=/t/crash-driver
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
$B mount -t tmpfs -o mode=755 tmpfs /run
$B mount -t tmpfs tmpfs /tmp
$B mkdir -p /var/tmp
$B ln -s /proc/self/fd /dev/fd
# The driver runs no tool that others than root could have put there.
$B chmod 755 /
$B stty -F /dev/ttyS1 raw
echo up > /dev/ttyS1
for module in $($B cat /modules); do $B insmod $module; done
$(/bin/busybox cat /proc/cmdline | $B sed 's/.*command=//; s/+/ /g') </dev/null 2>&1
echo "exit $?" > /dev/ttyS1
$B sync
$B poweroff -f
"#;

/// An initramfs that is being put together.
pub(super) struct Initramfs {
    tree: tempfile::TempDir,
    file: PathBuf,
}

impl Initramfs {
    /// The tools, the modules and the first process.
    pub(super) fn new(directory: &Path, kernel: &Kernel) -> anyhow::Result<Self> {
        let tree = tempfile::tempdir_in(directory)?;
        let new = Self { tree, file: directory.join("initramfs.cpio") };
        for directory in ["proc", "sys", "dev", "run", "tmp", "etc", "root", "var", "bin"] {
            fs::create_dir_all(new.tree.path().join(directory))?;
        }
        new.put(&program("busybox")?, "/bin/busybox")?;
        std::os::unix::fs::symlink("busybox", new.tree.path().join("bin/sh"))?;
        std::os::unix::fs::symlink("/proc/self/mounts", new.tree.path().join("etc/mtab"))?;
        for name in PROGRAMS {
            if let Ok(program) = program(name) {
                new.put(&program, &format!("/usr/sbin/{name}"))?;
                new.put_libraries(&program)?;
            }
        }
        new.put_modules(kernel)?;
        new.write("/init", INIT.as_bytes(), 0o755)?;
        Ok(new)
    }

    /// Puts a file there, with its mode.
    pub(super) fn put(&self, from: &Path, to: &str) -> anyhow::Result<()> {
        let bytes = fs::read(from).with_context(|| format!("{} is missing", from.display()))?;
        self.write(to, &bytes, fs::metadata(from)?.permissions().mode() & 0o777)
    }

    /// Puts all files of a directory there, and what is below it.
    pub(super) fn put_directory(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a name that is not text")?;
            let to = format!("{to}/{name}");
            match entry.file_type()?.is_dir() {
                true => self.put_directory(&entry.path(), &to)?,
                false => self.put(&entry.path(), &to)?,
            }
        }
        Ok(())
    }

    /// Packs it. All in it is root's.
    pub(super) fn finish(self) -> anyhow::Result<PathBuf> {
        let mut find = Command::new("find");
        find.args([".", "-mindepth", "1", "-print0"]).current_dir(self.tree.path());
        let list = cargo::output(&mut find)?;
        let names = self.tree.path().with_extension("list");
        fs::write(&names, list)?;
        let packed = Command::new("cpio")
            .args(["-0", "-o", "-H", "newc", "-R", "0:0", "--quiet"])
            .current_dir(self.tree.path())
            .stdin(fs::File::open(&names)?)
            .stdout(fs::File::create(&self.file)?)
            .stderr(Stdio::inherit())
            .status();
        fs::remove_file(&names)?;
        ensure!(packed?.success(), "cpio cannot pack the initramfs");
        Ok(self.file)
    }

    fn write(&self, to: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        let to = self.tree.path().join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("a file without a directory")?)?;
        fs::write(&to, bytes)?;
        Ok(fs::set_permissions(&to, fs::Permissions::from_mode(mode))?)
    }

    /// The shared libraries of a program, at the paths where it looks for them.
    fn put_libraries(&self, program: &Path) -> anyhow::Result<()> {
        let listed = Command::new("ldd").arg(program).stderr(Stdio::null()).output()?;
        for word in String::from_utf8(listed.stdout)?.split_whitespace() {
            if word.starts_with('/') && !self.tree.path().join(&word[1..]).exists() {
                self.put(Path::new(word), word)?;
            }
        }
        Ok(())
    }

    /// The modules, and the order to load them in.
    fn put_modules(&self, kernel: &Kernel) -> anyhow::Result<()> {
        cargo::run(Command::new("depmod").arg("-b").arg(&kernel.root).arg(&kernel.release))?;
        let mut order = String::new();
        let mut put = BTreeSet::new();
        for module in MODULES {
            let mut modprobe = Command::new("modprobe");
            modprobe.arg("-d").arg(&kernel.root).args(["-S", &kernel.release]);
            let listed = cargo::output(modprobe.args(["--show-depends", module]))?;
            for line in String::from_utf8(listed)?.lines() {
                // The rest is built into the kernel.
                let Some(path) = line.strip_prefix("insmod ") else { continue };
                let path = path.trim();
                let name = Path::new(path).file_name().context("a module without a name")?;
                let to = format!("/modules.d/{}", name.display());
                if put.insert(to.clone()) {
                    self.put(Path::new(path), &to)?;
                    order.push_str(&format!("{to}\n"));
                }
            }
        }
        self.write("/modules", order.as_bytes(), 0o644)
    }
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    packages::find(name).with_context(|| format!("{name} is missing"))
}
