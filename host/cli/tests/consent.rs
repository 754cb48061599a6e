//! What is granted when a driver is installed, who said so, and what an upgrade that asks for more has to
//! wait for: by the program itself, as root.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

mod node;

use node::{Node, component_asking};

const HEAD: &str = "name = \"disk\"\nversion = \"VERSION\"\ndescription = \"a disk\"\n";
const STATE: &str = "[[asks]]\ncapability = \"state\"\nreason = \"to remember\"\n";
const TMPFS: &str =
    "[[asks]]\ncapability = \"mounts.tmpfs\"\nreason = \"for files\"\nmax-files = 4\n";
const IMAGES: &str =
    "[[asks]]\ncapability = \"images\"\nreason = \"for data\"\nnames = [\"{volume}.img\"]\n";
const SECRETS: &str = "[[asks]]\ncapability = \"secrets\"\nreason = \"for logins\"\n\
                       keys = [{ key = \"password\", uses = [\"reveal\"] }]\n";
const DEVICES: &str =
    "[[asks]]\ncapability = \"devices\"\nreason = \"for disks\"\nrules = [\"disk\"]\n";

fn give(node: &Node, version: &str, asks: &[&str]) -> Result<()> {
    let manifest = format!("{}{}", HEAD.replace("VERSION", version), asks.concat());
    let bytes = component_asking(&manifest, "import wasmount:driver/state@0.1.0;")?;
    Ok(fs::write(node.path("disk.wasm"), bytes)?)
}

/// By what the grants hold, and the file that they are from.
fn receipt(node: &Node) -> Result<(String, String)> {
    let [from, _, source] = provenance(node)?;
    Ok((from, source))
}

/// The same, and between them how their text came to be.
fn provenance(node: &Node) -> Result<[String; 3]> {
    let path = node.path("plugins/example.com~disk/current/receipt.json");
    let receipt: serde_json::Value = serde_json::from_slice(&fs::read(path)?)?;
    let text =
        |key: &str| -> Result<String> { Ok(receipt[key].as_str().context("a text")?.to_owned()) };
    let source = text("grants_source")?.replace(root(node)?.as_str(), "$NODE");
    Ok([text("grants_from")?, text("grants_origin")?, source])
}

fn root(node: &Node) -> Result<String> {
    Ok(fs::canonicalize(node.path("."))?.to_str().context("UTF-8")?.to_owned())
}

fn grants(node: &Node) -> Result<String> {
    Ok(fs::read_to_string(node.path("plugins/example.com~disk/current/grants.toml"))?)
}

#[test]
fn what_is_asked_for_is_granted_if_it_is_accepted() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    let accept = "--accept-requested";
    for (asks, arguments, told) in [
        (
            &[STATE, IMAGES, SECRETS][..],
            &[accept][..],
            "wasmount: it asks for what is super-privileged, which has to be named, and needs what only \
             the operator knows; add --accept images --accept secrets.reveal --with images.directory=… \
             --with reply.failure-exit-code=…\n    images: for data\n    secrets.reveal: for logins",
        ),
        (
            &[STATE, IMAGES],
            &[accept, "--accept", "images"],
            "wasmount: it needs what only the operator knows; add --with images.directory=…",
        ),
        (
            &[STATE, IMAGES],
            &[accept, "--accept", "images", "--with", "images.directory=srv"],
            "wasmount: what it asks for, with what --with says, is no valid grants file: `srv` is not an \
             absolute path without `.` and `..`; valid: such as \"/srv/images\"; write one, and install \
             with --grants FILE",
        ),
        (
            &[STATE],
            &[accept, "--accept", "state"],
            "wasmount: --accept state names nothing super-privileged that is asked for; valid: none",
        ),
        (
            &[DEVICES],
            &[accept, "--accept", "devices"],
            "wasmount: devices cannot be accepted from a manifest: where a device is on this node, and \
             what proves that it is the one, is the operator's to say; write a grants file with \
             [[devices]] (docs/grants.md), and install with --grants FILE",
        ),
    ] {
        give(&node, "1.0", asks)?;
        let (printed, said, code) = node.install(arguments)?;
        assert_eq!((printed.as_str(), said.trim_end(), code), ("", told, Some(1)));
        assert!(!node.path("plugins/example.com~disk").exists());
    }

    give(&node, "1.0", &[STATE, IMAGES, SECRETS, TMPFS])?;
    let all =
        ["--accept", "images", "--accept", "secrets.reveal", "--with", "images.directory=/srv"];
    let with = ["--with", "reply.failure-exit-code=0", "--with", "config.a=b"];
    let (printed, _, code) = node.install(&[&[accept], &all[..], &with[..]].concat())?;
    assert_eq!(code, Some(0), "{printed}");
    let table = "                REQUESTED          GRANTED
  state         yes                yes
  secrets       yes                yes                super-privileged
    keys        password (reveal)  password (reveal)
  images        yes                yes                super-privileged
    directory                      /srv
    max-size    1Ti                1Ti
    names       {volume}.img       {volume}.img
  mounts.tmpfs  yes                yes
    max-files   4                  4
    max-size    1Mi                1Mi
  signed   by nobody, which was allowed
  granted  what the manifest asks for, as it asks
