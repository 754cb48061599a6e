//! Real calls, recorded by `wasmount call --record` and played again by an ordinary user, with the same
//! replies: kubelet's sequence, failures, crashes, and calls in which no component had a say.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use wasmount_recording::Recording;
use wasmount_tests::{
    Answer, Driver, Edition, LOOP_IMAGE_GRANTS, Node, Secret, UID, answer, base64, component,
    options, program,
};

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// A file in which calls are recorded.
struct Tape<'n> {
    node: &'n Node,
    driver: Driver<'n>,
    file: PathBuf,
    replies: Vec<String>,
    /// What the tool has remarked on the last call, beside the driver's reply.
    remarks: String,
}

impl<'n> Tape<'n> {
    fn new(node: &'n Node, driver: Driver<'n>) -> Self {
        let file = node.path(&format!("{}.toml", driver.name().replace('/', "~")));
        Self { node, driver, file, replies: Vec::new(), remarks: String::new() }
    }

    /// Makes a call, and records it.
    fn call(&mut self, args: &[&str]) -> Answer {
        let file = self.file.display().to_string();
        let call = [&["call", "--record", &file, self.driver.name()], args].concat();
        let mut answer = self.node.wasmount(&call);
        self.remarks = std::mem::take(&mut answer.stderr);
        self.replies.push(answer.stdout.trim_end().to_owned());
        answer
    }

    /// What is on record so far.
    fn recording(&self) -> Recording {
        Recording::read(&self.file).expect("a recording")
    }

    /// Plays it as an ordinary user, who gets nothing but the two files.
    fn replayed(&self, component: &Path) -> Answer {
        let own = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(own.path(), fs::Permissions::from_mode(0o755)).expect("its own");
        let (recording, wasm) = (own.path().join("calls.toml"), own.path().join("driver.wasm"));
        for (from, to) in [(self.file.as_path(), &recording), (component, &wasm)] {
            fs::copy(from, to).expect("copied");
            fs::set_permissions(to, fs::Permissions::from_mode(0o644)).expect("its own");
        }
        // The program may lie where nobody else can look.
        let wasmount = own.path().join("wasmount");
        fs::copy(program("wasmount"), &wasmount).expect("copied");
        let mut command = Command::new(wasmount);
        command.arg("replay").arg(&recording).arg("--component").arg(&wasm);
        answer(command.uid(NOBODY).gid(NOBODY), "replay".to_owned())
    }

    /// Replaces a part of the file.
    fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.file).expect("a recording");
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&self.file, text.replacen(from, to, 1)).expect("written");
    }

    /// Asserts that no call is answered otherwise than it was: so many have the same reply, in so many the
    /// host had a say, and in so many nobody else.
    fn plays(&self, component: &Path, [same, in_part, not_played]: [usize; 3]) {
        let recording = self.recording();
        let told: Vec<_> = recording.recorded.iter().map(|call| call.reply.clone()).collect();
        assert_eq!(told, self.replies);
        let replayed = self.replayed(component);
        assert_eq!(replayed.exit, Some(0), "{}{}", replayed.stdout, replayed.stderr);
        let told =
            |word: &str| replayed.stdout.lines().filter(|line| line.starts_with(word)).count();
        let counts = ["same  ", "in part  ", "not played  "].map(told);
        assert_eq!(counts, [same, in_part, not_played], "{}", replayed.stdout);
        assert_eq!(counts.iter().sum::<usize>(), self.replies.len(), "{}", replayed.stdout);
        for reply in &self.replies {
            assert!(replayed.stdout.contains(reply.as_str()), "{reply}: {}", replayed.stdout);
        }
    }
}

/// Also what a component's vendor has in its tests.
fn passes_as_a_test(tape: &Tape<'_>, component: &Path) {
    let mut wasmount = Command::new(program("wasmount"));
    let tested = answer(wasmount.arg("test").arg(component).arg(&tape.file), "test".to_owned());
    assert_eq!(tested.exit, Some(0), "{}{}", tested.stdout, tested.stderr);
}

