//! `wasmount list`: what is installed, whether kubelet could use it now, and what is kept to go
//! back to. It changes nothing
//! and needs no privilege, since a driver's directory can be read by everybody.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use wasmount_core::bundle::Bundle;
use wasmount_core::bundle::receipt::Attaching;
use wasmount_core::call::DriverName;

use crate::arguments;
use crate::installed;
use crate::layout::{DriverDir, PluginDir, VersionId};
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
    /// Who attaches its volumes.
    attaching: Option<Attaching>,
    version: Option<String>,
    wasmtime: Option<String>,
    installed_at: Option<String>,
    ok: bool,
    /// What is wrong, and what to do.
    problem: Option<String>,
    /// What can be gone back to, newest first.
    kept: Vec<Kept>,
}

/// A version that is not in use.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    version: String,
    component: String,
    component_version: String,
    exports: Vec<String>,
    wasmtime: String,
    installed_at: String,
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
    let rows: Vec<[String; 7]> = drivers.iter().flat_map(Installed::rows).collect();
    let head = ["DRIVER", "COMPONENT", "EXPORTS", "ATTACH", "VERSION", "WASMTIME", "HEALTH"];
    let mut table = vec![head];
    table.extend(rows.iter().map(|row| row.each_ref().map(String::as_str)));
    output.text(&columns(&table))
}

fn examine(plugins: &PluginDir, driver: &DriverName) -> Installed {
    let directory = plugins.driver(driver);
    let mut listed = Installed {
        driver: driver.to_string(),
        component: None,
        component_version: None,
        exports: Vec::new(),
        attaching: None,
        version: None,
        wasmtime: None,
        installed_at: None,
        ok: false,
        problem: None,
        kept: Vec::new(),
    };
    let verdict = installed::current(&directory).and_then(|version| {
        listed.kept = kept(&directory, &version);
        listed.version = Some(version.as_str().to_owned());
        let path = directory.version(&version);
        // What the receipt says is shown even if the driver would not believe it any more.
        let receipt = Bundle::read_at(&path)?.receipt;
        listed.attaching = Some(receipt.attaching());
        listed.component = Some(receipt.component.name);
        listed.component_version = Some(receipt.component.version);
        listed.exports = receipt.exports;
        listed.installed_at = Some(receipt.installed_at);
        listed.wasmtime = Some(receipt.wasmtime_version.clone());
        installed::check(&path, &receipt.wasmtime_version)
    });
    match verdict {
        Ok(()) => listed.ok = true,
        Err(error) => listed.problem = Some(format!("{error:#}")),
    }
    listed
}

/// Those that cannot be read can be gone back to by nobody, and are not shown.
fn kept(directory: &DriverDir, present: &VersionId) -> Vec<Kept> {
    let versions = directory.versions_but(present).unwrap_or_default();
    let kept = versions.iter().filter_map(|id| {
        let receipt = Bundle::read_at(&directory.version(id)).ok()?.receipt;
        Some(Kept {
            version: id.as_str().to_owned(),
            component: receipt.component.name,
            component_version: receipt.component.version,
            exports: receipt.exports,
            wasmtime: receipt.wasmtime_version,
            installed_at: receipt.installed_at,
        })
    });
    kept.collect()
}

impl Installed {
    fn rows(&self) -> Vec<[String; 7]> {
        let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let component = match (&self.component, &self.component_version) {
            (Some(name), Some(version)) => format!("{name} {version}"),
            _ => "?".to_owned(),
        };
        let exports = if self.exports.is_empty() { "?".to_owned() } else { self.exports.join(",") };
        let mut rows = vec![[
            self.driver.clone(),
            component,
            exports,
            self.attaching.map_or("?", Attaching::name).to_owned(),
            or_unknown(&self.version),
            or_unknown(&self.wasmtime),
            self.problem.clone().unwrap_or_else(|| "ok".to_owned()),
        ]];
        rows.extend(self.kept.iter().map(|kept| {
            [
                String::new(),
                format!("{} {}", kept.component, kept.component_version),
                kept.exports.join(","),
                String::new(),
                kept.version.clone(),
                kept.wasmtime.clone(),
                format!("kept, installed {}", kept.installed_at),
            ]
        }));
        rows
    }
}
