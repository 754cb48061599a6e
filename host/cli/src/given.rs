//! What a driver is granted that is being installed: by a file that is named, by what its manifest asks
//! for, or by what it was granted before. Whether somebody has to be asked is `consent`'s affair.

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::receipt::{GrantsFrom, GrantsOrigin};
use wasmount_core::bundle::{Bundle, GRANTS};
use wasmount_core::call::DriverName;
use wasmount_core::grants::Grants;
use wasmount_pack::manifest::Operators;
use wasmount_pack::{Ask, Capability, Manifest};

use crate::arguments;
use crate::component::Component;
use crate::grants::GrantsFile;
use crate::layout::DriverDir;
use crate::receipt;

/// What the driver is granted, and by what.
#[derive(Debug)]
pub struct Given {
    /// The file, or what stands for none.
    pub file: GrantsFile,
    /// Where it came from, for the receipt.
    pub source: String,
    /// By what it holds.
    pub from: GrantsFrom,
    /// How its text came to be.
    pub origin: GrantsOrigin,
}

impl Given {
    /// What the arguments say, if they do.
    pub fn named(arguments: &arguments::Install, component: &Component) -> Result<Option<Self>> {
        if let Some(path) = &arguments.grants {
            let (file, source) = (GrantsFile::read(path)?, receipt::origin(path));
            let (from, origin) = (GrantsFrom::File, GrantsOrigin::File);
            return Ok(Some(Self { file, source, from, origin }));
        }
        if arguments.accept_requested {
            let mut operators = Operators::default();
            for said in &arguments.with {
                operators.add(said.clone());
            }
            return Self::accepted(arguments, component, &arguments.accept, &operators).map(Some);
        }
        Ok(arguments.no_grants.then(Self::nothing))
    }

    /// What the manifest asks for, exactly so: fails if anything is not named that has to be, or not
    /// known that only the operator knows.
    pub fn accepted(
        arguments: &arguments::Install,
        component: &Component,
        accept: &[String],
        operators: &Operators,
    ) -> Result<Self> {
        let manifest = &component.inspection.manifest;
        let missing = Missing::of(manifest, accept, operators)?;
        missing.refuse()?;
        let text = format!(
            "# What {} {} asks for, accepted as it asks when it was installed. docs/grants.md of \
             wasmount\n# explains every key.\n{}",
            manifest.name,
            manifest.version,
            manifest.grants(operators)
        );
        let grants = Grants::parse(&text).map_err(|error| {
            anyhow::anyhow!(
                "what it asks for, with what --with says, is no valid grants file: {}; write one, and \
                 install with --grants FILE",
                error.mistake
            )
        })?;
        let source = format!("{}{}", receipt::MANIFEST, receipt::origin(&arguments.file));
        let (from, origin) = (GrantsFrom::Accepted, GrantsOrigin::Accepted);
        Ok(Self { file: GrantsFile { text, grants }, source, from, origin })
    }

    /// What was granted before, if the driver was there: whoever upgrades a program has not said
    /// anything about it.
    pub fn before(driver: &DriverName, directory: &DriverDir) -> Result<Self> {
        if !directory.is_ours() {
            return Ok(Self::nothing());
        }
        let read = || -> Result<Self> {
            let current = directory.current();
            let current = directory
                .current_version()?
                .with_context(|| format!("{} is not a link to a version", current.display()))?;
            let path = directory.version(&current);
            // As the driver believes it: what was tampered with is not made good by a new receipt.
            let engine = Bundle::read_at(&path)?.receipt.wasmtime_version;
            let bundle = Bundle::open_at(&path, &engine)?;
            let grants = Grants::parse(&bundle.grants_text)
                .with_context(|| path.join(GRANTS).display().to_string())?;
            let origin = receipt::grants_origin(&bundle.receipt);
            let source = bundle.receipt.grants_source;
            let from = match source == receipt::NO_FILE {
                true => GrantsFrom::Nothing,
                false => GrantsFrom::Kept,
            };
            let file = GrantsFile { text: bundle.grants_text, grants };
            Ok(Self { file, source, from, origin })
        };
        read().with_context(|| {
            format!(
                "what {driver} is granted cannot be kept; say what it is to be, with --grants FILE \
                 or --no-grants"
            )
        })
    }

    fn nothing() -> Self {
        let (file, source) = (GrantsFile::nothing(), receipt::NO_FILE.to_owned());
        let (from, origin) = (GrantsFrom::Nothing, GrantsOrigin::Nothing);
        Self { file, source, from, origin }
    }

    /// Whether nobody has ever said what is granted.
    pub fn is_unsaid(&self) -> bool {
        self.from == GrantsFrom::Nothing
    }
}

/// What stands between a manifest and its being accepted.
#[derive(Debug, Default)]
pub struct Missing {
    /// What is super-privileged and was not named: the name, and why it is asked for.
    pub unnamed: Vec<(String, String)>,
    /// The keys that only the operator knows.
    pub unknown: Vec<&'static str>,
}

impl Missing {
    /// Fails for what can be accepted by nobody.
    pub fn of(manifest: &Manifest, accept: &[String], operators: &Operators) -> Result<Self> {
        let asks = &manifest.asks;
        let find = |capability| asks.iter().find(|ask: &&Ask| ask.capability == capability);
        if find(Capability::Devices).is_some() {
            bail!(
                "devices cannot be accepted from a manifest: where a device is on this node, and what \
                 proves that it is the one, is the operator's to say; write a grants file with \
                 [[devices]] (docs/grants.md), and install with --grants FILE"
            );
        }
        let marked = asks.iter().filter_map(|ask| Some((ask.super_privileged()?, ask)));
        let marked: Vec<(String, &Ask)> = marked.collect();
        if let Some(odd) = accept.iter().find(|name| marked.iter().all(|(asked, _)| asked != *name))
        {
            let names: Vec<&str> = marked.iter().map(|(name, _)| name.as_str()).collect();
            let valid = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            bail!(
                "--accept {odd} names nothing super-privileged that is asked for; valid: {valid}"
            );
        }
        let unnamed = marked.into_iter().filter(|(name, _)| !accept.contains(name));
        let mut unknown = Vec::new();
        if find(Capability::Images).is_some() && operators.images_directory.is_none() {
            unknown.push("images.directory");
        }
        if find(Capability::Secrets).is_some() && operators.failure_exit_code.is_none() {
            unknown.push("reply.failure-exit-code");
        }
        let unnamed = unnamed.map(|(name, ask)| (name, ask.reason.to_string()));
        Ok(Self { unnamed: unnamed.collect(), unknown })
    }

    fn refuse(&self) -> Result<()> {
        let mut arguments: Vec<String> = Vec::new();
        for (name, _) in &self.unnamed {
            arguments.push(format!("--accept {name}"));
        }
        arguments.extend(self.unknown.iter().map(|key| format!("--with {key}=…")));
        if arguments.is_empty() {
            return Ok(());
        }
        let mut why = String::new();
        for (name, reason) in &self.unnamed {
            why.push_str(&format!("\n    {name}: {reason}"));
        }
        let what = match (self.unnamed.is_empty(), self.unknown.is_empty()) {
            (false, true) => "it asks for what is super-privileged, which has to be named",
            (true, _) => "it needs what only the operator knows",
            (false, false) => {
                "it asks for what is super-privileged, which has to be named, and needs what only the \
                 operator knows"
            }
        };
        bail!("{what}; add {}{why}", arguments.join(" "))
    }
}