fn success(answer: &Answer) -> Value {
    answer.success()
}

#[test]
fn the_whole_sequence_of_a_volume() {
    let Some(node) = Node::new() else { return };
    let mut tape = Tape::new(&node, node.install("loop-image", LOOP_IMAGE_GRANTS));
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    let (device_dir, pod_dir) = (tape.driver.device_dir("pv-1"), tape.driver.pod_dir(UID, "pv-1"));
    success(&tape.call(&["init"]));
    tape.call(&["getvolumename", &json]);
    let attached = success(&tape.call(&["attach", &json, "node-1"]));
    let token = attached["device"].as_str().expect("a device").to_owned();
    success(&tape.call(&["isattached", &json, "node-1"]));
    let device = success(&tape.call(&["waitforattach", &token, &json]));
    let device = device["device"].as_str().expect("a device").to_owned();
    success(&tape.call(&["mountdevice", &device_dir, &device, &json]));
    success(&tape.call(&["mountdevice", &device_dir, &device, &json]));
    success(&tape.call(&["mount", &pod_dir, &json]));
    let (new, old) = ((128_u64 << 20).to_string(), (64_u64 << 20).to_string());
    success(&tape.call(&["expandvolume", &json, "", &new, &old]));
    // Not every kernel grows a mounted filesystem.
    tape.call(&["expandfs", &json, "", &pod_dir, &new, &old]);
    tape.call(&["unmountdevice", &device_dir]).fails_with("busy");
    success(&tape.call(&["unmount", &pod_dir]));
    success(&tape.call(&["unmountdevice", &device_dir]));
    success(&tape.call(&["detach", "pv-1", "node-1"]));
    // Failures: of what is read, of the component, of what nobody has.
    let small = options("pv-2", "rw", &[("create", "true"), ("size", "many")]);
    tape.call(&["attach", &small, "node-1"]).failure();
    let absent = options("pv-3", "rw", &[]);
    tape.call(&["attach", &absent, "node-1"]).failure();
    tape.call(&["mount", "/elsewhere", &json]).failure();
    // And again, with the filesystem that is there.
    for args in [
        &["attach", &json, "node-1"][..],
        &["waitforattach", &token, &json],
        &["mountdevice", &device_dir, &device, &json],
        &["unmountdevice", &device_dir],
        &["detach", "pv-1", "node-1"],
    ] {
        success(&tape.call(args));
    }
    node.is_clean();

    tape.plays(&component("loop-image"), [19, 0, 3]);
    passes_as_a_test(&tape, &component("loop-image"));
    let mode = fs::metadata(&tape.file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let recording = tape.recording();
    let digest =
        answer(Command::new("sha256sum").arg(component("loop-image")), "coreutils".to_owned());
    let (hex, _) = digest.stdout.split_once(' ').expect("a digest");
    for call in &recording.recorded {
        assert_eq!(call.component, format!("sha256:{hex}"));
        assert_eq!(
            (call.driver.as_str(), call.wasmount.as_str()),
            ("example.com/loop-image", "0.1.0")
        );
    }
    let told = |number: usize| recording.recorded[number].host.join("; ");
    assert_eq!(told(0), "no component was asked");
    assert_eq!(told(6), "mountdevice: no component was asked");
    let asked = |name: &str| {
        recording
            .calls
            .iter()
            .any(|call| call.host_calls.iter().any(|host_call| host_call.function.name == name))
    };
    assert!(asked("filesystems.format") && asked("filesystems.check") && asked("image.lease"));
    // The log has the same calls, by the same ids.
    let log = tape.driver.log();
    for call in &recording.recorded {
        let logged = log.iter().any(|line| line["call"] == call.id.as_str());
        let answered_at_once = ["init", "getvolumename"].contains(&&*call.operation);
        assert_eq!(logged, !answered_at_once, "{call:?}");
    }
}

#[test]
fn several_operations_in_one_call() {
    let Some(node) = Node::new() else { return };
    let driver =
        node.install_node_only("loop-image", LOOP_IMAGE_GRANTS, program("wasmount-driver"));
    let mut tape = Tape::new(&node, driver);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    let pod = tape.driver.pod_dir(UID, "pv-1");
    success(&tape.call(&["mount", &pod, &json]));
    success(&tape.call(&["mount", &pod, &json]));
    success(&tape.call(&["unmount", &pod]));
    tape.call(&["attach", &json, "node-1"]);
    let absent = options("pv-2", "rw", &[]);
    tape.call(&["mount", &tape.driver.pod_dir(UID, "pv-2"), &absent]).failure();
    node.is_clean();
    tape.plays(&component("loop-image"), [4, 0, 1]);
    passes_as_a_test(&tape, &component("loop-image"));
    let parts = |number: usize| {
        let recording = tape.recording();
        let id = Some(recording.recorded[number].id.clone());
        let parts = recording.calls.into_iter().filter(|call| call.part_of == id);
        parts.map(|call| call.operation.name()).collect::<Vec<_>>()
    };
    assert_eq!(parts(0), ["attach", "waitforattach", "mountdevice", "mount"]);
    assert_eq!(parts(1), [""; 0]);
    assert_eq!(parts(2), ["unmount", "unmountdevice", "detach"]);
}

#[test]
fn a_mount_that_the_host_composes() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("staged", "version = 1\n[mounts.tmpfs]\n");
    let mut tape = Tape::new(&node, driver);
    let json = options("pv-1", "rw", &[]);
    let pod = tape.driver.pod_dir(UID, "pv-1");
    success(&tape.call(&["mount", &pod, &json]));
    success(&tape.call(&["unmount", &pod]));
    node.is_clean();
    tape.plays(&component("staged"), [0, 2, 0]);
    let host = tape.recording().recorded[0].host.clone();
    let composed = "mount: the host bound the device mount";
    assert!(host.iter().any(|act| act == composed), "{host:?}");
}

