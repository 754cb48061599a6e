//! What the virtual machine has: a disk to be written to at will, and the device mapper to make
//! it fail. Outside such a machine there is none, whatever devices there are.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate};

/// A mebibyte.
pub const MIB: u64 = 1 << 20;

const DISK: &str = "/dev/vda";
/// How large it is, in bytes. Beyond it a larger [`Faulty`] is zeroes.
const REAL: u64 = 512 * MIB;
const SECTOR: u64 = 512;
/// What stands between the disk and whoever uses it.
pub const MAPPING: &str = "/dev/mapper/faulty";

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
    /// This part can be read and not written. In bytes.
    WritesFail {
        /// Where it begins.
        at: u64,
        /// How long it is.
        length: u64,
    },
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
    /// The machine's disk, as one of that many bytes, all zero.
    pub fn blank(size: u64) -> Self {
        assert!(is_here(), "whoever's disk this is");
        let disk = OpenOptions::new().write(true).open(DISK).expect("the machine's disk");
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        fallocate(&disk, flags, 0, REAL).expect("written");
        sync();
        let faulty = Self { size: size.into() };
        dmsetup(&["create", "faulty", "--table", &faulty.table(&[])]);
        faulty
    }

    /// Writes a byte, wherever it is and whoever has the disk.
    pub fn write(&self, byte: u8, at: u64) {
        let disk = OpenOptions::new().write(true).open(DISK).expect("the machine's disk");
        disk.write_all_at(&[byte], at).expect("written");
        sync();
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
        run(Command::new("blockdev").args([flag, MAPPING]));
    }

    /// All bytes that are not zero, told by a few.
    pub fn digest(&self) -> u64 {
        sync();
        let disk = File::open(DISK).expect("the machine's disk");
        let (mut buffer, zeroes) = (vec![0; MIB as usize], vec![0; MIB as usize]);
        let mut digest = 0_u64;
        for at in (0..self.size.get().min(REAL)).step_by(MIB as usize) {
            disk.read_exact_at(&mut buffer, at).expect("readable");
            if buffer == zeroes {
                continue;
            }
            for (place, word) in buffer.chunks_exact(8).enumerate() {
                let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
                if word != 0 {
                    digest = digest.rotate_left(7) ^ word ^ (at + place as u64);
                }
            }
        }
        digest
    }

    /// Whether nothing was ever written.
    pub fn is_zero(&self) -> bool {
        self.digest() == 0
    }

    /// Whether the filesystem's own checker finds no fault, changing nothing.
    pub fn is_sound(&self, fs_type: &str) -> bool {
        sync();
        let check: &[&str] = match fs_type {
            "ext4" => &["e2fsck", "-f", "-n"],
            "xfs" => &["xfs_repair", "-n"],
            _ => &["btrfs", "check", "--readonly"],
        };
        // Through the mapping: the disk may be larger than what the filesystem knows.
        let check = Command::new(check[0]).args(&check[1..]).arg(MAPPING).output();
        check.expect("a program of the machine").status.success()
    }

    /// A table of the device mapper: start, length, what it is, all in sectors.
    fn table(&self, parts: &[Part]) -> String {
        let end = self.size.get() / SECTOR;
        let mut lines = Vec::new();
        let mut at = 0;
        let works = |from: u64, to: u64, lines: &mut Vec<String>| {
            let real = to.min(REAL / SECTOR);
            if from < real {
                lines.push(format!("{from} {} linear {DISK} {from}", real - from));
            }
            let zeroes = from.max(real);
            if zeroes < to {
                lines.push(format!("{zeroes} {} zero", to - zeroes));
            }
        };
        for part in parts {
            let (Part::Broken { at: from, length } | Part::WritesFail { at: from, length }) = part;
            let (from, length) = (from / SECTOR, length / SECTOR);
            works(at, from, &mut lines);
            lines.push(match part {
                Part::Broken { .. } => format!("{from} {length} error"),
                Part::WritesFail { .. } => {
                    format!("{from} {length} flakey {DISK} {from} 0 1 1 error_writes")
                }
            });
            at = from + length;
        }
        works(at, end, &mut lines);
        lines.join("\n")
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let _ = Command::new("dmsetup").args(["remove", "--force", "faulty"]).status();
    }
}

/// Has the kernel write what it can, and read the disk anew: it keeps what was read of the disk
/// apart from what was read through the mapping.
fn sync() {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("procfs");
}

fn dmsetup(arguments: &[&str]) {
    run(Command::new("dmsetup").args(arguments));
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("a program of the machine");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}
