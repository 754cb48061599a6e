//! docs/reviewing.md, followed as it is written by somebody who types what it says: on a machine that is a
//! test's own, one line after the other in one shell, and every one of them succeeds.
//!
//! Whether what is printed is what the page leads one to expect is for whoever changes the page to look at.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use wasmount_tests::{host, program, root};

/// What the test has done already.
const BUILD: &str = "cargo xtask dist";

/// The lines of a page that are to be typed: what is indented by four.
fn typed(page: &str) -> String {
    let lines = page.lines().filter_map(|line| line.strip_prefix("    "));
    let lines = lines.filter(|line| *line != BUILD).map(|line| format!("{line}\n"));
    lines.collect()
}

#[test]
fn a_backend_is_reviewed_as_the_page_says() {
    if !root() {
        return;
    }
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tree");
    let page = fs::read_to_string(tree.join("docs/reviewing.md")).expect("readable");
    let commands = typed(&page);
    assert!(page.contains(&format!("    {BUILD}\n")) && commands.lines().count() > 30);
    let built = program("wasmount");
    let work = || {
        // What the commands find is what was built for the tests, wherever that is.
        let dist = built.parent().expect("a directory");
        let script = commands.replace("$PWD/target/dist", &dist.display().to_string());
        let script = script.replace("target/dist/", &format!("{}/", dist.display()));
        let mut shell = Command::new("/bin/bash");
        shell.args(["-euxo", "pipefail", "-c", &script]).current_dir(tree).stdin(Stdio::null());
        let output = shell.output().expect("there is a shell");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (printed, said) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{printed}\n{said}");
        // What the page promises of what they print.
        for promised in [
            "allowed  images.detach",
            "loop-image.wasm are the same",
            "uninstalled example.com/loop-image",
        ] {
            assert!(printed.contains(promised), "{promised} is not in {printed}\n{said}");
        }
        let review = fs::read_to_string("/srv/review/review.html").expect("a page");
        assert!(review.starts_with("<!DOCTYPE html>"), "{review}");
    };
    host::on_a_host(|_| (), work);
}
