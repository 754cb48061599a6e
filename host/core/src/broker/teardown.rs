//! The end of `unmount` and `unmountdevice`, and of `detach` where the host attaches volumes itself:
//! whatever the component did, nothing of what the record lists is left.
//!
//! A component that cannot run, or fails, does not keep a volume mounted: kubelet would call for
//! ever and the node could not be drained. Its failure stays in the audit log.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rustix::mount::MountAttrFlags;
use serde_json::json;

use crate::bundle::receipt::Attaching;
use crate::call::Operation;
use crate::crash;
use crate::decide::host;
use crate::failure::{Code, Failure};
use crate::journal::record::{MountRef, VolumeRecord};
use crate::kernel::{device, images, mounts, target};
use crate::reply::Reply;

use super::Work;
use super::conversation::stopped;
use super::ledger::Ledger;

impl Work<'_> {
    /// Takes down what is left, and forgets it.
    pub(super) fn take_down(mut self, component: Result<Reply, Failure>) -> Result<Reply, Failure> {
        self.note_failure(&component);
        self.may_go_on()?;
        if mounts::unmount(host::unmount(&self.session)?)? {
            self.audit.line("host-act", json!({ "act": "target-unmount" }));
            crash::point("unmounted");
        }
        if self.call.operation() == Operation::UnmountDevice {
            self.let_go_of_device()?;
        }
        self.forget()?;
        Ok(Reply::DONE)
    }

    /// Ends the lease that is left, and forgets that the volume was given to this node. What only
    /// the component knows of, and failed to take back, stays on record: there is no other call that
    /// would ever ask for it again.
    pub(super) fn give_back(mut self, component: Result<Reply, Failure>) -> Result<Reply, Failure> {
        self.note_failure(&component);
        self.may_go_on()?;
        let record = self.ledger.as_ref().and_then(|ledger| ledger.record.as_ref());
        let listed = record.is_some_and(|record| record.image.is_some());
        let ended = host::release(&self.session)
            .and_then(|release| release.map_or(Ok(false), images::release));
        if let Ok(true) = ended {
            self.audit.line("host-act", json!({ "act": "image-release" }));
            crash::point("lease-released");
        }
        match (ended, component) {
            (Err(failure), _) if listed || self.attached => return Err(failure),
            (_, Err(failure)) if !listed && self.attached => return Err(failure),
            _ => {}
        }
        if let Some(ledger) = self.ledger
            && let Some(mut record) = ledger.record.clone()
        {
            record.attached_node = None;
            record.settle();
            ledger.replace(record)?;
            crash::point("teardown-recorded");
        }
        Ok(Reply::DONE)
    }

    /// The device is nobody's when kubelet is told so, since it is given to another node then: a loop
    /// device is taken down, and no other has a filesystem that lives on somewhere. One that does is
    /// put back, or kubelet would take the directory for unmounted, and not ask again.
    fn let_go_of_device(&mut self) -> Result<(), Failure> {
        let staged = self.session.record.as_ref().is_some_and(|record| record.staged.is_some());
        let loop_device = host::detach(&self.session);
        let is_loop = loop_device.is_some();
        let let_go = match (loop_device, &self.session.device) {
            (Some(device), _) => {
                self.audit.line("host-act", json!({ "act": "loop-detach" }));
                self.loop_detach(device)
            }
            (None, Some(device)) if staged => device::refuse_if_kept(device),
            _ => Ok(()),
        };
        let Err(busy) = let_go else { return Ok(()) };
        match self.put_back() {
            // Nothing was mounted here, and what has the disk is not the volume's filesystem.
            Ok(false) if !is_loop && self.effects.attributes.is_none() => Ok(()),
            _ => Err(busy),
        }
    }

    /// Mounts the device again where it was when the call came. False if its filesystem is not alive.
    fn put_back(&mut self) -> Result<bool, Failure> {
        let attributes = self.effects.attributes;
        let again = host::again(&self.session, attributes.unwrap_or_else(MountAttrFlags::empty));
        let Some(again) = again else { return Ok(false) };
        let Some(pending) = mounts::again(again)? else { return Ok(false) };
        // A call before this one was cut off once it had unmounted it. Nobody but `recover` asks
        // about it any more, and would not about a mount.
        if attributes.is_some() {
            mounts::attach(host::attach(&self.session, Rc::new(pending))?)?;
            self.audit.line("host-act", json!({ "act": "mount-again" }));
        }
        Ok(true)
    }

    /// Takes down the loop device that `waitforattach` has made for a `mountdevice` that failed. kubelet
    /// calls `unmountdevice` only for what was mounted, so nobody else would; and if it tries again,
    /// it begins with `waitforattach`. One that cannot be taken down stays on record.
    pub(super) fn give_up_device(&mut self) {
        let receipt = &self.bundle.receipt;
        let asked = (self.call.operation(), receipt.attaching());
        if let (Operation::MountDevice, Attaching::Cluster) = asked
            && let Some(ledger) = &*self.ledger
            && nothing_mounted(ledger, &receipt.kubelet_root, true).is_ok()
        {
            let _ = self.take_loop_down(VolumeRecord::settle);
        }
    }

    /// Takes down the volume's loop device, which is mounted nowhere, and takes it off the record, with
    /// what is there of mounts. `also` is what else is to change in the record at once.
    pub(super) fn take_loop_down(&mut self, also: fn(&mut VolumeRecord)) -> Result<(), Failure> {
        if let Some(device) = host::detach(&self.session) {
            self.audit.line("host-act", json!({ "act": "loop-detach" }));
            self.loop_detach(device)?;
        }
        let Some(ledger) = &mut *self.ledger else { return Ok(()) };
        let Some(mut record) = ledger.record.clone() else { return Ok(()) };
        // One that is not there any more, since a call was cut off, is on record all the same.
        if !record.device.as_ref().is_some_and(|device| device.is_loop) {
            return Ok(());
        }
        (record.device, record.staged) = (None, None);
        record.published.clear();
        also(&mut record);
        ledger.replace(record)?;
        self.session.record.clone_from(&ledger.record);
        Ok(())
    }

    fn note_failure(&mut self, component: &Result<Reply, Failure>) {
        if let Err(failure) = component {
            let message = self.session.redactor().clean(&failure.message).into_owned();
            self.audit
                .line("component-failed", json!({ "reason": failure.reason, "message": message }));
        }
    }

    /// A stop ends a teardown that kubelet has asked for. One that takes back what a call has set up
    /// goes on: that it was stopped is why it does.
    fn may_go_on(&self) -> Result<(), Failure> {
        let asked = self.ledger.as_ref().is_none_or(|ledger| ledger.asked != Operation::Mount);
        match asked && self.link.is_stopped(Duration::ZERO) {
            true => Err(stopped()),
            false => Ok(()),
        }
    }

    fn forget(&mut self) -> Result<(), Failure> {
        let (Some(ledger), Some(path)) = (&mut *self.ledger, self.call.target()) else {
            return Ok(());
        };
        let Some(mut record) = ledger.record.clone() else { return Ok(()) };
        match self.call.operation() {
            Operation::UnmountDevice => {
                record.staged = None;
                record.device = None;
                // None of them is mounted any more: that was seen to before.
                record.published.clear();
            }
            _ => {
                record.published.retain(|mount| mount.beneath_root != path.beneath_root);
                // Of a driver without `device`, the pod's mount is all there is of it.
                let found = record.device.as_ref().is_some_and(|device| !device.is_loop);
                if found && record.staged.is_none() && record.published.is_empty() {
                    record.device = None;
                }
            }
        }
        record.state.clone_from(&self.session.state);
        record.settle();
        ledger.replace(record)?;
        crash::point("teardown-recorded");
        Ok(())
    }
}

