//! The directory on which a volume's device is mounted, made and removed where nobody but this
//! driver has a use for it: kubelet makes and removes it where it mounts devices itself.
//!
//! What is mounted on it, `mounts` does. The directories above it are shared by volumes and stay.

use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use super::{failed, target, unfit};
use crate::decide::Granted;
use crate::failure::Failure;
use crate::rehearsal;

/// As kubelet makes it.
const MODE: Mode = Mode::from_raw_mode(0o750);

/// A directory for a volume's device.
#[derive(Debug)]
pub struct Staging {
    /// The kubelet root.
    pub kubelet_root: PathBuf,
    /// Where it is below that.
    pub beneath_root: PathBuf,
}

/// Makes the directory and those above it, beneath the kubelet root and through no symbolic link.
/// One that is there already is success.
pub fn make(staging: Granted<Staging>) -> Result<(), Failure> {
    let Staging { kubelet_root, beneath_root } = staging.into_inner();
    let path = kubelet_root.join(&beneath_root);
    if rehearsal::is_on() {
        rehearsal::made(&path);
        return Ok(());
    }
    let what = || format!("making {}", path.display());
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut parent =
        openat(CWD, &kubelet_root, directory, Mode::empty()).map_err(failed(what()))?;
    for part in &beneath_root {
        match mkdirat(&parent, part, MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(what())(error)),
        }
        let flags = directory | OFlags::NOFOLLOW;
        parent = openat(&parent, part, flags, Mode::empty()).map_err(failed(what()))?;
    }
    Ok(())
}

/// Removes the directory, on which nothing is mounted any more. One that is not there is success;
/// one with something in it stays, since that is nobody's but whoever put it there.
pub fn remove(staging: Granted<Staging>) -> Result<(), Failure> {
    let Staging { kubelet_root, beneath_root } = staging.into_inner();
    let directory = target::open(&kubelet_root, &beneath_root)?;
    let Some(path) = directory.path_by_descriptor() else { return Ok(()) };
    if rehearsal::is_on() {
        return Ok(());
    }
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
        Err(Errno::BUSY) => {
            let message =
                format!("{} is still a mount point; unmount it", directory.path.display());
            Err(unfit("busy", message))
        }
        Err(error) => Err(failed(format_args!("removing {}", directory.path.display()))(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn staging(root: &Path) -> Granted<Staging> {
        let beneath_root = PathBuf::from("plugins/a/mounts/pv-1");
        Granted::for_test(Staging { kubelet_root: root.to_owned(), beneath_root })
    }

    #[test]
    fn it_comes_and_goes_and_both_twice() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("plugins/a/mounts/pv-1");
        for _ in 0..2 {
            make(staging(root.path())).expect("made");
            assert!(path.is_dir());
        }
        for _ in 0..2 {
            remove(staging(root.path())).expect("removed");
            assert!(!path.exists());
        }
        assert!(path.parent().expect("a parent").is_dir(), "what others share stays");
    }

    #[test]
    fn what_somebody_put_there_stays() {
        let root = tempfile::tempdir().expect("a directory");
        make(staging(root.path())).expect("made");
        let file = root.path().join("plugins/a/mounts/pv-1/file");
        fs::write(&file, "somebody's").expect("writable");
        remove(staging(root.path())).expect("left alone");
        assert!(file.exists());
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let (root, outside) = (tempfile::tempdir(), tempfile::tempdir());
        let (root, outside) = (root.expect("a directory"), outside.expect("a directory"));
        symlink(outside.path(), root.path().join("plugins")).expect("linked");
        make(staging(root.path())).expect_err("a link");
        assert_eq!(fs::read_dir(outside.path()).expect("readable").count(), 0);
    }
}
