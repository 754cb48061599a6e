//! `wasmount install`: from a component and a grants file to a driver that kubelet finds.
//!
//! All that can be known beforehand is found out here, where somebody is there to read it, and
//! nothing of it on kubelet's path: whether the component fits this host, and (in `accept`) whether
//! the driver would work. How the files get to their place is `stage`'s part.

pub mod settings;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::receipt::{Attaching, GrantsFrom};
use wasmount_core::bundle::{Bundle, Receipt};
use wasmount_core::guest::compiler::{self, Cpu};
use wasmount_core::guest::engine::WASMTIME_VERSION;
use wasmount_pack::MAX_COMPONENT;

use crate::accept;
use crate::arguments;
use crate::changes;
use crate::component::{Component, read_at_most};
use crate::consent;
use crate::coverage::Coverage;
use crate::downgrade;
use crate::given::Given;
use crate::install::settings::Settings;
use crate::installed::{self, Installed};
use crate::layout::{DRIVER, DriverDir, PluginDir};
use crate::output::Output;
use crate::receipt::{self, Contents};
use crate::report::Report;
use crate::stage::{self, Staged, Version};
use crate::strand;
use crate::trust::TRUST_DIR;
use crate::trust::vouched::Vouched;

/// The largest driver program that is read, in bytes; ours are a tenth of it.
const MAX_DRIVER: usize = 64 << 20;

/// The oldest kernel that the driver runs on, for mount_setattr(2).
const OLDEST_KERNEL: (u32, u32) = (5, 12);

/// Installs, and says what was asked for and what was granted.
pub fn run(arguments: &arguments::Install, output: &mut Output<'_>) -> Result<()> {
    require_root("install")?;
    require_kernel(&rustix::system::uname().release().to_string_lossy())?;
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let directory = plugins.driver(&arguments.driver);
    let settings = settings_to_be(arguments, &directory, output)?;
    // Before anything looks at what the vendor wrote.
    let bytes = read_at_most(&arguments.file, MAX_COMPONENT)?;
    let vouched = Vouched::for_component(arguments, settings.trust_dir.as_deref(), &bytes)?;
    let component = Component::examine(bytes, &arguments.file)?;
    refuse_foreign(&component)?;
    let agreed = consent::obtain(arguments, &component, &vouched, &directory, output)?;
    let driver = read_at_most(&driver_binary(arguments)?, MAX_DRIVER)
        .context("the driver program cannot be installed; name another with --driver-binary")?;

    let manifest = &component.inspection.manifest;
    let cpu = settings.target_cpu;
    let machine = match cpu {
        Cpu::Native => "this machine",
        Cpu::Level(level) => level,
    };
    output.progress(&format!("compiling {} {} for {machine}", manifest.name, manifest.version));
    let image = compiler::compile(&component.bytes, cpu)
        .with_context(|| format!("{}", arguments.file.display()))?;
    let lock = plugins.lock(|| output.waiting(&plugins))?;
    agreed.holds(&directory)?;
    // Questions, the compiler and others' locks take their time, in which another version may have
    // been installed, and a key been revoked. A version that cannot be read is being repaired.
    let before = in_force(&directory).ok().flatten();
    let settings = Settings::of(arguments, before.as_ref().map(|before| &before.receipt))?;
    let trust_dir = settings.trust_dir.as_deref();
    let vouched = Vouched::for_component(arguments, trust_dir, &component.bytes)?;
    let given = match agreed.given {
        Some(given) => given,
        None => Given::before(&arguments.driver, &directory)?,
    };
    let contents = Contents {
        driver: &driver,
        component: &component,
        image: &image,
        cpu,
        grants: &given.file.text,
        grants_source: &given.source,
        grants_from: given.from,
        grants_origin: given.origin,
        signature: &vouched.recorded,
        settings: &settings,
    };
    let receipt = receipt::write(arguments, &contents)?;
    let version = Version {
        driver: &driver,
        component: &component.bytes,
        image: &image,
        grants: given.file.text.as_bytes(),
        receipt: &receipt,
        signature: vouched.file.as_deref(),
    };

    let wanted = Receipt::parse(&receipt).context("reading the receipt")?;
    if is_installed(&plugins, &wanted) {
        return output.text(&format!(
            "{} is installed already, as it is to be: {} {}",
            arguments.driver, manifest.name, manifest.version
        ));
    }
    if let Some(before) = before.as_ref().filter(|_| !arguments.allow_downgrade) {
        downgrade::refuse(&before.receipt, &wanted)?;
    }
    let closed = match &before {
        Some(before) => strand::make_way(&directory, &before.receipt, &wanted, output)?,
        None => None,
    };
    let accept = |directory: &Path| accept::version(directory, WASMTIME_VERSION);
    let staged = stage::install(&plugins, &lock, &arguments.driver, &version, &accept)?;
    drop(closed);
    drop(lock);
    let done = Done {
        component: &component,
        given: &given,
        vouched: &vouched,
        staged: &staged,
        before: before.as_ref(),
        attaching: wanted.attaching(),
    };
    done.report(arguments, output)
}

/// What was installed, in the place of what.
struct Done<'a> {
    component: &'a Component,
    given: &'a Given,
    vouched: &'a Vouched,
    staged: &'a Staged,
    before: Option<&'a Bundle>,
    attaching: Attaching,
}

/// Fails for any user but root, to whom all that is installed has to belong.
pub fn require_root(command: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "only root can do this: the driver believes no file that is another's; \
             try `sudo wasmount {command} …`"
        );
    }
    Ok(())
}

