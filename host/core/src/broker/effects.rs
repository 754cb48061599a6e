//! What a call has made and not committed, and the commit.
//!
//! Until the commit everything here vanishes by itself if the process dies: mounts are detached,
//! loop devices clear themselves. The order of the commit is what makes a crash harmless at any
//! point of it: first the record and the claims are durable, so that the next call knows of
//! all that may exist; then loop devices are kept; and unless the supervisor has said stop, who may have
//! answered already, the mount on the target, which kubelet takes for success, comes last.

use std::rc::Rc;

use rustix::mount::MountAttrFlags;

use crate::call::{Call, Operation};
use crate::crash;
use crate::decide::{Granted, Handles, host};
use crate::failure::Failure;
use crate::journal::record::{DeviceRef, ImageRef, MountRef, VolumeRecord};
use crate::kernel::device::Device;
use crate::kernel::images::{ImageFile, Taken};
use crate::kernel::mounts::{self, Attach};
use crate::kernel::target::Mounted;
use crate::kernel::{images, loopdev};
use crate::reply::Reply;

use super::Work;
use super::ahead::Checked;
use super::conversation::stopped;

/// What a call has made, noted or taken down so far.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// What the component holds.
    pub(super) handles: Handles,
    /// The mount to put on the target.
    pub(super) attach: Option<Granted<Attach>>,
    /// The volume's device on this node; with true, a loop device that goes by itself unless it is
    /// kept: one made by this call, or by one that was killed, which is not gone yet.
    pub(super) device: Option<(Rc<Device>, bool)>,
    /// The volume's image, and the lease that it is held under.
    pub(super) image: Option<(Rc<ImageFile>, Option<String>)>,
    /// An image file that this call created.
    pub(super) created: Option<Rc<ImageFile>>,
    /// The leases that this call took.
    pub(super) leased: Vec<Taken>,
    /// The check that was done ahead.
    pub(super) checked: Option<Checked>,
    /// The record as it was before something was noted in it that may not come true.
    pub(super) before: Option<VolumeRecord>,
    /// How the target's mount was made that `unmountdevice` is to take off, should it have to be put
    /// back; none if there was no mount.
    pub(super) attributes: Option<MountAttrFlags>,
    /// How much the component has logged, in bytes.
    pub(super) logged: usize,
}

impl Effects {
    /// Whether there is anything that a stop would have to undo.
    fn is_anything(&self) -> bool {
        self.attach.is_some()
            || self.created.is_some()
            || !self.leased.is_empty()
            || self.device.as_ref().is_some_and(|(_, goes)| *goes)
    }

    /// Notes the device that is mounted, if it is not known already.
    pub(super) fn note_device(&mut self, device: Rc<Device>) -> Result<(), Failure> {
        if self.device.is_none() {
            let goes = device.is_loop() && !loopdev::is_kept(&device)?;
            self.device = Some((device, goes));
        }
        Ok(())
    }
}

