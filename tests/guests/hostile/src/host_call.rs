//! One host call of each import function, with arguments that a grant would allow.

use std::time::Duration;

use wasmount_guest_sdk::mounts::{bind, block, tmpfs::Tmpfs};
use wasmount_guest_sdk::{
    Access, Error, MountTarget, Result, devices, filesystems, images, secrets, state,
};

/// Makes the call of this name. After a `=` it is told which filesystem is meant.
pub(crate) fn make(name: &str, target: Option<&MountTarget>) -> Result {
    let (name, fs_type) = name.split_once('=').unwrap_or((name, "ext4"));
    let target = || target.ok_or_else(|| Error::internal("told", "no target in this operation"));
    match name {
        "state.get" => state::get("key").map(drop),
        "state.put" => state::put("key", b"value"),
        "state.delete" => state::delete("key"),
        "secrets.open" => secrets::open("password").map(drop),
        "secret.reveal" => secrets::open("password")?.reveal().map(drop),
        "target.is-mounted" => target()?.is_mounted().map(drop),
        "target.attach" => target()?.attach(Tmpfs::create(1 << 20, 0o755, None)?),
        "target.unmount" => target()?.unmount(),
        "devices.find" => devices::find("disk", "vol-1").map(drop),
        "devices.wait" => devices::wait("disk", "vol-1", Duration::from_millis(10)).map(drop),
        "images.open" => images::open("image.img").map(drop),
        "images.create" => images::create("image.img", 1 << 20).map(drop),
        "images.attached" => images::attached().map(drop),
        "images.detach" => images::detach(),
        "images.release" => images::release("node-1"),
        "image.size" => images::open("image.img")?.size().map(drop),
        "image.grow" => images::open("image.img")?.grow(2 << 20).map(drop),
        "image.lease" => images::open("image.img")?.lease("node-1"),
        "image.holder" => images::open("image.img")?.holder().map(drop),
        "image.attach" => images::open("image.img")?.attach(Access::ReadWrite).map(drop),
        "filesystems.format" => {
            let device = images::open("image.img")?.attach(Access::ReadWrite)?;
            filesystems::format(&device, fs_type, &[])
        }
        "filesystems.check" => {
            let device = images::open("image.img")?.attach(Access::ReadWrite)?;
            filesystems::check(&device, fs_type).map(drop)
        }
        "filesystems.grow" => filesystems::grow(target()?).map(drop),
        "mounts-block.mount" => {
            let device = images::open("image.img")?.attach(Access::ReadWrite)?;
            block::mount(&device, fs_type, Access::ReadWrite, &[]).map(drop)
        }
        "mounts-bind.staged" => bind::staged(Access::ReadWrite).map(drop),
        "mounts-tmpfs.create" => Tmpfs::create(1 << 20, 0o755, None).map(drop),
        other => Err(Error::invalid_argument("told", format!("no host call is named {other}"))),
    }
}
