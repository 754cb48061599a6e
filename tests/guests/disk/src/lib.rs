//! A driver of disks that somebody else attaches to the node, as in a cloud: found by the
//! operator's rule, made a filesystem if blank, checked and mounted. The host composes the rest.

use wasmount_guest_sdk::{
    Access, Error, MountTarget, Result, VolumeRecord, VolumeSpec, devices, export, filesystems,
    mounts,
};

struct Disk;

export! {
    // Somebody else attaches it: what kubelet is told is the disk's id.
    impl Attacher for Disk {
        fn attach(volume: &VolumeSpec, _: &str) -> Result<String> {
            Ok(volume.option("id").unwrap_or_default())
        }

        fn detach(_: &str, _: Option<&VolumeRecord>, _: &str) -> Result {
            Ok(())
        }

        fn wait_for_attach(volume: &VolumeSpec, _: Option<&str>) -> Result<String> {
            Ok(volume.option("id").unwrap_or_default())
        }

        fn is_attached(_: &VolumeSpec, _: &str) -> Result<bool> {
            Ok(true)
        }
    }

    impl Device for Disk {
        fn mount_device(volume: &VolumeSpec, _: Option<&str>, target: &MountTarget) -> Result {
            if target.is_mounted()? {
                return Ok(());
            }
            let id = volume.option("id").unwrap_or_default();
            let device = devices::find("disk", &id)?
                .ok_or_else(|| Error::not_found("no-disk", "the disk is not attached"))?;
            let fs_type = volume.fs_type().unwrap_or_else(|| "ext4".to_owned());
            // One that does not look is told by the host what is there.
            let found = match volume.option("blindly") {
                Some(_) => None,
                None => device.probe()?,
            };
            match (found, volume.access()) {
                (None, Access::ReadWrite) => filesystems::format(&device, &fs_type, &[])?,
                (Some(_), Access::ReadWrite) => drop(filesystems::check(&device, &fs_type)?),
                (_, Access::ReadOnly) => {}
            }
            target.attach(mounts::block::mount(&device, &fs_type, volume.access(), &[])?)
        }

        fn unmount_device(_: &str, _: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            target.unmount()
        }
    }
}
