//! Components made of WIT text, without a compiler, and what is read from them.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use super::*;
use crate::component::pack;

const MANIFEST: &str = "name = \"test\"\nversion = \"1\"\ndescription = \"d\"\n\
    [[asks]]\ncapability = \"images.create\"\nreason = \"r\"\n\
    [[asks]]\ncapability = \"state\"\nreason = \"r\"\n";

fn manifest() -> Manifest {
    Manifest::parse(MANIFEST).expect("valid")
}

/// A module that imports and exports all that a world has.
fn module(items: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).expect("well formed");
    let foreign = "package other:thing@0.2.0;\n\
        interface res { resource r; }\n\
        interface api { resource r { constructor(); go: func(); } call: func(); }";
    resolve.push_str("other.wit", foreign).expect("well formed");
    let text = format!("package test:test;\nworld test {{ {items} }}");
    let package = resolve.push_str("test.wit", &text).expect("well formed");
    let world = resolve.packages[package].worlds["test"];
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .expect("the world is the module's");
    module
}

fn component(items: &str) -> Vec<u8> {
    component_of(items, &manifest())
}

/// A component that imports and exports all that a world has.
pub(crate) fn component_of(items: &str, manifest: &Manifest) -> Vec<u8> {
    pack(&module(items), manifest).expect("a dummy module is encodable")
}

pub(crate) const VOLUME: &str = "export wasmount:driver/volume@0.1.0;";
const DEVICE: &str = "export wasmount:driver/device@0.1.0;";
const ATTACHER: &str = "export wasmount:driver/attacher@0.1.0;";

#[test]
fn exports_and_imports_are_read_function_by_function() {
    let bytes = component(&format!(
        "{VOLUME}{DEVICE}{ATTACHER}
         import wasmount:driver/images@0.1.0; import wasmount:driver/log@0.1.0;"
    ));
    let inspection = inspect(&bytes).expect("a driver");
    assert_eq!(inspection.manifest, manifest());
    let expected = [Interface::Volume, Interface::Device, Interface::Attacher];
    assert!(inspection.exports.iter().copied().eq(expected), "{:?}", inspection.exports);
    let shown: BTreeSet<_> = inspection.imports.iter().map(Import::to_string).collect();
    for name in ["images#create", "images#image.grow", "log#write", "target#mount-target.attach"] {
        assert!(shown.contains(&format!("wasmount:driver/{name}")), "{name} in {shown:?}");
    }
    assert!(inspection.foreign.is_empty(), "{:?}", inspection.foreign);
    // A dummy imports all of the interfaces that another one names.
    let unexplained = [Capability::Devices, Capability::Images, Capability::ImagesGrow];
    assert!(inspection.unexplained().into_iter().eq(unexplained));
    assert!(inspection.unused().into_iter().eq([Capability::State]));
}

#[test]
fn what_is_not_the_hosts_is_foreign() {
    let bytes = component(&format!(
        "{VOLUME} import other:thing/api@0.2.0; import lone: func(); import other:thing/res@0.2.0;"
    ));
    let foreign = inspect(&bytes).expect("readable all the same").foreign;
    let expected = [
        "lone",
        "other:thing/api@0.2.0#call",
        "other:thing/api@0.2.0#r.constructor",
        "other:thing/api@0.2.0#r.go",
        "other:thing/res@0.2.0",
    ];
    assert!(foreign.iter().eq(expected), "{foreign:?}");
}

#[test]
fn what_cannot_be_a_driver_is_refused_with_the_reason() {
    let unmarked = ComponentEncoder::default()
        .module(&module(VOLUME))
        .and_then(|encoder| encoder.encode())
        .expect("encodable");
    let mut twice = component(VOLUME);
    let section = unmarked.len();
    twice.extend_from_within(section..);
    let table: [(Vec<u8>, &str); 11] = [
        (Vec::new(), "not a WebAssembly component; `wasmount build` makes one"),
        (b"\x7fELF".to_vec(), "not a WebAssembly component; `wasmount build` makes one"),
        (module(VOLUME), "a core module and not a component"),
        (unmarked, "no section wasmount:manifest"),
        (twice, "more than one section wasmount:manifest"),
        (component(""), "neither volume nor device"),
        (component("export wasmount:driver/expander@0.1.0;"), "neither volume nor device"),
        (component(&format!("{VOLUME}{ATTACHER}")), "attacher without device"),
        (component(&format!("{VOLUME} export run: func();")), "it exports `run`"),
        (
            component(&format!("{VOLUME} export other:thing/api@0.2.0;")),
            "it exports `other:thing/api@0.2.0`",
        ),
        (component(VOLUME)[..600].to_vec(), "not a valid component"),
    ];
    for (bytes, expected) in table {
        let error = inspect(&bytes).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
    assert!(inspect(&vec![0; MAX_COMPONENT + 1]).is_err());
}

#[test]
fn only_compatible_versions_are_the_hosts() {
    let table = [
        ("wasmount:driver/images@0.1.0", Some("images")),
        ("wasmount:driver/images@0.1.12", Some("images")),
        ("wasmount:driver/images@0.1.0-rc1", None),
        ("wasmount:driver/images@0.1.", None),
        ("wasmount:driver/images@0.2.0", None),
        ("wasmount:driver/images@0.10.0", None),
        ("wasmount:driver/images", None),
        ("wasmount:drivers/images@0.1.0", None),
    ];
    for (name, expected) in table {
        assert_eq!(own(name), expected, "{name}");
    }
}

/// Bytes changed at random, but by the same sequence each time (a 64-bit linear congruence with
/// Knuth's constants): each either reads or is refused, and nothing panics.
#[test]
fn changed_bytes_never_panic() {
    let whole = component(&format!("{VOLUME}{DEVICE} import wasmount:driver/images@0.1.0;"));
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    for _ in 0..2_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = u8::try_from(random(256)).expect("a byte"),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(8)),
            }
        }
        let _ = inspect(&bytes);
    }
}

/// Who read the component may have been taken over by it.
#[test]
fn what_others_say_of_a_component_is_not_believed() {
    let said = |imports: &str, foreign: &str| {
        let manifest = r#"{"name": "a", "version": "1", "description": "d", "asks": []}"#;
        let text = format!(
            r#"{{"manifest": {manifest}, "exports": ["volume"], "imports": [{imports}], "foreign": [{foreign}]}}"#
        );
        serde_json::from_str::<Inspection>(&text).map_err(|error| error.to_string())
    };
    let free = r#"{"interface": "images", "function": "create", "capability": null}"#;
    let read = said(free, r#""a\u001b[2Jb""#).expect("plausible");
    let needs: Vec<_> = read.imports.iter().map(|import| import.capability).collect();
    assert_eq!(needs, [Some(Capability::ImagesCreate)]);
    assert_eq!(read.foreign.first().map(String::as_str), Some("a\u{fffd}[2Jb"));
    let unknown = said(r#"{"interface": "images", "function": "burn"}"#, "");
    assert!(unknown.is_err_and(|error| error.contains("none of wasmount's")));
}
