//! The host of a native driver: for each interface of `wit/` a module with the functions that
//! wit-bindgen makes of it for a component, under the same names and of the same types. What they
//! ask is answered by the recording. A function that a module of this crate calls and that is
//! missing here does not build.

mod told;

use wasmount_recording::{Answer, Asked};

use super::stage::{ask, with};
use crate::bindings::capabilities::wasmount::driver::types::{Access, Error};

pub(crate) use told::{clock, config, log, random, volumes};

type Answered<T> = Result<T, Error>;

/// The number of something that the host holds.
type Number = u32;

pub(crate) mod state {
    use super::{Answered, Asked, done, maybe_bytes};

    pub(crate) fn get(key: &str) -> Answered<Option<Vec<u8>>> {
        maybe_bytes(&Asked::new("state.get").text("key", key))
    }

    pub(crate) fn put(key: &str, value: &[u8]) -> Answered<()> {
        done(&Asked::new("state.put").text("key", key).bytes("value", value))
    }

    pub(crate) fn delete(key: &str) -> Answered<()> {
        done(&Asked::new("state.delete").text("key", key))
    }
}

pub(crate) mod secrets {
    use super::{Answered, Asked, Number, handle, maybe_bytes, with};

    #[derive(Debug)]
    pub(crate) struct Secret(pub(super) Number);

    pub(crate) fn open(key: &str) -> Answered<Secret> {
        handle(&Asked::new("secrets.open").text("key", key)).map(Secret)
    }

    pub(crate) fn keys() -> Vec<String> {
        with(|player| player.call().secret_keys.clone())
    }

    impl Secret {
        pub(crate) fn reveal(&self) -> Answered<Vec<u8>> {
            let value = maybe_bytes(&Asked::new("secret.reveal").held("secret", self.0))?;
            Ok(value.unwrap_or_default())
        }
    }
}

pub(crate) mod target {
    use super::{Answered, Asked, done, flag, mounts};

    #[derive(Debug)]
    pub(crate) struct MountTarget;

    impl MountTarget {
        pub(crate) fn is_mounted(&self) -> Answered<bool> {
            flag(&Asked::new("mount-target.is-mounted"))
        }

        pub(crate) fn attach(&self, pending: mounts::PendingMount) -> Answered<()> {
            done(&Asked::new("mount-target.attach").held("pending", pending.0))
        }

        pub(crate) fn unmount(&self) -> Answered<()> {
            done(&Asked::new("mount-target.unmount"))
        }
    }
}

pub(crate) mod devices {
    use super::{Answered, Asked, Number, device, flag, maybe_device, maybe_text, number};

    #[derive(Debug)]
    pub(crate) struct BlockDevice {
        pub(super) number: Number,
        pub(super) identity: String,
    }

    pub(crate) fn find(rule: &str, id: &str) -> Answered<Option<BlockDevice>> {
        maybe_device(&Asked::new("devices.find").text("rule", rule).text("id", id))
    }

    pub(crate) fn wait(rule: &str, id: &str, milliseconds: u32) -> Answered<BlockDevice> {
        let asked = Asked::new("devices.wait").text("rule", rule).text("id", id);
        device(&asked.number("milliseconds", milliseconds))
    }

    impl BlockDevice {
        pub(crate) fn identity(&self) -> String {
            self.identity.clone()
        }

        pub(crate) fn size(&self) -> Answered<u64> {
            number(&Asked::new("block-device.size").held("device", self.number))
        }

        pub(crate) fn is_read_only(&self) -> Answered<bool> {
            flag(&Asked::new("block-device.is-read-only").held("device", self.number))
        }

        pub(crate) fn probe(&self) -> Answered<Option<String>> {
            maybe_text(&Asked::new("block-device.probe").held("device", self.number))
        }
    }
}

pub(crate) mod filesystems {
    use super::{Answered, Asked, devices::BlockDevice, done, flag, number, target::MountTarget};

    pub(crate) fn format(
        device: &BlockDevice,
        fs_type: &str,
        options: &[(String, String)],
    ) -> Answered<()> {
        let asked = Asked::new("filesystems.format").held("device", device.number);
        done(&asked.text("fs-type", fs_type).pairs("options", options))
    }

    pub(crate) fn check(device: &BlockDevice, fs_type: &str) -> Answered<bool> {
        let asked = Asked::new("filesystems.check").held("device", device.number);
        flag(&asked.text("fs-type", fs_type))
    }

    pub(crate) fn grow(_: &MountTarget) -> Answered<u64> {
        number(&Asked::new("filesystems.grow"))
    }
}

pub(crate) mod mounts {
    use super::Number;

    #[derive(Debug)]
    pub(crate) struct PendingMount(pub(super) Number);
}

pub(crate) mod mounts_block {
    use super::mounts::PendingMount;
    use super::{Access, Answered, Asked, access, devices::BlockDevice, handle};