#[test]
fn crashes_and_what_the_host_ends() {
    let Some(node) = Node::new() else { return };
    let grants = "version = 1\n[limits]\ncpu-seconds = 1\nmemory-mib = 16\n[mounts.tmpfs]\n";
    let mut tape = Tape::new(&node, node.install("hostile", grants));
    for (mischief, reason) in [
        ("trap", "component-trapped"),
        ("recurse", "component-trapped"),
        ("memory", "component-trapped"),
        ("loop", "cpu-limit"),
        ("attach-nothing", "nothing-attached"),
        ("reveal", "grant:secrets"),
        ("print", ""),
    ] {
        let volume = format!("of-{mischief}");
        let pod = tape.driver.pod_dir(UID, &volume);
        let answer = tape.call(&["mount", &pod, &options(&volume, "rw", &[("do", mischief)])]);
        match reason {
            "" => drop(success(&answer)),
            reason => drop(answer.fails_with(reason)),
        }
        success(&tape.call(&["unmount", &pod]));
    }
    // The component fails, and the host takes the mount down all the same.
    let pod = tape.driver.pod_dir(UID, "vol");
    let json = options("vol", "rw", &[("unmount-do", "internal")]);
    success(&tape.call(&["mountdevice", &tape.driver.device_dir("vol"), "", &json]));
    success(&tape.call(&["mount", &pod, &json]));
    success(&tape.call(&["unmount", &pod]));
    success(&tape.call(&["unmountdevice", &tape.driver.device_dir("vol")]));
    node.is_clean();
    tape.plays(&component("hostile"), [10, 2, 6]);
    let recorded = tape.recording().recorded;
    let told = recorded
        .iter()
        .flat_map(|call| &call.host)
        .any(|act| act == "unmount: the component failed, and the host went on without it");
    assert!(told, "{recorded:?}");
}

