//! `target`: this call's directory. There is one, so its number says nothing.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::{Answer, Imports, handle};
use crate::guest::bindings::imported::mounts::PendingMount;
use crate::guest::bindings::imported::target::{Host, HostMountTarget, MountTarget};
use crate::wire::Request;

impl Host for Imports {}

impl HostMountTarget for Imports {
    fn is_mounted(&mut self, _: Resource<MountTarget>) -> Answer<bool> {
        self.flag(Request::TargetIsMounted)
    }

    fn attach(&mut self, _: Resource<MountTarget>, pending: Resource<PendingMount>) -> Answer<()> {
        // The handle is spent whatever the answer is, so it is not reported as dropped.
        self.done(Request::TargetAttach { pending: handle(&pending) })
    }

    fn unmount(&mut self, _: Resource<MountTarget>) -> Answer<()> {
        self.done(Request::TargetUnmount)
    }

    fn drop(&mut self, _: Resource<MountTarget>) -> Result<()> {
        Ok(())
    }
}
