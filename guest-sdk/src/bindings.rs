//! What wit-bindgen makes of `wit/`. Nothing of it but two plain enumerations is named outside
//! this crate: the other modules say one by one what a vendor sees. There is no logic here.

/// Everything a driver can import.
pub(crate) mod capabilities {
    wit_bindgen::generate!({
        path: "../wit",
        world: "capabilities",
        generate_unused_types: true,
    });
}

/// One module for each world with one exported interface. They share the types of
/// `capabilities`, so that a driver exporting several meets one type of each kind. Each puts a section
/// that describes its world into the component only where its macro is called. Natively nothing is
/// exported.
#[cfg(target_arch = "wasm32")]
macro_rules! exports {
    ($($module:ident = $world:literal { $($interface:literal: $shared:ident),+ $(,)? })+) => { $(
        #[expect(missing_docs, reason = "generated from wit/, which documents it")]
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit",
                world: $world,
                pub_export_macro: true,
                export_macro_name: "export_component",
                with: {
                    $($interface: crate::bindings::capabilities::wasmount::driver::$shared,)+
                },
            });
        }
    )+ };
}

#[cfg(target_arch = "wasm32")]
exports! {
    volume = "exports-volume" {
        "wasmount:driver/types@0.1.0": types,
        "wasmount:driver/volumes@0.1.0": volumes,
        "wasmount:driver/mounts@0.1.0": mounts,
        "wasmount:driver/target@0.1.0": target,
    }
    device = "exports-device" {
        "wasmount:driver/types@0.1.0": types,
        "wasmount:driver/volumes@0.1.0": volumes,
        "wasmount:driver/mounts@0.1.0": mounts,
        "wasmount:driver/target@0.1.0": target,
    }
    attacher = "exports-attacher" {
        "wasmount:driver/types@0.1.0": types,
        "wasmount:driver/volumes@0.1.0": volumes,
    }
    expander = "exports-expander" {
        "wasmount:driver/types@0.1.0": types,
        "wasmount:driver/volumes@0.1.0": volumes,
        "wasmount:driver/mounts@0.1.0": mounts,
        "wasmount:driver/target@0.1.0": target,
    }
}
