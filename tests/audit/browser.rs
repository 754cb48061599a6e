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

/// What a browser makes of the page's style: the page within another, which asks for it.
const ASKS: &str = r#"<!DOCTYPE html><body><iframe id="it" src="audit.html"
    style="width: 100%; height: 1000px; border: 0"></iframe><pre id="said"></pre><script>
    document.getElementById("it").onload = event => {
      const page = event.target.contentDocument, root = page.documentElement;
      const colours = [page.body, page.querySelector("h1"), page.querySelector("svg rect")]
        .map(element => getComputedStyle(element));
      const said = [colours[0].backgroundColor, colours[1].color, colours[2].fill,
        root.scrollWidth > root.clientWidth ? "too wide" : "fits"];
      document.getElementById("said").textContent = said.join("; ");
    };
    </script>"#;

fn style(node: &Node, width: u32, scheme: &str) -> String {
    let asks = node.path("asks.html");
    std::fs::write(&asks, ASKS).expect("written");
    let window = format!("--window-size={width},1000");
    let asked = ["--allow-file-access-from-files", "--dump-dom", &window, scheme];
    let elements = String::from_utf8(browse(node, &asks, &asked)).expect("UTF-8");
    let said = elements.split_once("<pre id=\"said\">").expect("asked").1;
    said.split_once("</pre>").expect("an end").0.to_owned()
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
        ("<th>", 0),
        ("<script", 0),
    ] {
        assert_eq!(elements.matches(what).count(), count, "{what}:\n{elements}");
    }
    // Whatever may be scrolled sideways is so by the keyboard, too.
    let scrolled = elements.matches("class=\"wide\" role=\"region\"").count();
    assert_eq!(scrolled, elements.matches("tabindex=\"0\"").count(), "{elements}");
    for (width, height) in WINDOWS {
        for (scheme, setting, style_of_it) in SCHEMES {
            let picture = node.path(&format!("{scheme}-{width}.png"));
            let window = format!("--window-size={width},{height}");
            let screenshot = format!("--screenshot={}", picture.display());
            browse(&node, &page, &[&window, &screenshot, setting]);
            assert_eq!(size_of(&picture), (width, height));
            assert_eq!(style(&node, width, setting), *style_of_it, "{width} {scheme}");
        }
    }
}

/// How a browser is told that somebody wants it light or dark; and then the colours of the page, of its
/// heading and of a box of the picture, and whether it fits into the window.
const SCHEMES: &[(&str, &str, &str)] = &[
    (
        "light",
        "--blink-settings=preferredColorScheme=1",
        "rgb(255, 255, 255); rgb(28, 32, 36); rgb(244, 246, 248); fits",
    ),
    (
        "dark",
        "--blink-settings=preferredColorScheme=0",
        "rgb(21, 24, 28); rgb(230, 233, 237); rgb(30, 35, 41); fits",
    ),
];

/// One driver a page or two, and nothing is cut off.
#[test]
fn a_browser_prints_it() {
    let Some(node) = Node::new() else { return };
    Life::of_a_pod(&node);
    let page = page(&node);
    let print = node.path("audit.pdf");
    let to = format!("--print-to-pdf={}", print.display());
    browse(&node, &page, &["--no-pdf-header-footer", &to]);
    let printed = std::fs::read(print).expect("printed");
    assert!(printed.starts_with(b"%PDF"));
    let text = String::from_utf8_lossy(&printed);
    let pages = text.matches("/Type /Page").count() - text.matches("/Type /Pages").count();
    assert!((2..=5).contains(&pages), "{pages} pages");
}
