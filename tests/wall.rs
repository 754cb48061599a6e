//! The guest process as if it ran hostile native code: what it tries, behind the whole wall and behind
//! each layer alone, and what becomes of the call and the node.
//!
//! What is tried is a table in `host/core/src/breakout`, built into a driver that is never shipped.
//! Whatever gets out with layers left off gets at what the test has made, and at nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{XattrFlags, setxattr};
use rustix::mount::{MountFlags, mount};
use rustix::process::Pid;
use wasmount_core::breakout::{ATTEMPTS, Attempt, FILE, OVER, Plan, Scene, TALKS};
use wasmount_core::wall::Layer;
use wasmount_tests::{
    Answer, Driver, Node, Process, Running, Secret, UID, breakout_driver, figures, options, program,
};

/// As little as can be granted: what is used up is used up soon.
const GRANTS: &str = "version = 1\n[reply]\nfailure-exit-code = 1\n[limits]\nmemory-mib = 1\n\
                      cpu-seconds = 1\n[mounts.tmpfs]\n";

/// The memory that can be written to, in MiB, by these grants: twice the component's, and the host's.
const MEMORY: u64 = 2 + 128;

/// What the attempts end with that no filter refuses.
const OTHERWISE: &[(&str, &str)] = &[
    ("take more memory than it may", "ENOMEM"),
    ("take more addresses than it may", "ENOMEM"),
    ("grow its heap beyond all bounds", "ENOMEM"),
    ("find a secret of the call in its memory", "ENOENT"),
    ("speak to whoever else it was left a descriptor of", "EBADF"),
];

/// A name of the driver that is the test's own.
const DRIVER: &str = "example.com/hostile";

/// A node with such a driver, and all that is tried on.
struct Stage {
    node: Node,
    victim: Child,
    server: TcpListener,
    socket: UnixListener,
    scene: Scene,
    json: String,
}

impl Stage {
    fn new() -> Option<Self> {
        let node = Node::new()?;
        node.install_with("hostile", DRIVER, GRANTS, breakout_driver());
        let dir = node.path("scene");
        fs::create_dir(&dir).expect("a directory");
        // Programs in it have the privileges that they say, wherever the node's directories are.
        mount("none", &dir, "tmpfs", MountFlags::empty(), Some(c"mode=755")).expect("a tmpfs");
        let made = |name: &str, mode: u32| {
            let path = dir.join(name);
            fs::write(&path, "contents").expect("written");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its own");
            path.display().to_string()
        };
        let scratch = dir.join("scratch");
        fs::create_dir(&scratch).expect("a directory");
        fs::set_permissions(&scratch, Permissions::from_mode(0o777)).expect("its own");
        let (setuid, capable) = (made("setuid", 0o755), made("capable", 0o755));
        fs::copy("/usr/bin/test", &setuid).expect("coreutils");
        fs::set_permissions(&setuid, Permissions::from_mode(0o4755)).expect("its own");
        fs::copy("/usr/bin/grep", &capable).expect("grep");
        // `struct vfs_cap_data`, version 2, effective: CAP_DAC_READ_SEARCH.
        let mut capabilities = [0; 20];
        capabilities[..5].copy_from_slice(&[1, 0, 0, 2, 1 << 2]);
        setxattr(&*capable, "security.capability", &capabilities, XattrFlags::empty())
            .expect("root may");
        let sleep = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn();
        let victim = sleep.expect("coreutils");
        let server = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let name = format!("wasmount-wall-{}", victim.id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixListener::bind_addr(&address).expect("an abstract socket");
        server.set_nonblocking(true).and_then(|()| socket.set_nonblocking(true)).expect("theirs");
        let secret = Secret::new(b"s3cr3t-of-this-very-call");
        let inverted = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect();
        let shown = |name: &str| node.path(name).display().to_string();
        let scene = Scene {
            scratch: scratch.display().to_string(),
            open: made("scratch/open", 0o666),
            private: made("private", 0o600),
            sealed: made("sealed", 0o000),
            setuid,
            capable,
            directories: [shown("plugins"), shown("data"), shown("log")],
            port: server.local_addr().expect("bound").port(),
            socket: name,
            victim: victim.id() as i32,
            secret: vec![
                inverted(secret.base64().as_bytes()),
                inverted(b"s3cr3t-of-this-very-call"),
            ],
            ..Scene::default()
        };
        let json = options("vol", "rw", &[("kubernetes.io/secret/key", secret.base64())]);
        Some(Self { node, victim, server, socket, scene, json })
    }

    fn driver(&self) -> Driver<'_> {
        self.node.installed(DRIVER)
    }

    /// Says what the next calls are to try, with layers left off.
    fn plan(&self, scene: Scene, tries: &[&str], without: &[Layer]) {
        let tries = tries.iter().map(|&name| name.to_owned()).collect();
        let plan = Plan { tries, without: without.to_vec(), scene };
        let run = self.node.path("run");
        fs::create_dir_all(&run).expect("a directory");
        fs::set_permissions(&run, Permissions::from_mode(0o700)).expect("its own");
        fs::write(run.join(FILE), serde_json::to_vec(&plan).expect("JSON")).expect("written");
    }

