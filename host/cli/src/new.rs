//! `wasmount new`: a crate to write a driver in, with a driver in it that works and its tests. What it
//! writes is `examples/hello` under another name, which is built and tested with the rest of this
//! tree; only what belongs to a crate of its own is a template.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use wasmount_pack::manifest::Name;

use crate::arguments;
use crate::output::Output;

/// What a driver is written with.
const SDK: &str = "wasmount-guest-sdk";

/// The files, with `{name}` and `{sdk}` where these go.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("new/Cargo.toml.in")),
    ("README.md", include_str!("new/README.md.in")),
    (".gitignore", include_str!("new/gitignore.in")),
    ("src/lib.rs", include_str!("../../../examples/hello/src/lib.rs")),
    ("wasmount.toml", include_str!("../../../examples/hello/wasmount.toml")),
    ("grants.toml", include_str!("../../../examples/hello/grants.toml")),
    ("tests/calls.toml", include_str!("../../../examples/hello/tests/calls.toml")),
];

/// The line of wasmount.toml that has the example's name.
const NAMED: &str = "name = \"hello\"\n";

/// What rustc knows by another meaning, and cargo therefore takes for no crate's name.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Why a driver's name cannot be a crate's, if so.
pub fn refusal(name: &Name) -> Option<&'static str> {
    let name = name.as_str();
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        Some("the name of a crate does not begin with a digit")
    } else if RESERVED.contains(&name) {
        Some("that word means something else in Rust, and cannot be the name of a crate")
    } else if name == SDK {
        Some("that is the crate which a driver is written with")
    } else {
        None
    }
}

/// As much of a Cargo.toml as tells the SDK.
#[derive(Deserialize)]
struct Cargo {
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

/// Makes the crate in a directory of its name.
pub fn run(arguments: &arguments::New, output: &mut Output<'_>) -> Result<()> {
    let name = arguments.name.as_str();
    let sdk = sdk(&arguments.sdk)?;
    let directory = Path::new(name);
    match fs::create_dir(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{name} is there already; choose another name, or another directory to be in")
        }
        result => result.with_context(|| format!("making the directory {name}"))?,
    }
    for (file, template) in FILES {
        let text = template
            .replace(NAMED, &format!("name = \"{name}\"\n"))
            .replace("{name}", name)
            .replace("{sdk}", &sdk);
        write(&directory.join(file), &text)?;
    }
    output.text(&format!(
        "{name}: a crate with a driver in it, and its tests\nnext: (cd {name} && cargo test), then \
         wasmount build {name} -o {name}.wasm"
    ))
}

/// Where the SDK is, from the new directory, as the text of a TOML string.
fn sdk(given: &Path) -> Result<String> {
    let file = given.join("Cargo.toml");
    let found = fs::read_to_string(&file).ok();
    let found = found.and_then(|text| toml::from_str::<Cargo>(&text).ok());
    ensure!(
        found.is_some_and(|cargo| cargo.package.name == SDK),
        "{} is not the Cargo.toml of {SDK}; --sdk names the directory `guest-sdk` of a clone of \
         wasmount",
        file.display()
    );
    // The new directory lies in this one. An absolute path stays as it is.
    let path: PathBuf = Path::new("..").join(given).components().collect();
    let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    ensure!(
        !path.contains(|c: char| c == '"' || c == '\\' || c.is_control()),
        "{path:?} cannot stand in a Cargo.toml as it is; name another way there with --sdk"
    );
    Ok(path.to_owned())
}

fn write(path: &Path, text: &str) -> Result<()> {
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_named_once_where_it_has_to_be() {
        let (_, text) = FILES.iter().find(|(name, _)| *name == "wasmount.toml").expect("there");
        assert_eq!(text.matches(NAMED).count(), 1);
        for (name, text) in FILES {
            let named = text.replace(NAMED, "").replace("\"hello", "").replace("says hello", "");
            assert!(!named.contains("hello"), "{name} speaks of `hello`");
            assert!(!text.contains("examples/"), "{name} speaks of this tree");
        }
    }
}
