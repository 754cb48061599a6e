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
/// Call it once in a crate. Natively nothing is exported, and the driver is what `testing::play`
/// takes.
#[macro_export]
macro_rules! export {
    ($($(#[$attribute:meta])* impl $interface:ident for $driver:ident { $($body:tt)* })+) => {
        $(
            $(#[$attribute])*
            impl $crate::$interface for $driver { $($body)* }
            $crate::__export_one!($interface $driver);
        )+
        $crate::__export_natively!($($interface $driver)+);
    };
}

/// Exports one trait that `export!` has just implemented. The symbols' names hold a `:`, which a
/// native linker's version script takes amiss; so there are none natively.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_one {
    ($interface:ident $driver:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::__interface!($interface export_raw $driver);
    };
}

/// What tests call instead.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_natively {
    ($first:ident $driver:ident $($interface:ident $other:ident)*) => {
        #[cfg(not(target_arch = "wasm32"))]
        impl $crate::testing::Driver for $driver {
            const EXPORTS: &'static [$crate::testing::Export] = &[
                $crate::__interface!($first native $driver),
                $($crate::__interface!($interface native $other)),*
            ];
        }
        // Outside of tests nothing else names the driver, and the compiler would call it unused.
        #[cfg(not(target_arch = "wasm32"))]
        const _: &[$crate::testing::Export] = <$driver as $crate::testing::Driver>::EXPORTS;
    };
}

/// The module that belongs to an interface.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface {
    (Volume $to:ident $driver:ident) => {
        $crate::__to! { $to volume $driver }
    };
    (Device $to:ident $driver:ident) => {
        $crate::__to! { $to device $driver }
    };
    (Attacher $to:ident $driver:ident) => {
        $crate::__to! { $to attacher $driver }
    };
    (Expander $to:ident $driver:ident) => {
        $crate::__to! { $to expander $driver }
    };
    ($other:ident $to:ident $driver:ident) => {
        ::core::compile_error! { "a driver exports Volume, Device, Attacher and Expander" }
    };
}

/// What is made of it: exported symbols, or the function that a test calls.
#[doc(hidden)]
#[macro_export]
macro_rules! __to {
    (export_raw $module:ident $driver:ident) => {
        $crate::__export::$module::export_component!($driver with_types_in $crate::__export::$module);
    };
    (native $module:ident $driver:ident) => { $crate::testing::$module::<$driver> };
}