/// A component is revealed a secret and tells it in every way; another puts it into files.
#[test]
fn a_secret_is_not_in_the_file() {
    let Some(node) = Node::new() else { return };
    let value = "s3cr3t/p&ss wörd";
    let secret = Secret::new(value.as_bytes());
    let reply = "version = 1\n[reply]\nfailure-exit-code = 1\n[mounts.tmpfs]\n[[secrets]]\n";
    let grants = format!("{reply}key = \"password\"\nuses = [\"reveal\"]\n");
    let mut tape = Tape::new(&node, node.install("hostile", &grants));
    let pod = tape.driver.pod_dir(UID, "vol");
    for mischief in ["reveal", "trap"] {
        let json = options(
            "vol",
            "rw",
            &[
                ("kubernetes.io/secret/password", secret.base64()),
                ("do", mischief),
                ("note", value),
            ],
        );
        let failed = tape.call(&["mount", &pod, &json]);
        assert_eq!(failed.json()["status"], "Failure", "{}", failed.stdout);
        let revealed = tape.remarks.contains("the component was revealed a secret in this call");
        assert_eq!(revealed, mischief == "reveal", "{}", tape.remarks);
        let seen = tape.remarks.contains("the list of processes shows it");
        assert!(seen, "{}", tape.remarks);
    }
    // One that is too short to be looked for everywhere.
    let short = options(
        "vol",
        "rw",
        &[("kubernetes.io/secret/password", &base64(b"q~7")), ("do", "reveal")],
    );
    tape.call(&["mount", &pod, &short]);
    node.is_clean();
    let text = fs::read_to_string(&tape.file).expect("a recording");
    assert!(
        text.contains("# Mind: the component was revealed a secret in this call;")
            && text
                .contains("call = \"secret.reveal\", secret = \"secret\", returns = \"[secret]\""),
        "{text}"
    );
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    for form in [
        value.to_owned(),
        secret.base64().trim_end_matches('=').to_owned(),
        secret.base64().replace('+', "-").replace('/', "_"),
        hex.to_uppercase(),
        hex,
        json!(value).to_string().trim_matches('"').to_owned(),
        "s3cr3t%2Fp%26ss%20w%C3%B6rd".to_owned(),
        "q~7".to_owned(),
    ] {
        assert!(!text.contains(&form), "{form} is in {text}");
    }
    assert!(!secret.is_in(text.as_bytes()), "{text}");
    let replayed = tape.replayed(&component("hostile"));
    assert_eq!(replayed.exit, Some(0), "{}{}", replayed.stdout, replayed.stderr);

    let grants = format!("{reply}key = \"*\"\nuses = [\"file\"]\n");
    let mut tape = Tape::new(&node, node.install("secret-files", &grants));
    let pod = tape.driver.pod_dir(UID, "vol");
    let json = options("vol", "ro", &[("kubernetes.io/secret/password", secret.base64())]);
    success(&tape.call(&["mount", &pod, &json]));
    success(&tape.call(&["unmount", &pod]));
    node.is_clean();
    assert!(!secret.is_in(&fs::read(&tape.file).expect("a recording")));
    tape.plays(&component("secret-files"), [2, 0, 0]);
    passes_as_a_test(&tape, &component("secret-files"));
}

#[test]
fn a_changed_component_is_told() {
    let Some(node) = Node::new() else { return };
    let one = Edition { component: 1, setting: 0 };
    let driver = one.installed(&node);
    let mut tape = Tape::new(&node, driver);
    let json = options("vol", "rw", &[]);
    tape.call(&["attach", &json, "node-1"]);
    let pod = tape.driver.pod_dir(UID, "vol");
    success(&tape.call(&["mount", &pod, &json]));
    success(&tape.call(&["unmount", &pod]));
    tape.plays(&one.component(&node), [3, 0, 0]);
    let two = Edition { component: 2, setting: 0 }.component(&node);
    let replayed = tape.replayed(&two);
    assert_eq!(replayed.exit, Some(1), "{}", replayed.stdout);
    assert!(
        replayed.stdout.contains("calls were recorded of another component"),
        "{}",
        replayed.stdout
    );
    assert!(replayed.stdout.contains("DIFFERENT  "), "{}", replayed.stdout);
    assert!(replayed.stdout.contains("edition-2"), "{}", replayed.stdout);
    // Without --component it is the one that is installed.
    let installed = node.wasmount(&["replay", &tape.file.display().to_string()]);
    assert_eq!(installed.exit, Some(0), "{}{}", installed.stdout, installed.stderr);
}