/// Fails for a kernel that is too old.
pub fn require_kernel(release: &str) -> Result<()> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let version = numbers.next().and_then(Result::ok).zip(numbers.next().and_then(Result::ok));
    // One whose name says nothing is given the benefit of the doubt.
    if version.is_some_and(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        bail!(
            "this is Linux {release}, and mounts that are safe need {major}.{minor} or newer \
             (mount_setattr(2)); update the node's kernel"
        );
    }
    Ok(())
}

fn refuse_foreign(component: &Component) -> Result<()> {
    let foreign = &component.inspection.foreign;
    let Some(first) = foreign.first() else {
        return Ok(());
    };
    let others = match foreign.len() - 1 {
        0 => String::new(),
        others => format!(" and {others} more that wasmount does not have"),
    };
    bail!(
        "the component cannot run here: it imports {first}{others}; build it with wasmount's \
         guest-sdk for wasm32-unknown-unknown"
    );
}

fn driver_binary(arguments: &arguments::Install) -> Result<PathBuf> {
    if let Some(path) = &arguments.driver_binary {
        return Ok(path.clone());
    }
    let own = std::env::current_exe().context("finding this program's directory")?;
    Ok(own.with_file_name(DRIVER))
}

/// Whether that is what is installed and in order, whoever put it there, when and from where. A
/// node that installs its drivers whenever it boots changes nothing that way, which kubelet would
/// have to look at, and forgets no version that can be gone back to.
fn is_installed(plugins: &PluginDir, wanted: &Receipt) -> bool {
    Installed::current(plugins, &wanted.driver).is_ok_and(|installed| {
        let present = installed.bundle.receipt;
        let same = Receipt {
            source: present.source.clone(),
            grants_source: present.grants_source.clone(),
            grants_from: present.grants_from,
            grants_origin: present.grants_origin,
            installed_by: present.installed_by.clone(),
            installed_at: present.installed_at.clone(),
            ..wanted.clone()
        };
        present == same
    })
}

/// What is installed now, if anything is.
fn in_force(directory: &DriverDir) -> Result<Option<Bundle>> {
    directory.is_ours().then(|| installed::in_force(directory)).transpose()
}

/// What the driver is to be installed with, as things are. Where what is installed is being
/// repaired, that may be something else than before, and nobody but the operator can tell.
fn settings_to_be(
    arguments: &arguments::Install,
    directory: &DriverDir,
    output: &mut Output<'_>,
) -> Result<Settings> {
    let before = in_force(directory);
    let kept = before.as_ref().ok().and_then(Option::as_ref).map(|before| &before.receipt);
    let settings = Settings::of(arguments, kept)?;
    if let Err(error) = &before {
        output.warn(&format!(
            "what {} was installed with cannot be kept; whatever no argument says is as for a new \
             driver: its node is {}, its records are in {}, and the keys that are trusted in {}: \
             {error:#}",
            arguments.driver,
            settings.node_name,
            settings.data_dir.display(),
            settings.trust_dir.as_deref().unwrap_or(Path::new(TRUST_DIR)).display()
        ));
    }
    Ok(settings)
}

impl Done<'_> {
    fn report(&self, arguments: &arguments::Install, output: &mut Output<'_>) -> Result<()> {
        let Self { component, given, vouched, staged, before, attaching } = *self;
        let inspection = &component.inspection;
        let (driver, manifest) = (&arguments.driver, &inspection.manifest);
        output.text(&match &staged.previous {
            None => format!("installed {driver}: {} {}", manifest.name, manifest.version),
            Some(_) => format!("upgraded {driver} to {} {}", manifest.name, manifest.version),
        })?;
        let grants = &given.file.grants;
        let report = Report { inspection, grants, attaching, staged };
        report.print(output)?;
        output.text(&format!("  signed   {}", vouched.by()))?;
        match given.from {
            GrantsFrom::Kept => {
                output
                    .text(&format!("  kept     what was granted before, from {}", given.source))?;
            }
            GrantsFrom::Accepted => {
                output.text("  granted  what the manifest asks for, as it asks")?;
            }
            GrantsFrom::File | GrantsFrom::Nothing | GrantsFrom::RolledBack => {}
        }
        let was_granted = before.map(|before| before.grants_text.as_str());
        for change in was_granted.map_or(Vec::new(), |was| changes::between(was, &given.file.text))
        {
            output.text(&format!("  grants   {change}"))?;
        }
        let was = before.map(|before| before.receipt.attaching());
        if let Some(was) = was.filter(|was| *was != attaching) {
            output.warn(&format!(
                "volumes are attached {} now, and before this {}: see --node-only",
                attaching.by(),
                was.by()
            ));
        }
        if given.is_unsaid() && !Coverage::of(inspection, grants).missing.is_empty() {
            let component = arguments.file.display();
            return output.text(&format!(
                "next: see `wasmount inspect {component}`, and install again with --grants FILE, or \
                 with --accept-requested to grant what it asks for"
            ));
        }
        report.warn(output);
        let plugin_dir = match &arguments.plugin_dir {
            Some(path) => format!("--plugin-dir {} ", path.display()),
            None => String::new(),
        };
        output.text(&format!("next: wasmount call {plugin_dir}{driver} init"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        for (release, accepted) in [
            ("6.18.44-fc", true),
            ("5.12.0", true),
            ("5.12-rc1", true),
            ("5.11.22-100.el8", false),
            ("4.19.0-27-amd64", false),
            ("unheard-of", true),
        ] {
            let told = require_kernel(release).map_err(|error| error.to_string());
            let refused = format!(
                "this is Linux {release}, and mounts that are safe need 5.12 or newer \
                 (mount_setattr(2)); update the node's kernel"
            );
            assert_eq!(told, if accepted { Ok(()) } else { Err(refused) });
        }
    }
}
