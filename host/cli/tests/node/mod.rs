//! A node for tests of the program: directories of its own, a component that consists of its
//! interfaces only, and a driver program that only answers `init`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// What a component imports that remembers something.
pub(crate) const STATE: &str = "import wasmount:driver/state@0.1.0;";

/// A driver that answers `init`.
const DRIVER: &str =
    "#!/bin/sh\necho '{\"status\":\"Success\",\"capabilities\":{\"attach\":false}}'\n";

/// A node's directories.
pub(crate) struct Node(TempDir);

impl Node {
    /// None, after a notice, for a user who is not root.
    pub(crate) fn new() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            let ci = std::env::var("CI").as_deref() == Ok("true");
            assert!(!ci, "under CI the tests run as root");
            #[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
            {
                eprintln!("notice: skipped: needs root");
            }
            return Ok(None);
        }
        let node = Self(tempfile::tempdir()?);
        fs::set_permissions(node.0.path(), fs::Permissions::from_mode(0o755))?;
        fs::DirBuilder::new().mode(0o755).create(node.path("plugins"))?;
        fs::write(node.path("disk.wasm"), component("disk", "1.0", STATE)?)?;
        fs::write(node.path("driver"), DRIVER)?;
        fs::write(node.path("grants.toml"), "version = 1\n[state]\n")?;
        Ok(Some(node))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `wasmount` and returns what it prints and says, `$NODE` for the node's directory,
    /// with its exit code.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<(String, String, Option<i32>)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmount"));
        command.args(arguments).current_dir(self.0.path());
        if !["keygen", "sign", "verify"].contains(&arguments[0]) {
            command.args(["--plugin-dir", "plugins"]);
        }
        let output = command.output()?;
        let root = fs::canonicalize(self.0.path())?;
        let root = root.to_str().context("a path in UTF-8")?;
        let text = |bytes| String::from_utf8(bytes).map(|text| text.replace(root, "$NODE"));
        Ok((text(output.stdout)?, text(output.stderr)?, output.status.code()))
    }

    /// Installs the component, which nobody has signed.
    pub(crate) fn install(&self, more: &[&str]) -> Result<(String, String, Option<i32>)> {
        self.install_strictly(&[&["--allow-unsigned"], more].concat())
    }

    /// Installs the component, if it is to be trusted.
    pub(crate) fn install_strictly(&self, more: &[&str]) -> Result<(String, String, Option<i32>)> {
        let data = self.path("data");
        let data = data.to_str().context("a path in UTF-8")?;
        let mut arguments = vec!["install", "disk.wasm", "--driver", "example.com/disk"];
        arguments.extend(["--node-name", "node-1", "--driver-binary", "driver"]);
        if !more.contains(&"--data-dir") {
            arguments.extend(["--data-dir", data]);
        }
        arguments.extend(more);
        self.run(&arguments)
    }

    /// The version that is in use.
    pub(crate) fn version(&self) -> Result<String> {
        let target = fs::read_link(self.path("plugins/example.com~disk/current"))?;
        let name = target.file_name().and_then(|name| name.to_str()).context("a name")?;
        Ok(name.trim_start_matches('.').to_owned())
    }
}

/// A component with the exports of a volume and these imports.
pub(crate) fn component(name: &str, version: &str, imports: &str) -> Result<Vec<u8>> {
    let manifest = format!(
        "name = \"{name}\"\nversion = \"{version}\"\ndescription = \"a disk\"\n\
         [[asks]]\ncapability = \"state\"\nreason = \"to remember\"\n"
    );
    component_asking(&manifest, imports)
}

/// The same with a manifest, whether or not it fits.
pub(crate) fn component_asking(manifest: &str, imports: &str) -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    resolve.push_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit"))?;
    resolve.push_str("x.wit", "package other:thing@0.2.0;\ninterface api { call: func(); }")?;
    let world = format!(
        "package test:test;\nworld test {{ {imports} export wasmount:driver/volume@0.1.0; }}"
    );
    let package = resolve.push_str("test.wit", &world)?;
    let world = resolve.packages[package].worlds["test"];
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    Ok(wasmount_pack::pack(&module, &wasmount_pack::Manifest::parse(manifest)?)?)
}
