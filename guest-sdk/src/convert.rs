//! The traits as the host calls them: what wit-bindgen hands over is wrapped, an error is
//! unwrapped, and panics are made to show first. No decision is made here.

use crate::bindings::capabilities::wasmount::driver::{target, types, volumes};
use crate::bindings::{attacher, device, expander, volume};
use crate::panic::enter;
use crate::{Attacher, Device, Expander, MountTarget, Result, Volume, VolumeRecord, VolumeSpec};

type Raw<T = ()> = std::result::Result<T, types::Error>;

impl<T: Volume> volume::exports::wasmount::driver::volume::Guest for T {
    fn mount(volume: &volumes::Volume, target: &target::MountTarget) -> Raw {
        enter();
        raw(T::mount(&VolumeSpec(volume), &MountTarget(target)))
    }

    fn unmount(
        name: String,
        previous: Option<&volumes::VolumeRecord>,
        target: &target::MountTarget,
    ) -> Raw {
        enter();
        raw(T::unmount(&name, previous.map(VolumeRecord).as_ref(), &MountTarget(target)))
    }
}

impl<T: Device> device::exports::wasmount::driver::device::Guest for T {
    fn mount_device(
        volume: &volumes::Volume,
        attachment: Option<String>,
        target: &target::MountTarget,
    ) -> Raw {
        enter();
        raw(T::mount_device(&VolumeSpec(volume), attachment.as_deref(), &MountTarget(target)))
    }

    fn unmount_device(
        name: String,
        previous: Option<&volumes::VolumeRecord>,
        target: &target::MountTarget,
    ) -> Raw {
        enter();
        raw(T::unmount_device(&name, previous.map(VolumeRecord).as_ref(), &MountTarget(target)))
    }
}

impl<T: Attacher> attacher::exports::wasmount::driver::attacher::Guest for T {
    fn attach(volume: &volumes::Volume, node: String) -> Raw<String> {
        enter();
        raw(T::attach(&VolumeSpec(volume), &node))
    }

    fn detach(name: String, previous: Option<&volumes::VolumeRecord>, node: String) -> Raw {
        enter();
        raw(T::detach(&name, previous.map(VolumeRecord).as_ref(), &node))
    }

    fn wait_for_attach(volume: &volumes::Volume, attachment: Option<String>) -> Raw<String> {
        enter();
        raw(T::wait_for_attach(&VolumeSpec(volume), attachment.as_deref()))
    }

    fn is_attached(volume: &volumes::Volume, node: String) -> Raw<bool> {
        enter();
        raw(T::is_attached(&VolumeSpec(volume), &node))
    }
}

impl<T: Expander> expander::exports::wasmount::driver::expander::Guest for T {
    fn expand_volume(volume: &volumes::Volume, new_size: u64, old_size: u64) -> Raw<u64> {
        enter();
        raw(T::expand_volume(&VolumeSpec(volume), new_size, old_size))
    }

    fn expand_fs(
        volume: &volumes::Volume,
        target: &target::MountTarget,
        new_size: u64,
        old_size: u64,
    ) -> Raw {
        enter();
        raw(T::expand_fs(&VolumeSpec(volume), &MountTarget(target), new_size, old_size))
    }
}

fn raw<T>(result: Result<T>) -> Raw<T> {
    result.map_err(types::Error::from)
}
