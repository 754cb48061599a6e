//! What the processes of a call can still do while the component runs: of root's capabilities those
//! that what is granted needs, and no others.

use rustix::thread::CapabilitySet;
use wasmount_tests::{Node, Process, UID, options};

const TMPFS: CapabilitySet = CapabilitySet::KILL
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE);

#[test]
fn a_call_keeps_the_capabilities_that_are_needed_and_no_others() {
    let Some(node) = Node::new() else { return };
    for (name, grants, expected) in [
        ("example.com/nothing", "", CapabilitySet::KILL),
        ("example.com/state", "[state]\n", CapabilitySet::KILL),
        ("example.com/tmpfs", "[mounts.tmpfs]\n", TMPFS),
    ] {
        let driver = node.install_as("hostile", name, &format!("version = 1\n{grants}"));
        let pod = driver.pod_dir(UID, "vol");
        let call = driver.start(&["mount", &pod, &options("vol", "rw", &[("do", "sleep")])]);
        call.guest().sleeps_in(libc::SYS_clock_nanosleep);
        let [supervisor, broker, guest] = call.processes();
        supervisor.sleeps_in(libc::SYS_ppoll);
        broker.sleeps_in(libc::SYS_ppoll);
        for (process, kept) in [
            (supervisor, CapabilitySet::empty()),
            (broker, expected),
            (guest, CapabilitySet::empty()),
        ] {
            // As far as this test's own process has them.
            let has = |set: &str| capabilities(&process, set);
            assert_eq!(has("CapInh"), CapabilitySet::empty(), "{name}");
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                assert_eq!(has(set), kept, "{name}: {set}");
            }
            assert_eq!(told(&process, "NoNewPrivs"), "1", "{name}");
        }
        assert!(call.stop().ends_with("[stopped]"));
    }
    node.is_clean();
}

fn capabilities(process: &Process, set: &str) -> CapabilitySet {
    let bits = u64::from_str_radix(&told(process, set), 16).expect("a number");
    CapabilitySet::from_bits_retain(bits)
}

/// A field of /proc/PID/status.
fn told(process: &Process, field: &str) -> String {
    let status = String::from_utf8(process.read("status")).expect("text");
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == field).expect("a field");
    value.trim().to_owned()
}
