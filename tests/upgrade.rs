//! A driver that is changed while kubelet calls it, sixteen calls at a time: every call is wholly of
//! one version and its grants, and none fails for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::FlockOperation;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use serde_json::Value;
use wasmount_tests::{Driver, EDITION, Edition, Node, UID, options};

const CALLERS: usize = 16;

/// An answer that showed which version had been called.
struct Seen {
    process: u32,
    volume: String,
    edition: Edition,
}

/// Ends the callers however the operator's part ends.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// kubelet's calls for one volume, until there is nothing more to come.
fn call(driver: &Driver<'_>, volume: &str, done: &AtomicBool) -> Vec<Seen> {
    let json = options(volume, "rw", &[]);
    let failing = options(volume, "rw", &[("fail", "true")]);
    let pod_dir = driver.pod_dir(UID, volume);
    let exec =
        |args: &[&str]| driver.exec(args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
    let mut seen = Vec::new();
    while !done.load(Ordering::SeqCst) {
        exec(&["init"]).1.success();
        let (process, answer) = exec(&["attach", &json, "node-1"]);
        let token = answer.success()["device"].as_str().expect("a device").to_owned();
        let text = token.splitn(3, ':').nth(2).expect("the component's part");
        let edition = Edition::shown(text).unwrap_or_else(|| panic!("a mixture: {token}"));
        seen.push(Seen { process, volume: volume.to_owned(), edition });

        exec(&["mount", &pod_dir, &json]).1.success();
        let file = fs::read_to_string(Path::new(&pod_dir).join("edition")).expect("readable");
        assert!(Edition::shown(&file).is_some(), "a mixture: {file}");
        exec(&["unmount", &pod_dir]).1.success();
        exec(&["detach", volume, "node-1"]).1.success();

        // The host takes the exit code from the grants, and the component its text.
        let (process, answer) = exec(&["isattached", &failing, "node-1"]);
        let message = answer.json()["message"].as_str().expect("a message").to_owned();
        let text = message.split(' ').find(|word| word.starts_with("edition-"));
        let edition = text.and_then(Edition::shown).unwrap_or_else(|| panic!("else: {message}"));
        assert_eq!(answer.exit, Some(edition.setting.into()), "a mixture: {message}");
        seen.push(Seen { process, volume: volume.to_owned(), edition });
    }
    seen
}

/// What the operator does meanwhile, and what is in use then.
fn change(node: &Node, versions: &mut BTreeMap<String, Edition>) {
    let driver = node.installed(EDITION);
    let edition = |component, setting| Edition { component, setting };
    let mut is = |wanted: Edition| {
        let version = driver.version();
        let component = fs::read(version.join("component.wasm")).expect("a component");
        assert!(component == fs::read(wanted.component(node)).expect("a component"), "{wanted:?}");
        let grants = fs::read_to_string(version.join("grants.toml")).expect("grants");
        assert_eq!(grants, fs::read_to_string(wanted.grants(node)).expect("grants"));
        let name = version.file_name().and_then(|name| name.to_str()).expect("a version");
        let known = versions.insert(name.trim_start_matches('.').to_owned(), wanted);
        assert!(known.is_none_or(|known| known == wanted), "a name of two versions");
    };
    let run = |args: &[&str]| {
        let answer = node.wasmount(args);
        assert_eq!(answer.exit, Some(0), "{}: {}", answer.call, answer.stderr);
        assert!(!answer.stderr.contains("warning"), "{}: {}", answer.call, answer.stderr);
    };
    let plugins = node.path("plugins").display().to_string();
    let apply = |setting| {
        let grants = edition(1, setting).grants(node);
        run(&["grants", "apply", EDITION, &grants, "--plugin-dir", &plugins]);
    };
    for _ in 0..3 {
        edition(2, 1).installed(node);
        is(edition(2, 1));
        // In quick succession, so that what was in use a moment ago could be removed.
        for setting in [0, 1, 0] {
            apply(setting);
            is(edition(2, setting));
        }
        run(&["rollback", EDITION]);
        is(edition(1, 0));
        apply(1);
        is(edition(1, 1));
        run(&["rollback", EDITION, "--with-grants"]);
        is(edition(1, 0));
        // The same again, in the same second.
        for _ in 0..3 {
            edition(1, 0).installed(node);
            is(edition(1, 0));
        }
    }
}

#[test]
fn every_call_is_of_one_version() {
    let Some(node) = Node::new() else { return };
    let driver = Edition { component: 1, setting: 0 }.installed(&node);
    let mut versions = BTreeMap::new();
    let done = AtomicBool::new(false);
    let volumes: Vec<_> = (0..CALLERS).map(|number| format!("pv-{number}")).collect();
    let seen: Vec<Seen> = thread::scope(|scope| {
        let (driver, done) = (&driver, &done);
        let callers: Vec<_> =
            volumes.iter().map(|volume| scope.spawn(move || call(driver, volume, done))).collect();
        let operator = Done(done);
        change(&node, &mut versions);
        drop(operator);
        callers.into_iter().flat_map(|caller| caller.join().expect("all is well")).collect()
    });
    node.is_clean();
    for edition in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        let shows = |seen: &Seen| (seen.edition.component, seen.edition.setting) == edition;
        assert!(seen.iter().any(shows), "nobody was answered by {edition:?}");
    }

    // The audit log names the version, and tells the same of it.
    let log = driver.log();
    let volumes: BTreeMap<_, _> = log
        .iter()
        .filter_map(|line| Some((line["call"].as_str()?, line["volume"].as_str()?)))
        .collect();
    let mut logged: BTreeMap<(u64, &str), Vec<&Value>> = BTreeMap::new();
    for line in log.iter().filter(|line| line["kind"] == "reply") {
        let volume = line["call"].as_str().and_then(|call| volumes.get(call));
        if let (Some(process), Some(volume)) = (line["process"].as_u64(), volume) {
            logged.entry((process, volume)).or_default().push(&line["version"]);
        }
    }
    let mut compared = 0;
    for Seen { process, volume, edition } in &seen {
        let Some([version]) = logged.get(&((*process).into(), volume)).map(Vec::as_slice) else {
            continue;
        };
        // The first version was installed before anybody looked.
        if let Some(installed) = version.as_str().and_then(|version| versions.get(version)) {
            assert_eq!(installed, edition, "{volume}, process {process}");
            compared += 1;
        }
    }
    // Lines can get lost where sixteen write at a time.
    assert!(compared > CALLERS, "{compared} of {} calls are in the log", seen.len());
}

