//! Which tools are run, and how. The tool of these tests is this very program, told to run one of
//! the tests that are ignored otherwise: so it can try whatever a tool could that was taken over.
#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::print_stdout, reason = "a tool says what it has done")]

use std::fmt::Debug;
use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::*;
use crate::kernel::testing::{MIB, Node};

#[test]
fn a_tool_that_is_not_there_names_its_package() {
    let failure = Tool::find("mkfs.nothing", "nothing-progs").unwrap_err();
    assert_eq!((failure.code, failure.reason.as_str()), (Code::Unavailable, "tool-missing"));
    assert!(failure.message.contains("install nothing-progs"), "{failure}");
}

#[test]
fn only_what_root_alone_can_change_is_trusted() {
    let Some(node) = Node::new() else { return };
    // The scratch directory is below /tmp, which everybody may write to.
    let tool = node.path().join("tool");
    fs::write(&tool, "").unwrap();
    let problem = trusted(&tool).unwrap_err().unwrap();
    assert!(problem.contains("changed by another than root"), "{problem}");
    // So is what a link in a safe place leads to.
    let link = Path::new("/run").join(format!("wasmount-test-{}", std::process::id()));
    let result = |to: &Path| {
        symlink(to, &link).unwrap();
        let result = trusted(&link);
        fs::remove_file(&link).unwrap();
        result
    };
    assert!(result(&tool).unwrap_err().is_some());
    assert!(result(&link).unwrap_err().unwrap().contains("loop"));
    assert_eq!(result(Path::new("../bin/../bin/true")), Ok(fs::canonicalize("/bin/true").unwrap()));
    assert_eq!(result(Path::new("/no/such")), Err(None));
}

/// Runs one of the tests below as a tool, with these arguments.
fn run(node: &Node, test: &str, arguments: &[&str], capabilities: CapabilitySet) -> Ended {
    let path = std::env::current_exe().unwrap();
    let device = node.device("a.img", 4 * MIB);
    // To the harness, what is no option is one more test that there could be.
    let test = format!("kernel::tools::tests::{test}");
    let harness = ["--exact", &test, "--ignored", "--nocapture", "--test-threads=1"];
    Tool { name: "mkfs.test", path, capabilities }
        .run(&[&harness, arguments].concat(), &device, node.lock.as_fd())
        .unwrap()
}

fn said<T>(what: &str, result: Result<T, impl Debug>) {
    println!("{what}: {:?}", result.map(drop));
}

