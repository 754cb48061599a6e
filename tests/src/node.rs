//! The node and the drivers installed on it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::mount::UnmountFlags;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::starts::start;
use crate::{Answer, component as component_file, program, root, until};

/// The uid of the pod that the tests play.
pub const UID: &str = "4c9a6c2e-0d5b-4f0e-9a1b-1f2e3d4c5b6a";

/// The directories of one node.
#[derive(Debug)]
pub struct Node {
    dir: TempDir,
    name: String,
    images: PathBuf,
}

/// A driver installed on a node.
#[derive(Debug)]
pub struct Driver<'n> {
    node: &'n Node,
    name: String,
}

impl Node {
    /// A node; none, after a notice, for a user who is not root.
    pub fn new() -> Option<Self> {
        if !root() {
            return None;
        }
        let dir = TempDir::with_prefix("wasmount-test-").expect("a temporary directory");
        // As on a node: others may look in, and kube-controller-manager runs drivers as another.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
            .expect("its own directory");
        for name in ["plugins", "kubelet", "images"] {
            fs::DirBuilder::new().mode(0o755).create(dir.path().join(name)).expect("a directory");
        }
        Some(Self { images: dir.path().join("images"), dir, name: "node-1".to_owned() })
    }

    /// Another node of the same cluster: directories of its own, and the same images.
    pub fn beside(&self, name: &str) -> Self {
        let mut other = Self::new().expect("root, as the first node");
        other.name = name.to_owned();
        other.images.clone_from(&self.images);
        other
    }

    /// A path on the node: `plugins`, `kubelet`, `images`, `data`, `run` or `log`, and below.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the tool with the node's directories.
    pub fn wasmount(&self, args: &[&str]) -> Answer {
        let mut command = Command::new(program("wasmount"));
        // Before the arguments of a driver, which follow those of `call`.
        let (first, rest) = args.split_at(args.len().min(1));
        command.args(first);
        let theirs = [
            "install",
            "uninstall",
            "list",
            "call",
            "log",
            "recover",
            "rollback",
            "replay",
            "explain",
        ];
        if first.iter().any(|name| theirs.contains(name)) {
            command.arg("--plugin-dir").arg(self.path("plugins"));
        }
        command.args(rest);
        answer(&mut command, args.join(" "))
    }

