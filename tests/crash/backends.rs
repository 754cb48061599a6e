//! The backends, and the life that each of their volumes has: which calls kubelet makes, and what
//! each is there for.
//!
//! A volume is at a *level* of what its node has of it. A call takes it from one to another; the
//! levels are what a crash is made up for with.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use wasmount_tests::{
    Driver, FILESYSTEMS, LOOP_IMAGE_GRANTS, Node, UID, base64, crash_driver, is_mount_point,
    options, options_as,
};

const OTHER: &str = "0b7d1a52-6c1e-4e0b-8d2a-3f4e5d6c7b8a";

/// Where the host mounts devices of `loop-image` itself.
const MOUNTS: &str = "kubelet/plugins/kubernetes.io/flexvolume/example.com/loop-image/mounts";

const SECRET_FILES_GRANTS: &str = include_str!("../../plugins/secret-files/grants.toml");

/// What a volume's data is, wherever it comes from.
pub(crate) const DATA: &str = "written once and never again";

/// A component, what volumes it serves, and how it is installed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    /// `loop-image`, with a filesystem and a size in bytes, where kubelet attaches.
    Attached(&'static str, u64),
    /// The same, where the host attaches.
    NodeOnly(&'static str, u64),
    /// `secret-files`.
    Secret,
}

/// A call of a volume's life.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What it is, for people: mostly its operation.
    pub(crate) name: &'static str,
    pub(crate) args: Vec<String>,
    /// The level it finds and the one it leaves.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Whether it is one to be cut off, or only on the way to one.
    pub(crate) tried: bool,
}

/// A call that takes a volume down by a level; with a directory, kubelet makes it only if that
/// is a mount point. (It asks for `unmount` whether or not anything is mounted.)
#[derive(Clone, Debug)]
pub(crate) struct Down {
    pub(crate) args: Vec<String>,
    pub(crate) only_if: Option<String>,
}

/// A volume: its life, and all that is needed to make up for a crash.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) life: Vec<Step>,
    /// The calls that take it from level to level.
    pub(crate) up: Vec<Vec<String>>,
    /// The calls that take it back, one for each of those.
    pub(crate) down: Vec<Option<Down>>,
    /// The level of which a reboot leaves everything.
    pub(crate) lasting: usize,
    /// Where its first pod has it, and the file of its data there.
    pub(crate) pod: String,
    pub(crate) file: &'static str,
    /// The file that it lives in, if any.
    pub(crate) image: Option<PathBuf>,
    /// The directory that the host makes to mount its device on, if it does.
    pub(crate) staging: Option<PathBuf>,
}

impl Backend {
    /// Every one, with every filesystem.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Secret];
        for (fs_type, size) in FILESYSTEMS {
            all.extend([Self::Attached(fs_type, size), Self::NodeOnly(fs_type, size)]);
        }
        all
    }

    /// The driver, as one that dies where it is told to.
    pub(crate) fn install(self, node: &Node) -> Driver<'_> {
        fs::DirBuilder::new().mode(0o700).create(node.path("run")).expect("a directory");
        let name = format!("example.com/{}", self.component());
        match self {
            Self::Attached(..) => {
                node.install_with("loop-image", &name, LOOP_IMAGE_GRANTS, crash_driver())
            }
            Self::NodeOnly(..) => {
                node.install_node_only("loop-image", LOOP_IMAGE_GRANTS, crash_driver())
            }
            Self::Secret => {
                node.install_with("secret-files", &name, SECRET_FILES_GRANTS, crash_driver())
            }
        }
    }

    pub(crate) fn component(self) -> &'static str {
        match self {
            Self::Attached(..) | Self::NodeOnly(..) => "loop-image",
            Self::Secret => "secret-files",
        }
    }

    /// Whether another has both its way of attaching and its filesystem.
    pub(crate) fn is_like_another(self) -> bool {
        matches!(self, Self::NodeOnly("xfs" | "btrfs", _))
    }

    /// Whether the host has the last word in a step, so that it needs no component.
    pub(crate) fn needs_no_component(self, step: &Step) -> bool {
        step.to < step.from && !(matches!(self, Self::Attached(..)) && step.args[0] == "detach")
    }

    /// A volume of it.
    pub(crate) fn volume(self, node: &Node, driver: &Driver<'_>, name: String) -> Volume {
        match self {
            Self::Attached(fs_type, size) => attached(node, driver, name, fs_type, size),
            Self::NodeOnly(fs_type, size) => node_only(node, driver, name, fs_type, size),
            Self::Secret => secret(driver, name),
        }
    }
}

fn call(args: &[&str]) -> Vec<String> {
    args.iter().map(|&arg| arg.to_owned()).collect()
}

fn tried(name: &'static str, args: &[&str], from: usize, to: usize) -> Step {
    Step { name, args: call(args), from, to, tried: true }
}

