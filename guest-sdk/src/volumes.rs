//! The volume that a call is about, and what the host recorded of it. Reading them needs no
//! grant.

use crate::host::volumes as raw;
use crate::{Access, Error, Result};

/// A volume as this call describes it. Its options are what a user wrote: treat them as claims.
#[derive(Debug)]
pub struct VolumeSpec<'a>(pub(crate) &'a raw::Volume);

impl VolumeSpec<'_> {
    /// The volume's name: the PersistentVolume's or, for an inline volume, the pod's own name
    /// for it.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// The value of one of the volume's options, without any `kubernetes.io/` key.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<String> {
        self.0.option(key)
    }

    /// Like `option`, for one that the driver cannot do without. Its absence is
    /// `invalid-argument` with reason `missing-option`.
    pub fn require(&self, key: &str) -> Result<String> {
        self.option(key).ok_or_else(|| {
            Error::invalid_argument(
                "missing-option",
                format!("the option `{key}` is missing; set it among the volume's options"),
            )
        })
    }

    /// All of the volume's options, sorted by key.
    #[must_use]
    pub fn options(&self) -> Vec<(String, String)> {
        self.0.options()
    }

    /// The filesystem that the volume's `fsType` asks for; none if it asks for none.
    #[must_use]
    pub fn fs_type(&self) -> Option<String> {
        self.0.fs_type()
    }

    /// Whether the volume is to be read-only.
    #[must_use]
    pub fn access(&self) -> Access {
        self.0.access()
    }

    /// The group that is to own the volume's files, if the pod sets one. Known in `mount` only.
    #[must_use]
    pub fn fs_group(&self) -> Option<u32> {
        self.0.fs_group()
    }

    /// The pod's name. This and the other facts about the pod are known in `mount` only; they
    /// are claims, not proof.
    #[must_use]
    pub fn pod_name(&self) -> Option<String> {
        self.0.pod(raw::PodFact::Name)
    }

    /// The pod's namespace.
    #[must_use]
    pub fn pod_namespace(&self) -> Option<String> {
        self.0.pod(raw::PodFact::Namespace)
    }

    /// The pod's uid.
    #[must_use]
    pub fn pod_uid(&self) -> Option<String> {
        self.0.pod(raw::PodFact::Uid)
    }

    /// The name of the pod's service account.
    #[must_use]
    pub fn pod_service_account(&self) -> Option<String> {
        self.0.pod(raw::PodFact::ServiceAccount)
    }
}

/// What the host recorded about a volume when it was set up. kubelet passes no options when it
/// tears a volume down; this is what stands in for them.
#[derive(Debug)]
pub struct VolumeRecord<'a>(pub(crate) &'a raw::VolumeRecord);

impl VolumeRecord<'_> {
    /// The value of one of the options that the volume was set up with. Secrets are never
    /// recorded.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<String> {
        self.0.option(key)
    }

    /// All of the options that the volume was set up with, sorted by key.
    #[must_use]
    pub fn options(&self) -> Vec<(String, String)> {
        self.0.options()
    }

    /// The filesystem type that was asked for.
    #[must_use]
    pub fn fs_type(&self) -> Option<String> {
        self.0.fs_type()
    }

    /// Whether the volume was set up read-only.
    #[must_use]
    pub fn access(&self) -> Access {
        self.0.access()
    }
}