impl Work<'_> {
    /// Makes a successful call take effect, or takes back what it did.
    pub(super) fn commit(mut self, outcome: Result<Reply, Failure>) -> Result<Reply, Failure> {
        let now = self.ledger.as_ref().and_then(|ledger| ledger.record.clone());
        let before = match (self.effects.before.take(), now) {
            (Some(before), Some(now)) => Some(now.taken_back(before)),
            (before, now) => before.or(now),
        };
        match outcome.and_then(|reply| self.take_effect().map(|()| reply)) {
            Ok(reply) => Ok(reply),
            Err(failure) => {
                let (undone, is_up) = self.undo(before);
                self.give_up_device();
                // As long as this node has the image, nobody else is to.
                let given_up = match is_up && self.session.device.is_some() {
                    true => Ok(()),
                    false => self.give_up_image(),
                };
                Err(match undone.and(given_up) {
                    Ok(()) => failure,
                    Err(left) => failure.leaving(&left),
                })
            }
        }
    }

    /// Takes back what was committed before the commit failed: the loop device, the record. With true
    /// if the loop device is still there.
    fn undo(&mut self, before: Option<VolumeRecord>) -> (Result<(), Failure>, bool) {
        // The mount and the component's handles hold the device.
        self.effects.attach = None;
        self.effects.handles = Handles::default();
        let mut left = None;
        if let Some((device, true)) = self.effects.device.take()
            && let Some(granted) = host::detach(&self.session)
        {
            // Kept already or not, it is to go. If it does not, the record goes on listing it.
            let listed = DeviceRef::of(&device);
            drop(device);
            if self.loop_detach(granted).is_err() {
                left = Some(listed);
            }
        }
        let is_up = left.is_some();
        let mut undone = Ok(());
        if let Some(ledger) = &mut self.ledger {
            let record = match (before, left) {
                (before, None) => before,
                (before, Some(device)) => {
                    let mut record = before.or_else(|| ledger.record.clone());
                    if let Some(record) = &mut record {
                        record.device = Some(device);
                    }
                    record
                }
            };
            undone = match record {
                Some(record) => ledger.replace(record),
                None => ledger.remove(),
            };
        }
        (undone, is_up)
    }

    /// Takes back what outlives this process besides: leases, and an image file.
    fn give_up_image(&mut self) -> Result<(), Failure> {
        // The image first: once its lease is given back, another node may use it.
        let mut leased = std::mem::take(&mut self.effects.leased);
        let created = self.effects.created.take();
        let removed = created.map_or(Ok(()), |image| self.remove(image, &mut leased));
        let given_back = leased.into_iter().map(images::give_back).fold(Ok(()), Result::and);
        given_back.and(removed)
    }

    /// Removes an image that this call has created, and that nobody has. For that it is given to this
    /// node, unless it is already.
    fn remove(&self, image: Rc<ImageFile>, leased: &mut Vec<Taken>) -> Result<(), Failure> {
        if !leased.iter().any(|taken| taken.is_of(&image)) {
            match images::lease(host::lease(&self.session, Rc::clone(&image))) {
                Ok(taken) => leased.extend(taken),
                Err(failure) if failure.reason == "leased" => {}
                Err(failure) => return Err(failure),
            }
        }
        let lease = leased.iter().find(|taken| taken.is_of(&image));
        lease.map(images::remove_unused).transpose().map(drop)
    }

    fn take_effect(&mut self) -> Result<(), Failure> {
        let mut anything = self.effects.is_anything();
        if let Some(ledger) = &mut self.ledger {
            let mut record = ledger.draft(self.call)?;
            record.state.clone_from(&self.session.state);
            let here = self.session.node == self.session.node_name;
            note(&mut record, self.call, &self.effects, here);
            record.settle();
            if ledger.would_change(&record) {
                anything = true;
                ledger.establish(record)?;
            }
        }
        if !anything {
            return Ok(());
        }
        if let Some((device, true)) = &self.effects.device {
            loopdev::keep(device)?;
            crash::point("loop-kept");
        }
        let link = self.link;
        self.audit.flush(|within| link.is_stopped(within));
        let attach = self.effects.attach.take();
        let take_effect = || -> Result<(), Failure> {
            crash::point("permitted");
            if let Some(attach) = attach {
                mounts::attach(attach)?;
                crash::point("attached");
            }
            Ok(())
        };
        self.link.take_effect(take_effect).unwrap_or_else(|| Err(stopped()))
    }
}

/// Writes into the record what will be true once the call has taken effect.
/// `here` is whether the call is about this node.
fn note(record: &mut VolumeRecord, call: &Call, effects: &Effects, here: bool) {
    if let Some((image, lease)) = &effects.image {
        record.image = Some(ImageRef {
            directory: image.dir.path().to_owned(),
            name: image.name.as_str().to_owned(),
            identity: image.identity.clone(),
            lease: lease.clone(),
        });
    }
    if let Some((device, _)) = &effects.device {
        record.device = Some(DeviceRef::of(device));
    }
    match call {
        Call::Attach { node, .. } => record.attached_node = Some(node.as_str().to_owned()),
        Call::Detach { node, .. } if record.attached_node.as_deref() == Some(node.as_str()) => {
            record.attached_node = None;
        }
        _ => {}
    }
    if let Call::Detach { .. } = call {
        // A device that was found, not made, is not there to be taken down.
        if here || record.device.as_ref().is_some_and(|device| !device.is_loop) {
            record.device = None;
        }
        // That nothing is mounted was seen to before, and what loop device there was is taken down.
        // What a killed call has left on record besides is not there.
        if here {
            record.staged = None;
            record.published.clear();
        }
    }
    if let (Some(attach), Some(target)) = (&effects.attach, call.target()) {
        let Mounted { device, access, fs_type, .. } = attach.get().pending.describe();
        let beneath_root = target.beneath_root.clone();
        let asked = call.volume().map_or(access, |volume| volume.facts.access);
        let mount = MountRef { beneath_root, asked, access, fs_type, device };
        if let Some((device, _)) = &effects.device {
            record.note_mounted(&device.identity);
        }
        note_mount(record, call.operation(), mount);
    }
}

/// Writes into the record what that operation mounts.
pub(super) fn note_mount(record: &mut VolumeRecord, operation: Operation, mount: MountRef) {
    record.published.retain(|other| other.beneath_root != mount.beneath_root);
    match operation {
        Operation::MountDevice => {
            record.access = mount.access;
            record.staged = Some(mount);
        }
        _ => record.published.push(mount),
    }
}

impl DeviceRef {
    fn of(device: &Device) -> Self {
        Self { number: device.number, identity: device.identity.clone(), is_loop: device.is_loop() }
    }
}
