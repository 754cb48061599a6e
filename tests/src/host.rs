//! A host that is a test's own: the machine's whole tree, with what is written to it kept in memory
//! and forgotten; and containers on it, each with nothing but its image and what is mounted into it.
//!
//! Both are threads with a mount namespace and a root directory of their own, and the programs that
//! these start. Of what else isolates a container there is only what a program can fail of: it has no
//! capabilities but those that it is given, and gains none.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount,
};
use rustix::thread::{CapabilitySet, UnshareFlags, unshare_unsafe};
use tempfile::TempDir;

/// Where the image of the containers is, on the host.
const IMAGE: &str = "/container-image";

/// A directory of the host's that a container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it is on the host.
    pub from: PathBuf,
    /// Where the container has it.
    pub to: PathBuf,
    /// Whether the container only reads there.
    pub read_only: bool,
}

/// Does something on a host of its own. `image` fills the directory that is the root of its
/// containers, while the machine's own files can still be seen.
pub fn on_a_host(image: impl FnOnce(&Path) + Send, work: impl FnOnce() + Send) {
    let kept = TempDir::with_prefix("wasmount-host-").expect("a temporary directory");
    let live = || {
        enter_namespace();
        mount("tmpfs", kept.path(), "tmpfs", MountFlags::empty(), None).expect("tmpfs");
        let [root, upper, other] = ["root", "upper", "work"].map(|name| {
            let path = kept.path().join(name);
            made(&path);
            path
        });
        let layers = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), other.display());
        let layers = std::ffi::CString::new(layers).expect("no zero byte");
        mount("overlay", &root, "overlay", MountFlags::empty(), layers.as_c_str())
            .expect("the kernel has overlayfs");
        for name in ["dev", "proc", "sys"] {
            mount_bind_recursive(Path::new("/").join(name), root.join(name)).expect(name);
        }
        // Loop devices are not made of files in an overlay on every kernel.
        empty(&root.join("srv"));
        let inside = root.join(IMAGE.trim_start_matches('/'));
        made(&inside);
        image(&inside);
        change_root(&root);
        work();
    };
    std::thread::scope(|scope| {
        let ended = scope.spawn(live).join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Starts the entry point of a container's image, with these capabilities of root's and with its root
/// read-only. Only for what runs on a host, see [`on_a_host`].
pub fn start(
    program: &str,
    arguments: &[String],
    binds: &[Bind],
    capabilities: CapabilitySet,
) -> Child {
    let live = || {
        enter_namespace();
        let root = Path::new(IMAGE);
        mount_bind(root, root).expect("a mount of its own");
        let system = ["dev", "proc"].map(|name| Bind {
            from: Path::new("/").join(name),
            to: Path::new("/").join(name),
            read_only: false,
        });
        for bind in system.iter().chain(binds) {
            made(&bind.from);
            let to = root.join(bind.to.strip_prefix("/").expect("an absolute path"));
            made(&to);
            mount_bind_recursive(&bind.from, &to).expect("a bind");
            if bind.read_only {
                mount_remount(&to, MountFlags::BIND | MountFlags::RDONLY, "").expect("read-only");
            }
        }
        mount_remount(root, MountFlags::BIND | MountFlags::RDONLY, "").expect("read-only");
        change_root(root);
        keep_capabilities(capabilities);
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the image's entry point")
    };
    std::thread::scope(|scope| scope.spawn(live).join().expect("a container"))
}

/// All mounts as they are, in a mount namespace that hears of no later one, nor of an unmount: what
/// a container runtime leaves in some containers. Dropped, they are gone.
#[derive(Debug)]
pub struct CopiedMounts {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl CopiedMounts {
    /// Copies them.
    pub fn take() -> Self {
        let ((end, ended), (started, starts)) = (channel::<()>(), channel());
        let thread = std::thread::spawn(move || {
            enter_namespace();
            started.send(()).expect("awaited");
            let _ = ended.recv();
        });
        starts.recv().expect("a namespace");
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for CopiedMounts {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Has the host an empty directory in this place, whatever the machine has there.
pub fn empty(path: &Path) {
    made(path);
    mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(c"mode=755")).expect("tmpfs");
}

/// Makes a directory as kubelet and container runtimes do.
fn made(path: &Path) {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).expect("a directory");
}

fn enter_namespace() {
    // SAFETY: this thread alone gets a mount namespace, a root and a working directory of its own;
    // no descriptor table is unshared.
    #[expect(unsafe_code, reason = "unshare can do more than is asked of it here")]
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.expect("a namespace");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).expect("a namespace of its own");
}

fn change_root(root: &Path) {
    rustix::process::chroot(root).expect("root may");
    rustix::process::chdir("/").expect("there is a root");
}

/// What this thread starts from now on has no others, and never will.
fn keep_capabilities(kept: CapabilitySet) {
    for capability in CapabilitySet::all().difference(kept).iter() {
        // The kernel may know fewer.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    rustix::thread::set_no_new_privs(true).expect("always allowed");
}
