//! The keys of a volume's secret as files in memory: for each pod a tmpfs of its own, read-only
//! and gone when the pod is. It replaces scripts that write secrets to disk and into logs.
//!
//! What a volume can set is in `options`; which keys may become files, and how many, is the
//! operator's, in grants.toml. The component never sees a value: the host writes the files. A
//! mounted volume does not follow its secret; a pod that is made anew has the new values.

mod options;

use options::{File, Options};
use wasmount_guest_sdk::mounts::tmpfs::Tmpfs;
use wasmount_guest_sdk::{Error, MountTarget, Result, VolumeRecord, VolumeSpec, export, secrets};

/// What a tmpfs is made for at least, in bytes: Kubernetes' own bound on a secret.
const SECRET: u64 = 1 << 20;

/// What a file may take however short it is, in bytes: a page, where pages are largest.
const PAGE: u64 = 64 << 10;

struct SecretFiles;

export! {
    impl Volume for SecretFiles {
        fn mount(volume: &VolumeSpec, target: &MountTarget) -> Result {
            let group = volume.fs_group();
            let options = Options::parse(volume.options())?;
            let files = match options.files {
                Some(files) => files,
                None => whole(secrets::keys())?,
            };
            let mode = options.mode.unwrap_or(match group {
                Some(_) => 0o440,
                None => 0o400,
            });
            let size = SECRET.max(files.len() as u64 * PAGE);
            let tmpfs = Tmpfs::create(size, directory(mode), group)?;
            for File { key, name } in files {
                tmpfs.write_secret(&name, &secrets::open(&key)?, mode)?;
            }
            target.attach(tmpfs.seal()?)
        }

        fn unmount(_: &str, _: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            target.unmount()
        }
    }
}

/// All keys of the secret, each as a file of its own name.
fn whole(keys: Vec<String>) -> Result<Vec<File>> {
    if keys.is_empty() {
        return Err(Error::failed_precondition(
            "no-secret",
            "there is no key to make a file of; set the volume's secretRef to a secret with keys, \
             whose type is the driver's name, and grant [[secrets]] in grants.toml",
        ));
    }
    keys.into_iter().map(File::named_as).collect()
}

/// The mode of the directory with files of this mode: who may read them can get at them, and the
/// group can always list them.
fn directory(mode: u32) -> u32 {
    match mode & 0o004 {
        0 => 0o750,
        _ => 0o755,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_goes_as_recorded() {
        wasmount_guest_sdk::testing::play::<SecretFiles>("tests/calls.toml");
    }

    #[test]
    fn a_directory_lets_in_who_may_read() {
        for (mode, expected) in [(0o400, 0o750), (0o440, 0o750), (0o444, 0o755), (0o404, 0o755)] {
            assert_eq!(directory(mode), expected, "{mode:o}");
        }
    }

    #[test]
    fn all_keys_of_a_secret_become_files_or_none_does() {
        let keys = |keys: &[&str]| whole(keys.iter().map(|&key| key.to_owned()).collect());
        let files = keys(&[".dot", "tls.key"]).expect("both can be files");
        assert_eq!(files.iter().map(|file| &*file.name).collect::<Vec<_>>(), [".dot", "tls.key"]);
        assert_eq!(keys(&[]).expect_err("none").reason, "no-secret");
        assert_eq!(keys(&["..", "a"]).expect_err("one").reason, "file-name");
    }
}
