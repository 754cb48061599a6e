//! What a driver is granted that is being installed: by a file that is named, or by what it was
//! granted before. Whether that fits the component is not looked at.

use anyhow::{Context as _, Result};
use wasmount_core::bundle::{Bundle, GRANTS};
use wasmount_core::call::DriverName;
use wasmount_core::grants::Grants;

use crate::arguments;
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
    /// Whether it is what the driver was granted before.
    pub kept: bool,
}

impl Given {
    /// What the arguments say, if they do.
    pub fn named(arguments: &arguments::Install) -> Result<Option<Self>> {
        Ok(match &arguments.grants {
            Some(path) => {
                let (file, source) = (GrantsFile::read(path)?, receipt::origin(path));
                Some(Self { file, source, kept: false })
            }
            None => arguments.no_grants.then(Self::nothing),
        })
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
            let file = GrantsFile { text: bundle.grants_text, grants };
            Ok(Self { file, source: bundle.receipt.grants_source, kept: true })
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
        Self { file, source, kept: false }
    }

    /// Whether nobody has ever said what is granted.
    pub fn is_unsaid(&self) -> bool {
        self.source == receipt::NO_FILE
    }
}
