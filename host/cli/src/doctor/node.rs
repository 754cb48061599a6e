//! The node itself: its kernel, SELinux, and the plugin directory as kubelet sees it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use wasmount_core::guest::landlock;
use wasmount_core::kernel::requirements;

use crate::finding::Findings;
use crate::install;
use crate::layout::PluginDir;
use crate::leftovers;

/// Types of files that no policy lets kubelet execute: what was copied from a home directory or
/// made where no rule names a type.
const FOREIGN_TYPES: [&str; 7] = [
    "unlabeled_t",
    "default_t",
    "tmp_t",
    "user_tmp_t",
    "user_home_t",
    "admin_home_t",
    "user_home_dir_t",
];

pub(super) fn examine(plugins: &PluginDir, found: &mut Findings) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    examine_kernel(&release, found);
    for refused in requirements::missing_calls() {
        found.error(
            "kernel-refuses",
            refused.message,
            "no volume can be mounted without it",
            "update the kernel; if it is new enough, let the seccomp profile that wasmount runs \
             under allow the call",
        );
    }
    if fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail")
        .map_or(true, |actions| !actions.split_whitespace().any(|action| action == "kill_process"))
    {
        found.error(
            "seccomp-missing",
            "this kernel has no seccomp filters",
            "a component would not be confined, so none is run",
            "boot a kernel with CONFIG_SECCOMP_FILTER",
        );
    }
    if let Some(lacking) = landlock::lacking() {
        found.warning(
            "isolation-partial",
            format!("this kernel lacks {lacking}"),
            "the wall between a component's process and the node has that much less to it",
            "boot a newer one, or one with `landlock` in its `lsm=`; `isolation = \"full\"` in a \
             driver's grants.toml keeps its component from running until then",
        );
    }
    examine_namespace(found);
    examine_plugin_dir(plugins.path(), found);
    examine_selinux(plugins, found);
}

fn examine_kernel(release: &str, found: &mut Findings) {
    if let Err(error) = install::require_kernel(release) {
        found.error(
            "kernel-old",
            error,
            "the driver is not installed on such a kernel, and mounts fail",
            "update the kernel",
        );
    }
}

/// In a container, all that is said of mounts would be said of the container's.
fn examine_namespace(found: &mut Findings) {
    if leftovers::is_nodes_namespace() == Some(false) {
        found.warning(
            "mount-namespace",
            "this is not the node's own mount namespace",
            "what is said here of mounts is true of this namespace only",
            "run it on the node: `nsenter --target 1 --mount wasmount doctor`",
        );
    }
}

/// The plugin directory itself, and what lies in it that is no driver of ours.
pub(crate) fn examine_plugin_dir(path: &Path, found: &mut Findings) {
    const LOADS: &str = "kubelet takes it for a driver that fails, and with some versions loads no \
                         other because of it";
    if let Ok(metadata) = fs::metadata(path)
        && (metadata.uid() != 0 || metadata.mode() & 0o022 != 0)
    {
        found.error(
            "plugin-directory-writable",
            format!("{} can be changed by others than root", path.display()),
            "whoever can write there is root on this node: kubelet executes what it finds",
            format!("chown root {0} && chmod go-w {0}", path.display()),
        );
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let Ok(kind) = entry.file_type() else { continue };
        if name.starts_with('.') {
            if name.contains(".tmp-") {
                found.warning(
                    "stray",
                    format!("{} was left by an installation that was killed", path.display()),
                    "it takes up room, and kubelet does not look at it",
                    "install that driver again, which sweeps it up",
                );
            }
        } else if kind.is_symlink() {
            found.error(
                "stray",
                format!("{} is a symbolic link", path.display()),
                "kubelet skips it when it starts: the driver works until then only",
                "put the directory itself there",
            );
        } else if !kind.is_dir() {
            found.error(
                "stray",
                format!("{} is not a driver's directory", path.display()),
                LOADS,
                "move it away",
            );
        } else if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none()) {
            found.error(
                "stray",
                format!("{} is empty", path.display()),
                LOADS,
                format!("rmdir {}", path.display()),
            );
        }
    }
}

fn examine_selinux(plugins: &PluginDir, found: &mut Findings) {
    let enforcing = fs::read_to_string("/sys/fs/selinux/enforce");
    if enforcing.map_or(true, |enforcing| enforcing.trim() != "1") {
        return;
    }
    let path = plugins.path();
    let Some(directory) = label_type(path) else {
        return found.error(
            "selinux-label",
            format!("{} has no SELinux label", path.display()),
            "kubelet may not execute what is in it",
            format!("restorecon -RF {}", path.display()),
        );
    };
    for driver in plugins.drivers().unwrap_or_default() {
        let program = plugins.driver(&driver).current().join(crate::layout::DRIVER);
        let label = label_type(&program).unwrap_or_default();
        if label != directory && (label.is_empty() || FOREIGN_TYPES.contains(&label.as_str())) {
            found.error(
                "selinux-label",
                format!("{} is labelled {label:?} by SELinux", program.display()),
                "kubelet may not execute it",
                format!("restorecon -RF {}", path.display()),
            );
        }
    }
}

/// The type in a file's label, such as `container_file_t`.
fn label_type(path: &Path) -> Option<String> {
    let mut buffer = [0; 256];
    let length = rustix::fs::getxattr(path, "security.selinux", &mut buffer[..]).ok()?;
    type_of(std::str::from_utf8(buffer.get(..length)?).ok()?).map(str::to_owned)
}

/// The third part of `user:role:type:level`.
fn type_of(label: &str) -> Option<&str> {
    label.trim_end_matches('\0').split(':').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_and_labels() {
        let mut found = Findings::default();
        examine_kernel("5.15.0", &mut found);
        assert_eq!(found.text(), Vec::<String>::new());
        examine_kernel("4.18.0-553.el8", &mut found);
        assert_eq!(found.all[0].id, "kernel-old");
        let text = found.text().join("\n");
        assert!(text.starts_with("error    this is Linux 4.18.0-553.el8, and mounts"), "{text}");
        for (label, is) in [
            ("system_u:object_r:container_file_t:s0\0", Some("container_file_t")),
            ("u:r:user_home_t:s0:c1,c2", Some("user_home_t")),
            ("none", None),
        ] {
            assert_eq!(type_of(label), is);
        }
    }
}
