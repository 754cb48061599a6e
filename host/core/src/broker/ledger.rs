//! What a call may rely on and what it changes of a volume's memory: the lock, the record and the
//! claims, from the moment the call has its turn until it is over.
//!
//! Away from the node (another uid, no writable directory) there is no ledger.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use crate::bundle::receipt::Receipt;
use crate::call::{Call, DriverName, MountDir, NodeName, Operation, TargetPath};
use crate::crash;
use crate::failure::{Code, Failure};
use crate::journal::lock::{Before, Lock};
use crate::journal::record::{FormatRef, VolumeRecord};
use crate::journal::{Journal, boot_id};
use crate::link::Link;
use crate::rehearsal;

/// The volume's memory while a call works on it.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) journal: Rc<Journal>,
    pub(super) key: String,
    /// The record as it is on disk.
    pub(super) record: Option<VolumeRecord>,
    lock: Lock,
    run_dir: PathBuf,
    /// What kubelet asked for.
    pub(super) asked: Operation,
}

impl Ledger {
    /// Waits for the volume's turn and reads what is remembered of it.
    pub(super) fn open(
        receipt: &Receipt,
        driver: &DriverName,
        call: &Call,
        link: &Link,
    ) -> Result<Self, Failure> {
        let key = key(call, &receipt.exports);
        let stopped = |within| link.is_stopped(within);
        let mut lock = Lock::take(&receipt.run_dir, driver, &key, call.operation(), stopped)?;
        let journal = Rc::new(Journal::open(&receipt.data_dir, driver)?);
        let mut record = journal.load(&key)?;
        // All that it said was of an earlier boot.
        if record.as_ref().is_some_and(|record| !record.worth_keeping()) {
            journal.forget(&key)?;
            record = None;
        }
        // Looking for it takes longer the more volumes there are. A volume that nothing is known of
        // has not been there before, as far as can be told.
        let may_have_left = match lock.before() {
            Before::CutOff => true,
            Before::Nobody => record.is_some(),
            Before::Ended => false,
        };
        if may_have_left && journal.clear_up(&key, record.as_ref()).is_ok() {
            lock.forget_before();
        }
        lock.is_last(record.is_none());
        Ok(Self {
            journal,
            key,
            record,
            lock,
            run_dir: receipt.run_dir.clone(),
            asked: call.operation(),
        })
    }

    /// Takes a resource for this volume, or refuses because another has it. A claim that a crash
    /// left behind, of a volume that does not know of it and is not being worked on, is void.
    pub(super) fn claim(&self, identity: &str) -> Result<(), Failure> {
        let Some(held) = self.journal.claim(identity, &self.key)? else { return Ok(()) };
        let refusal = || held.refusal(identity);
        let driver: DriverName = held.driver.parse().map_err(|_| refusal())?;
        let _lock = Lock::try_take(&self.run_dir, &driver, &held.key).map_err(|_| refusal())?;
        if !self.journal.drop_stale(identity, &held)? {
            return Err(refusal());
        }
        // What a rehearsal has not removed it cannot take either.
        if rehearsal::is_on() {
            return Ok(());
        }
        match self.journal.claim(identity, &self.key)? {
            None => Ok(()),
            Some(held) => Err(held.refusal(identity)),
        }
    }

    /// The lock's descriptor: a tool that writes inherits it, so that the volume stays locked as
    /// long as the tool runs, even if the broker is killed.
    pub(super) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// The same for a tool to have.
    pub(super) fn lock_to_inherit(&self) -> Result<OwnedFd, Failure> {
        let lock = self.lock.as_fd().try_clone_to_owned();
        lock.map_err(|error| Failure::io("handing the volume's lock on", &error))
    }

    /// Whether this node has anything of the volume now.
    pub(super) fn in_use(&self) -> bool {
        self.record.as_ref().is_some_and(VolumeRecord::in_use)
    }

    /// Whether a record says anything else than what is on disk.
    pub(super) fn would_change(&self, record: &VolumeRecord) -> bool {
        Some(record).filter(|record| record.worth_keeping()) != self.record.as_ref()
    }

    /// Makes a changed record durable. One that has nothing left to say is removed.
    pub(super) fn save(&mut self, record: Option<VolumeRecord>) -> Result<(), Failure> {
        let record = record.filter(VolumeRecord::worth_keeping);
        if record == self.record {
            return Ok(());
        }
        match &record {
            Some(record) => self.journal.save(&self.key, record)?,
            None => self.journal.forget(&self.key)?,
        }
        self.lock.is_last(record.is_none());
        self.record = record;
        Ok(())
    }

