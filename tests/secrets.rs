//! A volume's secret is nowhere to be found: in no file, log, record or reply, no argv or
//! environment of our processes, and not in the memory of the process that runs the component.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;

use wasmount_tests::{Node, Process, Secret, UID, options};

/// What is in the key `password`.
const VALUE: &str = "s3cr3t/p&ss wörd";

/// The first of the uids that nobody has but the processes of components.
const FIRST_GUEST: u32 = 0x7000_0000;

fn json(secret: &Secret, user: &[(&str, &str)]) -> String {
    let mut all = vec![("kubernetes.io/secret/password", secret.base64())];
    all.extend(user);
    options("vol", "rw", &all)
}

const GRANTS: &str = "version = 1\n[reply]\nfailure-exit-code = 1\n[mounts.tmpfs]\n[state]\n";

const REVEAL: &str = "[[secrets]]\nkey = \"password\"\nuses = [\"reveal\"]\n";

#[test]
fn no_file_and_no_reply_holds_it() {
    let Some(node) = Node::new() else { return };
    let secret = Secret::new(VALUE.as_bytes());
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
            let answer =
                driver.call(&["mount", &driver.pod_dir(UID, "vol"), &json(&secret, &user)]);
            assert!(!secret.is_in(answer.stdout.as_bytes()), "{user:?}: {}", answer.stdout);
            let _ = driver.call(&["unmount", &driver.pod_dir(UID, "vol")]);
        }
    }
    let told = json(&secret, &[("do", "reveal")]);
    let told = revealing.call(&["mount", &revealing.pod_dir(UID, "vol"), &told]);
    assert!(told.failure().contains("the secret is [secret]"), "{}", told.stdout);
    assert!(secret.is_in_no_file(&node.path("")) > 10);
    node.is_clean();
}

#[test]
fn no_process_shows_it_and_the_guest_does_not_have_it() {
    let Some(node) = Node::new() else { return };
    let secret = Secret::new(VALUE.as_bytes());
    let driver = node.install("hostile", GRANTS);
    let json = json(&secret, &[("do", "sleep")]);
    let mount = ["mount", &driver.pod_dir(UID, "vol"), &json];
    let call = driver.start_with(&mount, &[("PASSWORD", VALUE)]);
    let guest = call.guest();
    guest.sleeps_in(libc::SYS_clock_nanosleep);
    assert!(uid(&guest) >= FIRST_GUEST, "the guest is {}", uid(&guest));
    call.processes().iter().for_each(|process| secret.is_not_shown(process));
    let read = search(&guest, &secret);
    assert!(read > 1 << 20, "the guest's memory was read");
    call.stop();
    node.is_clean();
}

fn uid(process: &Process) -> u32 {
    let status = String::from_utf8(process.read("status")).expect("text");
    let line = status.lines().find(|line| line.starts_with("Uid:")).expect("it runs");
    line.split_whitespace().nth(1).and_then(|uid| uid.parse().ok()).expect("a number")
}

/// Searches all of a process's memory; how much there was.
fn search(process: &Process, secret: &Secret) -> usize {
    let memory = process.open_file("mem").expect("root may look");
    let maps = BufReader::new(process.open_file("maps").expect("root may look"));
    let mut total = 0;
    for line in maps.lines() {
        let line = line.expect("text");
        let (range, rest) = line.split_once(' ').expect("a mapping");
        if !rest.starts_with('r') || rest.ends_with("[vvar]") || rest.ends_with("[vsyscall]") {
            continue;
        }
        let (from, to) = range.split_once('-').expect("a range");
        let number = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
        let mut bytes = vec![0; (number(to) - number(from)) as usize];
        if memory.read_exact_at(&mut bytes, number(from)).is_ok() {
            assert!(!secret.is_in(&bytes), "the guest's memory holds the secret, in {line}");
            total += bytes.len();
        }
    }
    total
}
