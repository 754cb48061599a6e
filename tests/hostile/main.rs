//! Components that misuse the host: every function that a component can import, and the way in which
//! values pass. Each case is refused or ends the component, word for word as written, and leaves
//! the node as it was. A function of `wit/` without a case fails.
//!
//! The cases are the tables in `cases/`. They are tried on an installed driver whose component does
//! what they say (`script.rs`), on a node on which others have images, too.

mod cases;
mod component;
mod lowered;
mod script;
mod surface;

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use wasmount_core::call::Attachment;
use wasmount_tests::{
    Answer, Decided, Driver, LOOP_IMAGE_GRANTS, Node, State, UID, base64, figures, options, program,
};

use cases::{Case, cases};
use surface::Surface;

const DRIVER: &str = "example.com/misuse";

/// All that can be granted, within what an operator would.
const GRANTS: &str = include_str!("grants.toml");

#[test]
fn every_function_of_the_wit_is_misused() {
    let misused: Vec<_> = cases().iter().map(Case::function).collect();
    let missing: Vec<_> =
        Surface::read().imports.into_keys().filter(|name| !misused.contains(name)).collect();
    assert!(missing.is_empty(), "functions without a case in tests/hostile/cases: {missing:?}");
}

#[test]
fn misuse_is_refused_and_changes_nothing() {
    let (surface, cases) = (Surface::read(), cases());
    let Some(node) = Node::new() else { return };
    let (file, grants) = (node.path("misuse.wasm"), node.path("grants.toml"));
    fs::write(&file, component::component(&surface, &cases)).expect("written");
    let images = node.path("images").display().to_string();
    fs::write(&grants, GRANTS.replace("{images}", &images)).expect("written");
    let (grants, binary) =
        (grants.display().to_string(), program("wasmount-driver").display().to_string());
    let installed =
        node.installs_file(&file, DRIVER, &["--grants", &grants, "--driver-binary", &binary]);
    assert_eq!(installed.exit, Some(0), "{}", installed.stderr);
    let driver = node.installed(DRIVER);
    furnish(&node);

    let mut wrong = String::new();
    // What is wrong with one case can be in the way of the next.
    let works = |answer: Answer, wrong: &str| {
        assert_eq!(answer.exit, Some(0), "{}: {}\n{wrong}", answer.call, answer.stdout);
    };
    let others = cases.iter().filter(|case| case.says.is_none()).count();
    for (number, case) in cases.iter().take(others).enumerate() {
        call(&driver, case, &case.operation, number, number).success();
    }
    let mut number = others;
    for group in cases[others..].chunk_by(Case::shares) {
        let (case, volume) = (&group[0], number);
        let mut seen = None;
        for (operation, _) in case.before() {
            seen = case.takes_down().then(|| look(&node, &driver, case, volume));
            works(call(&driver, case, operation, volume, volume), &wrong);
        }
        let seen = seen.unwrap_or_else(|| look(&node, &driver, case, volume));
        for case in group {
            let args = arguments(&driver, case, &case.operation, volume, number);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let before = State::all_of(&node);
            let rehearsed = Decided::rehearsed(&node, &driver, &args);
            let changes_of_it = before.changes(&node);
            if !changes_of_it.is_empty() {
                wrong +=
                    &format!("\nexplaining {} has changed the node:\n{changes_of_it}", case.name);
            }
            let (said, decided) = try_out(&node, &driver, case, volume, number);
            if rehearsed != decided {
                wrong += &format!(
                    "\n{} is explained otherwise:\n  {rehearsed:?}\n  {decided:?}\n",
                    case.name
                );
            }
            number += 1;
            if Some(&said) != case.says.as_ref() {
                wrong += &format!("\n{}:\nsays = {}\n", case.name, Value::from(said));
            }
            if let Some(wanted) = &case.logged
                && !driver.log().iter().any(|line| line["message"] == wanted.as_str())
            {
                wrong += &format!("\n{}: no line of the log says {wanted}\n", case.name);
            }
            // What cannot be mounted is taken down, and kubelet begins again.
            if case.operation == "mountdevice" {
                works(call(&driver, case, "waitforattach", volume, volume), &wrong);
            }
            let changes = seen.changes(&node);
            if !changes.is_empty() {
                wrong += &format!("\n{} has changed the node:\n{changes}", case.name);
            }
        }
        for (_, operation) in case.before().iter().rev() {
            works(call(&driver, case, operation, volume, volume), &wrong);
        }
    }
    for (number, case) in cases.iter().take(others).enumerate() {
        for operation in ["unmountdevice", "detach"] {
            call(&driver, case, operation, number, number).success();
        }
    }
    node.is_clean();
    assert!(wrong.is_empty(), "not as written:\n{wrong}");
    figures(&[
        ("cases", (cases.len() - others) as u64),
        ("functions", surface.imports.len() as u64),
    ]);
}

