//! A core module and a manifest become a component. What the result asks for is
//! [`inspect`](crate::inspect())'s to say.

use wasm_encoder::{ComponentSection, CustomSection, Encode};
use wit_component::ComponentEncoder;

use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// The custom section that holds the manifest, as JSON, at the top level of the component: what
/// lies in the modules inside is not the vendor's statement, since any of its libraries can put sections there.
pub(crate) const MANIFEST_SECTION: &str = "wasmount:manifest";

/// Makes a component of a core module that was built against `wasmount-guest-sdk`, with the
/// manifest in it.
pub fn pack(module: &[u8], manifest: &Manifest) -> Result<Vec<u8>> {
    let mut component = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| Error::new(format!("the module cannot be made a component: {error:#}")))?;
    let section =
        CustomSection { name: MANIFEST_SECTION.into(), data: manifest.to_section().into() };
    // A section is its number, and what `encode` writes: its length and its contents.
    component.push(section.id());
    section.encode(&mut component);
    Ok(component)
}
