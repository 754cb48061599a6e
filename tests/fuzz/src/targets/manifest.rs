//! `wasmount.toml`. What is read is written as what reads the same, and shows as it is.

use std::fs;

use wasmount_pack::Manifest;

use crate::{Target, root};

pub(super) const TARGET: Target = Target { name: "manifest", holds, seeds };

fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Manifest::parse(text) {
        Ok(manifest) => {
            let json = serde_json::to_string(&manifest).expect("it is plain data");
            assert_eq!(serde_json::from_str::<Manifest>(&json).ok(), Some(manifest), "{json}");
        }
        Err(error) => assert!(!error.to_string().contains('\0')),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let crates = ["plugins/loop-image", "plugins/secret-files", "examples/hello"];
    let read = |name| fs::read(root().join(name).join("wasmount.toml")).expect("a manifest");
    crates.into_iter().map(read).collect()
}