";
    assert!(printed.contains(table), "{printed}");
    let expected = "# What disk 1.0 asks for, accepted as it asks when it was installed. docs/grants.md of \
                    wasmount\n# explains every key.\nversion = 1\n\n[reply]\nfailure-exit-code = 0\n\n\
                    [config]\n\"a\" = \"b\"\n\n# state: to remember\n[state]\n\n# secrets: for logins\n\
                    [[secrets]]\nkey = \"password\"\nuses = [\"reveal\"]\n\n# images: for data\n\
                    [images]\ndirectory = \"/srv\"\nmax-size = \"1Ti\"\nnames = [\"{volume}.img\"]\n\n\
                    # mounts.tmpfs: for files\n[mounts.tmpfs]\nmax-files = 4\nmax-size = \"1Mi\"\n";
    assert_eq!(grants(&node)?, expected);
    let source = "the manifest of $NODE/disk.wasm".to_owned();
    assert_eq!(receipt(&node)?, ("accepted".to_owned(), source));
    Ok(())
}

#[test]
fn the_receipt_says_by_what_the_grants_hold() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    let (file, manifest) = ("$NODE/grants.toml", "the manifest of $NODE/disk.wasm");
    let holds = |from: &str, origin: &str, source: &str| [from, origin, source].map(str::to_owned);
    give(&node, "1.0", &[STATE])?;
    node.install(&[])?;
    assert_eq!(provenance(&node)?, holds("nothing", "nothing", "none"));
    node.install(&["--grants", "grants.toml"])?;
    assert_eq!(provenance(&node)?, holds("file", "file", file));
    give(&node, "2.0", &[STATE])?;
    node.install(&[])?;
    assert_eq!(provenance(&node)?, holds("kept", "file", file));
    node.run(&["rollback", "example.com/disk"])?;
    assert_eq!(provenance(&node)?, holds("kept", "file", file));
    node.install(&["--no-grants"])?;
    assert_eq!(provenance(&node)?, holds("nothing", "nothing", "none"));
    node.run(&["rollback", "example.com/disk", "--with-grants"])?;
    assert_eq!(provenance(&node)?, holds("rolled-back", "file", file));
    fs::write(node.path("other.toml"), "version = 1\n")?;
    node.run(&["grants", "apply", "example.com/disk", "other.toml"])?;
    assert_eq!(provenance(&node)?, holds("file", "file", "$NODE/other.toml"));
    // What was accepted stays so, whatever brings it along.
    node.install(&["--accept-requested"])?;
    assert_eq!(provenance(&node)?, holds("accepted", "accepted", manifest));
    give(&node, "3.0", &[STATE])?;
    node.install(&[])?;
    assert_eq!(provenance(&node)?, holds("kept", "accepted", manifest));
    node.run(&["rollback", "example.com/disk"])?;
    assert_eq!(provenance(&node)?, holds("kept", "accepted", manifest));
    Ok(())
}