#[test]
fn what_is_not_recorded() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hello", "version = 1\n[mounts.tmpfs]\n");
    let pod = driver.pod_dir(UID, "vol");
    let json = options("vol", "rw", &[]);
    let refused = |file: &Path, says: &str| {
        let file = file.display().to_string();
        let call = ["call", "--record", &file, driver.name(), "mount", &pod, &json];
        let refused = node.wasmount(&call);
        assert_eq!(refused.exit, Some(1), "{}", refused.stdout);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        assert!(!wasmount_tests::is_mount_point(&pod));
    };
    // A file that is something else is not added to.
    let other = node.path("other.toml");
    fs::write(&other, "version = 1\n").expect("written");
    refused(&other, "is no recording, and is left as it is: line 1: ");
    assert_eq!(fs::read_to_string(&other).expect("readable"), "version = 1\n");
    refused(&node.path("plugins"), "opening ");
    // Nor is a driver's call made that another wasmount has installed.
    let receipt = driver.version().join("receipt.json");
    let text = fs::read_to_string(&receipt).expect("readable");
    fs::write(&receipt, text.replace("\"0.1.0\"", "\"0.0.9\"")).expect("written");
    let new = node.path("new.toml");
    refused(&new, "was installed by wasmount 0.0.9 with wasmtime ");
    assert!(!new.exists());
    // Nor what is no call: any of it may be a secret.
    let (file, secret) = (new.display().to_string(), r#"{"kubernetes.io/secret/k":"c2VjcmV0"}"#);
    let no_call = node.wasmount(&["call", "--record", &file, driver.name(), secret]);
    assert_eq!((no_call.exit, no_call.stdout.as_str()), (Some(1), ""));
    assert!(no_call.stderr.contains("nothing was called"), "{}", no_call.stderr);
    assert!(!no_call.stderr.contains("c2VjcmV0") && !new.exists(), "{}", no_call.stderr);
    // And nobody serves a call by hand.
    let by_hand: [OsString; 1] = ["serve-call".into()];
    let by_hand = answer(Command::new(program("wasmount")).args(by_hand), "by hand".to_owned());
    assert_eq!(by_hand.exit, Some(1), "{}", by_hand.stderr);
}

/// What `cargo xtask demo` plays, call by call.
#[test]
fn every_call_of_the_demo() {
    let Some(node) = Node::new() else { return };
    let mut tape = Tape::new(&node, node.install("loop-image", LOOP_IMAGE_GRANTS));
    let json = options("pv-demo", "rw", &[("create", "true"), ("size", "64Mi")]);
    let device_dir = tape.driver.device_dir("pv-demo");
    let pod_dir = tape.driver.pod_dir(UID, "pv-demo");
    let (new, old) = ((128_u64 << 20).to_string(), (64_u64 << 20).to_string());
    success(&tape.call(&["init"]));
    tape.call(&["getvolumename", &json]);
    for life in 0..2 {
        let told = success(&tape.call(&["attach", &json, "node-1"]));
        let token = told["device"].as_str().expect("a device").to_owned();
        success(&tape.call(&["isattached", &json, "node-1"]));
        let told = success(&tape.call(&["waitforattach", &token, &json]));
        let device = told["device"].as_str().expect("a device").to_owned();
        success(&tape.call(&["mountdevice", &device_dir, &device, &json]));
        success(&tape.call(&["mount", &pod_dir, &json]));
        if life == 0 {
            success(&tape.call(&["expandvolume", &json, &device, &new, &old]));
            // Not every kernel grows a mounted filesystem.
            tape.call(&["expandfs", &json, &device, &pod_dir, &new, &old]);
        }
        success(&tape.call(&["unmount", &pod_dir]));
        success(&tape.call(&["unmountdevice", &device_dir]));
        success(&tape.call(&["detach", "pv-demo", "node-1"]));
    }
    tape.plays(&component("loop-image"), [20, 0, 0]);

    let grants = include_str!("../plugins/secret-files/grants.toml");
    let mut tape = Tape::new(&node, node.install("secret-files", grants));
    let secret = [
        ("kubernetes.io/secret/username", base64(b"app")),
        ("kubernetes.io/secret/password", base64(b"correct horse battery staple")),
    ];
    let secret = secret.each_ref().map(|(key, value)| (*key, value.as_str()));
    let json = options("credentials", "ro", &secret);
    let pod_dir = tape.driver.pod_dir(UID, "credentials");
    success(&tape.call(&["init"]));
    success(&tape.call(&["mount", &pod_dir, &json]));
    success(&tape.call(&["unmount", &pod_dir]));
    tape.plays(&component("secret-files"), [3, 0, 0]);
    node.is_clean();
}

