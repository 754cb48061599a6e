//! A call that is rehearsed: `wasmount explain`. Everything is asked, opened, decided and done as in any call,
//! but each act that lasts or writes stops where it would first do so, and succeeds. What such an act would
//! have changed is remembered here for as long as the process lives, so that the decisions after it are those of the
//! real call. Without the feature `observe`, which only the CLI turns on, no call is rehearsed.
//!
//! Where the acts stop is in the acts themselves, so there is no second opinion about what comes before. Nothing is
//! held here that a real call would want: a rehearsal has no lock, and must be in nobody's way.

#[cfg(feature = "observe")]
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::call::Access;
use crate::kernel::filesystems::Filesystem;
use crate::kernel::images::LeaseRecord;
use crate::kernel::target::Mounted;

/// Major and minor number of a device.
type Number = (u32, u32);

/// What was done in the rehearsal only.
#[derive(Default)]
struct Done {
    /// Images that were created, by their paths.
    images: BTreeMap<PathBuf, File>,
    /// How long images were made, by identity.
    lengths: BTreeMap<String, u64>,
    /// Loop devices that were kept: in several operations of one call they outlast each.
    kept: Vec<File>,
    /// Leases that were taken, by the image's identity; none for one that was ended.
    leases: BTreeMap<String, Option<LeaseRecord>>,
    /// Devices that stand in for writable ones.
    writable: BTreeSet<Number>,
    /// How large devices were made.
    sizes: BTreeMap<Number, u64>,
    /// Devices that were taken down.
    gone: BTreeSet<Number>,
    /// Devices that a mount would hold which is attached nowhere yet, once for each.
    held: Vec<Number>,
    /// What was formatted, by identity.
    formatted: BTreeMap<String, Filesystem>,
    /// Identities of devices whose filesystem was checked, or unmounted and the device taken down.
    clean: BTreeSet<String>,
    /// Directories that were made.
    made: BTreeSet<PathBuf>,
    /// What was mounted on directories; none where it was unmounted.
    mounts: BTreeMap<PathBuf, Option<Mounted>>,
}

#[cfg(feature = "observe")]
thread_local! {
    static DONE: RefCell<Option<Done>> = const { RefCell::new(None) };
}

/// What holds a device in use as a mount of it would, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Hold(Number);

/// From now on this process does nothing that lasts.
#[cfg(feature = "observe")]
pub(crate) fn begin() {
    DONE.set(Some(Done::default()));
}

/// What is done in this is rehearsed, and what is done after it no longer.
#[cfg(all(test, feature = "observe"))]
pub(crate) fn rehearse<T>(acts: impl FnOnce() -> T) -> T {
    begin();
    let done = acts();
    DONE.set(None);
    done
}

/// Whether the call is rehearsed: then nothing is written.
#[inline]
pub(crate) fn is_on() -> bool {
    look(|_| Some(())).is_some()
}

pub(crate) fn created(image: PathBuf, file: &File) -> io::Result<()> {
    let file = file.try_clone()?;
    note(|done| done.images.insert(image, file));
    Ok(())
}

/// An image that would be there by now.
pub(crate) fn image(path: &Path) -> Option<File> {
    look(|done| done.images.get(path)?.try_clone().ok())
}

pub(crate) fn lengthened(image: &str, length: u64) {
    note(|done| done.lengths.insert(image.to_owned(), length));
}

/// How long an image would be, if the rehearsal has changed that.
pub(crate) fn length(image: &str) -> Option<u64> {
    look(|done| done.lengths.get(image).copied())
}

pub(crate) fn kept(device: &File) -> io::Result<()> {
    let device = device.try_clone()?;
    note(|done| done.kept.push(device));
    Ok(())
}

pub(crate) fn leased(lease: LeaseRecord) {
    note(|done| done.leases.insert(lease.image.clone(), Some(lease)));
}

pub(crate) fn released(lease: LeaseRecord) {
    note(|done| done.leases.insert(lease.image, None));
}

/// The lease that an image would have, if the rehearsal has changed it.
pub(crate) fn lease(image: &str) -> Option<Option<LeaseRecord>> {
    look(|done| done.leases.get(image).cloned())
}

