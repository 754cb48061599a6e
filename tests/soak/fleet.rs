//! The drivers and volumes of the soak, and the callers' calls: which one, and what happens to it
//! meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use wasmount_tests::{
    Driver, FILESYSTEMS, LOOP_IMAGE_GRANTS, Node, Process, Running, is_mount_point, notice, program,
};

use crate::chance::Chance;
use crate::volume::{Call, Home, Volume};

const SECRET_FILES_GRANTS: &str = include_str!("../../plugins/secret-files/grants.toml");

/// The drivers, by their places in the fleet: one that kubelet attaches volumes of, one that would
/// have the same images, one whose volumes the host attaches, and one for secrets.
const DRIVERS: [&str; 4] =
    ["example.com/own", "example.com/rival", "example.com/loop-image", "example.com/secret-files"];
const OWN: usize = 0;
const RIVAL: usize = 1;
const NODE_ONLY: usize = 2;
const SECRETS: usize = 3;

/// Within what time of its start something happens to a call, in microseconds: while it begins, while
/// it acts, while a tool runs.
const SOON: [u64; 3] = [3_000, 15_000, 200_000];

/// How long the kernel may take to let go of what nobody has any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) lost: AtomicU32,
    pub(crate) double: AtomicU32,
    pub(crate) mute: AtomicU32,
    pub(crate) succeeded: AtomicU32,
    pub(crate) failed: AtomicU32,
    pub(crate) killed: AtomicU32,
    pub(crate) stopped: AtomicU32,
    pub(crate) written: AtomicU32,
}

pub(crate) struct Fleet<'a> {
    pub(crate) node: &'a Node,
    drivers: Vec<Driver<'a>>,
    volumes: Vec<Volume>,
    pub(crate) counted: Counted,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Nothing,
    /// SIGTERM, as kubelet's timeout sends.
    Stopped,
    /// SIGKILL.
    Killed(Victim),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Supervisor,
    Broker,
    Guest,
}

impl Fate {
    fn of(chance: &mut Chance) -> Self {
        match chance.below(10) {
            0 => Self::Killed(Victim::Supervisor),
            1 => Self::Killed(Victim::Broker),
            2 => Self::Killed(Victim::Guest),
            3 => Self::Stopped,
            _ => Self::Nothing,
        }
    }

    /// Befalls a call that runs. False if it came too late.
    fn befalls(self, call: &Running) -> bool {
        match self {
            Self::Nothing => false,
            // Before it listens, SIGTERM does what it does to any program.
            Self::Stopped => {
                let supervisor = call.supervisor();
                supervisor.blocks(Signal::TERM) && supervisor.signal(Signal::TERM)
            }
            Self::Killed(Victim::Supervisor) => call.supervisor().signal(Signal::KILL),
            Self::Killed(Victim::Broker) => dies(call.broker_now()),
            Self::Killed(Victim::Guest) => dies(call.guest_now()),
        }
    }
}

impl<'a> Fleet<'a> {
    /// Installs the drivers and has so many volumes, of which none is there yet.
    pub(crate) fn on(node: &'a Node, volumes: u32) -> Self {
        for name in [OWN, RIVAL] {
            node.install_as("loop-image", DRIVERS[name], LOOP_IMAGE_GRANTS);
        }
        node.install_node_only("loop-image", LOOP_IMAGE_GRANTS, program("wasmount-driver"));
        node.install("secret-files", SECRET_FILES_GRANTS);
        let drivers: Vec<_> = DRIVERS.iter().map(|name| node.installed(name)).collect();
        let home = Home { node, drivers: &drivers };
        let volume = |number: u32| {
            let filesystem = FILESYSTEMS[number as usize % FILESYSTEMS.len()];
            match number % 4 {
                0 | 2 => Volume::attached(&home, [OWN, RIVAL], number, filesystem),
                1 => Volume::node_only(&home, NODE_ONLY, number, filesystem),
                _ => Volume::secret(&home, SECRETS, number),
            }
        };
        let volumes = (0..volumes).map(volume).collect();
        Self { node, drivers, volumes, counted: Counted::default() }
    }

    /// One call for one of the volumes, and perhaps what a pod does between two calls.
    pub(crate) fn call(&self, chance: &mut Chance) {
        let volume = chance.one_of(&self.volumes);
        let (at, next) = volume.next();
        // Mostly what kubelet would do now, and any other call as well.
        let in_order = !chance.one_in(5);
        let call = if in_order { next } else { *chance.one_of(&volume.calls()) };
        let fate = Fate::of(chance);
        let within = *chance.one_of(&SOON);
        let soon = Duration::from_micros(chance.below(within));
        if self.make(call, fate, soon) && in_order {
            volume.goes_on(at, 1);
        } else if chance.one_in(4) {
            // It wants something else by now.
            volume.goes_on(at, chance.below(8) as usize);
        }
        let pod = chance.one_of(&volume.pods);
        if chance.one_in(2) {
            count(&self.counted.written, u32::from(volume.write(pod)));
        } else {
            self.reads(volume, pod);
        }
    }

