//! A volume in memory with one file in it, which greets. It keeps nothing:
//! what pods see is made for each of them, read-only, and gone when the pod is.

use wasmount_guest_sdk::mounts::tmpfs::Tmpfs;
use wasmount_guest_sdk::{MountTarget, Result, VolumeRecord, VolumeSpec, config, export};

struct Driver;

export! {
    impl Volume for Driver {
        fn mount(volume: &VolumeSpec, target: &MountTarget) -> Result {
            // What the operator wrote under [config] in grants.toml.
            let greeting = config::get("greeting").unwrap_or_else(|| "hello".to_owned());
            let tmpfs = Tmpfs::create(64 * 1024, 0o755, volume.fs_group())?;
            tmpfs.write_file("greeting", format!("{greeting}, {}\n", volume.name()), 0o444)?;
            // The mount appears once this function has returned success.
            target.attach(tmpfs.seal()?)
        }

        fn unmount(_: &str, _: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            target.unmount()
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_call_goes_as_recorded() {
        wasmount_guest_sdk::testing::play::<super::Driver>("tests/calls.toml");
    }
}
