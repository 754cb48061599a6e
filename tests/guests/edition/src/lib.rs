//! A driver that shows in each answer, at its beginning and at its end, which edition of it
//! answers, and between them the operator's setting. Tests make another edition by exchanging
//! letters in the component. Nothing but `mount` needs a node.

use wasmount_guest_sdk::mounts::tmpfs::Tmpfs;
use wasmount_guest_sdk::{Error, MountTarget, Result, VolumeRecord, VolumeSpec, config, export};

/// Found and exchanged by tests, in the compiled component.
const EDITION: &str = "edition-1";

struct Edition;

export! {
    impl Volume for Edition {
        fn mount(_: &VolumeSpec, target: &MountTarget) -> Result {
            if target.is_mounted()? {
                return Ok(());
            }
            let tmpfs = Tmpfs::create(1 << 20, 0o755, None)?;
            tmpfs.write_file("edition", whole()?, 0o444)?;
            target.attach(tmpfs.seal()?)
        }

        fn unmount(_: &str, _: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            target.unmount()
        }
    }

    impl Device for Edition {
        fn mount_device(_: &VolumeSpec, _: Option<&str>, target: &MountTarget) -> Result {
            target.attach(Tmpfs::create(1 << 20, 0o755, None)?)
        }

        fn unmount_device(_: &str, _: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            target.unmount()
        }
    }

    impl Attacher for Edition {
        fn attach(volume: &VolumeSpec, node: &str) -> Result<String> {
            willing(volume)?;
            Ok(format!("{}.on.{node}", whole()?))
        }

        fn detach(_: &str, _: Option<&VolumeRecord>, _: &str) -> Result {
            Ok(())
        }

        fn wait_for_attach(_: &VolumeSpec, _: Option<&str>) -> Result<String> {
            whole()
        }

        fn is_attached(volume: &VolumeSpec, _: &str) -> Result<bool> {
            willing(volume).map(|()| true)
        }
    }

    impl Expander for Edition {
        fn expand_volume(volume: &VolumeSpec, new: u64, _: u64) -> Result<u64> {
            willing(volume).map(|()| new)
        }

        fn expand_fs(_: &VolumeSpec, _: &MountTarget, _: u64, _: u64) -> Result {
            Ok(())
        }
    }
}

/// What every answer shows.
fn whole() -> Result<String> {
    Ok(format!("{EDITION}.{}.{EDITION}", config::require("setting")?))
}

/// Fails for a volume that is to fail.
fn willing(volume: &VolumeSpec) -> Result {
    match volume.option("fail") {
        Some(_) => Err(Error::internal("told", whole()?)),
        None => Ok(()),
    }
}
