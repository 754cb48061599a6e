//! The end of `unmount` and `unmountdevice`: whatever the component did, nothing of what the
//! record lists for the target is left on this node.
//!
//! A component that cannot run, or fails, does not keep a volume mounted: kubelet would call for
//! ever and the node could not be drained. Its failure stays in the audit log.

use std::path::Path;

use serde_json::json;

use crate::call::Operation;
use crate::crash;
use crate::decide::host;
use crate::failure::{Code, Failure};
use crate::journal::record::VolumeRecord;
use crate::kernel::{mounts, target};
use crate::reply::Reply;

use super::Work;
use super::conversation::stopped;
use super::ledger::Ledger;

impl Work<'_> {
    /// Takes down what is left, and forgets it.
    pub(super) fn take_down(mut self, component: Result<Reply, Failure>) -> Result<Reply, Failure> {
        if let Err(failure) = &component {
            let message = self.session.redactor().clean(&failure.message).into_owned();
            self.audit
                .line("component-failed", json!({ "reason": failure.reason, "message": message }));
        }
        if self.link.is_stopped() {
            return Err(stopped());
        }
        if mounts::unmount(host::unmount(&self.session)?)? {
            self.audit.line("host-act", json!({ "act": "target-unmount" }));
            crash::point("unmounted");
        }
        if self.call.operation() == Operation::UnmountDevice
            && let Some(device) = host::detach(&self.session)
        {
            self.audit.line("host-act", json!({ "act": "loop-detach" }));
            self.loop_detach(device)?;
        }
        self.forget()?;
        Ok(Reply::DONE)
    }

    fn forget(&mut self) -> Result<(), Failure> {
        let (Some(ledger), Some(path)) = (&mut self.ledger, self.call.target()) else {
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
        let pod = target::open(root, &mount.beneath_root)?;
        if target::mounted(&pod)?.is_some_and(|mounted| mounted.device == mount.device) {
            let message = format!("the volume is still mounted on {}", pod.path.display());
            return Err(Failure::new(Code::FailedPrecondition, "busy", message));
        }
    }
    Ok(())
}
