//! A call that is rehearsed: `wasmount explain`. Everything is asked, opened, decided and done as in any call,
//! but each act that lasts or writes stops where it would first do so, and succeeds. What such an act would
//! have changed is remembered here for as long as the process lives, so that the decisions after it are those of the
//! real call. Without the feature `observe`, which only the CLI turns on, no call is rehearsed.
//!
//! Where the acts stop is in the acts themselves, so there is no second opinion about what comes before.

#[cfg(feature = "observe")]
pub(crate) use armed::*;

#[cfg(not(feature = "observe"))]
pub(crate) use nothing::*;

#[cfg(feature = "observe")]
mod armed {
    use std::cell::RefCell;
    use std::fs::File;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::path::{Path, PathBuf};

    use crate::call::Access;
    use crate::kernel::filesystems::Filesystem;
    use crate::kernel::images::LeaseRecord;

    /// What was done in the rehearsal only.
    #[derive(Default)]
    struct Done {
        /// Images that were created, by their paths.
        images: Vec<(PathBuf, File)>,
        /// Loop devices that were kept: in several operations of one call they outlast each.
        kept: Vec<File>,
        leases: Vec<LeaseRecord>,
        /// Identities of images whose lease was ended.
        released: Vec<String>,
        /// Identities of devices that stand in for writable ones.
        writable: Vec<String>,
        /// What was formatted, by identity.
        formatted: Vec<(String, Filesystem)>,
        /// Identities of devices that were taken down.
        gone: Vec<String>,
        /// Directories that were made.
        made: Vec<PathBuf>,
        /// Directories that something was mounted on.
        mounted: Vec<PathBuf>,
        /// Directories that were unmounted.
        unmounted: Vec<PathBuf>,
    }

    thread_local! {
        static DONE: RefCell<Option<Done>> = const { RefCell::new(None) };
    }

    /// What holds a device as a mount of it would.
    pub(crate) type Hold = Option<OwnedFd>;

    pub(crate) fn hold(claimed: Option<OwnedFd>) -> Hold {
        claimed
    }

    /// From now on this process does nothing that lasts.
    pub(crate) fn begin() {
        DONE.set(Some(Done::default()));
    }

    /// Whether the call is rehearsed: then nothing is written.
    pub(crate) fn is_on() -> bool {
        DONE.with_borrow(Option::is_some)
    }

    fn note(change: impl FnOnce(&mut Done)) {
        DONE.with_borrow_mut(|done| done.as_mut().map(change));
    }

    fn look<T>(look: impl FnOnce(&Done) -> Option<T>) -> Option<T> {
        DONE.with_borrow(|done| done.as_ref().and_then(look))
    }

    pub(crate) fn created(image: PathBuf, file: &File) -> io::Result<()> {
        let file = file.try_clone()?;
        note(|done| done.images.push((image, file)));
        Ok(())
    }

    /// An image that would be there by now.
    pub(crate) fn image(path: &Path) -> Option<File> {
        look(|done| done.images.iter().find(|(image, _)| image == path)?.1.try_clone().ok())
    }

    pub(crate) fn kept(device: &File) -> io::Result<()> {
        let device = device.try_clone()?;
        note(|done| done.kept.push(device));
        Ok(())
    }

    pub(crate) fn leased(lease: LeaseRecord) {
        note(|done| {
            done.released.retain(|image| *image != lease.image);
            done.leases.push(lease);
        });
    }

    pub(crate) fn released(lease: LeaseRecord) {
        note(|done| {
            done.leases.retain(|taken| taken.image != lease.image);
            done.released.push(lease.image);
        });
    }

    /// The lease that an image would have, if the rehearsal has changed it.
    pub(crate) fn lease(image: &str) -> Option<Option<LeaseRecord>> {
        look(|done| {
            let taken = done.leases.iter().find(|lease| lease.image == image).cloned();
            let ended = done.released.iter().any(|released| released == image);
            (taken.is_some() || ended).then_some(taken)
        })
    }

    /// The leases that were taken in the rehearsal.
    pub(crate) fn leases() -> Vec<LeaseRecord> {
        look(|done| Some(done.leases.clone())).unwrap_or_default()
    }

    pub(crate) fn attached(device: &str, access: Access) {
        note(|done| {
            done.gone.retain(|other| other != device);
            if access == Access::ReadWrite {
                done.writable.push(device.to_owned());
            }
        });
    }

