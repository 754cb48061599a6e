//! `mounts` and the `mounts-…` interfaces: mounts that are not attached yet, which the broker
//! holds.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::{Answer, Imports, bounded, handle};
use crate::guest::bindings::imported::devices::BlockDevice;
use crate::guest::bindings::imported::mounts::{self, HostPendingMount, PendingMount};
use crate::guest::bindings::imported::secrets::Secret;
use crate::guest::bindings::imported::types::Access;
use crate::guest::bindings::imported::{mounts_bind, mounts_block, mounts_tmpfs};
use crate::wire::Request;

impl mounts::Host for Imports {}

impl HostPendingMount for Imports {
    fn drop(&mut self, pending: Resource<PendingMount>) -> Result<()> {
        self.dropped(&pending)
    }
}

impl mounts_block::Host for Imports {
    fn mount(
        &mut self,
        device: Resource<BlockDevice>,
        fs_type: String,
        access: Access,
        options: Vec<String>,
    ) -> Answer<Resource<PendingMount>> {
        let (device, access) = (handle(&device), access.into());
        self.handle(Request::MountsBlock { device, fs_type, access, options })
    }
}

impl mounts_bind::Host for Imports {
    fn staged(&mut self, access: Access) -> Answer<Resource<PendingMount>> {
        self.handle(Request::MountsBind { access: access.into() })
    }
}

impl mounts_tmpfs::Host for Imports {
    fn create(
        &mut self,
        size: u64,
        mode: u32,
        group: Option<u32>,
    ) -> Answer<Resource<PendingMount>> {
        self.handle(Request::TmpfsCreate { size, mode, group })
    }

    fn write_file(
        &mut self,
        pending: Resource<PendingMount>,
        name: String,
        contents: Vec<u8>,
        mode: u32,
    ) -> Answer<()> {
        let (pending, contents) = (handle(&pending), bounded(contents)?);
        self.done(Request::TmpfsWriteFile { pending, name, contents, mode })
    }

    fn write_secret(
        &mut self,
        pending: Resource<PendingMount>,
        name: String,
        value: Resource<Secret>,
        mode: u32,
    ) -> Answer<()> {
        let (pending, secret) = (handle(&pending), handle(&value));
        self.done(Request::TmpfsWriteSecret { pending, name, secret, mode })
    }

    fn seal(&mut self, pending: Resource<PendingMount>) -> Answer<()> {
        self.done(Request::TmpfsSeal { pending: handle(&pending) })
    }
}
