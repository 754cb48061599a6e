//! Everything that is known of the targets, without libFuzzer: each input as it is, cut off, and with
//! one byte changed.

use wasmount_fuzz::TARGETS;

/// At so many places an input is cut off, and a byte of it is changed.
const PLACES: usize = 64;

#[test]
#[expect(clippy::print_stdout, reason = "whoever sees it fail wants to know on what")]
fn what_holds_holds_of_all_that_is_known() {
    for target in TARGETS {
        let inputs = target.inputs();
        assert!(!inputs.is_empty(), "{} has nothing to begin with", target.name);
        for (name, input) in inputs {
            println!("{}: {name}", target.name);
            (target.holds)(&input);
            let step = (input.len() / PLACES).max(1);
            for at in (0..input.len()).step_by(step) {
                println!("cut off, and another byte, at {at}");
                (target.holds)(&input[..at]);
                let mut other = input.clone();
                for byte in [0, 0xff, b'"', input[at] ^ 1] {
                    other[at] = byte;
                    (target.holds)(&other);
                }
            }
        }
    }
}

/// What the command looks for them by.
#[test]
fn each_target_is_a_file() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/targets"));
    let mut files: Vec<String> = files
        .expect("the targets")
        .map(|file| {
            file.expect("an entry").path().file_stem().expect("a name").display().to_string()
        })
        .collect();
    files.sort();
    assert!(TARGETS.iter().map(|target| target.name).eq(files.iter().map(String::as_str)));
}