const REFUSED: &str = "wasmount: disk 2.0 takes the place of disk 1.0, which is installed as \
    example.com/disk:
  component ~ version: 1.0 -> 2.0
! asks      + mounts.tmpfs: max-files 4; max-size 1Mi
  reasons   + mounts.tmpfs: for files
it asks for more than before, by what is marked with `!`
nothing was changed, and what is installed stays in force; agree by saying what it is granted: --grants \
FILE, --no-grants or --accept-requested
";

#[test]
fn an_upgrade_that_asks_for_more_needs_consent() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    give(&node, "1.0", &[STATE])?;
    node.install(&["--grants", "grants.toml"])?;
    let first = node.version()?;
    give(&node, "2.0", &[STATE, TMPFS])?;
    assert_eq!(node.install(&[])?, (String::new(), REFUSED.to_owned(), Some(1)));
    assert_eq!(node.version()?, first);
    for consent in [&["--grants", "grants.toml"][..], &["--no-grants"], &["--accept-requested"]] {
        let (printed, said, code) = node.install(consent)?;
        assert_eq!(code, Some(0), "{printed}{said}");
        assert_ne!(node.version()?, first);
        let (_, said, code) = node.run(&["rollback", "example.com/disk"])?;
        assert_eq!(code, Some(0), "{said}");
    }
    // What asks for less, or the same, is shown, and nobody's trouble.
    fs::write(node.path("disk.wasm"), component_asking(&HEAD.replace("VERSION", "3.0"), "")?)?;
    let (_, said, code) = node.install(&[])?;
    let shown = "disk 3.0 takes the place of disk 1.0, which is installed as example.com/disk:
  component ~ version: 1.0 -> 3.0
  asks      - state
  imports   - state.delete
  imports   - state.get
  imports   - state.put
compiling disk 3.0 for this machine
";
    assert_eq!((said.as_str(), code), (shown, Some(0)));
    Ok(())
}

/// Whatever it is that an upgrade asks for besides.
#[test]
fn more_is_more_in_every_way() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    give(&node, "1.0", &[STATE, TMPFS])?;
    node.install(&["--grants", "grants.toml"])?;
    let first = node.version()?;
    let asks = |from: &str, to: &str| [HEAD, STATE, TMPFS].concat().replace(from, to);
    let (state, bind) =
        ("import wasmount:driver/state@0.1.0;", "import wasmount:driver/mounts-bind@0.1.0;");
    for (manifest, imports, told) in [
        (asks("", ""), [state, bind].concat(), "! imports   + mounts-bind.staged\n"),
        (asks("max-files = 4", "max-files = 5"), state.to_owned(), "max-files: 4 -> 5\n"),
        (
            asks(
                "[[asks]]\ncapability = \"state\"",
                "[limits]\ncpu-seconds = 20\n[[asks]]\ncapability = \"state\"",
            ),
            state.to_owned(),
            "! limits    > cpu-seconds: 10 -> 20\n",
        ),
        (asks(STATE, ""), state.to_owned(), "! asks      - state\n"),
    ] {
        let manifest = manifest.replace("VERSION", "2.0");
        fs::write(node.path("disk.wasm"), component_asking(&manifest, &imports)?)?;
        let (printed, said, code) = node.install(&[])?;
        assert_eq!((printed.as_str(), code), ("", Some(1)), "{said}");
        assert!(said.contains(told), "{told} is not in {said}");
        assert_eq!(node.version()?, first);
    }
    Ok(())
}