    pub(crate) fn taken_down(device: &str) {
        note(|done| {
            done.writable.retain(|other| other != device);
            done.kept.clear();
            done.gone.push(device.to_owned());
        });
    }

    pub(crate) fn is_gone(device: &str) -> bool {
        look(|done| done.gone.iter().find(|it| *it == device).map(drop)).is_some()
    }

    /// Whether a device that is in use may be so by what the rehearsal has unmounted.
    pub(crate) fn has_unmounted() -> bool {
        look(|done| done.unmounted.first().map(drop)).is_some()
    }

    pub(crate) fn is_writable(device: &str) -> bool {
        look(|done| done.writable.iter().find(|it| *it == device).map(drop)).is_some()
    }

    pub(crate) fn formatted(device: &str, filesystem: Filesystem) {
        note(|done| done.formatted.push((device.to_owned(), filesystem)));
    }

    /// The filesystem that a device would have by now.
    pub(crate) fn filesystem(device: &str) -> Option<Filesystem> {
        look(|done| done.formatted.iter().find(|(it, _)| it == device).map(|(_, made)| *made))
    }

    pub(crate) fn made(directory: &Path) {
        note(|done| done.made.push(directory.to_owned()));
    }

    /// Whether a directory would be there by now that is not.
    pub(crate) fn is_made(directory: &Path) -> bool {
        look(|done| done.made.iter().find(|it| *it == directory).map(drop)).is_some()
    }

    pub(crate) fn mounted(directory: &Path) {
        note(|done| {
            done.unmounted.retain(|other| other != directory);
            done.mounted.push(directory.to_owned());
        });
    }

    pub(crate) fn unmounted(directory: &Path) {
        note(|done| {
            done.mounted.retain(|other| other != directory);
            done.unmounted.push(directory.to_owned());
        });
    }

    /// Whether something would be mounted there, if the rehearsal has changed that.
    pub(crate) fn is_mounted(directory: &Path) -> Option<bool> {
        look(|done| {
            let on = done.mounted.iter().any(|other| other == directory);
            let off = done.unmounted.iter().any(|other| other == directory);
            (on || off).then_some(on)
        })
    }
}

#[cfg(not(feature = "observe"))]
mod nothing {
    use std::fs::File;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::path::{Path, PathBuf};

    use crate::call::Access;
    use crate::kernel::filesystems::Filesystem;
    use crate::kernel::images::LeaseRecord;

    pub(crate) type Hold = Nothing;

    /// Nothing is held where nothing is rehearsed.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Nothing;

    #[inline(always)]
    pub(crate) fn hold(_: Option<OwnedFd>) -> Hold {
        Nothing
    }

    #[inline(always)]
    pub(crate) fn is_on() -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn created(_: PathBuf, _: &File) -> io::Result<()> {
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn image(_: &Path) -> Option<File> {
        None
    }

    #[inline(always)]
    pub(crate) fn kept(_: &File) -> io::Result<()> {
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn leased(_: LeaseRecord) {}

    #[inline(always)]
    pub(crate) fn released(_: LeaseRecord) {}

    #[inline(always)]
    pub(crate) fn lease(_: &str) -> Option<Option<LeaseRecord>> {
        None
    }

    #[inline(always)]
    pub(crate) fn leases() -> Vec<LeaseRecord> {
        Vec::new()
    }

    #[inline(always)]
    pub(crate) fn attached(_: &str, _: Access) {}

    #[inline(always)]
    pub(crate) fn taken_down(_: &str) {}

    #[inline(always)]
    pub(crate) fn is_gone(_: &str) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn has_unmounted() -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn is_writable(_: &str) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn formatted(_: &str, _: Filesystem) {}

    #[inline(always)]
    pub(crate) fn filesystem(_: &str) -> Option<Filesystem> {
        None
    }

    #[inline(always)]
    pub(crate) fn made(_: &Path) {}

    #[inline(always)]
    pub(crate) fn is_made(_: &Path) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn mounted(_: &Path) {}

    #[inline(always)]
    pub(crate) fn unmounted(_: &Path) {}

    #[inline(always)]
    pub(crate) fn is_mounted(_: &Path) -> Option<bool> {
        None
    }
}