#[test]
fn a_tool_gets_the_device_and_the_lock_and_nothing_else() {
    let Some(node) = Node::new() else { return };
    // Something that is open here without close-on-exec.
    let leak = fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(leak.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let ended = run(&node, "tool_that_looks_around", &["one"], CapabilitySet::empty());
    drop(leak);
    assert_eq!(ended.code, Some(0));
    let words = &ended.words;
    for part in [
        "called mkfs.test, last two [\"one\", \"/dev/loop",
        "env: LC_ALL=C",
        "CapPrm: 0000000000000000",
        "CapEff: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        // SIGHUP, SIGINT, SIGPIPE, SIGTERM and SIGXFSZ.
        "SigBlk: 0000000001005003",
        "Max core file size 0 0",
        "Max file size 0 0",
        "Max open files 64 64",
        "the device is read and written; a thread is made",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let open: Vec<_> = words.split("; ").filter_map(|word| word.strip_prefix("fd: ")).collect();
    let is = |what: &dyn Fn(&str) -> bool| open.iter().filter(|open| what(open)).count();
    assert_eq!(is(&|open| open == "/dev/null"), 1, "{open:?}");
    assert_eq!(is(&|open| open.starts_with("pipe:")), 2, "{open:?}");
    assert_eq!(is(&|open| open.starts_with("/dev/loop")), 1, "{open:?}");
    assert_eq!(is(&|open| open.ends_with("/lock")), 1, "{open:?}");
    // And the directory that it reads all this from.
    assert_eq!(open.len(), 6, "{open:?}");
    let none = ended.failure("tool-failed", Code::Internal);
    assert!(none.message.starts_with("mkfs.test ended with exit code 0: "), "{none}");
}

#[test]
#[ignore = "a tool, and no test"]
fn tool_that_looks_around() {
    let args: Vec<String> = std::env::args().collect();
    println!("called {}, last two {:?}", args[0], &args[args.len() - 2..]);
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        println!("fd: {}", fs::read_link(entry.unwrap().path()).unwrap().display());
    }
    println!("env: {}", fs::read_to_string("/proc/self/environ").unwrap().replace('\0', " "));
    for file in ["status", "limits"] {
        for line in fs::read_to_string(format!("/proc/thread-self/{file}")).unwrap().lines() {
            println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    let device = fs::File::options().read(true).write(true).open(args.last().unwrap());
    let mut device = device.unwrap();
    device.write_all(&[7; 4096]).unwrap();
    device.sync_all().unwrap();
    device.rewind().unwrap();
    let mut read = [0; 4096];
    device.read_exact(&mut read).unwrap();
    assert_eq!(read, [7; 4096]);
    println!("the device is read and written");
    std::thread::spawn(|| println!("a thread is made")).join().unwrap();
}

/// What a tool could do that something on the device has taken over, as root, and even with the
/// capability that mkfs.xfs has.
#[test]
fn a_tool_that_is_taken_over_gets_nowhere() {
    let Some(node) = Node::new() else { return };
    let restricts_files = Files::of_the_node().unwrap().is_some();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = node.path().join("socket");
    let _unix = UnixListener::bind(&unix).unwrap();
    let other = node.device("b.img", MIB);
    let record = node.path().join("record.json");
    fs::write(&record, "{}").unwrap();
    let mut process = Other(Command::new("/bin/sleep").arg("600").spawn().unwrap());
    for capabilities in [CapabilitySet::empty(), CapabilitySet::SYS_ADMIN] {
        let arguments = [
            &tcp.local_addr().unwrap().to_string(),
            unix.to_str().unwrap(),
            other.node().to_str().unwrap(),
            record.to_str().unwrap(),
            &process.0.id().to_string(),
        ];
        let ended = run(&node, "tool_that_tries_everything", &arguments, capabilities);
        assert_eq!(ended.code, Some(0), "{}", ended.words);
        let tried = |what: &str| {
            let (_, answer) = ended.words.split_once(&format!("{what}: ")).expect(what);
            answer.split("; ").next().unwrap().to_owned()
        };
        for what in [
            "tcp",
            "unix",
            "mount",
            "unmount",
            "namespaces",
            "signal",
            "own signal",
            "signal by a pipe",
            "truncate",
            "process",
            "mode",
            "owner",
            "times",
        ] {
            let answer = tried(what);
            assert!(answer.contains("38") || answer.contains("ENOSYS"), "{what}: {answer}");
        }
        for what in ["disk", "read", "write", "make", "remove", "append", "environment"] {
            // To this capability the kernel shows what is in another process's memory.
            let shown = what == "environment" && !capabilities.is_empty();
            if restricts_files && !shown {
                let answer = tried(what);
                assert!(answer.contains("PermissionDenied"), "{what}: {answer}");
            }
        }
    }
    assert_eq!(fs::read_to_string(&record).unwrap(), "{}");
    assert!(process.0.try_wait().unwrap().is_none(), "it was ended");
}

const TIMES: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: 0 },
    last_modification: Timespec { tv_sec: 0, tv_nsec: 0 },
};

/// A process that is no tool, and that does not outlive the test.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "a tool, and no test"]
fn tool_that_tries_everything() {
    let args: Vec<String> = std::env::args().collect();
    let [tcp, unix, disk, record, process, _device] = &args[args.len() - 6..] else { panic!() };
    said("tcp", TcpStream::connect(tcp));
    said("unix", UnixStream::connect(unix));
    said("mount", mount("none", "/tmp", "tmpfs", MountFlags::empty(), None));
    said("unmount", unmount("/tmp", UnmountFlags::DETACH));
    #[expect(unsafe_code, reason = "unshare can do more than is asked of it here")]
    // SAFETY: no descriptor table is unshared.
    said("namespaces", unsafe { unshare_unsafe(UnshareFlags::NEWUSER) });
    let pid = Pid::from_raw(process.parse().unwrap());
    said("signal", kill(pid, Signal::SIGKILL));
    said("own signal", kill(Pid::this(), Signal::SIGKILL));
    said("signal by a pipe", signal_by_pipe(pid));
    said("truncate", nix::unistd::truncate(record.as_str(), 0));
    said("process", Command::new("/bin/true").status());
    said("mode", fs::set_permissions(record, fs::Permissions::from_mode(0o666)));
    said("owner", std::os::unix::fs::lchown(record, Some(1), None));
    said("times", utimensat(CWD, record, &TIMES, AtFlags::empty()));
    said("disk", fs::File::open(disk));
    said("read", fs::read(record));
    said("write", fs::File::options().write(true).open(record));
    said("make", fs::File::create("/run/wasmount-test-tool"));
    said("remove", fs::remove_file(record));
    said("environment", fs::read(format!("/proc/{process}/environ")));
    said("append", fs::File::options().append(true).open("/usr/bin/env"));
}

/// Has the kernel end a process when there is something to read.
fn signal_by_pipe(pid: Pid) -> std::io::Result<()> {
    let (reader, mut writer) = std::io::pipe()?;
    let commands = [
        (libc::F_SETOWN, pid.as_raw()),
        (10 /* F_SETSIG */, libc::SIGKILL),
        (libc::F_SETFL, libc::O_ASYNC),
    ];
    for (command, argument) in commands {
        #[expect(unsafe_code, reason = "no library has these commands")]
        // SAFETY: fcntl(2) takes a number with each of these commands, and the descriptor is open.
        let done = unsafe { libc::fcntl(reader.as_raw_fd(), command, argument) };
        if done < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    writer.write_all(b"!")
}

#[test]
fn the_end_of_what_a_tool_says_is_kept_and_cleaned() {
    let Some(node) = Node::new() else { return };
    let ended = run(&node, "tool_that_talks_and_crashes", &[], CapabilitySet::empty());
    assert_eq!(ended.code, None);
    assert!(ended.words.len() <= 2 * MAX_WORDS);
    assert!(ended.words.ends_with("20000; the; [1mend"), "{}", ended.words);
    let message = ended.failure("tool-failed", Code::Internal).message;
    assert!(message.contains("ended by a signal") && message.len() < MAX_SHOWN + 100, "{message}");
}

#[test]
#[ignore = "a tool, and no test"]
fn tool_that_talks_and_crashes() {
    (1..=20000).for_each(|number| println!("{number}"));
    println!("the \u{1b}[1mend");
    std::process::abort();
}

#[test]
fn what_cannot_be_executed_is_said() {
    let Some(node) = Node::new() else { return };
    let device = node.device("a.img", MIB);
    let path = node.path().join("tool");
    fs::write(&path, "#!/bin/sh").unwrap();
    let failure = Tool { name: "mkfs.test", path, capabilities: CapabilitySet::empty() }
        .run(&[], &device, node.lock.as_fd())
        .unwrap_err();
    assert!(failure.message.contains("running mkfs.test: Permission denied"), "{failure}");
}