    /// Makes a call. Whether it succeeded.
    fn make(&self, call: &Call, fate: Fate, soon: Duration) -> bool {
        let args: Vec<&str> = call.args.iter().map(String::as_str).collect();
        let running = self.drivers[call.driver].start(&args);
        let befell = fate != Fate::Nothing && {
            std::thread::sleep(soon);
            fate.befalls(&running)
        };
        let output = running.output();
        match fate {
            Fate::Killed(_) if befell => count(&self.counted.killed, 1),
            Fate::Stopped if befell => count(&self.counted.stopped, 1),
            _ => {}
        }
        // Who is killed cannot answer, but says nothing else either.
        let may_be_mute = befell && fate == Fate::Killed(Victim::Supervisor);
        let status = serde_json::from_slice::<serde_json::Value>(&output.stdout)
            .ok()
            .and_then(|reply| Some(reply["status"].as_str()?.to_owned()));
        let is_mute = status.is_none() && !(may_be_mute && output.stdout.is_empty());
        if is_mute || !output.stderr.is_empty() {
            notice(&format!("mute: {call:?}, {fate:?}: {output:?}"));
            count(&self.counted.mute, 1);
        }
        let told = String::from_utf8_lossy(&output.stdout);
        let is_ours = ["[panic]", "[bug]", "[fault]"].into_iter().find(|it| told.contains(it));
        assert_eq!(is_ours, None, "{call:?}: {told}");
        match status.as_deref() {
            Some("Success") => count(&self.counted.succeeded, 1),
            Some(_) => count(&self.counted.failed, 1),
            None => {}
        }
        status.as_deref() == Some("Success")
    }

    fn reads(&self, volume: &Volume, pod: &Path) {
        if let Some(lost @ 1..) = volume.lost(pod) {
            notice(&format!("lost: {lost} of what was written to {}", volume.name));
            count(&self.counted.lost, lost);
        }
    }

    /// kubelet takes everything down, and tries again until it has.
    pub(crate) fn is_taken_down(&self) {
        self.node.is_idle();
        for volume in &self.volumes {
            for call in &volume.down {
                self.succeeds(call);
            }
        }
    }

    /// Every volume is set up once more, and has what its pods have written.
    pub(crate) fn has_all_that_was_written(&self) {
        for volume in &self.volumes {
            volume.up.iter().for_each(|call| self.succeeds(call));
            let pod = &volume.pods[0];
            assert!(is_mount_point(&pod.display().to_string()), "{}", pod.display());
            self.reads(volume, pod);
            volume.down.iter().for_each(|call| self.succeeds(call));
        }
    }

    fn succeeds(&self, call: &Call) {
        let mut told = String::new();
        let mut tries = 0;
        while tries < 20 {
            // kubelet makes the directory, and asks only for what is there to be unmounted.
            let dir = call.args.get(1).map(String::as_str).unwrap_or_default();
            if call.args[0] == "unmountdevice" && !is_mount_point(dir) {
                return;
            }
            let answer = self.drivers[call.driver].call(&call.args);
            if answer.json()["status"] == "Success" {
                return;
            }
            told = answer.stdout;
            tries += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{call:?}: {told}");
    }

    /// The audit log knows of formats by what they did, however often one was begun.
    pub(crate) fn was_formatted_once(&self) {
        let mut formats: BTreeMap<PathBuf, u32> = BTreeMap::new();
        for (number, driver) in self.drivers.iter().enumerate() {
            let mut volumes = BTreeMap::new();
            for line in driver.log() {
                let id = line["call"].to_string();
                if let Some(volume) = line["volume"].as_str() {
                    volumes.insert(id, volume.to_owned());
                } else if line["request"]["call"] == "filesystems.format"
                    && line["decision"] == "allowed"
                    && line["reason"].is_null()
                {
                    let of = volumes.get(&id).expect("its call is in the log before it").clone();
                    let called = |volume: &&Volume| volume.names.contains(&(number, of.clone()));
                    let volume = self.volumes.iter().find(called).expect("a volume of ours");
                    *formats.entry(volume.image.clone().expect("an image")).or_default() += 1;
                }
            }
        }
        for (image, times) in formats.iter().filter(|(_, times)| **times > 1) {
            notice(&format!("double: {} was formatted {times} times", image.display()));
            count(&self.counted.double, times - 1);
        }
    }

    /// Each audit log is in order, whoever was killed while it was written.
    pub(crate) fn has_whole_logs(&self) {
        self.drivers.iter().for_each(Driver::has_a_whole_log);
    }

    /// How much is left on the node of what was taken down.
    pub(crate) fn leaks(&self) -> u64 {
        self.node.is_idle();
        let (mut left, end) = (self.left(), Instant::now() + PATIENCE);
        while !left.is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
            left = self.left();
        }
        left.iter().for_each(|what| notice(&format!("leaked: {what}")));
        left.len() as u64
    }

    fn left(&self) -> Vec<String> {
        let shown = |what: &str, path: &Path| format!("{what} {}", path.display());
        let mut left: Vec<_> = self.node.mounts().iter().map(|it| shown("mount", it)).collect();
        left.extend(self.node.loops().iter().map(|it| shown("loop device", it)));
        let names = |directory: PathBuf| {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let is_hidden = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        };
        let images = names(self.node.path("images"));
        left.extend(images.iter().filter(is_hidden).map(|it| shown("lease or temporary", it)));
        left.extend(names(self.node.path("data/claims")).iter().map(|it| shown("claim", it)));
        for driver in &self.drivers {
            let tilde = driver.name().replace('/', "~");
            for record in names(self.node.path("data").join(tilde).join("volumes")) {
                let text = std::fs::read_to_string(&record).unwrap_or_default();
                let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                let rests = ["attached_node", "image", "device", "staged"]
                    .iter()
                    .all(|key| json[*key].is_null())
                    && json["published"] == serde_json::json!([]);
                if !rests {
                    left.push(format!("{}: {text}", shown("record", &record)));
                }
            }
        }
        let staged = "kubelet/plugins/kubernetes.io/flexvolume/example.com/loop-image/mounts";
        left.extend(names(self.node.path(staged)).iter().map(|it| shown("directory", it)));
        left
    }
}

fn dies(process: Option<Process>) -> bool {
    process.is_some_and(|process| process.signal(Signal::KILL))
}

fn count(what: &AtomicU32, more: u32) {
    what.fetch_add(more, Ordering::Relaxed);
}