    /// Starts such a call.
    fn start(&self, tries: &[&str], without: &[Layer]) -> Running {
        self.plan(self.scene.clone(), tries, without);
        let driver = self.driver();
        driver.start(&["mount", &driver.pod_dir(UID, "vol"), &self.json])
    }

    /// Makes such a call: its answer, and what was told meanwhile.
    fn call(&self, tries: &[&str], without: &[Layer]) -> (Answer, Vec<String>) {
        self.plan(self.scene.clone(), tries, without);
        let driver = self.driver();
        let before = driver.log().len();
        let answer = driver.call(&["mount", &driver.pod_dir(UID, "vol"), &self.json]);
        let lines = driver.log().split_off(before);
        let told = lines.iter().filter(|line| line["kind"] == "log");
        (answer, told.map(|line| line["message"].as_str().expect("text").to_owned()).collect())
    }

    /// How one attempt ended.
    fn attempt(&self, name: &str, without: &[Layer]) -> String {
        let (answer, told) = self.call(&[name], without);
        answer.fails_with(OVER);
        let [line] = &told[..] else { panic!("{name} without {without:?}: {told:?}") };
        line.strip_prefix(name).and_then(|line| line.strip_prefix(": ")).expect(line).to_owned()
    }

    /// All that a call could change.
    fn seen(&self) -> Seen {
        let mut files = BTreeMap::new();
        let names = ["plugins", "kubelet", "images", "data", "scene"];
        for name in names {
            note(&self.node.path(name), &mut files);
        }
        let connected = self.server.accept().is_ok() || self.socket.accept().is_ok();
        let victim = Pid::from_child(&self.victim);
        let dead = Process::open(victim).is_none_or(|victim| victim.has_ended());
        Seen { files, mounts: self.node.mounts(), loops: self.node.loops(), connected, dead }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    /// Mode, owner, length and when it was changed.
    files: BTreeMap<PathBuf, (u32, u32, u64, i64, i64)>,
    mounts: Vec<PathBuf>,
    loops: Vec<PathBuf>,
    connected: bool,
    dead: bool,
}

fn note(path: &Path, files: &mut BTreeMap<PathBuf, (u32, u32, u64, i64, i64)>) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    let seen = (found.mode(), found.uid(), found.size(), found.mtime(), found.mtime_nsec());
    files.insert(path.to_owned(), seen);
    if found.is_dir() {
        for entry in fs::read_dir(path).expect("its own").flatten() {
            // Every call changes the head of the log.
            if entry.file_name() != "log-head.json" {
                note(&entry.path(), files);
            }
        }
    }
}

fn attempts() -> impl Iterator<Item = &'static Attempt> {
    ATTEMPTS.into_iter().flatten()
}

/// Every layer, by the list that its parser has of them.
fn layers() -> Vec<Layer> {
    let error = serde_json::from_str::<Layer>("\"none\"").expect_err("no layer").to_string();
    let names = error.split('`').skip(3).step_by(2);
    names.map(|name| serde_json::from_str(&format!("\"{name}\"")).expect("a layer")).collect()
}

fn name(layer: Layer) -> String {
    serde_json::to_value(layer).expect("a name").as_str().expect("text").to_owned()
}

#[test]
fn nothing_gets_through_the_whole_wall() {
    let Some(stage) = Stage::new() else { return };
    // The first call makes directories.
    stage.call(&["claim to have mounted"], &[]).0.fails_with("nothing-attached");
    let before = stage.seen();

    let names: Vec<&str> = attempts().map(|attempt| attempt.name).collect();
    let (answer, told) = stage.call(&names, &[]);
    answer.fails_with(OVER);
    let expected = names.iter().map(|name| {
        let otherwise = OTHERWISE.iter().find(|(other, _)| other == name);
        format!("{name}: {}", otherwise.map_or("EPERM", |(_, errno)| errno))
    });
    assert_eq!(told, expected.collect::<Vec<_>>());
    assert_eq!(stage.seen(), before);

    for talk in TALKS {
        let (answer, told) = match talk.ends {
            "stopped" => {
                let call = stage.start(&[talk.name], &[]);
                call.guest().sleeps_in(libc::SYS_clock_nanosleep);
                call.terminate();
                (call.answer(), Vec::new())
            }
            _ => stage.call(&[talk.name], &[]),
        };
        let message = answer.failure();
        let ends = message.ends_with(&format!("[{}]", talk.ends));
        assert!(ends, "`{}` ends in {message}, not in {}", talk.name, talk.ends);
        if let Some(had) = told.iter().find_map(|line| line.strip_prefix("had ")) {
            let had: u64 = had.trim_end_matches(" MiB").parse().expect("a number");
            assert!((MEMORY / 2..=MEMORY).contains(&had), "it had {had} MiB");
        }
        assert_eq!(stage.seen(), before, "after `{}`", talk.name);
    }
    figures(&[("attempts", (names.len() + TALKS.len()) as u64)]);
}

