//! What is left of the grants in one call: `Grants ∩ Call ∩ record`, and what the call has
//! opened. Everything that a decision looks at is here; no decision is taken here.
//!
//! A session is made from what is open already. The one thing that it opens itself, when first
//! asked for, is the granted image directory.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::call::{Access, Call, DriverName, Operation, Secrets, VolumeName};
use crate::failure::Failure;
use crate::grants::Grants;
use crate::journal::Claim;
use crate::journal::record::{MountRef, VolumeRecord};
use crate::kernel::device::Device;
use crate::kernel::images::{ImageDir, ImageFile, LeaseRecord};
use crate::kernel::target::Target;
use crate::redact::Redactor;
use crate::wire::Bytes;

/// What a decision has to ask about things that belong to nobody in particular.
pub trait Claims {
    /// The other volume whose record names this image or device identity, if there is one.
    fn holder(&self, identity: &str) -> Result<Option<Claim>, Failure>;
    /// The lease of an image, if it has one.
    fn lease(&self, image: &ImageFile) -> Result<Option<LeaseRecord>, Failure>;
}

/// Where a call runs.
pub struct Place {
    /// The driver.
    pub driver: DriverName,
    /// This node's name.
    pub node_name: String,
    /// Whether volumes are recorded here: on a node they are, in the controller role not.
    pub keeps_records: bool,
    /// Who has what.
    pub claims: Rc<dyn Claims>,
}

/// What the broker has opened for a call. Each of them is proven to be what the call and the
/// record speak of.
#[derive(Debug, Default)]
pub struct Opened {
    /// The directory of this call.
    pub target: Option<Rc<Target>>,
    /// The recorded device mount's directory: where binds come from.
    pub staging: Option<Rc<Target>>,
    /// The recorded device, if it is still there and still has the recorded identity.
    pub device: Option<Rc<Device>>,
}

/// The authority of one call.
pub struct Session {
    /// The driver.
    pub driver: DriverName,
    /// What kubelet asked for.
    pub operation: Operation,
    /// The volume's name.
    pub name: VolumeName,
    /// How the volume may be used: as this call says or, in a teardown, as it was recorded.
    pub access: Access,
    /// What the operator granted.
    pub grants: Rc<Grants>,
    /// The node that the call is about: the one it names, or this one.
    pub node: String,
    /// This node's name.
    pub node_name: String,
    /// Whether volumes are recorded here.
    pub keeps_records: bool,
    /// The directory of this call.
    pub target: Option<Rc<Target>>,
    /// The recorded device mount's directory.
    pub staging: Option<Rc<Target>>,
    /// The recorded device mount.
    pub staged: Option<MountRef>,
    /// The recorded mount on this call's directory.
    pub mounted: Option<MountRef>,
    /// The volume's device on this node. The broker sets it when one is attached in this call,
    /// and clears it when it is detached.
    pub device: Option<Rc<Device>>,
    /// What was recorded of the volume, with what this call has changed.
    pub record: Option<VolumeRecord>,
    /// What the component has stored, with what this call has changed. The broker writes to it
    /// as [`crate::decide::Act::StatePut`] and [`crate::decide::Act::StateDelete`] say.
    pub state: BTreeMap<String, Bytes>,
    secrets: Secrets,
    redactor: Redactor,
    claims: Rc<dyn Claims>,
    images: OnceCell<Rc<ImageDir>>,
}

impl Session {
    /// The session of a call.
    pub fn new(
        place: Place,
        grants: Rc<Grants>,
        call: &Call,
        secrets: Secrets,
        record: Option<VolumeRecord>,
        opened: Opened,
    ) -> Self {
        let access = match (call.volume(), &record) {
            (Some(volume), _) => volume.facts.access,
            (None, Some(record)) => record.access,
            (None, None) => Access::ReadWrite,
        };
        let node = match call {
            Call::Attach { node, .. }
            | Call::Detach { node, .. }
            | Call::IsAttached { node, .. } => node.as_str().to_owned(),
            _ => place.node_name.clone(),
        };
        let staged = record.as_ref().and_then(|record| record.staged.clone());
        let mounted = record.as_ref().zip(call.target()).and_then(|(record, target)| {
            let mut mounts = record.staged.iter().chain(&record.published);
            mounts.find(|mount| mount.beneath_root == target.beneath_root).cloned()
        });
        Self {
            driver: place.driver,
            operation: call.operation(),
            name: call.name().clone(),
            access,
            grants,
            node,
            node_name: place.node_name,
            keeps_records: place.keeps_records,
            target: opened.target,
            staging: opened.staging,
            staged,
            mounted,
            device: opened.device,
            state: record.as_ref().map(|record| record.state.clone()).unwrap_or_default(),
            record,
            redactor: Redactor::new(&secrets),
            secrets,
            claims: place.claims,
            images: OnceCell::new(),
        }
    }

    /// The names of the secret's keys, sorted: all of them where any secret is granted, so that
    /// a component that is to use all can tell that it may not.
    pub fn secret_keys(&self) -> Vec<String> {
        match self.grants.secrets.is_empty() {
            true => Vec::new(),
            false => self.secrets.keys().map(str::to_owned).collect(),
        }
    }

    /// The value of a granted secret of this call.
    pub fn secret(&self, key: &str) -> Option<&[u8]> {
        self.grants.secret(key).next().and_then(|_| self.secrets.get(key))
    }

    /// Blots the call's secrets out, granted or not; and finds them.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Who has what.
    pub fn claims(&self) -> &dyn Claims {
        &*self.claims
    }

    /// The granted image directory, opened once a call.
    pub fn image_dir(&self) -> Result<Option<Rc<ImageDir>>, Failure> {
        let Some(grant) = &self.grants.images else { return Ok(None) };
        if let Some(dir) = self.images.get() {
            return Ok(Some(Rc::clone(dir)));
        }
        let dir = ImageDir::open(grant.directory.path())?;
        Ok(Some(Rc::clone(self.images.get_or_init(|| dir))))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("driver", &self.driver)
            .field("operation", &self.operation)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
