//! The reply table: every file of `tests/cases` is one driver with its grants, and calls with the
//! exact bytes that kubelet reads.
//!
//! In `args`, `{json}` is kubelet's JSON for the volume `vol` with the case's `options`;
//! `{pod}` and `{device}` are its directories, made before; `{root}` is the kubelet root, also in
//! replies; `{not-utf8}` is the byte 0xff; an option's value `@N` is N letters. `damage` is done to
//! the installed version before the call, and the next such case has a fresh one.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use wasmount_tests::{Driver, Node, State, UID, options, program};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    component: String,
    grants: String,
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    args: Vec<String>,
    #[serde(default)]
    options: Vec<(String, String)>,
    #[serde(default)]
    readonly: bool,
    damage: Option<String>,
    /// Calls to make first, which are not looked at.
    #[serde(default)]
    first: Vec<Vec<String>>,
    /// The user to run as, if not root.
    uid: Option<u32>,
    stdout: String,
    exit: i32,
    /// Something that a line of the audit log holds afterwards.
    logged: Option<String>,
}

#[test]
fn every_reply_is_as_written() {
    let mut wrong = String::new();
    let mut files: Vec<_> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"))
        .expect("the cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).expect("a table");
        let table: Table =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let Some(mut node) = Node::new() else { return };
        node.install(&table.component, &table.grants);
        let mut damaged = false;
        for (number, case) in table.case.iter().enumerate() {
            if damaged {
                node = Node::new().expect("root");
                node.install(&table.component, &table.grants);
            }
            damaged = case.damage.is_some();
            let driver = node.installed(&format!("example.com/{}", table.component));
            let got = run(&node, &driver, case);
            if got != (case.stdout.clone(), case.exit) {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                wrong += &format!(
                    "\n{name} #{number} {}:\nstdout = '''{}'''\nexit = {}\n",
                    case.name, got.0, got.1
                );
            }
            if let Some(wanted) = &case.logged
                && !driver.log().iter().any(|line| line.to_string().contains(wanted.as_str()))
            {
                wrong += &format!("\n{}: no line of the log holds {wanted}\n", case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "replies that are not as written:\n{wrong}");
}

fn run(node: &Node, driver: &Driver<'_>, case: &Case) -> (String, i32) {
    let user: Vec<_> =
        case.options.iter().map(|(key, value)| (key.clone(), expand(value))).collect();
    let user: Vec<_> = user.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let json = options("vol", if case.readonly { "ro" } else { "rw" }, &user);
    let root = node.path("kubelet").display().to_string();
    let fill = |arg: &String| -> OsString {
        if arg == "{not-utf8}" {
            return OsString::from_vec(vec![b'{', 0xff]);
        }
        arg.replace("{json}", &json)
            .replace("{pod}", &driver.pod_dir(UID, "vol"))
            .replace("{device}", &driver.device_dir("vol"))
            .replace("{root}", &root)
            .into()
    };
    for call in &case.first {
        driver.call(&call.iter().map(fill).collect::<Vec<_>>());
    }
    let before = node.mounts().len();
    let args: Vec<OsString> = case.args.iter().map(fill).collect();
    if let Some(damage) = &case.damage {
        do_damage(&driver.version(), &root, damage);
    }
    // Only root rehearses, so the calls of another user are not; nor is one without an operation.
    let state = State::all_of(node);
    let rehearsed = (case.uid.is_none() && !args.is_empty()).then(|| {
        let mut wasmount = Command::new(program("wasmount"));
        wasmount.args(["explain", "--json", "--plugin-dir"]).arg(node.path("plugins"));
        wasmount.arg(driver.name()).args(&args);
        let answer = wasmount_tests::answer(&mut wasmount, case.name.clone());
        // What cannot be read of the installation here is told in its own words.
        if case.damage.is_some() && answer.exit == Some(1) {
            assert!(!answer.stderr.is_empty() && answer.stdout.is_empty(), "{}", case.name);
            return None;
        }
        assert_eq!(answer.exit, Some(0), "{}: {}", case.name, answer.stderr);
        assert_eq!(state.changes(node), "", "{}: nothing lasts of a rehearsal", case.name);
        let told: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
        Some((told["reply"].clone(), told["exit"].as_i64()))
    });
    let answer = match case.uid {
        None => driver.call(&args),
        Some(uid) => {
            let mut command = Command::new(driver.executable());
            command.args(&args).uid(uid).gid(uid);
            wasmount_tests::answer(&mut command, case.name.clone())
        }
    };
    if rehearsed == Some(None) {
        // `init` asks no engine, but what another has compiled is not this tool's to explain.
        let other = case.damage.as_ref().is_some_and(|damage| damage.starts_with("other-engine"));
        let failed = answer.json()["status"] == "Failure";
        assert!(failed || other, "{}: it was not explained", case.name);
    }
    if let Some(Some(rehearsed)) = rehearsed {
        let real = (answer.json(), answer.exit.map(i64::from));
        assert_eq!(rehearsed, real, "{}: what is explained is what happens", case.name);
    }
    assert_eq!(answer.stderr, "", "{}: kubelet reads standard error too", case.name);
    if answer.json()["status"] != "Success" {
        assert!(node.mounts().len() <= before, "{}: a call that fails has mounted", case.name);
    }
    let stdout = answer.stdout.replace(&node.path("").display().to_string(), "{node}/");
    let stdout = stdout.replace("{node}/kubelet", "{root}");
    (mask(stdout.trim_end()), answer.exit.expect("an exit code"))
}

fn expand(value: &str) -> String {
    match value.strip_prefix('@').and_then(|count| count.parse::<usize>().ok()) {
        Some(count) => "QUFB".repeat(count / 4),
        None => value.to_owned(),
    }
}

/// A version's id differs with where it is installed.
fn mask(text: &str) -> String {
    match text.split_once(".versions/.") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
            format!("{before}.versions/.{{id}}{}", mask(rest))
        }
        None => text.to_owned(),
    }
}

/// `WHAT FILE`, in the version directory.
fn do_damage(version: &Path, root: &str, damage: &str) {
    let (what, name) = damage.split_once(' ').expect("what and where");
    let file = version.join(name);
    match what {
        "remove" => fs::remove_file(&file).expect("removed"),
        "flip" => {
            let mut bytes = fs::read(&file).expect("readable");
            // Within the receipt where it stays a receipt, and only its digest tells.
            let installer = bytes.windows(5).position(|text| text == b"\"uid ");
            let at = installer.map_or(bytes.len() / 2, |quote| quote + 1);
            bytes[at] ^= 1;
            fs::write(&file, bytes).expect("written");
        }
        "give-away" => std::os::unix::fs::chown(&file, Some(65534), None).expect("given away"),
        "open-up" => {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("opened up");
        }
        "other-engine" => {
            let text = fs::read_to_string(&file).expect("readable");
            let other = text.replace("48.0.", "47.0.");
            assert_ne!(text, other, "the receipt names the engine");
            fs::write(&file, other).expect("written");
            rename_to_id(version, &file);
        }
        "link" => {
            let target = Path::new(root).join(name);
            fs::remove_dir(&target).expect("an empty directory");
            symlink("/tmp", target).expect("linked");
        }
        other => panic!("no damage is called {other}"),
    }
}

/// Gives a version the name that its receipt's digest asks for, as an installation would have.
fn rename_to_id(version: &Path, receipt: &Path) {
    let digest = Command::new("sha256sum").arg(receipt).output().expect("coreutils").stdout;
    let id = String::from_utf8_lossy(&digest[..16]).into_owned();
    let versions = version.parent().expect("a directory of versions");
    fs::rename(version, versions.join(format!(".{id}"))).expect("renamed");
    let current = versions.parent().expect("a driver's directory").join("current");
    fs::remove_file(&current).expect("a link");
    symlink(format!(".versions/.{id}"), current).expect("linked");
}
