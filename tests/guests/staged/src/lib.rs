//! A driver that exports `device` alone, so that the host itself answers `mount` and `unmount`.
//! What it stages is a tmpfs: it needs no device.

use wasmount_guest_sdk::mounts::tmpfs::Tmpfs;
use wasmount_guest_sdk::{MountTarget, Result, VolumeRecord, VolumeSpec, export};

struct Staged;

export! {
    impl Device for Staged {
        fn mount_device(_: &VolumeSpec, _: Option<&str>, target: &MountTarget) -> Result {
            target.attach(Tmpfs::create(1 << 20, 0o755, None)?)
        }

        fn unmount_device(_: &str, _: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            target.unmount()
        }
    }
}
