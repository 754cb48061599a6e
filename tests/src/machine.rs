//! What the virtual machine has: a disk to be written to at will, and the device mapper to make
//! it fail. Outside such a machine there is none, whatever devices there are.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

/// A mebibyte.
pub const MIB: u64 = 1 << 20;

const DISK: &str = "/dev/vda";
const SECTOR: u64 = 512;

/// The disk, behind a mapping that can be told to fail.
#[derive(Debug)]
pub struct Faulty {
    size: Cell<u64>,
}

/// How the disk is other than it should be.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// This part can be neither read nor written. In bytes.
    Broken {
        /// Where it begins.
        at: u64,
        /// How long it is.
        length: u64,
    },
    /// All of it can be read and not written.
    WritesFail,
}

/// Whether this is the machine, where nothing on the disk is anybody's. The kernel of no other
/// was started with the path of a test.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn is_here() -> bool {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let here = line.contains(" command=/t/tests/");
    if !here {
        eprintln!("not here: this runs in the virtual machine of `cargo xtask test --vm`");
    }
    here
}

impl Faulty {
    /// A disk of that many bytes, all zero; none outside the machine.
    pub fn blank(size: u64) -> Option<Self> {
        if !is_here() {
            return None;
        }
        let mut disk = OpenOptions::new().write(true).open(DISK).expect("the machine's disk");
        let zeroes = vec![0; MIB as usize];
        for _ in 0..512 {
            disk.write_all(&zeroes).expect("written");
        }
        disk.sync_all().expect("written");
        let faulty = Self { size: size.into() };
        dmsetup(&["create", "faulty", "--table", &faulty.table(&[])]);
        Some(faulty)
    }

    /// Changes the disk under whoever uses it.
    pub fn becomes(&self, parts: &[Part]) {
        // What waits to be written is not waited for: it may never be.
        dmsetup(&["suspend", "--nolockfs", "--noflush", "faulty"]);
        dmsetup(&["load", "faulty", "--table", &self.table(parts)]);
        dmsetup(&["resume", "faulty"]);
    }

    /// Changes its size, too.
    pub fn resize(&self, size: u64, parts: &[Part]) {
        self.size.set(size);
        self.becomes(parts);
    }

    /// Whether the kernel lets nobody write.
    pub fn read_only(&self, is: bool) {
        let flag = if is { "--setro" } else { "--setrw" };
        run(Command::new("blockdev").args([flag, "/dev/mapper/faulty"]));
    }

    /// What is really there.
    pub fn contents(&self) -> Vec<u8> {
        self.sync();
        let mut contents = Vec::new();
        let disk = File::open(DISK).expect("the machine's disk");
        disk.take(self.size.get()).read_to_end(&mut contents).expect("readable");
        contents
    }

    /// Whether nothing was ever written.
    pub fn is_zero(&self) -> bool {
        self.contents().iter().all(|byte| *byte == 0)
    }

    /// Has the kernel write what it can, and read the disk anew: it keeps what was read of the disk
    /// apart from what was read through the mapping.
    pub fn sync(&self) {
        rustix::fs::sync();
        std::fs::write("/proc/sys/vm/drop_caches", "3").expect("procfs");
    }

    /// Where the ext4 journal's first block is, in bytes.
    pub fn journal(&self) -> u64 {
        self.sync();
        let text = run(Command::new("debugfs").args(["-R", "blocks <8>", DISK]));
        let first = text.split_whitespace().next().expect("a journal");
        first.parse::<u64>().expect("a number") * self.superblock("Block size")
    }

    /// How long the ext4 filesystem is, in bytes.
    pub fn filesystem_size(&self) -> u64 {
        self.superblock("Block count") * self.superblock("Block size")
    }

    /// Whether e2fsck finds no fault, changing nothing.
    pub fn is_sound(&self) -> bool {
        self.sync();
        let check = Command::new("e2fsck").args(["-f", "-n", DISK]).output().expect("e2fsck");
        check.status.success()
    }

    fn superblock(&self, field: &str) -> u64 {
        self.sync();
        let text = run(Command::new("debugfs").args(["-R", "show_super_stats -h", DISK]));
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let value = lines.find(|(name, _)| *name == field).expect("a field").1;
        value.trim().parse().expect("a number")
    }

    /// A table of the device mapper: start, length, what it is, all in sectors.
    fn table(&self, parts: &[Part]) -> String {
        let end = self.size.get() / SECTOR;
        let mut lines = Vec::new();
        let mut at = 0;
        let linear = |from: u64, to: u64, lines: &mut Vec<String>| {
            if from < to {
                lines.push(format!("{from} {} linear {DISK} {from}", to - from));
            }
        };
        for part in parts {
            match part {
                Part::WritesFail => {
                    return format!("0 {end} flakey {DISK} 0 0 1 1 error_writes");
                }
                Part::Broken { at: from, length } => {
                    let (from, length) = (from / SECTOR, length / SECTOR);
                    linear(at, from, &mut lines);
                    lines.push(format!("{from} {length} error"));
                    at = from + length;
                }
            }
        }
        linear(at, end, &mut lines);
        lines.join("\n")
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let _ = Command::new("dmsetup").args(["remove", "--force", "faulty"]).status();
    }
}

fn dmsetup(arguments: &[&str]) {
    let _ = run(Command::new("dmsetup").args(arguments));
}

fn run(command: &mut Command) -> String {
    // What debugfs says would else go to a pager, which the machine does not have.
    command.env("DEBUGFS_PAGER", "__none__");
    let output = command.stdin(Stdio::null()).output().expect("a program of the machine");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}
