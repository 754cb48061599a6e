//! Components to test the guest process with, written in the text format, since what matters is
//! what no honest toolchain emits.

use std::collections::BTreeMap;

use wasmount_core::call::{Access, Operation};
use wasmount_core::wire::{Start, VolumeFacts};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{PackageId, Resolve, SourceMap};

/// Everything that a component of these tests may call. What it does not call is not imported.
const IMPORTS: &str = r#"
  (import "wasmount:driver/volumes@0.1.0" "[resource-drop]volume" (func $drop-volume (param i32)))
  (import "wasmount:driver/volumes@0.1.0" "[resource-drop]volume-record"
    (func $drop-record (param i32)))
  (import "wasmount:driver/volumes@0.1.0" "[method]volume.option"
    (func $option (param i32 i32 i32 i32)))
  (import "wasmount:driver/target@0.1.0" "[resource-drop]mount-target"
    (func $drop-target (param i32)))
  (import "wasmount:driver/target@0.1.0" "[method]mount-target.is-mounted"
    (func $is-mounted (param i32 i32)))
  (import "wasmount:driver/log@0.1.0" "write" (func $log (param i32 i32 i32)))
  (import "wasmount:driver/state@0.1.0" "put" (func $put (param i32 i32 i32 i32 i32)))
  (import "wasmount:driver/random@0.1.0" "bytes" (func $random (param i32 i32)))
  (import "wasmount:driver/secrets@0.1.0" "open" (func $open (param i32 i32 i32)))
  (import "wasmount:driver/images@0.1.0" "attached" (func $attached (param i32)))
  (import "wasmount:driver/devices@0.1.0" "[method]block-device.size"
    (func $size (param i32 i32)))
  (import "wasmount:driver/devices@0.1.0" "[method]block-device.identity"
    (func $identity (param i32 i32)))
  (import "wasmount:driver/devices@0.1.0" "[resource-drop]block-device"
    (func $drop-device (param i32)))
"#;

/// A component that exports `volume`. `body` is what `mount` does before it succeeds; it may use
/// `$volume`, `$target` and `$n`. The text "key" is at 512.
pub(crate) fn volume(body: &str) -> Vec<u8> {
    volume_with_memory(2, body)
}

pub(crate) fn volume_with_memory(pages: u32, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {IMPORTS}
          (memory (export "memory") {pages})
          (data (i32.const 512) "key")
          (global $heap (mut i32) (i32.const 65536))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            global.get $heap
            (global.set $heap (i32.add (global.get $heap) (i32.and
              (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))
          (func $deeper (call $deeper))
          (func $mount (export "wasmount:driver/volume@0.1.0#mount")
            (param $volume i32) (param $target i32) (result i32)
            (local $n i32)
            {body}
            (call $drop-volume (local.get $volume))
            (call $drop-target (local.get $target))
            i32.const 0)
          (func (export "wasmount:driver/volume@0.1.0#unmount")
            (param i32 i32 i32 i32 i32) (result i32)
            (if (local.get 2) (then (call $drop-record (local.get 3))))
            (call $drop-target (local.get 4))
            i32.const 0))"#
    );
    let mut module = wat::parse_str(text).unwrap();
    let (resolve, package) = wit(|text| text);
    for world in ["capabilities", "exports-volume"] {
        let world = resolve.select_world(&[package], Some(world)).unwrap();
        let utf8 = StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut module, &resolve, world, utf8, false).unwrap();
    }
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

/// `wit/`, each file altered by `change`.
pub(crate) fn wit(change: impl Fn(String) -> String) -> (Resolve, PackageId) {
    let mut map = SourceMap::new();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).unwrap() {
        let path = file.unwrap().path();
        let text = change(std::fs::read_to_string(&path).unwrap());
        map.push_str(path.to_str().unwrap(), &text);
    }
    let mut resolve = Resolve::default();
    let package = resolve.push_group(map.parse().unwrap()).unwrap();
    (resolve, package)
}

pub(crate) fn start() -> Start {
    let options = [("key", "value"), ("other", "")];
    Start {
        operation: Operation::Mount,
        name: "pv-1".to_owned(),
        volume: Some(VolumeFacts {
            options: options.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            fs_type: None,
            access: Access::ReadWrite,
            fs_group: None,
            pod: Default::default(),
        }),
        attachment: None,
        node: None,
        sizes: None,
        node_name: "node-1".to_owned(),
        config: BTreeMap::new(),
        secret_keys: Vec::new(),
        memory_bytes: 16 << 20,
        cpu_seconds: 10,
    }
}
