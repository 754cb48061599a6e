//! Whether a component fits this host: told by its types, when it is installed.
//!
//! What is imported is compared when it is linked. What is exported would be compared when an
//! instance is loaded, which is too late, since an instance runs the component's start code and
//! the first one is made when a volume is mounted. But the types are known without running
//! anything, so they are compared here, by the very comparison that loading makes.
//! What the component asks for is not judged: that is for who writes the grants.

use wasmtime::component::types::{self, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ComponentNamedList, Lift, Linker, Lower, Resource};
use wasmtime::{Engine, Result, bail, format_err};

use super::bindings::imported::target::MountTarget;
use super::bindings::imported::types::Error;
use super::bindings::imported::volumes::{Volume, VolumeRecord};
use super::imports::Imports;

/// Checks what a component exports of ours: that it is enough for a driver, and its types.
pub(super) fn check(linker: &Linker<Imports>, component: &Component) -> Result<()> {
    // The linker tells which resources in the signatures are the host's.
    let ty = linker.substituted_component_type(component)?;
    let mut exported = Vec::new();
    for (name, export) in ty.exports(component.engine()) {
        let Some((interface, _)) = ours(name) else { continue };
        if let ComponentItem::ComponentInstance(instance) = &export.ty {
            let check = Check { engine: component.engine(), ty: &ty, instance };
            check.interface(interface).map_err(|error| error.context(format!("`{name}`")))?;
            exported.push(interface);
        }
    }
    if !exported.contains(&"volume") && !exported.contains(&"device") {
        bail!("it exports neither `volume` nor `device` of wasmount:driver@0.1.0");
    }
    if exported.contains(&"attacher") && !exported.contains(&"device") {
        bail!("it exports `attacher` without `device`, so nothing could use what is attached");
    }
    Ok(())
}

/// The interface and the version, if the name is one of our package's in a compatible version.
fn ours(name: &str) -> Option<(&str, &str)> {
    let (interface, version) = name.strip_prefix("wasmount:driver/")?.split_once('@')?;
    version.starts_with("0.1.").then_some((interface, version))
}

type Target = Resource<MountTarget>;
type Record = Option<Resource<VolumeRecord>>;
type Results<T> = (Result<T, Error>,);

struct Check<'a> {
    engine: &'a Engine,
    ty: &'a types::Component,
    instance: &'a ComponentInstance,
}

impl Check<'_> {
    /// The signatures are the WIT's; a test checks them against it.
    fn interface(&self, interface: &str) -> Result<()> {
        match interface {
            "volume" => {
                self.function::<(Resource<Volume>, Target), Results<()>>("mount")?;
                self.function::<(&str, Record, Target), Results<()>>("unmount")
            }
            "device" => {
                self.function::<(Resource<Volume>, Option<&str>, Target), Results<()>>(
                    "mount-device",
                )?;
                self.function::<(&str, Record, Target), Results<()>>("unmount-device")
            }
            "attacher" => {
                self.function::<(Resource<Volume>, &str), Results<String>>("attach")?;
                self.function::<(&str, Record, &str), Results<()>>("detach")?;
                self.function::<(Resource<Volume>, Option<&str>), Results<String>>(
                    "wait-for-attach",
                )?;
                self.function::<(Resource<Volume>, &str), Results<bool>>("is-attached")
            }
            "expander" => {
                self.function::<(Resource<Volume>, u64, u64), Results<u64>>("expand-volume")?;
                self.function::<(Resource<Volume>, Target, u64, u64), Results<()>>("expand-fs")
            }
            // Of a later 0.1: a host that does not know it does not call it.
            _ => Ok(()),
        }
    }

    fn function<Params, Return>(&self, name: &str) -> Result<()>
    where
        Params: ComponentNamedList + Lower,
        Return: ComponentNamedList + Lift,
    {
        let Some(export) = self.instance.get_export(self.engine, name) else {
            bail!("the function `{name}` is missing");
        };
        let ComponentItem::ComponentFunc(function) = export.ty else {
            bail!("`{name}` is no function");
        };
        if function.async_() {
            bail!("the function `{name}` is async");
        }
        // `typecheck` is left out of wasmtime's documentation; it is what `load` calls, and
        // wasmtime is pinned to one version.
        function
            .typecheck::<Params, Return>(&self.ty.instance_type())
            .map_err(|error| format_err!("the function `{name}` is of another type: {error:#}"))
    }
}
