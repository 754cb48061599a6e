//! A volume of the soak: the calls that kubelet has for it, and what its pods have written.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, openat};
use wasmount_tests::{Driver, Node};
use wasmount_tests::{base64, between_starts, options, options_as};

const PODS: [&str; 2] =
    ["4c9a6c2e-0d5b-4f0e-9a1b-1f2e3d4c5b6a", "0b7d1a52-6c1e-4e0b-8d2a-3f4e5d6c7b8a"];

const SECRET: &str = "in memory and nowhere else";

/// A call of kubelet's.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Which of the fleet's drivers.
    pub(crate) driver: usize,
    pub(crate) args: Vec<String>,
}

/// A volume.
pub(crate) struct Volume {
    pub(crate) name: String,
    /// All the names that it is called by, each with its driver.
    pub(crate) names: Vec<(usize, String)>,
    /// One life, in kubelet's order.
    life: Vec<Call>,
    /// Calls that are out of order at any time.
    stray: Vec<Call>,
    /// What takes it down from any state, in this order.
    pub(crate) down: Vec<Call>,
    /// What brings it to its first pod.
    pub(crate) up: Vec<Call>,
    /// How far its life has come.
    at: AtomicUsize,
    pub(crate) pods: Vec<PathBuf>,
    pub(crate) image: Option<PathBuf>,
    written: AtomicU32,
    /// What was written for good.
    kept: Mutex<Vec<u32>>,
}

/// Where the volumes of a driver are.
pub(crate) struct Home<'a> {
    pub(crate) node: &'a Node,
    pub(crate) drivers: &'a [Driver<'a>],
}

fn call(driver: usize, args: &[&str]) -> Call {
    Call { driver, args: args.iter().map(|&arg| arg.to_owned()).collect() }
}

impl Volume {
    /// One that kubelet attaches; another driver has a volume in the same image, which can have it
    /// only while this one has not.
    pub(crate) fn attached(
        home: &Home<'_>,
        [own, others]: [usize; 2],
        number: u32,
        (fs_type, size): (&str, u64),
    ) -> Self {
        let (name, rival) = (format!("pv-{number}"), format!("rival-{number}"));
        let image = format!("{name}.img");
        let (bytes, twofold) = (size.to_string(), (2 * size).to_string());
        let user = [("image", image.as_str()), ("create", "true"), ("size", &bytes)];
        let json = options_as(fs_type, &name, "rw", &user);
        let theirs = options_as(fs_type, &rival, "rw", &user);
        let (driver, other) = (&home.drivers[own], &home.drivers[others]);
        let device = driver.device_dir(&name);
        let pods = PODS.map(|pod| driver.pod_dir(pod, &name));
        let other_device = other.device_dir(&rival);
        let up = vec![
            call(own, &["attach", &json, "node-1"]),
            call(own, &["waitforattach", "", &json]),
            call(own, &["mountdevice", &device, "", &json]),
            call(own, &["mount", &pods[0], &json]),
        ];
        let down = vec![
            call(own, &["unmount", &pods[0]]),
            call(own, &["unmount", &pods[1]]),
            call(own, &["unmountdevice", &device]),
            call(own, &["detach", &name, "node-1"]),
            call(others, &["unmountdevice", &other_device]),
            call(others, &["detach", &rival, "node-1"]),
            // A stray call may have given it to another node.
            call(own, &["detach", &name, "node-2"]),
        ];
        let mut life = up.clone();
        life.extend([
            call(own, &["isattached", &json, "node-1"]),
            call(own, &["mount", &pods[1], &json]),
            call(own, &["expandvolume", &json, "", &twofold, &bytes]),
            call(own, &["expandfs", &json, "", &pods[0], &twofold, &bytes]),
        ]);
        life.extend(down[..4].iter().cloned());
        let stray = vec![
            call(others, &["attach", &theirs, "node-1"]),
            call(others, &["waitforattach", "", &theirs]),
            call(others, &["mountdevice", &other_device, "", &theirs]),
            call(others, &["unmountdevice", &other_device]),
            call(others, &["detach", &rival, "node-1"]),
            call(own, &["attach", &json, "node-2"]),
            call(own, &["detach", &name, "node-2"]),
        ];
        Self {
            names: vec![(own, name.clone()), (others, rival)],
            image: Some(home.node.path("images").join(image)),
            life,
            stray,
            down,
            up,
            ..Self::empty(name, pods.map(PathBuf::from))
        }
    }

