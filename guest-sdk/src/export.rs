//! The macro that makes a driver's traits a component's exports. The traits themselves and what
//! calls them are elsewhere.

/// Implements traits of this crate and exports them from the component.
///
/// The `impl` blocks stand inside, so that none can be written and then left out of the
/// exports. The traits need no `use`: they are [`Volume`](crate::Volume),
/// [`Device`](crate::Device), [`Attacher`](crate::Attacher) and
/// [`Expander`](crate::Expander). A driver exports at least `Volume` or `Device`, and
/// `Attacher` only together with `Device`; `wasmount build` refuses anything else.
///
/// Call it once in a crate. Natively it only implements the traits.
#[macro_export]
macro_rules! export {
    ($($(#[$attribute:meta])* impl $interface:ident for $driver:ident { $($body:tt)* })+) => { $(
        $(#[$attribute])*
        impl $crate::$interface for $driver { $($body)* }
        // Natively nothing else names the driver, and the compiler would call it unused.
        const _: () = {
            const fn exported<T: $crate::$interface>() {}
            exported::<$driver>()
        };
        $crate::__export_one!($interface $driver);
    )+ };
}

/// Exports one trait that `export!` has just implemented.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_one {
    (Volume $driver:ident) => { $crate::__export_raw!(volume $driver); };
    (Device $driver:ident) => { $crate::__export_raw!(device $driver); };
    (Attacher $driver:ident) => { $crate::__export_raw!(attacher $driver); };
    (Expander $driver:ident) => { $crate::__export_raw!(expander $driver); };
    ($other:ident $driver:ident) => {
        ::core::compile_error!("a driver exports Volume, Device, Attacher and Expander");
    };
}

/// The exported symbols. Their names hold a `:`, which a native linker's version script takes
/// amiss; so there are none natively.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_raw {
    ($module:ident $driver:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::__export::$module::export_component!($driver with_types_in $crate::__export::$module);
    };
}