/// Who takes over whatever is asked for would take over more with each upgrade.
#[test]
fn what_is_super_privileged_and_wider_is_accepted_anew() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    let accept = ["--accept-requested", "--accept", "images", "--with", "images.directory=/srv"];
    give(&node, "1.0", &[STATE, IMAGES])?;
    let (_, said, code) = node.install(&accept)?;
    assert_eq!(code, Some(0), "{said}");
    let first = node.version()?;
    give(&node, "2.0", &[STATE, &IMAGES.replace("{volume}.img", "*")])?;
    let (printed, said, code) = node.install(&accept)?;
    assert_eq!((printed.as_str(), code), ("", Some(1)));
    assert_eq!(
        said,
        "wasmount: disk 2.0 takes the place of disk 1.0, which is installed as example.com/disk:
  component ~ version: 1.0 -> 2.0
! asks      > images names: {volume}.img -> *  (super-privileged)
it asks for more than before, by what is marked with `!`
what is super-privileged is asked for further than before; nothing was changed, and what is installed \
stays in force; agree by --accept-wider, or say what it is granted by --grants FILE
"
    );
    assert_eq!(node.version()?, first);
    let (printed, said, code) = node.install(&[&accept[..], &["--accept-wider"]].concat())?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("! asks      > images names: {volume}.img -> *"), "{said}");
    let granted =
        "  grants   - [images] names = [\"{volume}.img\"]\n  grants   + [images] names = [\"*\"]\n";
    assert!(printed.contains(granted), "{printed}");
    Ok(())
}

/// What somebody at a terminal sees and answers, by script(1).
#[test]
fn somebody_at_a_terminal_is_asked() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        #[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
        {
            eprintln!("notice: skipped: there is no script(1)");
        }
        return Ok(());
    }
    give(&node, "1.0", &[STATE, IMAGES])?;
    let (shown, _) = at_terminal(&node, &[], "n\n")?;
    assert!(
        shown.contains("disk 1.0 asks for:\r\n    state\r\n      why to remember\r\n"),
        "{shown}"
    );
    assert!(
        shown.contains("\r\n    images  (super-privileged)\r\n      of  max-size 1Ti; "),
        "{shown}"
    );
    assert!(shown.contains("grant that, exactly as it asks? [y/N] "), "{shown}");
    assert!(shown.contains("nothing is granted\r\n"), "{shown}");
    assert_eq!(receipt(&node)?.0, "nothing");
    node.run(&["uninstall", "example.com/disk"])?;

    let (shown, _) = at_terminal(&node, &[], "y\nimages\n/srv\n")?;
    assert!(shown.contains("type `images` to grant it: "), "{shown}");
    assert!(shown.contains("images.directory, which only you know: "), "{shown}");
    assert_eq!(receipt(&node)?.0, "accepted", "{shown}");

    give(&node, "2.0", &[STATE, IMAGES, TMPFS])?;
    let first = node.version()?;
    let (shown, code) = at_terminal(&node, &[], "no\n")?;
    assert!(shown.contains("! asks      + mounts.tmpfs: max-files 4; max-size 1Mi"), "{shown}");
    assert!(shown.contains("install it? What is granted stays as it is [y/N] "), "{shown}");
    assert!(shown.contains("wasmount: not agreed to: nothing was changed, "), "{shown}");
    assert_eq!((node.version()?, code), (first, Some(1)));
    let (shown, code) = at_terminal(&node, &[], "y\n")?;
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(receipt(&node)?.0, "kept");
    Ok(())
}

fn at_terminal(node: &Node, more: &[&str], typed: &str) -> Result<(String, Option<i32>)> {
    let data = node.path("data");
    let data = data.to_str().context("UTF-8")?;
    let program = env!("CARGO_BIN_EXE_wasmount");
    let line = format!(
        "{program} install disk.wasm --allow-unsigned --driver example.com/disk --node-name node-1 \
         --driver-binary driver --data-dir {data} --plugin-dir plugins {}",
        more.join(" ")
    );
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .current_dir(node.path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("a pipe")?.write_all(typed.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok((String::from_utf8(output.stdout)?, output.status.code()))
}