/// kubelet runs `init` as soon as it sees the directory.
#[test]
fn a_driver_appears_whole() {
    let Some(node) = Node::new() else { return };
    let driver = node.installed(EDITION);
    let json = options("pv-1", "rw", &[]);
    for _ in 0..3 {
        thread::scope(|scope| {
            let caller = scope.spawn(|| {
                while fs::symlink_metadata(driver.dir()).is_err() {
                    std::hint::spin_loop();
                }
                let init = driver.exec(&["init"]).expect("something to execute").1;
                let call = driver.exec(&["isattached", &json, "node-1"]).expect("the same").1;
                (init.success(), call.success())
            });
            Edition { component: 1, setting: 1 }.installed(&node);
            let (init, call) = caller.join().expect("it is well");
            assert_eq!(
                (init["capabilities"]["attach"].as_bool(), call["attached"].as_bool()),
                (Some(true), Some(true))
            );
        });
        let answer = node.wasmount(&["uninstall", EDITION]);
        assert_eq!(answer.exit, Some(0), "{}", answer.stderr);
        assert_eq!(fs::read_dir(node.path("plugins")).expect("plugins").count(), 0);
    }
}

/// What the kernel was about to run when its version was removed does nothing.
#[test]
fn a_version_that_is_being_removed_serves_no_call() {
    let Some(node) = Node::new() else { return };
    let driver = Edition { component: 1, setting: 1 }.installed(&node);
    let pod_dir = driver.pod_dir(UID, "pv-1");
    let mount = ["mount", &pod_dir, &options("pv-1", "rw", &[])];
    let remover = File::open(driver.version().join(".lock")).expect("what calls lock");
    rustix::fs::flock(&remover, FlockOperation::NonBlockingLockExclusive).expect("no call");
    let message = driver.call(&mount).fails_with("version-removed");
    assert_eq!(
        message,
        "example.com/edition mount: the driver was removed or replaced while the call began; \
         nothing was done, and kubelet will try again [version-removed]"
    );
    drop(remover);
    node.is_clean();
    driver.call(&mount).success();
    driver.call(&["unmount", &pod_dir]).success();
}