#[test]
fn each_layer_stops_by_itself_what_it_is_for() {
    let Some(stage) = Stage::new() else { return };
    let mut shown: BTreeSet<String> = BTreeSet::new();
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/architecture.md"));
    let docs = docs.expect("the documentation");
    let mut is_shown = |layer: Layer, attempt: &str| {
        let row = docs.lines().find(|line| line.starts_with(&format!("| `{}` |", name(layer))));
        let row = row.unwrap_or_else(|| panic!("docs/architecture.md has no row of {layer:?}"));
        assert!(row.contains(attempt), "docs/architecture.md has not `{attempt}` in {row}");
        shown.insert(name(layer));
    };
    for Attempt { name, stopped_by, .. } in attempts() {
        let Some((layer, others)) = stopped_by else { continue };
        if *layer == Layer::LimitCore && !cores_are_files() {
            wasmount_tests::notice("skipped: cores are given to a program, whatever their limit");
            is_shown(*layer, name);
            continue;
        }
        let held = stage.attempt(name, others);
        assert_ne!(held, "got out", "{layer:?} alone does not stop it from: {name}");
        let without = [others, &[*layer][..]].concat();
        let got = stage.attempt(name, &without);
        assert_eq!(got, "got out", "without {layer:?}, there is another layer against: {name}");
        is_shown(*layer, name);
    }

    // It is the process that is traced which has the layer, or has not.
    let tracing = "trace another process";
    let mut without = vec![
        Layer::Seccomp,
        Layer::User,
        Layer::LandlockFiles,
        Layer::LandlockTruncate,
        Layer::LandlockNetwork,
        Layer::LandlockScopes,
    ];
    let trace = |without: &[Layer]| {
        let other = stage.start(&["stay silent"], without);
        let guest = other.guest();
        guest.sleeps_in(libc::SYS_clock_nanosleep);
        let scene = Scene { victim: guest.number(), ..stage.scene.clone() };
        stage.plan(scene, &[tracing], without);
        // Of another volume: the call for the first has its lock.
        let (driver, json) = (stage.driver(), options("other", "rw", &[]));
        driver.call(&["mount", &driver.pod_dir(UID, "other"), &json]).fails_with(OVER);
        drop(other);
        guest.ends();
        let told = driver.log();
        let line = told.iter().rfind(|line| line["kind"] == "log").expect("it was tried");
        line["message"].as_str().expect("text").to_owned()
    };
    assert_eq!(trace(&without), format!("{tracing}: EPERM"));
    without.push(Layer::NotDumpable);
    assert_eq!(trace(&without), format!("{tracing}: got out"));
    is_shown(Layer::NotDumpable, tracing);

    // Behind the whole wall, it is ended after a second; it would go on for three.
    let endless = "use up its time";
    stage.call(&[endless], &[Layer::LimitCpu]).0.fails_with(OVER);
    is_shown(Layer::LimitCpu, endless);

    let outlives = |without: &[Layer]| {
        let call = stage.start(&["stay silent"], without);
        let (broker, guest) = (call.broker(), call.guest());
        guest.sleeps_in(libc::SYS_clock_nanosleep);
        broker.kill();
        call.answer().fails_with("broker-died");
        broker.ends();
        // The kernel ends it while the broker ends.
        let lives = without.contains(&Layer::ParentDeath);
        if lives {
            guest.sleeps_in(libc::SYS_clock_nanosleep);
            guest.kill();
        }
        guest.ends();
        lives
    };
    assert!(!outlives(&[]));
    assert!(outlives(&[Layer::ParentDeath]));
    is_shown(Layer::ParentDeath, "stay silent");

    let all: BTreeSet<String> = layers().into_iter().map(name).collect();
    assert_eq!(shown, all, "what a layer is for has to be shown");
    figures(&[("layers", all.len() as u64)]);
}

/// Whether the kernel writes a core beside the program that has crashed.
fn cores_are_files() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("procfs");
    !pattern.starts_with(['|', '/', '@'])
}

#[test]
fn the_shipped_driver_has_none_of_it() {
    let shipped = fs::read(program("wasmount-driver")).expect("the driver");
    let built = fs::read(breakout_driver()).expect("the driver of this test");
    let has = |bytes: &[u8], text: &str| {
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    // The compiler cuts texts of up to 16 bytes into numbers.
    let names = attempts().map(|attempt| attempt.name).chain(TALKS.iter().map(|talk| talk.name));
    let names = names.filter(|name| name.len() > 16);
    for text in names.chain(["everything was tried", "limit-memlock"]) {
        assert!(!has(&shipped, text), "what is shipped has `{text}` in it");
        assert!(has(&built, text), "`{text}` is not even in the driver that tries it");
    }
}