    /// Makes a record durable, with everything that it lists claimed for the volume first.
    pub(super) fn establish(&mut self, record: VolumeRecord) -> Result<(), Failure> {
        for identity in record.identities() {
            self.claim(identity)?;
        }
        crash::point("claimed");
        self.replace(record)?;
        crash::point("record-saved");
        Ok(())
    }

    /// Makes a changed record durable and lets go of what it no longer lists. In this order: a claim
    /// that a crash leaves in between is void, since no record knows of it.
    pub(super) fn replace(&mut self, record: VolumeRecord) -> Result<(), Failure> {
        self.exchange(Some(record))
    }

    /// Forgets the volume, of which nothing was known before this call.
    pub(super) fn remove(&mut self) -> Result<(), Failure> {
        self.exchange(None)
    }

    fn exchange(&mut self, record: Option<VolumeRecord>) -> Result<(), Failure> {
        let before = self.record.clone();
        self.save(record)?;
        let has = self.record.as_ref().map(VolumeRecord::identities).unwrap_or_default();
        let had = before.as_ref().map(VolumeRecord::identities).unwrap_or_default();
        for identity in had.into_iter().filter(|identity| !has.contains(identity)) {
            crash::point("record-replaced");
            self.journal.disclaim(identity, &self.key)?;
        }
        Ok(())
    }

    /// The record to change: what is there, or a new one for the volume of this call.
    pub(super) fn draft(&self, call: &Call) -> Result<VolumeRecord, Failure> {
        let mut record = match &self.record {
            Some(record) => record.clone(),
            None => VolumeRecord::empty(call.name().as_str(), boot_id()?),
        };
        if let Some(volume) = call.volume()
            && !record.in_use()
        {
            record.options = volume.facts.options.clone();
            record.fs_type = volume.facts.fs_type.clone();
            record.access = volume.facts.access;
        }
        Ok(record)
    }

    /// Notes durably that a volume is about to be given to this node: from now on whoever takes it
    /// down knows that there may be something to take down.
    pub(super) fn begin(&mut self, call: &Call, node: &NodeName) -> Result<(), Failure> {
        let mut record = self.draft(call)?;
        record.attached_node = Some(node.as_str().to_owned());
        self.save(Some(record))
    }

    /// Notes durably that a format begins, or that it is over.
    pub(super) fn formatting(
        &mut self,
        call: &Call,
        format: Option<FormatRef>,
    ) -> Result<(), Failure> {
        let mut record = self.draft(call)?;
        record.formatting = format;
        self.save(Some(record))
    }

    /// Refuses a volume whose name is in use on this node with other options. Two pods that give
    /// an inline volume of an attachable driver the same name would otherwise share its data.
    pub(super) fn same_volume(&self, call: &Call) -> Result<(), Failure> {
        let (Some(record), Some(volume)) = (&self.record, call.volume()) else { return Ok(()) };
        if record.is_of(&volume.facts) || !record.in_use() {
            return Ok(());
        }
        let (here, there) = (&volume.facts.options, &record.options);
        let mut differing: Vec<&str> = here
            .keys()
            .chain(there.keys())
            .filter(|key| here.get(*key) != there.get(*key))
            .map(String::as_str)
            .chain((record.fs_type != volume.facts.fs_type).then_some("kubernetes.io/fsType"))
            .collect();
        differing.sort_unstable();
        differing.dedup();
        differing.truncate(8);
        let message = format!(
            "volume {} is in use on this node with other options ({}), and its data is not shared; \
             if two pods give an inline volume this name, use PersistentVolumes, whose names are unique",
            record.volume,
            differing.join(", ")
        );
        Err(Failure::new(Code::FailedPrecondition, "other-volume", message))
    }
}

/// What a volume's record is found by. Drivers whose volumes are staged once a node go by the
/// volume's name; others, whose names are the pods' own, by pod and name.
fn key(call: &Call, exports: &[String]) -> String {
    let name = call.name().as_str();
    let staged = exports.iter().any(|export| export == "device");
    match call.target() {
        Some(TargetPath { dir: MountDir::Pod { uid }, .. }) if !staged => format!("{uid}~{name}"),
        _ => name.to_owned(),
    }
}
