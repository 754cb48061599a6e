//! libFuzzer's program: it tries the target that `WASMOUNT_FUZZ_TARGET` names, and puts what is known
//! of it into the directory `WASMOUNT_FUZZ_SEEDS` first.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use wasmount_fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("WASMOUNT_FUZZ_TARGET").expect("WASMOUNT_FUZZ_TARGET");
    Target::named(&name).expect("a target of that name")
});

fuzz_target!(
    init: {
        if let Some(directory) = std::env::var_os("WASMOUNT_FUZZ_SEEDS") {
            for (number, (_, bytes)) in TARGET.inputs().iter().enumerate() {
                let path = std::path::Path::new(&directory).join(number.to_string());
                std::fs::write(path, bytes).expect("the directory is there");
            }
        }
    },
    |data: &[u8]| { (TARGET.holds)(data); }
);
