//! The bills of materials that `cargo xtask dist` leaves: by the schema of CycloneDX, of the very files
//! that they lie beside, and with all that cargo says is compiled into those and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use wasmount_core::bundle::receipt::sha256_hex;
use wasmount_tests::program;

/// Package, target, and the file below `target/dist`.
const SHIPPED: [(&str, &str, &str); 5] = [
    ("wasmount", NATIVE, "wasmount"),
    ("wasmount-driver", NATIVE, "wasmount-driver"),
    ("loop-image", WASM, "plugins/loop-image.wasm"),
    ("secret-files", WASM, "plugins/secret-files.wasm"),
    ("hello", WASM, "plugins/hello.wasm"),
];
const NATIVE: &str = "native";
const WASM: &str = "wasm32-unknown-unknown";

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
    serde_json::from_slice(&fs::read(path).expect("a schema")).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

/// The document beside a shipped file, which is what was looked for.
fn beside(file: &Path) -> (String, Value) {
    let path = file.with_extension("cdx.json");
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask dist`", path.display()));
    let document = serde_json::from_str(&text).expect("JSON");
    (text, document)
}

fn shipped(file: &str) -> PathBuf {
    program("wasmount").with_file_name(file)
}

#[test]
fn they_are_what_cyclonedx_says() {
    let id = |name: &str| format!("http://cyclonedx.org/schema/{name}");
    let [spdx, jsf] = ["spdx.schema.json", "jsf-0.82.schema.json"];
    let registry = jsonschema::Registry::new()
        .add(id(spdx), schema(spdx))
        .and_then(|registry| registry.add(id(jsf), schema(jsf)))
        .and_then(|registry| registry.prepare())
        .expect("schemas");
    let validator = jsonschema::options()
        .with_registry(&registry)
        .build(&schema("cyclonedx-1.6.schema.json"))
        .expect("a schema");
    for (_, _, file) in SHIPPED {
        let (_, mut document) = beside(&shipped(file));
        let wrong: Vec<String> =
            validator.iter_errors(&document).map(|it| it.to_string()).collect();
        assert_eq!(wrong, Vec::<String>::new(), "{file}");
        // It would be told.
        document["components"][0]["type"] = "crate".into();
        assert!(!validator.is_valid(&document));
    }
}

#[test]
fn they_list_what_was_compiled_in_and_nothing_else() {
    let target = Command::new("rustc").arg("-vV").output().expect("rustc");
    let target = String::from_utf8(target.stdout).expect("UTF-8");
    let native = target.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    for (package, target, file) in SHIPPED {
        let mut tree = Command::new(env!("CARGO"));
        tree.args(["tree", "--locked", "--package", package, "--prefix", "none"]);
        tree.args(["--target", if target == NATIVE { native } else { target }]);
        tree.args(["--edges", "no-dev,no-build,no-proc-macro", "--format", "{p}"]);
        let tree = tree.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo tree");
        assert!(tree.status.success(), "{tree:?}");
        let tree = String::from_utf8(tree.stdout).expect("UTF-8");
        let mut compiled: BTreeSet<String> = tree
            .lines()
            .map(|line| {
                let mut words = line.split(' ');
                let (name, version) = (words.next().expect("a name"), words.next().expect("one"));
                format!("{name}@{}", version.trim_start_matches('v'))
            })
            .collect();
        let (_, document) = beside(&shipped(file));
        let root = text(&document["metadata"]["component"]["bom-ref"]).to_owned();
        assert!(compiled.remove(&root), "{root}");
        let toolchain = |name: &str| ["rust-std@", "glibc@"].iter().any(|it| name.starts_with(it));
        let listed: Vec<&str> =
            list(&document["components"]).iter().map(|it| text(&it["bom-ref"])).collect();
        let (own, packages): (Vec<&str>, Vec<&str>) =
            listed.iter().partition(|name| toolchain(name));
        assert_eq!(own.len(), if target == NATIVE { 2 } else { 1 }, "{file}: {own:?}");
        assert_eq!(packages.len(), compiled.len(), "{file}: each once");
        assert_eq!(packages.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), compiled);
        // What was not compiled in is no part of the graph, either, and all of the graph hangs
        // together.
        let known: BTreeSet<&str> = listed.iter().copied().chain([root.as_str()]).collect();
        let edges = list(&document["dependencies"]);
        assert_eq!(edges.iter().map(|it| text(&it["ref"])).collect::<BTreeSet<_>>(), known);
        let needed = edges.iter().flat_map(|it| list(&it["dependsOn"])).map(text);
        let needed: BTreeSet<&str> = needed.chain([root.as_str()]).collect();
        assert_eq!(needed, known, "{file}");
    }
    let (_, driver) = beside(&shipped("wasmount-driver"));
    assert!(!driver.to_string().contains("cranelift-codegen"), "the driver compiles nothing");
}

#[test]
fn they_are_of_the_files_beside_them_and_of_no_machine() {
    for (package, _, file) in SHIPPED {
        let path = shipped(file);
        let (written, document) = beside(&path);
        let about = &document["metadata"]["component"];
        assert_eq!(text(&about["name"]), package);
        let digest = sha256_hex(&fs::read(&path).expect("what is shipped"));
        assert_eq!(text(&about["hashes"][0]["content"]), digest, "{file}");
        for component in list(&document["components"]) {
            let of_registry = text(&component["purl"]).starts_with("pkg:cargo/");
            let hashed =
                component["hashes"][0]["content"].as_str().is_some_and(|it| it.len() == 64);
            assert_eq!(hashed, of_registry, "{component}");
            assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        let root = root.to_str().expect("UTF-8");
        assert!(!written.contains(root) && !written.contains("/home/"), "{file}");
        assert!(!written.contains("timestamp") && !written.contains("serialNumber"), "{file}");
    }
}