/// A reply is what is found out from the calls, and not what stands in the file.
#[test]
fn an_edited_recording_is_told() {
    let Some(node) = Node::new() else { return };
    let mut tape = Tape::new(&node, node.install("hello", "version = 1\n[mounts.tmpfs]\n"));
    let pod = tape.driver.pod_dir(UID, "vol");
    let json = options("vol", "rw", &[]);
    tape.call(&["getvolumename", &json]);
    success(&tape.call(&["mount", &pod, &json]));
    success(&tape.call(&["unmount", &pod]));
    node.is_clean();
    tape.plays(&component("hello"), [3, 0, 0]);
    let whole = fs::read_to_string(&tape.file).expect("a recording");
    let id = tape.recording().recorded[1].id.clone();
    let call = whole.find("\n[[call]]").expect("a call");
    let rest = whole[call..].find("\n[[recorded]]").expect("another");
    let success = r#"reply = "{\"status\":\"Success\"}""#;
    let part = format!("part-of = \"{id}\"");
    for (from, to, told) in [
        (success, r#"reply = "{\"status\":\"Failure\"}""#, r#"replayed  {"status":"Success"}"#),
        (
            "volumes go by the name",
            "volumes go by a name",
            "replayed  {\"status\":\"Not supported\"",
        ),
        (&whole[call..call + rest], "", "no [[call]] says what"),
        (
            part.as_str(),
            "part-of = \"another\"",
            "is part of another, and there is no `[[recorded]]` with that id",
        ),
        ("driver = \"", "driver = \"\\u001b]0;title\\u0007", "\\u{1b}]0;title\\u{7}"),
    ] {
        fs::write(&tape.file, &whole).expect("written");
        tape.edit(from, to);
        let replayed = tape.replayed(&component("hello"));
        let printed = format!("{}{}", replayed.stdout, replayed.stderr);
        assert_eq!(replayed.exit, Some(1), "{from}: {printed}");
        assert!(printed.contains(told), "{told}: {printed}");
        assert!(!printed.contains('\u{1b}'), "{printed}");
    }
}

/// A component asks for so much that its end is not on record.
#[test]
fn a_recording_that_is_cut_off_says_so() {
    let Some(node) = Node::new() else { return };
    let grants = "version = 1\n[mounts.tmpfs]\n";
    let mut tape = Tape::new(&node, node.install("hostile", grants));
    let pod = tape.driver.pod_dir(UID, "vol");
    let json = options("vol", "rw", &[("do", "swamp")]);
    let explained = node.wasmount(&["explain", tape.driver.name(), "mount", &pod, &json]);
    assert_eq!(explained.exit, Some(1), "{}", explained.stdout);
    assert!(explained.stdout.contains("THIS IS NOT ALL: "), "{}", explained.stderr);
    assert!(explained.stderr.contains("not all of the call is told"), "{}", explained.stderr);
    success(&tape.call(&["mount", &pod, &json]));
    assert!(tape.remarks.contains("not all of the call is recorded"), "{}", tape.remarks);
    success(&tape.call(&["unmount", &pod]));
    node.is_clean();
    tape.plays(&component("hostile"), [1, 0, 1]);
    let told = tape.recording().recorded[0].host.join("; ");
    assert!(told.contains("not all of the call is on record"), "{told}");
}