    pub(crate) fn mount(
        device: &BlockDevice,
        fs_type: &str,
        how: Access,
        options: &[String],
    ) -> Answered<PendingMount> {
        let asked = Asked::new("mounts-block.mount").held("device", device.number);
        let asked = asked.text("fs-type", fs_type).text("access", access(how));
        handle(&asked.names("options", options)).map(PendingMount)
    }
}

pub(crate) mod mounts_bind {
    use super::{Access, Answered, Asked, access, handle, mounts::PendingMount};

    pub(crate) fn staged(how: Access) -> Answered<PendingMount> {
        handle(&Asked::new("mounts-bind.staged").text("access", access(how))).map(PendingMount)
    }
}

pub(crate) mod mounts_tmpfs {
    use super::{Answered, Asked, done, handle, mounts::PendingMount, secrets::Secret};

    pub(crate) fn create(size: u64, mode: u32, group: Option<u32>) -> Answered<PendingMount> {
        let mut asked = Asked::new("mounts-tmpfs.create").number("size", size);
        asked = asked.number("mode", mode);
        if let Some(group) = group {
            asked = asked.number("group", group);
        }
        handle(&asked).map(PendingMount)
    }

    pub(crate) fn write_file(
        pending: &PendingMount,
        name: &str,
        contents: &[u8],
        mode: u32,
    ) -> Answered<()> {
        let asked = Asked::new("mounts-tmpfs.write-file").held("pending", pending.0);
        done(&asked.text("name", name).bytes("contents", contents).number("mode", mode))
    }

    pub(crate) fn write_secret(
        pending: &PendingMount,
        name: &str,
        value: &Secret,
        mode: u32,
    ) -> Answered<()> {
        let asked = Asked::new("mounts-tmpfs.write-secret").held("pending", pending.0);
        done(&asked.text("name", name).held("secret", value.0).number("mode", mode))
    }

    pub(crate) fn seal(pending: &PendingMount) -> Answered<()> {
        done(&Asked::new("mounts-tmpfs.seal").held("pending", pending.0))
    }
}

pub(crate) mod images {
    use super::devices::BlockDevice;
    use super::{Access, Answered, Asked, Number, access};
    use super::{device, done, handle, maybe_device, maybe_text, number};

    #[derive(Debug)]
    pub(crate) struct Image(Number);

    pub(crate) fn open(name: &str) -> Answered<Image> {
        handle(&Asked::new("images.open").text("name", name)).map(Image)
    }

    pub(crate) fn create(name: &str, size: u64) -> Answered<Image> {
        let asked = Asked::new("images.create").text("name", name);
        handle(&asked.number("size", size)).map(Image)
    }

    pub(crate) fn attached() -> Answered<Option<BlockDevice>> {
        maybe_device(&Asked::new("images.attached"))
    }

    pub(crate) fn detach() -> Answered<()> {
        done(&Asked::new("images.detach"))
    }

    pub(crate) fn release(node: &str) -> Answered<()> {
        done(&Asked::new("images.release").text("node", node))
    }

    impl Image {
        pub(crate) fn size(&self) -> Answered<u64> {
            number(&Asked::new("image.size").held("image", self.0))
        }

        pub(crate) fn grow(&self, size: u64) -> Answered<u64> {
            number(&Asked::new("image.grow").held("image", self.0).number("size", size))
        }

        pub(crate) fn lease(&self, node: &str) -> Answered<()> {
            done(&Asked::new("image.lease").held("image", self.0).text("node", node))
        }

        pub(crate) fn holder(&self) -> Answered<Option<String>> {
            maybe_text(&Asked::new("image.holder").held("image", self.0))
        }

        pub(crate) fn attach(&self, how: Access) -> Answered<BlockDevice> {
            let asked = Asked::new("image.attach").held("image", self.0);
            device(&asked.text("access", access(how)))
        }
    }
}

/// Each asks, and takes the answer for what the recording was checked to have there.
macro_rules! answers {
    ($($name:ident: $type:ty = $answer:pat => $value:expr;)+) => { $(
        fn $name(asked: &Asked<'_>) -> Answered<$type> {
            match ask(asked)? {
                $answer => Ok($value),
                other => unreachable!("{} is answered {other:?}", asked.function),
            }
        }
    )+ };
}

answers! {
    done: () = Answer::Done => ();
    flag: bool = Answer::Flag(flag) => flag;
    number: u64 = Answer::Number(number) => number;
    maybe_text: Option<String> = Answer::Text(text) => text;
    maybe_bytes: Option<Vec<u8>> = Answer::Bytes(bytes) => bytes;
    handle: Number = Answer::Handle(held) => held.number;
    device: devices::BlockDevice = Answer::Device(Some(held)) => held.into();
    maybe_device: Option<devices::BlockDevice> = Answer::Device(held) => held.map(Into::into);
}

impl From<wasmount_recording::Held> for devices::BlockDevice {
    fn from(held: wasmount_recording::Held) -> Self {
        Self { number: held.number, identity: held.name }
    }
}

fn access(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
    }
}
