//! How the driver is linked beyond what every static program is.

fn main() {
    // The relocations of a static position-independent program are read and applied on every call:
    // packed they are a hundredth of the size. GNU ld 2.38 and glibc 2.36 are the first to do so.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo:rerun-if-changed=build.rs");
}
