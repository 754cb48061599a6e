//! What is done while the component starts: the proof that it is the one that was installed and, in
//! a `mountdevice`, what is as good as certain to come next.
//!
//! A volume that was mounted from its device before is about to be checked and mounted again. The
//! check takes half of the call, and the durable record much of the rest; here they are done at once,
//! beside each other and beside the component's start. Nothing is done that the component would
//! not be granted, and if it wants something else after all, nothing has come of it: what the
//! check said is kept until it is asked for, and a record that did not come true is put back with
//! whatever else the call undoes. A crash meanwhile leaves what one between record and mount leaves.

use std::rc::Rc;

use serde_json::json;

use crate::call::Operation;
use crate::crash;
use crate::decide::{Granted, host};
use crate::failure::Failure;
use crate::journal::record::MountRef;
use crate::kernel::device::Device;
use crate::kernel::filesystems::{Check, Filesystem};
use crate::kernel::tools;

use super::Work;
use super::effects::note_mount;

/// A check whose answer nobody has asked for yet.
#[derive(Debug)]
pub(super) struct Checked {
    identity: String,
    filesystem: Filesystem,
    repaired: Result<bool, Failure>,
}

impl Work<'_> {
    /// Does it. An error if the component is not the one that was installed.
    pub(super) fn get_ahead(&mut self) -> Result<(), Failure> {
        let bundle = self.bundle;
        let Some(check) = host::check_ahead(&self.session) else {
            if let (Some(device), Operation::MountDevice) =
                (&self.session.device, self.call.operation())
            {
                tools::prepare(device);
            }
            return bundle.verify_component();
        };
        let Check { device, filesystem } = check.get();
        let (device, filesystem) = (Rc::clone(device), *filesystem);
        let mut verified = None;
        let repaired = self.check_now(check, |work| {
            work.foresee(&device, filesystem);
            verified = Some(bundle.verify_component());
        });
        let message = repaired.as_ref().err().map(|failure| &failure.message);
        self.audit.line("host-act", json!({ "act": "check", "message": message }));
        let identity = device.identity.clone();
        self.effects.checked = Some(Checked { identity, filesystem, repaired });
        verified.unwrap_or_else(|| bundle.verify_component())
    }

    /// Checks a filesystem, unless that was done ahead: then its answer is due now.
    pub(super) fn check(&mut self, check: Granted<Check>) -> Result<bool, Failure> {
        let Check { device, filesystem } = check.get();
        match self.effects.checked.take() {
            Some(checked)
                if checked.identity == device.identity && checked.filesystem == *filesystem =>
            {
                checked.repaired
            }
            _ => self.check_now(check, |_| ()),
        }
    }

    /// Makes durable what the record will say if the volume is mounted as it was before. If it
    /// cannot be, the record of what came of the call cannot either, and that is when it is told.
    fn foresee(&mut self, device: &Device, filesystem: Filesystem) {
        let Some(ledger) = self.ledger else { return };
        let (Some(target), Ok(mut record)) = (self.call.target(), ledger.draft(self.call)) else {
            return;
        };
        let access = self.session.access;
        let mount = MountRef {
            beneath_root: target.beneath_root.clone(),
            asked: access,
            access,
            fs_type: filesystem.name().to_owned(),
            device: device.number,
        };
        note_mount(&mut record, Operation::MountDevice, mount);
        record.settle();
        let before = ledger.record.clone();
        if ledger.establish(record).is_ok() {
            self.effects.before = before;
            crash::point("foreseen");
        }
    }
}