    /// Installs a component under `example.com/<component>` with these grants, where `{images}`
    /// stands for the node's image directory.
    pub fn install(&self, component: &str, grants: &str) -> Driver<'_> {
        self.install_as(component, &format!("example.com/{component}"), grants)
    }

    /// Installs a component under a name.
    pub fn install_as(&self, component: &str, name: &str, grants: &str) -> Driver<'_> {
        self.install_with(component, name, grants, program("wasmount-driver"))
    }

    /// Installs a component with a driver binary of the caller's.
    pub fn install_with(
        &self,
        component: &str,
        name: &str,
        grants: &str,
        binary: PathBuf,
    ) -> Driver<'_> {
        self.install_by(component, name, grants, binary, &[])
    }

    /// Installs a component under `example.com/<component>` for a cluster that attaches nothing.
    pub fn install_node_only(&self, component: &str, grants: &str, binary: PathBuf) -> Driver<'_> {
        let name = format!("example.com/{component}");
        self.install_by(component, &name, grants, binary, &["--node-only"])
    }

    /// Asserts that a component is not installed under `example.com/<component>`, as things are.
    /// Returns why.
    pub fn refuses_to_install(&self, component: &str, grants: &str) -> String {
        let name = format!("example.com/{component}");
        let answer = self.installs(component, &name, grants, program("wasmount-driver"), &[]);
        assert_eq!(answer.exit, Some(1), "{}", answer.stdout);
        answer.stderr
    }

    fn install_by(
        &self,
        component: &str,
        name: &str,
        grants: &str,
        binary: PathBuf,
        more: &[&str],
    ) -> Driver<'_> {
        let answer = self.installs(component, name, grants, binary, more);
        assert_eq!(answer.exit, Some(0), "{}{}", answer.stdout, answer.stderr);
        Driver { node: self, name: name.to_owned() }
    }

    fn installs(
        &self,
        component: &str,
        name: &str,
        grants: &str,
        binary: PathBuf,
        more: &[&str],
    ) -> Answer {
        let file = self.path(&format!("{}.grants.toml", name.replace('/', "~")));
        fs::write(&file, grants.replace("{images}", &self.images.display().to_string()))
            .expect("grants written");
        let (file, binary) = (file.display().to_string(), binary.display().to_string());
        let given = ["--grants", &file, "--driver-binary", &binary];
        self.installs_file(&component_file(component), name, &[&given, more].concat())
    }

    /// Runs `wasmount install` on a component's file, with the node's directories and more.
    pub fn installs_file(&self, component: &Path, name: &str, more: &[&str]) -> Answer {
        answer(&mut self.install_command(component, name, more), format!("install {name}"))
    }

    /// What [`installs_file`](Self::installs_file) runs.
    pub fn install_command(&self, component: &Path, name: &str, more: &[&str]) -> Command {
        let mut command = Command::new(program("wasmount"));
        command.arg("install").arg(component).args(["--driver", name]);
        // Who signed what is tested in host/cli/tests/trust; here, components are ours.
        command.args(["--node-name", &self.name, "--allow-unsigned"]).args(more);
        for (flag, dir) in [
            ("--plugin-dir", "plugins"),
            ("--kubelet-root", "kubelet"),
            ("--data-dir", "data"),
            ("--run-dir", "run"),
            ("--log-dir", "log"),
        ] {
            command.arg(flag).arg(self.path(dir));
        }
        command
    }

    /// A driver that is installed already.
    pub fn installed(&self, name: &str) -> Driver<'_> {
        Driver { node: self, name: name.to_owned() }
    }

    /// Makes an image file of zeroes.
    pub fn image(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path("images").join(name);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|file| file.set_len(size)).expect("an image");
        path
    }

    /// The loop devices that are made of the node's images.
    pub fn loops(&self) -> Vec<PathBuf> {
        let images = &self.images;
        let mut found = Vec::new();
        for entry in fs::read_dir("/sys/block").expect("sysfs").flatten() {
            let backing =
                fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
            if Path::new(backing.trim()).starts_with(images) {
                found.push(Path::new("/dev").join(entry.file_name()));
            }
        }
        found
    }

    /// Those of them that the kernel clears when they are closed: no volume in use has one.
    pub(crate) fn loops_about_to_go(&self) -> Vec<PathBuf> {
        let goes = |device: &PathBuf| {
            let name = device.file_name().expect("a device's name");
            let sysfs = Path::new("/sys/block").join(name).join("loop/autoclear");
            fs::read_to_string(sysfs).is_ok_and(|flag| flag.trim() == "1")
        };
        self.loops().into_iter().filter(goes).collect()
    }

    /// The mount points on the node, deepest first.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let info = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        let points = info.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        let mut mounts: Vec<_> =
            points.filter(|point| point.starts_with(self.dir.path())).collect();
        mounts.sort();
        mounts.reverse();
        mounts
    }

    /// Asserts that nothing is left of what was set up.
    pub fn is_clean(&self) {
        assert_eq!(self.mounts(), Vec::<PathBuf>::new(), "mounts are left");
        // A loop device clears itself in the kernel's own time after its last user is gone, and
        // that may be a process which was killed and is still ending.
        until("no loop device is left", || self.loops().is_empty().then_some(()));
    }

    /// Waits until no process of a driver of this node runs.
    pub fn is_idle(&self) {
        until("no call is under way", || (!self.is_busy()).then_some(()));
    }
}

impl Node {
    /// Whether a process of a driver of this node still runs: it writes its last line of the log
    /// after its reply.
    pub fn is_busy(&self) -> bool {
        let mut processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        self.runs_a_call() || processes.any(|entry| self.is_ending(&entry.path()))
    }

    /// Whether a process runs the program of a driver of this node, and of no other.
    pub fn runs_a_call(&self) -> bool {
        let mut processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes.any(|entry| {
            let program = fs::read_link(entry.path().join("exe"));
            program.is_ok_and(|program| program.starts_with(self.dir.path()))
        })
    }

    /// Whether a process that runs no program any more may be one of a driver's that still has files
    /// open: it is not all gone, and goes by a driver's name.
    fn is_ending(&self, process: &Path) -> bool {
        if fs::read_link(process.join("exe")).is_ok() {
            return false;
        }
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        let Some((name, state)) = stat.rsplit_once(") ") else { return false };
        let name = name.split_once('(').map_or("", |(_, name)| name);
        let drivers = fs::read_dir(self.path("plugins")).into_iter().flatten().flatten();
        let mut drivers = drivers.map(|driver| driver.file_name().to_string_lossy().into_owned());
        !state.starts_with(['Z', 'X'])
            && drivers.any(|driver| driver.split_once('~').is_some_and(|(_, it)| it == name))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for _ in 0..100 {
            if !self.is_busy() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        // Loop devices are known by where their images are, as long as what those are on is mounted.
        let on_images = |mount: &PathBuf| mount.starts_with(&self.images);
        let (storage, others): (Vec<_>, Vec<_>) = self.mounts().into_iter().partition(on_images);
        for mount in others {
            let _ = rustix::mount::unmount(&mount, UnmountFlags::DETACH);
        }
        for device in self.loops() {
            let _ = Command::new("losetup").arg("-d").arg(device).status();
        }
        for mount in storage {
            let _ = rustix::mount::unmount(&mount, UnmountFlags::DETACH);
        }
    }
}

impl Driver<'_> {
    /// The executable that kubelet would exec.
    pub fn executable(&self) -> PathBuf {
        let (_, name) = self.name.split_once('/').expect("vendor/name");
        self.dir().join(name)
    }

