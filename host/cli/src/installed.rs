//! A version of a driver as it is installed: found, checked as the driver itself checks it, and
//! read, to be shown or to be installed again with something changed. It is never changed in
//! place.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use wasmount_core::bundle::receipt::{self, Receipt, Signature};
use wasmount_core::bundle::{Bundle, COMPONENT, GRANTS, IMAGE};
use wasmount_core::call::DriverName;
use wasmount_core::grants::Grants;

use crate::accept;
use crate::layout::{self, DRIVER, DriverDir, Lock, PluginDir, SIGNATURE, VersionId};
use crate::stage::{self, Staged, Version};

/// A version with everything that is in it.
#[derive(Debug)]
pub struct Installed {
    /// Which.
    pub id: VersionId,
    /// Receipt and grants.
    pub bundle: Bundle,
    /// The component.
    pub component: Vec<u8>,
    driver: Vec<u8>,
    image: Vec<u8>,
    signature: Option<Vec<u8>>,
}

impl Installed {
    /// The version of a driver that is in use.
    pub fn current(plugins: &PluginDir, driver: &DriverName) -> Result<Self> {
        let directory = plugins.installed(driver)?;
        Self::read(&directory, &current(&directory)?)
    }

    /// A version that is kept. Every file of it is what its receipt says.
    pub fn read(directory: &DriverDir, id: &VersionId) -> Result<Self> {
        let path = directory.version(id);
        let engine = Bundle::read_at(&path)?.receipt.wasmtime_version;
        check(&path, &engine)?;
        let bundle = Bundle::open_at(&path, &engine)?;
        let digests = &bundle.receipt.digests;
        let read = |name: &str, digest: &str| {
            let path = path.join(name);
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            same(&path, &bytes[..], digest).map(|()| bytes)
        };
        let driver = read(DRIVER, &digests.driver)?;
        let component = read(COMPONENT, &digests.component)?;
        let image = read(IMAGE, &digests.image)?;
        let signature = signature_digest(&bundle.receipt);
        let signature = signature.map(|digest| read(SIGNATURE, digest)).transpose()?;
        Ok(Self { id: id.clone(), bundle, component, driver, image, signature })
    }

    /// Installs it again, under another receipt and with these grants.
    pub fn install(
        &self,
        plugins: &PluginDir,
        lock: &Lock,
        receipt: &[u8],
        grants: &str,
    ) -> Result<Staged> {
        let version = Version {
            driver: &self.driver,
            component: &self.component,
            image: &self.image,
            grants: grants.as_bytes(),
            receipt,
            signature: self.signature.as_deref(),
        };
        let engine = &self.bundle.receipt.wasmtime_version;
        let accept = |directory: &Path| accept::version(directory, engine);
        stage::install(plugins, lock, &self.bundle.driver, &version, &accept)
    }
}

/// Which version is in use, if the links that lead to it are as they were made.
pub fn current(directory: &DriverDir) -> Result<VersionId> {
    let remedy = "install the driver again, or uninstall it";
    let executable = directory.executable();
    let target = fs::read_link(&executable).ok();
    if target.as_deref() != Some(Path::new(layout::EXECUTABLE_TARGET)) {
        let target = layout::EXECUTABLE_TARGET;
        bail!("{} is not a link to {target}; {remedy}", executable.display());
    }
    let current = directory.current_version().ok().flatten();
    current.with_context(|| {
        format!("{} is not a link to a version; {remedy}", directory.current().display())
    })
}

/// What is in use by its receipt and grants alone, whatever else of it is as it was made.
pub fn in_force(directory: &DriverDir) -> Result<Bundle> {
    let version = directory.current_version().context("reading which version is in use")?;
    let version = version
        .with_context(|| format!("{} is not a link to a version", directory.current().display()))?;
    Ok(Bundle::read_at(&directory.version(&version))?)
}

/// Checks everything that the driver would look at, and its program besides. The engine is the
/// one that was installed with it, which need not be the one that this program has.
pub fn check(path: &Path, engine: &str) -> Result<()> {
    let bundle = Bundle::open_at(path, engine)?;
    bundle.verify_component()?;
    Grants::parse(&bundle.grants_text)
        .with_context(|| format!("{} cannot be used", path.join(GRANTS).display()))?;
    let (image, _) = bundle.image()?;
    same(&path.join(IMAGE), image, &bundle.receipt.digests.image)?;
    let unread = |name: &str, digest: &str| {
        let path = path.join(name);
        let file = File::open(&path).with_context(|| {
            format!("{} cannot be read; install the driver again", path.display())
        })?;
        same(&path, file, digest)
    };
    unread(DRIVER, &bundle.receipt.digests.driver)?;
    signature_digest(&bundle.receipt).map_or(Ok(()), |digest| unread(SIGNATURE, digest))
}

/// The digest of the signature's file, if there is to be one.
pub fn signature_digest(receipt: &Receipt) -> Option<&str> {
    match &receipt.signature {
        Some(Signature::Signed { digest, .. }) => Some(digest),
        Some(Signature::Unsigned) | None => None,
    }
}

fn same(path: &Path, contents: impl std::io::Read, expected: &str) -> Result<()> {
    let digest =
        receipt::digest_of(contents).with_context(|| format!("reading {}", path.display()))?;
    if digest != expected {
        bail!("{} was changed after installation; install the driver again", path.display());
    }
    Ok(())
}
