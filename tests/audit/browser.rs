//! The page in a browser: Chromium without a screen, without a network, and without scripts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wasmount_tests::Node;

use super::audit;
use super::life::Life;

/// Wide and narrow windows, in pixels.
const WINDOWS: [(u32, u32); 2] = [(1280, 2400), (390, 2400)];

/// The page of a node's drivers, where a browser finds it.
pub(crate) fn page(node: &Node) -> PathBuf {
    let answer = audit(node, &["--format", "html"]);
    assert_eq!((answer.exit, answer.stderr.as_str()), (Some(0), ""));
    let path = node.path("audit.html");
    std::fs::write(&path, answer.stdout).expect("written");
    path
}

/// What a browser makes of a page: its elements, after all scripts that it would run.
pub(crate) fn elements(node: &Node, page: &Path) -> String {
    let printed = browse(node, page, &["--dump-dom"]);
    String::from_utf8(printed).expect("UTF-8")
}

fn browse(node: &Node, page: &Path, more: &[&str]) -> Vec<u8> {
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
    chromium.args(["--no-first-run", "--disable-background-networking", "--disable-sync"]);
    chromium.args(["--disable-component-update", "--hide-scrollbars"]);
    chromium.arg(format!("--user-data-dir={}", node.path("chromium").display()));
    chromium.args(more).arg(format!("file://{}", page.display())).stdin(Stdio::null());
    let output = chromium.output().expect("chromium, which `cargo xtask test` installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The widths and heights that a picture in PNG says it has.
fn size_of(picture: &Path) -> (u32, u32) {
    let bytes = std::fs::read(picture).expect("a picture");
    assert_eq!(&bytes[1..4], b"PNG");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four"));
    (number(16), number(20))
}

#[test]
fn a_browser_shows_the_tables_and_the_picture() {
    let Some(node) = Node::new() else { return };
    Life::of_a_pod(&node);
    let page = page(&node);
    let elements = elements(&node, &page);
    for (what, count) in [
        ("<h2>example.com/loop-image</h2>", 1),
        ("<h2>example.com/secret-files</h2>", 1),
        ("<svg ", 2),
        ("<tbody class=\"used\">", 7),
        ("<tbody class=\"unused\">", 3),
        ("<path class=\"used\"", 7 * 2 + 2),
        ("image files as block devices (!)", 1),
        ("keys of the volume's secret", 1),
        ("<script", 0),
    ] {
        assert_eq!(elements.matches(what).count(), count, "{what}:\n{elements}");
    }
    for (width, height) in WINDOWS {
        for scheme in ["light", "dark"] {
            let picture = node.path(&format!("{scheme}-{width}.png"));
            let dark =
                if scheme == "dark" { "--force-dark-mode" } else { "--disable-features=Dark" };
            let window = format!("--window-size={width},{height}");
            let screenshot = format!("--screenshot={}", picture.display());
            browse(&node, &page, &[&window, &screenshot, dark]);
            assert_eq!(size_of(&picture), (width, height));
        }
    }
    let print = node.path("audit.pdf");
    browse(
        &node,
        &page,
        &["--no-pdf-header-footer", &format!("--print-to-pdf={}", print.display())],
    );
    assert!(std::fs::read(print).expect("printed").starts_with(b"%PDF"));
}