    /// One that the host attaches.
    pub(crate) fn node_only(
        home: &Home<'_>,
        own: usize,
        number: u32,
        (fs_type, size): (&str, u64),
    ) -> Self {
        let name = format!("pv-{number}");
        let (bytes, twofold) = (size.to_string(), (2 * size).to_string());
        let json = options_as(fs_type, &name, "rw", &[("create", "true"), ("size", &bytes)]);
        let pods = PODS.map(|pod| home.drivers[own].pod_dir(pod, &name));
        let up = vec![call(own, &["mount", &pods[0], &json])];
        let down = vec![call(own, &["unmount", &pods[0]]), call(own, &["unmount", &pods[1]])];
        let mut life = up.clone();
        life.extend([
            call(own, &["mount", &pods[1], &json]),
            call(own, &["expandvolume", &json, "", &twofold, &bytes]),
            call(own, &["expandfs", &json, "", &pods[1], &twofold, &bytes]),
        ]);
        life.extend(down.iter().cloned());
        Self {
            names: vec![(own, name.clone())],
            image: Some(home.node.path("images").join(format!("{name}.img"))),
            life,
            down,
            up,
            ..Self::empty(name, pods.map(PathBuf::from))
        }
    }

    /// A secret, of each pod a volume of its own.
    pub(crate) fn secret(home: &Home<'_>, own: usize, number: u32) -> Self {
        let name = format!("secret-{number}");
        let value = base64(SECRET.as_bytes());
        let json = options(&name, "rw", &[("kubernetes.io/secret/key", &value)]);
        let pods = PODS.map(|pod| home.drivers[own].pod_dir(pod, &name));
        let up = pods.iter().map(|pod| call(own, &["mount", pod, &json])).collect::<Vec<_>>();
        let down: Vec<_> = pods.iter().map(|pod| call(own, &["unmount", pod])).collect();
        Self {
            names: vec![(own, name.clone())],
            life: [up.clone(), down.clone()].concat(),
            down,
            up,
            ..Self::empty(name, pods.map(PathBuf::from))
        }
    }

    fn empty(name: String, pods: [PathBuf; 2]) -> Self {
        Self {
            name,
            names: Vec::new(),
            life: Vec::new(),
            stray: Vec::new(),
            down: Vec::new(),
            up: Vec::new(),
            at: AtomicUsize::new(0),
            pods: pods.to_vec(),
            image: None,
            written: AtomicU32::new(0),
            kept: Mutex::default(),
        }
    }

    /// The next call of its life, and which it is.
    pub(crate) fn next(&self) -> (usize, &Call) {
        let at = self.at.load(Ordering::Relaxed);
        (at, &self.life[at % self.life.len()])
    }

    /// Its life goes on, unless another caller has seen to that.
    pub(crate) fn goes_on(&self, from: usize, by: usize) {
        let next = from.wrapping_add(by);
        let _ = self.at.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Every call that there is for it.
    pub(crate) fn calls(&self) -> Vec<&Call> {
        self.life.iter().chain(&self.stray).collect()
    }

    /// A pod writes something and has it made durable. Whether it had the volume to write to.
    pub(crate) fn write(&self, pod: &Path) -> bool {
        if self.image.is_none() {
            return false;
        }
        between_starts(|| {
            let Some(root) = mounted(pod) else { return false };
            let number = self.written.fetch_add(1, Ordering::Relaxed);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(&root, number.to_string(), flags, Mode::RUSR).map(File::from);
            let durable = file.map_err(io::Error::from).and_then(|mut file| {
                file.write_all(&content(number))?;
                file.sync_all()?;
                root.sync_all()
            });
            // Only a volume that is full may refuse: it is small, and never filled.
            durable.unwrap_or_else(|error| panic!("{}: {error}", pod.display()));
            self.kept().push(number);
            true
        })
    }

    /// How much of what was written before is not there, as this pod sees it; none if it does not
    /// have the volume.
    pub(crate) fn lost(&self, pod: &Path) -> Option<u32> {
        between_starts(|| {
            let kept = self.kept().clone();
            let root = mounted(pod)?;
            let read = |name: &str| {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let mut bytes = Vec::new();
                let mut file = File::from(openat(&root, name, flags, Mode::empty()).ok()?);
                file.read_to_end(&mut bytes).ok().map(|_| bytes)
            };
            let lost = match self.image {
                Some(_) => {
                    let is_lost =
                        |number: &&u32| read(&number.to_string()) != Some(content(**number));
                    kept.iter().filter(is_lost).count()
                }
                None => usize::from(read("key").as_deref() != Some(SECRET.as_bytes())),
            };
            Some(lost as u32)
        })
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The root of what is mounted on a pod's directory. While it is open, it stays mounted.
fn mounted(pod: &Path) -> Option<File> {
    let root = File::open(pod).ok()?;
    let above = rustix::fs::stat(pod.parent()?).ok()?.st_dev;
    (root.metadata().ok()?.dev() != above).then_some(root)
}

fn content(number: u32) -> Vec<u8> {
    format!("{number} ").repeat(200).into_bytes()
}