/// A user of the node who has no privileges.
const NOBODY: u32 = 65534;

/// Locks whatever that user can open, for as long as it is kept.
fn locked_by_nobody(path: &Path) -> Vec<File> {
    fn lock(path: &Path, held: &mut Vec<File>) {
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let opened = File::open(path).ok().filter(|_| !path.is_symlink());
        held.extend(opened.filter(|file| rustix::fs::flock(file, exclusive).is_ok()));
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            lock(&entry.path(), held);
        }
    }
    let path = path.to_owned();
    // Of this thread alone, which ends with it.
    let nobody = thread::spawn(move || {
        set_thread_groups(&[]).expect("no groups");
        set_thread_gid(Gid::from_raw(NOBODY)).expect("another group");
        set_thread_uid(Uid::from_raw(NOBODY)).expect("another user");
        let mut held = Vec::new();
        lock(&path, &mut held);
        held
    });
    nobody.join().expect("all is locked")
}

/// Everybody can read what is installed, and lock what they can read.
#[test]
fn a_local_user_keeps_nobody_from_anything_by_locks() {
    let Some(node) = Node::new() else { return };
    let plugins = node.path("plugins");
    let driver = Edition { component: 1, setting: 1 }.installed(&node);
    let pod_dir = driver.pod_dir(UID, "pv-1");
    let mut held = locked_by_nobody(&plugins);
    assert!(held.len() > 8, "directories and files: {held:?}");
    for component in 2..=4 {
        driver.call(&["mount", &pod_dir, &options("pv-1", "rw", &[])]).success();
        driver.call(&["unmount", &pod_dir]).success();
        Edition { component, setting: 1 }.installed(&node);
        held.extend(locked_by_nobody(&plugins));
    }
    let versions = fs::read_dir(driver.dir().join(".versions")).expect("versions").count();
    assert_eq!(versions, 3, "the first one is removed");
    let answer = node.wasmount(&["uninstall", EDITION]);
    assert_eq!(answer.exit, Some(0), "{}", answer.stderr);
    assert_eq!(fs::read_dir(plugins).expect("plugins").count(), 0);
}

/// Its calls lock the directory.
#[test]
fn a_version_of_before_there_was_a_file_to_lock_is_called() {
    let Some(node) = Node::new() else { return };
    let driver = Edition { component: 1, setting: 1 }.installed(&node);
    fs::remove_file(driver.version().join(".lock")).expect("it was there");
    let pod_dir = driver.pod_dir(UID, "pv-1");
    let mount = ["mount", &pod_dir, &options("pv-1", "rw", &[])];
    let remover = File::open(driver.version()).expect("a directory");
    rustix::fs::flock(&remover, FlockOperation::NonBlockingLockExclusive).expect("no call");
    driver.call(&mount).fails_with("version-removed");
    drop(remover);
    driver.call(&mount).success();
    driver.call(&["unmount", &pod_dir]).success();
}
