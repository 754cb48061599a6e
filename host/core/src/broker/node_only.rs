//! `mount` and `unmount` where the host attaches volumes itself: in a cluster that never asks for
//! it, or for a driver that has a device and nothing to attach.
//!
//! kubelet calls nothing else then. So `mount` goes through all operations that would come before
//! it, and the `unmount` that leaves no pod with the volume through all that would come after it.
//! Each is the same as if kubelet had called it: it finds what is done already, the component has
//! no part of another's session, and it commits before the next begins. A mount that fails is
//! taken back by what the last unmount does. What a crash leaves is on record, and the next call
//! for the volume goes on from there: a mount upwards, an unmount downwards.

use serde_json::json;

use crate::call::{Access, Attachment, Call, NodeName, Secrets, TargetPath, Volume, VolumeName};
use crate::crash;
use crate::decide::host;
use crate::failure::Failure;
use crate::journal::record::VolumeRecord;
use crate::kernel::{staging, target};
use crate::reply::{Reply, Told};

use super::{Turn, teardown};

impl Turn<'_> {
    /// All operations of a call of kubelet's, one after the other.
    pub(super) fn go_through(&mut self, call: &Call, secrets: Secrets) -> Result<Reply, Failure> {
        match call.volume() {
            Some(volume) => self.mount(call, volume, secrets),
            None => self.unmount(call),
        }
    }

    fn mount(&mut self, call: &Call, volume: &Volume, secrets: Secrets) -> Result<Reply, Failure> {
        self.clear_away_others(volume)?;
        if let Some(reply) = self.settled(call, self.target(call)?.as_deref())? {
            return Ok(reply);
        }
        // A call that was cut off may have attached it.
        self.attached = self.record().is_some_and(|record| record.attached_node.is_some());
        let mounted = self.stage(call, volume).and_then(|()| self.step(call, secrets));
        // If it cannot be told whether a pod has it, one may.
        match mounted {
            Err(failure) if !self.is_published().unwrap_or(true) => {
                Err(self.take_back(&volume.name, failure))
            }
            mounted => mounted,
        }
    }

    fn unmount(&mut self, call: &Call) -> Result<Reply, Failure> {
        if self.has(call)? {
            self.step(call, Secrets::default())?;
            crash::point("unpublished");
        }
        if !self.is_published()? {
            self.give_up(call.name())?;
        }
        Ok(Reply::DONE)
    }

    /// Has the volume's device mounted on this node, once for all pods.
    fn stage(&mut self, call: &Call, volume: &Volume) -> Result<(), Failure> {
        if self.is_staged()? {
            return Ok(());
        }
        let node: NodeName = self.bundle.receipt.node_name.parse()?;
        if let Some(ledger) = &mut self.ledger {
            ledger.begin(call, &node)?;
            crash::point("attach-noted");
        }
        let mut attachment = None;
        if self.bundle.receipt.exports("attacher") {
            let attach = Call::Attach { volume: volume.of_device(), node };
            attachment = self.step_towards(&attach)?;
            self.attached = true;
            attachment =
                self.step_towards(&Call::WaitForAttach { volume: volume.of_device(), attachment })?;
        }
        let directory = self.directory(&volume.name);
        staging::make(host::staging(&self.bundle.receipt.kubelet_root, &directory)?)?;
        crash::point("staging-made");
        let volume = volume.of_device();
        self.step_towards(&Call::MountDevice { target: directory, volume, attachment })?;
        crash::point("staged");
        Ok(())
    }

    /// Takes down all that this node has of a volume that no pod has.
    fn give_up(&mut self, name: &VolumeName) -> Result<(), Failure> {
        let Some(record) = self.record().filter(|record| record.in_use()) else { return Ok(()) };
        let has_device = record.staged.is_some() || record.device.is_some();
        let directory = self.directory(name);
        if has_device {
            let unmount = Call::UnmountDevice { target: directory.clone() };
            self.step(&unmount, Secrets::default())?;
        }
        staging::remove(host::staging(&self.bundle.receipt.kubelet_root, &directory)?)?;
        crash::point("staging-removed");
        // Whatever this node is called by now.
        let given_to = self.record().and_then(|record| record.attached_node.as_deref());
        if let Some(node) = given_to.map(str::parse).transpose()? {
            self.step(&Call::Detach { name: name.clone(), node }, Secrets::default())?;
        }
        Ok(())
    }

    /// Takes down what a mount has set up that then failed.
    fn take_back(&mut self, name: &VolumeName, failure: Failure) -> Failure {
        match self.give_up(name) {
            Ok(()) => failure,
            Err(left) => failure.leaving(&left),
        }
    }

    /// A mount that was cut off and never asked for again leaves its volume set up for nobody. If
    /// that is not what is wanted now, under the same name, it is taken down first.
    fn clear_away_others(&mut self, wanted: &Volume) -> Result<(), Failure> {
        let Some(record) = self.record().filter(|record| record.in_use()) else { return Ok(()) };
        let read_only = record.staged.as_ref().is_some_and(|m| m.access == Access::ReadOnly);
        let fits =
            record.is_of(&wanted.facts) && (!read_only || wanted.facts.access == Access::ReadOnly);
        if fits || self.is_published()? {
            return Ok(());
        }
        self.give_up(&wanted.name)
    }

    fn step_towards(&mut self, call: &Call) -> Result<Option<Attachment>, Failure> {
        let Reply::Success(Told { device: Some(text), .. }) =
            self.step(call, Secrets::default())?
        else {
            return Ok(None);
        };
        Attachment::unwrap(&text, &self.bundle.driver, call.name()).map(Some)
    }

    fn step(&mut self, call: &Call, secrets: Secrets) -> Result<Reply, Failure> {
        self.audit.line("step", json!({ "operation": call.operation().name() }));
        self.operate(call, secrets)
    }

    /// Whether the directory of a call has anything that could be unmounted.
    fn has(&self, call: &Call) -> Result<bool, Failure> {
        let Some(path) = call.target() else { return Ok(false) };
        let listed = self.record().is_some_and(|r| r.mount_at(&path.beneath_root).is_some());
        let target = self.target(call)?;
        Ok(listed || target.map_or(Ok(None), |target| target::mounted(&target))?.is_some())
    }

    /// Whether a pod has the volume.
    fn is_published(&self) -> Result<bool, Failure> {
        let root = &self.bundle.receipt.kubelet_root;
        for mount in self.record().iter().flat_map(|record| &record.published) {
            if teardown::is_mounted(root, mount)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the volume's device is mounted.
    fn is_staged(&self) -> Result<bool, Failure> {
        match self.record().and_then(|record| record.staged.as_ref()) {
            Some(mount) => teardown::is_mounted(&self.bundle.receipt.kubelet_root, mount),
            None => Ok(false),
        }
    }

    fn record(&self) -> Option<&VolumeRecord> {
        self.ledger.as_ref()?.record.as_ref()
    }

    fn directory(&self, name: &VolumeName) -> TargetPath {
        let receipt = &self.bundle.receipt;
        TargetPath::of_device(&self.bundle.driver, name, &receipt.kubelet_root)
    }
}
