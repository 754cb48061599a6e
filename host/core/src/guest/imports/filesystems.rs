//! `filesystems`: making, checking and growing them, which the broker does.

use wasmtime::component::Resource;

use super::{Answer, Imports, handle};
use crate::guest::bindings::imported::devices::BlockDevice;
use crate::guest::bindings::imported::filesystems::Host;
use crate::guest::bindings::imported::target::MountTarget;
use crate::wire::Request;

impl Host for Imports {
    fn format(
        &mut self,
        device: Resource<BlockDevice>,
        fs_type: String,
        options: Vec<(String, String)>,
    ) -> Answer<()> {
        self.done(Request::FilesystemsFormat { device: handle(&device), fs_type, options })
    }

    fn check(&mut self, device: Resource<BlockDevice>, fs_type: String) -> Answer<bool> {
        self.flag(Request::FilesystemsCheck { device: handle(&device), fs_type })
    }

    fn grow(&mut self, _: Resource<MountTarget>) -> Answer<u64> {
        self.number(Request::FilesystemsGrow)
    }
}