/// Makes the call that a case is about, with a volume that is ready for it. Returns how it failed, the
/// same on every node.
fn try_out(
    node: &Node,
    driver: &Driver<'_>,
    case: &Case,
    volume: usize,
    number: usize,
) -> (String, Decided) {
    let log = node.path("log").join(format!("{}.jsonl", DRIVER.replace('/', "~")));
    let _ = fs::remove_file(log);
    let answer = call(driver, case, &case.operation, volume, number);
    let lines = driver.log();
    let decided = Decided::logged(&lines, &answer.json());
    let told = |kind: &str, keys: &[&str]| -> Option<String> {
        let line = lines.iter().find(|line| line["kind"] == kind)?;
        Some(keys.iter().filter_map(|key| line[*key].as_str()).collect::<Vec<_>>().join(" "))
    };
    let says = |kind, keys| Some(format!("{}: {}", told(kind, keys)?, told(kind, &["message"])?));
    let said = match answer.json()["status"].as_str() {
        Some("Success") => {
            says("component-failed", &["reason"]).map(|said| format!("host: {said}"))
        }
        _ => {
            answer.failure();
            says("reply", &["code", "reason"])
        }
    };
    let said = said.unwrap_or_else(|| answer.stdout.clone());
    let said = said.replace(&node.path("").display().to_string(), "{node}/");
    // Whichever is free.
    let mut parts = said.split("/dev/loop");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
    (rest.fold(first, |text, part| text + "/dev/loop{n}" + part), decided)
}

/// The node, once no call is under way. The directories that kubelet makes are no change of the
/// driver's.
fn look(node: &Node, driver: &Driver<'_>, case: &Case, volume: usize) -> State {
    let _ = arguments(driver, case, &case.operation, volume, volume);
    driver.log();
    State::of(node)
}

fn call(driver: &Driver<'_>, case: &Case, operation: &str, volume: usize, number: usize) -> Answer {
    driver.call(&arguments(driver, case, operation, volume, number))
}

fn arguments(
    driver: &Driver<'_>,
    case: &Case,
    operation: &str,
    volume: usize,
    number: usize,
) -> Vec<String> {
    let name = component::volume(volume);
    let readwrite = if case.readonly { "ro" } else { "rw" };
    let json = |more: &[(&str, &str)]| options(&name, readwrite, more);
    let size = (64 << 20).to_string();
    let device = || driver.device_dir(&name);
    let pod = || driver.pod_dir(UID, &name);
    let node = case.node.clone();
    // Several cases have one volume: then it is this that tells them apart.
    let token = || match volume == number {
        true => String::new(),
        false => {
            let (driver, name) = (DRIVER.parse().expect("a name"), name.parse().expect("a name"));
            Attachment::wrap(&component::volume(number), &driver, &name).expect("a token")
        }
    };
    let rest = match operation {
        "attach" | "isattached" => vec![json(&[]), node],
        "detach" => vec![name.clone(), node],
        "waitforattach" => vec![token(), json(&[])],
        "mountdevice" => vec![device(), token(), json(&[])],
        "mount" => {
            let (password, other) = (base64(b"correct horse"), base64(b"battery staple"));
            let secret = [
                ("kubernetes.io/secret/password", password.as_str()),
                ("kubernetes.io/secret/unseen", &other),
                ("kubernetes.io/secret/not-granted", &other),
            ];
            vec![pod(), json(&secret)]
        }
        "unmount" => vec![pod()],
        "unmountdevice" => vec![device()],
        "expandvolume" => vec![json(&[]), String::new(), (128 << 20).to_string(), size],
        "expandfs" => vec![json(&[]), String::new(), device(), (128 << 20).to_string(), size],
        other => panic!("no operation is called {other}"),
    };
    [vec![operation.to_owned()], rest].concat()
}

/// What is in the image directory besides what the cases make.
fn furnish(node: &Node) {
    for name in ["vol.img", "other.img", "away.img", "theirs.img", "free.img"] {
        node.image(name, 64 << 20);
    }
    let images = node.path("images");
    symlink("/etc/shadow", images.join("link.img")).expect("linked");
    symlink("vol.img", images.join("own-link.img")).expect("linked");
    fs::create_dir(images.join("directory.img")).expect("made");
    mknodat(CWD, images.join("pipe.img"), FileType::Fifo, Mode::RUSR, 0).expect("made");
    // One of them is another driver's.
    let neighbour = node.install_as("loop-image", "example.com/neighbour", LOOP_IMAGE_GRANTS);
    let json = options("theirs", "rw", &[("image", "theirs.img")]);
    neighbour.call(&["attach", &json, "node-1"]).success();
}
