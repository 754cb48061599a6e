//! `devices`: block devices, which the broker holds.

use wasmtime::component::Resource;
use wasmtime::{Result, bail};

use super::{Answer, Imports, handle};
use crate::guest::bindings::imported::devices::{BlockDevice, Host, HostBlockDevice};
use crate::wire::{Handle, Request, Response};

impl Imports {
    /// Asks for something that yields a device or none, and remembers the device's identity.
    pub(super) fn device(&mut self, request: Request) -> Answer<Option<Resource<BlockDevice>>> {
        let device = self.obtain(request, |response| match response {
            Response::Device(device) => Some(device),
            _ => None,
        })?;
        Ok(device.map(|device| {
            device.map(|(Handle(number), identity)| {
                self.identities.insert(number, identity);
                Resource::new_own(number)
            })
        }))
    }

    /// Like [`device`](Self::device), where "none" is not among the answers.
    pub(super) fn some_device(&mut self, request: Request) -> Answer<Resource<BlockDevice>> {
        match self.device(request)? {
            Ok(Some(device)) => Ok(Ok(device)),
            Ok(None) => bail!("a bug in wasmount: no device and no failure"),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl Host for Imports {
    fn find(&mut self, rule: String, id: String) -> Answer<Option<Resource<BlockDevice>>> {
        self.device(Request::DevicesFind { rule, id })
    }

    fn wait(
        &mut self,
        rule: String,
        id: String,
        milliseconds: u32,
    ) -> Answer<Resource<BlockDevice>> {
        self.some_device(Request::DevicesWait { rule, id, milliseconds })
    }
}

impl HostBlockDevice for Imports {
    fn identity(&mut self, device: Resource<BlockDevice>) -> Result<String> {
        match self.identities.get(&device.rep()) {
            Some(identity) => Ok(identity.clone()),
            None => bail!("a bug in wasmount: a device without an identity"),
        }
    }

    fn size(&mut self, device: Resource<BlockDevice>) -> Answer<u64> {
        self.number(Request::DeviceSize { device: handle(&device) })
    }

    fn is_read_only(&mut self, device: Resource<BlockDevice>) -> Answer<bool> {
        self.flag(Request::DeviceIsReadOnly { device: handle(&device) })
    }

    fn probe(&mut self, device: Resource<BlockDevice>) -> Answer<Option<String>> {
        self.text(Request::DeviceProbe { device: handle(&device) })
    }

    fn drop(&mut self, device: Resource<BlockDevice>) -> Result<()> {
        self.identities.remove(&device.rep());
        self.dropped(&device)
    }
}