/// Refuses to take the device mount from under pods that still have it: their binds would go on
/// being written to while kubelet gives the device away.
pub(super) fn nothing_mounted(
    ledger: &Ledger,
    root: &Path,
    at_detach: bool,
) -> Result<(), Failure> {
    // At `detach` the device mount counts too; at `unmountdevice` it is what is to go.
    let staged = |record: &VolumeRecord| match at_detach {
        true => record.staged.clone(),
        false => None,
    };
    let record = ledger.record.as_ref();
    let published = record.iter().flat_map(|record| record.published.clone());
    for mount in published.chain(record.and_then(staged)) {
        if is_mounted(root, &mount)? {
            let path = root.join(&mount.beneath_root);
            let message =
                format!("the volume is still mounted on {}; unmount that first", path.display());
            return Err(Failure::new(Code::FailedPrecondition, "busy", message));
        }
    }
    Ok(())
}

/// Whether a mount that the record lists is there. A crash leaves a record that lists more than
/// there is, and kubelet never unmounts what was not mounted.
pub(super) fn is_mounted(root: &Path, recorded: &MountRef) -> Result<bool, Failure> {
    let directory = target::open(root, &recorded.beneath_root)?;
    Ok(target::mounted(&directory)?.is_some_and(|mounted| mounted.device == recorded.device))
}
