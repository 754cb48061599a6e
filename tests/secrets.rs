//! A volume's secret is nowhere to be found: in no file, log, record or reply, no argv or
//! environment of our processes, and not in the memory of the process that runs the component.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use wasmount_tests::{Driver, Node, UID, options};

/// The secret and what kubelet makes of it.
const RAW: &str = "s3cr3t/p&ss wörd";
const BASE64: &str = "czNjcjN0L3Amc3Mgd8O2cmQ";

fn forms() -> Vec<Vec<u8>> {
    let raw = RAW.as_bytes();
    let url: String = raw
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'0'..=b'9' => char::from(*byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    vec![raw.to_vec(), base64(raw).into_bytes(), url.into_bytes()]
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let used = digit <= chunk.len();
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if used { DIGITS[index as usize].into() } else { '=' });
        }
    }
    text
}

fn leak(bytes: &[u8]) -> bool {
    forms().iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
}

fn json(user: &[(&str, &str)]) -> String {
    let secret = base64(RAW.as_bytes());
    let mut all = vec![("kubernetes.io/secret/password", secret.as_str())];
    all.extend(user);
    options("vol", "rw", &all)
}

fn files_below(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path(), found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

#[test]
fn base64_is_kubelets() {
    assert_eq!(base64(RAW.as_bytes()).trim_end_matches('='), BASE64.trim_end_matches('='));
}

const GRANTS: &str = "version = 1\n[reply]\nfailure-exit-code = 1\n[mounts.tmpfs]\n[state]\n";

const REVEAL: &str = "[[secrets]]\nkey = \"password\"\nuses = [\"reveal\"]\n";

#[test]
fn no_file_and_no_reply_holds_it() {
    let Some(node) = Node::new() else { return };
    let plain = node.install("hostile", GRANTS);
    let revealing =
        node.install_as("hostile", "example.com/revealing", &format!("{GRANTS}{REVEAL}"));
    for driver in [&plain, &revealing] {
        for user in [
            vec![],
            vec![("do", "trap")],
            vec![("do", "reveal")],
            vec![("do", "internal")],
            vec![("kubernetes.io/readwrite", "sideways")],
            vec![("do", "call"), ("call", "state.put")],
        ] {
            let answer = driver.call(&["mount", &driver.pod_dir(UID, "vol"), &json(&user)]);
            assert!(!leak(answer.stdout.as_bytes()), "{user:?}: {}", answer.stdout);
            let _ = driver.call(&["unmount", &driver.pod_dir(UID, "vol")]);
        }
    }
    let told =
        revealing.call(&["mount", &revealing.pod_dir(UID, "vol"), &json(&[("do", "reveal")])]);
    assert!(told.failure().contains("the secret is [secret]"), "{}", told.stdout);
    let mut files = Vec::new();
    files_below(&node.path(""), &mut files);
    assert!(files.len() > 10);
    for file in files {
        assert!(!leak(&fs::read(&file).expect("readable")), "{} holds the secret", file.display());
    }
    node.is_clean();
}

#[test]
fn no_process_shows_it_and_the_guest_does_not_have_it() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let mut call =
        start(&driver, &["mount", &driver.pod_dir(UID, "vol"), &json(&[("do", "sleep")])]);
    let guest = guest_of(call.id());
    let mut seen = 0;
    for pid in family(call.id()) {
        for what in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            assert!(!leak(&bytes), "/proc/{pid}/{what} holds the secret");
            if what == "environ" {
                assert!(bytes.iter().all(|byte| *byte == 0), "an environment is left in {pid}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 3, "supervisor, broker and guest");
    let read = search(guest);
    assert!(read > 1 << 20, "the guest's memory was read");
    nix_kill(call.id());
    assert!(call.wait().expect("it ends").code().is_some());
    node.is_clean();
}

fn start(driver: &Driver<'_>, args: &[&str]) -> Child {
    let mut command = Command::new(driver.executable());
    command.args(args).env("PASSWORD", RAW).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a driver")
}

/// The process and all below it.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while next < all.len() {
        let path = format!("/proc/{0}/task/{0}/children", all[next]);
        let children = fs::read_to_string(path).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        next += 1;
    }
    all
}

/// The process of the call that is nobody's user, once it sleeps in the component.
fn guest_of(driver: u32) -> u32 {
    for _ in 0..500 {
        let nobody = |pid: &u32| {
            fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() >= 0x7000_0000)
        };
        let status =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        let uid = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line =
                status.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default().to_owned();
            line.split_whitespace().nth(1).and_then(|uid| uid.parse::<u32>().ok()).unwrap_or(0)
        };
        let guest = family(driver).into_iter().find(|pid| nobody(pid) || uid(pid) >= 0x7000_0000);
        if let Some(guest) = guest
            && status(&guest).contains("nanosleep")
        {
            return guest;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no process of the call runs as another user and sleeps");
}

/// Searches all of a process's memory; how much there was.
fn search(pid: u32) -> usize {
    let memory = File::open(format!("/proc/{pid}/mem")).expect("root may look");
    let maps = BufReader::new(File::open(format!("/proc/{pid}/maps")).expect("root may look"));
    let mut total = 0;
    for line in std::io::BufRead::lines(maps) {
        let line = line.expect("text");
        let (range, rest) = line.split_once(' ').expect("a mapping");
        if !rest.starts_with('r') || rest.ends_with("[vvar]") || rest.ends_with("[vsyscall]") {
            continue;
        }
        let (from, to) = range.split_once('-').expect("a range");
        let number = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
        let mut bytes = vec![0; (number(to) - number(from)) as usize];
        if memory.read_exact_at(&mut bytes, number(from)).is_ok() {
            assert!(!leak(&bytes), "the guest's memory holds the secret, in {line}");
            total += bytes.len();
        }
    }
    total
}

fn nix_kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
}
