//! The drivers of this tree, built for real: what they export, what they import, and that their
//! manifests ask for exactly what their code can reach. Where no toolchain can build them this is
//! skipped with a notice, and fails under CI.

use std::collections::BTreeSet;
use std::path::Path;

use wasmount_pack::{BuildOptions, Inspection, Interface, build, build_packages, inspect};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The most that a driver of a screenful of code may take, in bytes: it is read, hashed and
/// mapped on every call.
const MAX_SIZE: usize = 96 * 1024;

fn check(inspection: &Inspection, name: &str, exports: &[Interface], imports: &[&str]) {
    assert_eq!(inspection.manifest.name.as_str(), name);
    assert!(inspection.exports.iter().eq(exports), "{name}: {:?}", inspection.exports);
    let shown: BTreeSet<_> = inspection.imports.iter().map(ToString::to_string).collect();
    let expected: BTreeSet<_> =
        imports.iter().map(|import| format!("wasmount:driver/{import}")).collect();
    assert_eq!(shown, expected, "{name}");
    assert!(inspection.foreign.is_empty(), "{name}: {:?}", inspection.foreign);
    assert!(inspection.unexplained().is_empty(), "{name}: {:?}", inspection.unexplained());
    assert!(inspection.unused().is_empty(), "{name}: {:?}", inspection.unused());
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_drivers_of_this_tree_ask_for_what_they_use() {
    let options = BuildOptions::default();
    let components = match build_packages(Path::new(ROOT), &["hello", "loop-image"], &options) {
        Err(error) if error.to_string().contains("no Rust toolchain here") => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{error}");
            eprintln!("skipped: {error}");
            return;
        }
        result => result.expect("they build"),
    };
    for component in &components {
        assert!(component.len() <= MAX_SIZE, "{} bytes", component.len());
    }
    check(
        &inspect(&components[0]).expect("hello is a driver"),
        "hello",
        &[Interface::Volume],
        &[
            "config#get",
            "log#write",
            "mounts-tmpfs#create",
            "mounts-tmpfs#seal",
            "mounts-tmpfs#write-file",
            "target#mount-target.attach",
            "target#mount-target.unmount",
            "volumes#volume.fs-group",
            "volumes#volume.name",
        ],
    );
    check(
        &inspect(&components[1]).expect("loop-image is a driver"),
        "loop-image",
        &Interface::ALL,
        &[
            "devices#block-device.identity",
            "devices#block-device.probe",
            "filesystems#check",
            "filesystems#format",
            "filesystems#grow",
            "images#attached",
            "images#create",
            "images#detach",
            "images#image.attach",
            "images#image.grow",
            "images#image.holder",
            "images#image.lease",
            "images#open",
            "images#release",
            "log#write",
            "mounts-bind#staged",
            "mounts-block#mount",
            "target#mount-target.attach",
            "target#mount-target.unmount",
            "volumes#volume.access",
            "volumes#volume.fs-type",
            "volumes#volume.name",
            "volumes#volume.options",
        ],
    );

    // One crate by its directory gives the very same bytes.
    let hello = build(&Path::new(ROOT).join("examples/hello"), &options).expect("it builds");
    assert!(hello == components[0]);
}

#[test]
fn what_cannot_be_built_is_refused_before_the_compiler_runs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let crate_with = |crate_type: &str, manifest: &str| {
        let path = directory.path();
        std::fs::create_dir_all(path.join("src")).expect("made");
        std::fs::write(path.join("src/lib.rs"), "compile_error!(\"compiled\");").expect("written");
        let text = format!(
            "[package]\nname = \"x\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"{crate_type}\"]\n[workspace]\n"
        );
        std::fs::write(path.join("Cargo.toml"), text).expect("written");
        std::fs::write(path.join("wasmount.toml"), manifest).expect("written");
        let options = BuildOptions { profile: Some("none-such".to_owned()), target_dir: None };
        build(path, &options).expect_err("it cannot be built").to_string()
    };
    let valid = "name = \"x\"\nversion = \"1\"\ndescription = \"d\"\n";
    let table = [
        (
            "cdylib",
            "name = \"x\"\nfsgroup = true\n",
            "wasmount.toml: line 2: unknown field `fsgroup`",
        ),
        ("rlib", valid, "x: it is not a cdylib"),
        ("cdylib", valid, "cargo build failed"),
    ];
    for (crate_type, manifest, expected) in table {
        let error = crate_with(crate_type, manifest);
        let skipped = error.contains("no Rust toolchain here");
        assert!(skipped || error.contains(expected), "{error:?} lacks {expected:?}");
    }
    let error = build(&directory.path().join("src"), &BuildOptions::default())
        .expect_err("no crate")
        .to_string();
    assert!(error.contains("there is no Cargo.toml"), "{error}");
    let error = build(Path::new(ROOT), &BuildOptions::default()).expect_err("a workspace");
    let error = error.to_string();
    assert!(
        error.contains("this is a workspace") || error.contains("no Rust toolchain here"),
        "{error}"
    );
}
