//! A vendor and a user who write what a page, a terminal or a program could take for something else.

use std::fs;

use wasmount_tests::{Driver, Node, component, options};

use super::browser::{elements, page};
use super::life::shipped;
use super::{audit, document, is_valid};

const DRIVER: &str = "example.com/loop-image";

/// What stands in the component's manifest, which is JSON, and what is put there: in as many bytes.
const SWAPPED: &[(&str, &str)] = &[
    ("Attachable block volumes from image files", "<img src=x onerror=document.title=1>"),
    (
        "a claim that is enlarged has its image enlarged",
        "</table><script>document.title=2</script>",
    ),
    ("a filesystem grows with its image", "'});alert(1);//<b>--&gt;"),
    (
        "a volume with the options create = \\\"true\\\" and size gets its image made",
        "\\\"'><svg onload=document.title=4>[fix](javascript:alert(1)) {0} \\\\u202e",
    ),
];

/// What a user names an image. It is no path and all of it can be seen, so it gets as far as the log.
const IMAGE: &str = "<script>document.title=3<b>{0}[a](b)\"'\\";

/// The same, as each format has it.
const IN_TEXT: &str = IMAGE;
const IN_JSON: &str = IMAGE;
const IN_SARIF: &str = "<script>document.title=3<b>{{0}}\\[a\\](b)\"'\\\\";
const IN_PAGE: &str = "&lt;script&gt;document.title=3&lt;b&gt;{0}[a](b)\"'\\";

/// What drives a terminal or turns its direction gets as far as the component.
const TURNED: &str = "a\u{202e}gmi\u{1b}[2J";

#[test]
fn what_a_vendor_or_a_user_writes_is_text_in_every_format() {
    let Some(node) = Node::new() else { return };
    let driver = hostile(&node);
    for (image, reason) in [(IMAGE, "grant:images.names"), (TURNED, "image-name")] {
        let user = options("pv-1", "rw", &[("image", image)]);
        driver.call(&["attach", &user, "node-1"]).fails_with(reason);
    }
    node.is_idle();

    let text = audit(&node, &[]).stdout;
    assert!(text.chars().all(|c| c == '\n' || !wasmount_pack::deceives(c)), "{text:?}");
    assert!(text.contains(IN_TEXT), "{text}");
    assert!(text.contains("\"'><svg onload=document.title=4>[fix]"), "{text}");

    let json = document(&node);
    is_valid(&json, "../docs/audit.schema.json");
    let message = json["drivers"][0]["denials"][0]["messages"][0].as_str().expect("a message");
    assert!(message.contains(IN_JSON), "{message}");

    let sarif = audit(&node, &["--format", "sarif"]).json();
    is_valid(&sarif, "schemas/sarif-2.1.0.json");
    let results = sarif["runs"][0]["results"].as_array().expect("a list");
    let denied = results.iter().find(|result| result["ruleId"] == "use-denied").expect("denied");
    let message = denied["message"]["text"].as_str().expect("a text");
    assert!(message.contains(IN_SARIF), "{message}");

    let elements = elements(&node, &page(&node));
    for what in ["<script", "<img", "<b>{", "<b>--", "<svg onload", "<a ", "\u{202e}"] {
        assert!(!elements.contains(what), "{what}:\n{elements}");
    }
    // The browser writes quotes in text as they are.
    assert!(elements.contains(IN_PAGE), "{elements}");
    for what in ["&lt;img src=x onerror=document.title=1&gt;", "\"'&gt;&lt;svg onload="] {
        assert!(elements.contains(what), "{what}:\n{elements}");
    }
    assert!(elements.contains("<title>wasmount audit: "), "{elements}");
}

/// What turns the direction of a vendor's text is not even installed.
#[test]
fn what_turns_a_vendors_text_around_is_not_installed() {
    let Some(node) = Node::new() else { return };
    let swapped = [("a filesystem grows with its image", "\u{202e}egami")];
    let (file, grants) = offered(&node, &swapped);
    let answer = node.installs_file(&file, DRIVER, &["--grants", &grants]);
    assert_eq!(answer.exit, Some(1), "{}", answer.stdout);
    assert!(answer.stderr.contains("without line ends, control or invisible"), "{}", answer.stderr);
}

fn hostile(node: &Node) -> Driver<'_> {
    let (file, grants) = offered(node, SWAPPED);
    let installed = node.installs_file(&file, DRIVER, &["--grants", &grants]);
    assert_eq!(installed.exit, Some(0), "{}", installed.stderr);
    node.installed(DRIVER)
}

/// The component with other texts, and the grants that it comes with.
fn offered(node: &Node, swapped: &[(&str, &str)]) -> (std::path::PathBuf, String) {
    let mut bytes = fs::read(component("loop-image")).expect("a component");
    for (from, to) in swapped {
        exchange(&mut bytes, from, to);
    }
    let file = node.path("hostile.wasm");
    fs::write(&file, bytes).expect("written");
    let grants = node.path("hostile.toml");
    let images = node.path("images").display().to_string();
    fs::write(&grants, shipped("loop-image").replace("{images}", &images)).expect("written");
    (file, grants.display().to_string())
}

/// Puts a text in another's place, filled up with spaces to be as long.
fn exchange(bytes: &mut [u8], from: &str, to: &str) {
    assert!(to.len() <= from.len(), "{to} does not fit");
    let at = bytes.windows(from.len()).position(|found| found == from.as_bytes()).expect(from);
    bytes[at..at + from.len()].fill(b' ');
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}
