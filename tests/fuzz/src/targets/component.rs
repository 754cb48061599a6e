//! A component of a vendor's, as `wasmount inspect` and `wasmount install` look at it.
//!
//! What passes can be a driver: it exports what one has to, and nothing else.

use wasmount_pack::{Interface, Manifest, inspect, pack};
use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use crate::{Target, root};

pub(super) const TARGET: Target = Target { name: "component", holds, seeds };

fn holds(data: &[u8]) {
    let Ok(found) = inspect(data) else { return };
    let has = |interface| found.exports.contains(&interface);
    assert!(has(Interface::Volume) || has(Interface::Device));
    assert!(has(Interface::Device) || !has(Interface::Attacher));
    for import in &found.imports {
        let shown = import.to_string();
        assert!(shown.starts_with("wasmount:driver/"), "{shown}");
        // It is shown on a terminal.
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
    for foreign in &found.foreign {
        assert!(!foreign.chars().any(char::is_control), "{foreign:?}");
    }
    let (unused, unexplained) = (found.unused(), found.unexplained());
    assert!(unused.intersection(&unexplained).next().is_none());
}

/// Components that have what a world has and do nothing.
fn seeds() -> Vec<Vec<u8>> {
    let manifest = "name = \"test\"\nversion = \"1\"\ndescription = \"d\"\n\
                    [[asks]]\ncapability = \"state\"\nreason = \"r\"\n";
    let manifest = Manifest::parse(manifest).expect("a manifest");
    let component = |world: &str| {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_path(root().join("wit")).expect("WIT");
        let world = resolve.select_world(&[package], Some(world)).expect("a world");
        let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
            .expect("the world is the module's");
        pack(&module, &manifest).expect("a component")
    };
    ["exports-volume", "exports-device", "driver", "capabilities"].map(component).into()
}
