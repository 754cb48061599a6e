//! Attachable block volumes from image files: each volume is one file in the operator's directory,
//! given to one node at a time, a loop device there, and a filesystem on it.
//!
//! What a volume can set is in `options`; where images lie, which names are allowed and how
//! large they may become is the operator's, in grants.toml. Images are never deleted here.

mod options;
mod size;

use options::Options;
use wasmount_guest_sdk::{
    Access, BlockDevice, Code, Error, Image, MountTarget, Result, VolumeRecord, VolumeSpec, export,
    filesystems, images, info, mounts,
};

/// The filesystem of a volume that asks for none.
const DEFAULT_FILESYSTEM: &str = "ext4";

/// The unit in which the kernel counts a block device's size, in bytes.
const SECTOR: u64 = 512;

struct LoopImage;

export! {
    impl Attacher for LoopImage {
        fn attach(volume: &VolumeSpec, node: &str) -> Result<String> {
            let options = Options::of(volume)?;
            open_or_create(&options)?.lease(node)?;
            Ok(options.image)
        }

        fn detach(_: &str, _: Option<&VolumeRecord>, node: &str) -> Result {
            images::release(node)
        }

        // The options name the image; `attachment` says the same and is not needed.
        fn wait_for_attach(volume: &VolumeSpec, _: Option<&str>) -> Result<String> {
            let options = Options::of(volume)?;
            images::open(&options.image)?.attach(volume.access())?;
            Ok(options.image)
        }

        fn is_attached(volume: &VolumeSpec, node: &str) -> Result<bool> {
            match images::open(&Options::of(volume)?.image) {
                Ok(image) => Ok(image.holder()?.as_deref() == Some(node)),
                Err(error) if error.code == Code::NotFound => Ok(false),
                Err(error) => Err(error),
            }
        }
    }

    impl Device for LoopImage {
        fn mount_device(volume: &VolumeSpec, _: Option<&str>, target: &MountTarget) -> Result {
            let options = Options::of(volume)?;
            let access = volume.access();
            let device = match images::attached()? {
                Some(device) => device,
                None => images::open(&options.image)?.attach(access)?,
            };
            let fs_type = volume.fs_type().unwrap_or_else(|| DEFAULT_FILESYSTEM.to_owned());
            prepare(&device, &fs_type, access, &options)?;
            let names: Vec<&str> = options.mount.iter().map(String::as_str).collect();
            target.attach(mounts::block::mount(&device, &fs_type, access, &names)?)
        }

        fn unmount_device(_: &str, _: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            target.unmount()?;
            images::detach()
        }
    }

    impl Volume for LoopImage {
        fn mount(volume: &VolumeSpec, target: &MountTarget) -> Result {
            target.attach(mounts::bind::staged(volume.access())?)
        }

        fn unmount(_: &str, _: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            target.unmount()
        }
    }

    impl Expander for LoopImage {
        fn expand_volume(volume: &VolumeSpec, new_size: u64, _: u64) -> Result<u64> {
            images::open(&Options::of(volume)?.image)?.grow(new_size)
        }

        fn expand_fs(volume: &VolumeSpec, target: &MountTarget, new_size: u64, _: u64) -> Result {
            let size = filesystems::grow(target)?;
            // kubelet takes success as proof of the new size and does not ask again.
            if volume.access() == Access::ReadWrite && size / SECTOR < new_size / SECTOR {
                return Err(Error::failed_precondition(
                    "image-too-small",
                    format!("the image has {size} bytes, fewer than asked for; grow it first"),
                ));
            }
            Ok(())
        }
    }
}

/// The volume's image. One that is absent is made only if the volume says so.
fn open_or_create(options: &Options) -> Result<Image> {
    match images::open(&options.image) {
        Err(error) if error.code == Code::NotFound && options.create => {
            images::create(&options.image, options.size()?)
        }
        Err(error) if error.code == Code::NotFound => Err(Error::not_found(
            "image-absent",
            format!(
                "{}; put the image there, or set the volume's option `create` to \"true\" and \
                 `size` to a size such as \"10Gi\"",
                error.message
            ),
        )),
        result => result,
    }
}

/// Makes sure that the device holds a sound filesystem of the wanted type, and makes it one only
/// if it is blank.
fn prepare(device: &BlockDevice, wanted: &str, access: Access, options: &Options) -> Result {
    match (device.probe()?, access) {
        (None, Access::ReadOnly) => Err(Error::failed_precondition(
            "unformatted",
            "the image is blank and the volume is read-only; use it read-write once, so that a \
             filesystem is made",
        )),
        (None, Access::ReadWrite) => {
            let mkfs: Vec<_> =
                options.mkfs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            filesystems::format(device, wanted, &mkfs)?;
            info!("made {wanted} on {}", device.identity());
            Ok(())
        }
        (Some(found), _) if found != wanted => Err(Error::failed_precondition(
            "fs-mismatch",
            format!(
                "the image holds {found}, which is not what the volume's fsType asks for \
                 ({DEFAULT_FILESYSTEM} if it asks for none); set fsType to what is there, or use \
                 another image"
            ),
        )),
        // A check writes.
        (Some(_), Access::ReadOnly) => Ok(()),
        (Some(_), Access::ReadWrite) => {
            if filesystems::check(device, wanted)? {
                info!("repaired {wanted} on {}", device.identity());
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_call_goes_as_recorded() {
        wasmount_guest_sdk::testing::play::<super::LoopImage>("tests/calls.toml");
    }
}