/// The leases that were taken in the rehearsal.
pub(crate) fn leases() -> Vec<LeaseRecord> {
    look(|done| Some(done.leases.values().flatten().cloned().collect())).unwrap_or_default()
}

/// A device was made that stands in for one with that access and size.
pub(crate) fn attached(device: Number, access: Access, size: u64) {
    note(|done| {
        done.gone.remove(&device);
        done.sizes.insert(device, size);
        match access {
            Access::ReadWrite => done.writable.insert(device),
            Access::ReadOnly => done.writable.remove(&device),
        };
    });
}

pub(crate) fn is_writable(device: Number) -> bool {
    is(|done| done.writable.contains(&device))
}

pub(crate) fn resized(device: Number, size: u64) {
    note(|done| done.sizes.insert(device, size));
}

/// How large a device would be, if the rehearsal has changed that.
pub(crate) fn size(device: Number) -> Option<u64> {
    look(|done| done.sizes.get(&device).copied())
}

pub(crate) fn taken_down(device: Number, identity: &str) {
    let unmounted = has_unmounted();
    note(|done| {
        done.kept.clear();
        done.gone.insert(device);
        if unmounted {
            done.clean.insert(identity.to_owned());
        }
    });
}

pub(crate) fn is_gone(device: Number) -> bool {
    is(|done| done.gone.contains(&device))
}

pub(crate) fn hold(device: Number) -> Hold {
    note(|done| done.held.push(device));
    Hold(device)
}

impl Drop for Hold {
    fn drop(&mut self) {
        note(|done| {
            let held = done.held.iter().position(|device| *device == self.0);
            held.map(|at| done.held.swap_remove(at));
        });
    }
}

pub(crate) fn is_held(device: Number) -> bool {
    is(|done| done.held.contains(&device))
}

pub(crate) fn formatted(device: &str, filesystem: Filesystem) {
    note(|done| done.formatted.insert(device.to_owned(), filesystem));
}

/// The filesystem that a device would have by now.
pub(crate) fn filesystem(device: &str) -> Option<Filesystem> {
    look(|done| done.formatted.get(device).copied())
}

pub(crate) fn checked(device: &str) {
    note(|done| done.clean.insert(device.to_owned()));
}

/// Whether nothing would be left to do for the filesystem of a device before it is mounted.
pub(crate) fn is_clean(device: &str) -> bool {
    is(|done| done.clean.contains(device))
}

pub(crate) fn made(directory: &Path) {
    note(|done| done.made.insert(directory.to_owned()));
}

/// Whether a directory would be there by now that is not.
pub(crate) fn is_made(directory: &Path) -> bool {
    is(|done| done.made.contains(directory))
}

pub(crate) fn mounted(directory: &Path, mounted: Mounted) {
    note(|done| done.mounts.insert(directory.to_owned(), Some(mounted)));
}

pub(crate) fn unmounted(directory: &Path) {
    note(|done| done.mounts.insert(directory.to_owned(), None));
}

/// What would be mounted on a directory, if the rehearsal has changed that.
pub(crate) fn mount_on(directory: &Path) -> Option<Option<Mounted>> {
    look(|done| done.mounts.get(directory).cloned())
}

/// Whether a device that is in use may be so by what the rehearsal has unmounted.
pub(crate) fn has_unmounted() -> bool {
    is(|done| done.mounts.values().any(Option::is_none))
}

fn is(look_at: impl FnOnce(&Done) -> bool) -> bool {
    look(|done| look_at(done).then_some(())).is_some()
}

#[cfg(feature = "observe")]
fn note<T>(change: impl FnOnce(&mut Done) -> T) {
    DONE.with_borrow_mut(|done| done.as_mut().map(change));
}

#[cfg(feature = "observe")]
fn look<T>(look: impl FnOnce(&Done) -> Option<T>) -> Option<T> {
    DONE.with_borrow(|done| done.as_ref().and_then(look))
}

#[cfg(not(feature = "observe"))]
#[inline(always)]
fn note<T>(_: impl FnOnce(&mut Done) -> T) {}

#[cfg(not(feature = "observe"))]
#[inline(always)]
fn look<T>(_: impl FnOnce(&Done) -> Option<T>) -> Option<T> {
    None
}