fn untried(args: &[&str], from: usize, to: usize) -> Step {
    Step { name: "on the way", args: call(args), from, to, tried: false }
}

fn down(args: &[&str]) -> Option<Down> {
    Some(Down { args: call(args), only_if: None })
}

/// Down, attached, a device, mounted on the node, in a pod.
fn attached(node: &Node, driver: &Driver<'_>, name: String, fs_type: &str, size: u64) -> Volume {
    let [bytes, twofold, threefold] = [1, 2, 3].map(|factor| (factor * size).to_string());
    let json = options_as(fs_type, &name, "rw", &[("create", "true"), ("size", &bytes)]);
    let (device, pod) = (driver.device_dir(&name), driver.pod_dir(UID, &name));
    let attach = ["attach", &json, "node-1"];
    let wait = ["waitforattach", "", &json];
    let stage = ["mountdevice", &device, "", &json];
    let publish = ["mount", &pod, &json];
    let life = vec![
        tried("attach", &attach, 0, 1),
        tried("isattached", &["isattached", &json, "node-1"], 1, 1),
        tried("waitforattach", &wait, 1, 2),
        tried("mountdevice", &stage, 2, 3),
        tried("mount", &publish, 3, 4),
        tried("expandvolume", &["expandvolume", &json, "", &twofold, &bytes], 4, 4),
        tried("expandfs", &["expandfs", &json, "", &pod, &twofold, &bytes], 4, 4),
        tried("unmount", &["unmount", &pod], 4, 3),
        tried("unmountdevice", &["unmountdevice", &device], 3, 1),
        tried("detach", &["detach", &name, "node-1"], 1, 0),
        // What is there already is checked, and has grown by more than its filesystem.
        untried(&["expandvolume", &json, "", &threefold, &twofold], 0, 0),
        untried(&attach, 0, 1),
        tried("mountdevice again", &stage, 1, 3),
        untried(&publish, 3, 4),
    ];
    Volume {
        life,
        up: [&attach[..], &wait, &stage, &publish].map(call).to_vec(),
        down: vec![
            down(&["detach", &name, "node-1"]),
            None,
            Some(Down { args: call(&["unmountdevice", &device]), only_if: Some(device) }),
            down(&["unmount", &pod]),
        ],
        lasting: 1,
        pod,
        file: "file",
        image: Some(node.path("images").join(format!("{name}.img"))),
        staging: None,
        name,
    }
}

/// Down, in a pod, in two pods.
fn node_only(node: &Node, driver: &Driver<'_>, name: String, fs_type: &str, size: u64) -> Volume {
    let [bytes, twofold, threefold] = [1, 2, 3].map(|factor| (factor * size).to_string());
    let json = options_as(fs_type, &name, "rw", &[("create", "true"), ("size", &bytes)]);
    let (pod, other) = (driver.pod_dir(UID, &name), driver.pod_dir(OTHER, &name));
    let (mount, mount_other) = (["mount", &pod, &json], ["mount", &other, &json]);
    let life = vec![
        tried("mount", &mount, 0, 1),
        tried("mount of another pod", &mount_other, 1, 2),
        tried("expandvolume", &["expandvolume", &json, "", &twofold, &bytes], 2, 2),
        tried("expandfs", &["expandfs", &json, "", &pod, &twofold, &bytes], 2, 2),
        tried("unmount of another pod", &["unmount", &other], 2, 1),
        tried("unmount", &["unmount", &pod], 1, 0),
        untried(&["expandvolume", &json, "", &threefold, &twofold], 0, 0),
        tried("mount again", &mount, 0, 1),
    ];
    Volume {
        life,
        up: vec![call(&mount), call(&mount_other)],
        down: vec![down(&["unmount", &pod]), down(&["unmount", &other])],
        lasting: 0,
        pod,
        file: "file",
        image: Some(node.path("images").join(format!("{name}.img"))),
        staging: Some(node.path(MOUNTS).join(&name)),
        name,
    }
}

/// Down, in a pod.
fn secret(driver: &Driver<'_>, name: String) -> Volume {
    let value = base64(DATA.as_bytes());
    let json = options(&name, "rw", &[("kubernetes.io/secret/password", &value)]);
    let pod = driver.pod_dir(UID, &name);
    let mount = ["mount", &pod, &json];
    Volume {
        life: vec![tried("mount", &mount, 0, 1), tried("unmount", &["unmount", &pod], 1, 0)],
        up: vec![call(&mount)],
        down: vec![down(&["unmount", &pod])],
        lasting: 0,
        pod,
        file: "password",
        image: None,
        staging: None,
        name,
    }
}

impl Volume {
    /// Whether the first pod has it.
    pub(crate) fn is_published(&self) -> bool {
        is_mount_point(&self.pod)
    }

    /// The file with its data, in the first pod.
    pub(crate) fn data(&self) -> PathBuf {
        PathBuf::from(&self.pod).join(self.file)
    }
}
