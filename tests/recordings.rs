//! The drivers of this tree against their recordings, as the components that are shipped. The same
//! recordings test them as libraries, in their own crates. Nothing here needs root.

use std::fs;
use std::path::Path;
use std::process::Command;

use wasmount_tests::{component, program};

/// The drivers, with the directories of their crates.
const DRIVERS: [(&str, &str); 3] = [
    ("hello", "examples/hello"),
    ("loop-image", "plugins/loop-image"),
    ("secret-files", "plugins/secret-files"),
];

/// Plays a driver's recording: what is printed, and the exit code.
fn play(driver: &str, recording: &Path) -> (String, Option<i32>) {
    let mut wasmount = Command::new(program("wasmount"));
    let output = wasmount.arg("test").arg(component(driver)).arg(recording).output();
    let output = output.expect("wasmount runs");
    let printed = [output.stdout, output.stderr].concat();
    (String::from_utf8(printed).expect("text"), output.status.code())
}

#[test]
fn every_component_does_what_is_on_record() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (driver, directory) in DRIVERS {
        let recording = root.join(directory).join("tests/calls.toml");
        let text = fs::read_to_string(&recording).expect("each has one");
        let calls = text.lines().filter(|line| *line == "[[call]]").count();
        let (printed, code) = play(driver, &recording);
        assert_eq!(code, Some(0), "{printed}");
        assert_eq!(printed.matches("\n  ok      ").count(), calls, "{printed}");
        assert!(printed.contains(&format!("\n{calls} calls went as recorded\n")), "{printed}");
    }
}

#[test]
fn a_component_that_misbehaves_is_told_apart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let recording = directory.path().join("calls.toml");
    for (mischief, told) in [
        ("trap", "ended     it gave up (`unreachable`), as in a panic"),
        ("memory", "ended     it ran out of its memory limit of 64 MiB"),
        ("loop", "but       it used up its CPU time of 10 s"),
        ("internal", "ended     fails = { code = \"internal\", reason = \"told\""),
    ] {
        let call = format!(
            "[[call]]\nname = \"{mischief}\"\noperation = \"unmount\"\nvolume = \"pv-1\"\n\
             options = {{ unmount-do = \"{mischief}\" }}\n"
        );
        fs::write(&recording, call).expect("written");
        let (printed, code) = play("hostile", &recording);
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains(&format!("\n            {told}")), "{printed}");
    }
}
