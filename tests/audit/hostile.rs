//! A vendor and a user who write what a page, a terminal or a program could take for something else.

use std::fs;

use wasmount_tests::{Node, component, options};

use super::browser::{elements, page};
use super::life::shipped;
use super::{audit, document, is_valid};

/// What stands in the component's manifest, and what is put there: in as many bytes.
const SWAPPED: &[(&str, &str)] = &[
    ("Attachable block volumes from image files", "<img src=x onerror=document.title=1>"),
    (
        "a claim that is enlarged has its image enlarged",
        "</table><script>document.title=2</script>",
    ),
    ("a filesystem grows with its image", "'});alert(1);//<b>--&gt;"),
];

#[test]
fn what_a_vendor_or_a_user_writes_is_text_in_every_format() {
    let Some(node) = Node::new() else { return };
    let mut bytes = fs::read(component("loop-image")).expect("a component");
    for (from, to) in SWAPPED {
        exchange(&mut bytes, from, to);
    }
    let file = node.path("hostile.wasm");
    fs::write(&file, bytes).expect("written");
    let grants = node.path("hostile.toml");
    let images = node.path("images").display().to_string();
    fs::write(&grants, shipped("loop-image").replace("{images}", &images)).expect("written");
    let driver = "example.com/loop-image";
    let installed = node.installs_file(&file, driver, &["--grants", &grants.display().to_string()]);
    assert_eq!(installed.exit, Some(0), "{}", installed.stderr);
    let driver = node.installed(driver);
    let user = options("pv-1", "rw", &[("image", "<script>document.title=3</script>\u{1b}[2J")]);
    driver.call(&["attach", &user, "node-1"]).failure();
    node.is_idle();

    let text = audit(&node, &[]).stdout;
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    is_valid(&document(&node), "../docs/audit.schema.json");
    is_valid(&audit(&node, &["--format", "sarif"]).json(), "schemas/sarif-2.1.0.json");

    let elements = elements(&node, &page(&node));
    for what in ["<script", "<img", "<b>--", "\u{1b}"] {
        assert!(!elements.contains(what), "{what}:\n{elements}");
    }
    assert!(elements.contains("&lt;img src=x"), "{elements}");
    assert!(elements.contains("<title>wasmount audit: "), "{elements}");
}

/// Puts a text in another's place, filled up with spaces to be as long.
fn exchange(bytes: &mut [u8], from: &str, to: &str) {
    assert!(to.len() <= from.len(), "{to} does not fit");
    let at = bytes.windows(from.len()).position(|found| found == from.as_bytes()).expect(from);
    bytes[at..at + from.len()].fill(b' ');
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}