    /// The driver's directory in the plugin directory.
    pub fn dir(&self) -> PathBuf {
        self.node.path("plugins").join(self.name.replace('/', "~"))
    }

    /// The directory of the version in force.
    pub fn version(&self) -> PathBuf {
        self.dir().join("current").canonicalize().expect("a version")
    }

    /// One call, as kubelet makes it: no standard input, both outputs read to their end.
    pub fn call<A: Into<OsString> + Clone>(&self, args: &[A]) -> Answer {
        let args: Vec<OsString> = args.iter().cloned().map(Into::into).collect();
        let text =
            args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        answer(Command::new(self.executable()).args(args), text)
    }

    /// The name that it is installed under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path on the driver's node, see [`Node::path`].
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.node.path(name)
    }

    /// The directory on which kubelet wants a volume's device mounted; made as kubelet makes it.
    pub fn device_dir(&self, volume: &str) -> String {
        let below = format!("plugins/kubernetes.io/flexvolume/{}/mounts/{volume}", self.name);
        self.made(&below)
    }

    /// The directory on which kubelet wants a pod's volume mounted; made as kubelet makes it.
    pub fn pod_dir(&self, uid: &str, volume: &str) -> String {
        self.made(&format!("pods/{uid}/volumes/{}/{volume}", self.name.replace('/', "~")))
    }

    fn made(&self, below: &str) -> String {
        let path = self.node.path("kubelet").join(below);
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&path).expect("a directory");
        path.display().to_string()
    }

    /// The lines of the driver's audit log, once no call is under way: the last lines of a call are
    /// written after its reply.
    pub fn log(&self) -> Vec<Value> {
        self.node.is_idle();
        let path = self.node.path("log").join(format!("{}.jsonl", self.name.replace('/', "~")));
        let text = fs::read_to_string(&path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Asserts that the audit log is in order, whatever was killed or cut off while it was written.
    pub fn has_a_whole_log(&self) {
        self.node.is_idle();
        let mut command = Command::new(program("wasmount"));
        command.args(["log", "verify", &self.name, "--plugin-dir"]).arg(self.path("plugins"));
        let answer = answer(&mut command, format!("log verify {}", self.name));
        assert_eq!(answer.exit, Some(0), "{}{}", answer.stdout, answer.stderr);
    }

    /// A volume's record.
    pub fn record(&self, key: &str) -> Option<Value> {
        let dir = self.node.path("data").join(self.name.replace('/', "~")).join("volumes");
        let text = fs::read_to_string(dir.join(format!("{key}.json"))).ok()?;
        Some(serde_json::from_str(&text).expect("a record"))
    }
}

/// kubelet's JSON for an ext4 volume: its own keys, and the user's options.
pub fn options(volume: &str, readwrite: &str, user: &[(&str, &str)]) -> String {
    options_as("ext4", volume, readwrite, user)
}

/// The same for a volume with any filesystem.
pub fn options_as(fs_type: &str, volume: &str, readwrite: &str, user: &[(&str, &str)]) -> String {
    let mut map = json!({
        "kubernetes.io/fsType": fs_type,
        "kubernetes.io/readwrite": readwrite,
        "kubernetes.io/pvOrVolumeName": volume,
    });
    for (key, value) in user {
        map[*key] = json!(value);
    }
    map.to_string()
}

/// Whether something is mounted on a path.
pub fn is_mount_point(path: &str) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::NO_AUTOMOUNT, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Runs a command to its end, reading both outputs.
pub fn answer(command: &mut Command, call: String) -> Answer {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = start(command).and_then(|child| child.wait_with_output());
    read(output.unwrap_or_else(|error| panic!("{call}: {error}")), call)
}

/// What a command has answered that has ended by itself.
pub(crate) fn read(output: Output, call: String) -> Answer {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let exit = output.status.code();
    assert!(output.status.signal().is_none(), "{call} was killed: {:?}", output.status);
    Answer { call, stdout: text(output.stdout), stderr: text(output.stderr), exit }
}
