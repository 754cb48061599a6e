//! `wasmount list`: what is installed, and whether kubelet could use it now. It changes nothing
//! and needs no privilege, since a driver's directory can be read by everybody.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use wasmount_core::bundle::{Bundle, GRANTS, IMAGE, receipt};
use wasmount_core::call::DriverName;
use wasmount_core::grants::Grants;

use crate::arguments;
use crate::layout::{self, DRIVER, DriverDir, PluginDir};
use crate::output::{Output, columns};

/// The JSON document.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    plugin_dir: &'a Path,
    drivers: &'a [Installed],
}

/// A driver. What is not known is absent.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Installed {
    driver: String,
    component: Option<String>,
    component_version: Option<String>,
    exports: Vec<String>,
    version: Option<String>,
    wasmtime: Option<String>,
    installed_at: Option<String>,
    ok: bool,
    /// What is wrong, and what to do.
    problem: Option<String>,
}

/// Prints a line for each driver.
pub fn run(arguments: &arguments::List, output: &mut Output<'_>) -> Result<()> {
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let drivers: Vec<Installed> =
        plugins.drivers()?.iter().map(|driver| examine(&plugins, driver)).collect();
    if arguments.json {
        return output.json(&Document { plugin_dir: plugins.path(), drivers: &drivers });
    }
    if drivers.is_empty() {
        let path = plugins.path().display();
        return output.text(&format!("no driver in {path} was installed by wasmount"));
    }
    let rows: Vec<[String; 6]> = drivers.iter().map(Installed::row).collect();
    let head = ["DRIVER", "COMPONENT", "EXPORTS", "VERSION", "WASMTIME", "HEALTH"];
    let mut table = vec![head];
    table.extend(rows.iter().map(|row| row.each_ref().map(String::as_str)));
    output.text(&columns(&table))
}

fn examine(plugins: &PluginDir, driver: &DriverName) -> Installed {
    let directory = plugins.driver(driver);
    let mut installed = Installed {
        driver: driver.to_string(),
        component: None,
        component_version: None,
        exports: Vec::new(),
        version: None,
        wasmtime: None,
        installed_at: None,
        ok: false,
        problem: None,
    };
    let verdict = check_links(&directory).and_then(|version| {
        installed.version = Some(version.as_str().to_owned());
        let path = directory.version(&version);
        // What the receipt says is shown even if the driver would not believe it any more.
        let receipt = Bundle::read_at(&path)?.receipt;
        installed.component = Some(receipt.component.name);
        installed.component_version = Some(receipt.component.version);
        installed.exports = receipt.exports;
        installed.installed_at = Some(receipt.installed_at);
        installed.wasmtime = Some(receipt.wasmtime_version.clone());
        check_version(&path, &receipt.wasmtime_version)
    });
    match verdict {
        Ok(()) => installed.ok = true,
        Err(error) => installed.problem = Some(format!("{error:#}")),
    }
    installed
}

fn check_links(directory: &DriverDir) -> Result<layout::VersionId> {
    let remedy = "install the driver again, or uninstall it";
    let executable = directory.executable();
    let target = fs::read_link(&executable).ok();
    if target.as_deref() != Some(Path::new(layout::EXECUTABLE_TARGET)) {
        let target = layout::EXECUTABLE_TARGET;
        anyhow::bail!("{} is not a link to {target}; {remedy}", executable.display());
    }
    let current = directory.current_version().ok().flatten();
    current.with_context(|| {
        format!("{} is not a link to a version; {remedy}", directory.current().display())
    })
}

/// Everything that the driver would look at, and its program besides. The engine is the one that
/// was installed with it, which need not be the one that this program has.
fn check_version(path: &Path, engine: &str) -> Result<()> {
    let bundle = Bundle::open_at(path, engine)?;
    bundle.verify_component()?;
    Grants::parse(&bundle.grants_text)
        .with_context(|| format!("{} cannot be used", path.join(GRANTS).display()))?;
    let (image, _) = bundle.image()?;
    same(&path.join(IMAGE), image, &bundle.receipt.digests.image)?;
    let driver = path.join(DRIVER);
    let program = File::open(&driver).with_context(|| format!("reading {}", driver.display()))?;
    same(&driver, program, &bundle.receipt.digests.driver)
}

fn same(path: &Path, file: File, expected: &str) -> Result<()> {
    let digest = receipt::digest_of(file).with_context(|| format!("reading {}", path.display()))?;
    if digest != expected {
        anyhow::bail!(
            "{} was changed after installation; install the driver again",
            path.display()
        );
    }
    Ok(())
}

impl Installed {
    fn row(&self) -> [String; 6] {
        let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let component = match (&self.component, &self.component_version) {
            (Some(name), Some(version)) => format!("{name} {version}"),
            _ => "?".to_owned(),
        };
        let exports = if self.exports.is_empty() { "?".to_owned() } else { self.exports.join(",") };
        [
            self.driver.clone(),
            component,
            exports,
            or_unknown(&self.version),
            or_unknown(&self.wasmtime),
            self.problem.clone().unwrap_or_else(|| "ok".to_owned()),
        ]
    }
}
