//! May this component be installed here, by who signed it and what the operator has decided? One
//! answer for `install`, `rollback`, `verify` and `doctor`.

use std::path::Path;

use wasmount_core::bundle::receipt;
use wasmount_core::call::DriverName;

use super::Store;
use super::key::KeyId;
use super::signature::{Mistake, Signature};

/// What is to be judged.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// The component.
    pub component: &'a [u8],
    /// The contents of its signature file, if it has one.
    pub signature: Option<&'a [u8]>,
    /// What it is to be installed as; without it, pins are not looked at.
    pub driver: Option<&'a DriverName>,
}

/// What is thought of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The component's digest.
    pub digest: String,
    /// Who signed it, if somebody did who is trusted.
    pub signer: Option<Signer>,
    /// Why it is not to be installed; the first of what could be said.
    pub objection: Option<Objection>,
}

/// Who signed a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// With which key.
    pub key_id: KeyId,
    /// The name of its file in the trust directory.
    pub key_name: String,
    /// What they said, harmless to a terminal.
    pub trusted_comment: String,
}

/// Why a component is not to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// The operator has revoked this very component.
    RevokedDigest,
    /// The operator has revoked the key that it says it was signed with.
    RevokedKey(KeyId),
    /// Nobody signed it. This alone can be allowed.
    Unsigned,
    /// What is in the signature's place is none that is accepted.
    Unusable(Mistake),
    /// It says it was signed with a key that is not trusted.
    UnknownKey(KeyId),
    /// The key has not signed this.
    WrongSignature(KeyId, String),
    /// The driver is pinned to keys, and it is signed with another, or not at all.
    PinnedKeys(Vec<KeyId>, Option<KeyId>),
    /// The driver is pinned to digests, and this one has another.
    PinnedDigests(Vec<String>),
}

impl Store {
    /// Judges a component.
    pub fn judge(&self, candidate: Candidate<'_>) -> Verdict {
        let digest = receipt::digest(candidate.component);
        let signature = candidate.signature.map(Signature::parse);
        let signer = match &signature {
            Some(Ok(signature)) => self.signer(signature, candidate.component),
            Some(Err(mistake)) => Err(Objection::Unusable(*mistake)),
            None => Err(Objection::Unsigned),
        };
        let key = signer.as_ref().ok().map(|signer| signer.key_id);
        let (signer, unsigned) = match signer {
            Ok(signer) => (Some(signer), None),
            Err(objection) => (None, Some(objection)),
        };
        let revoked = &self.policy.revoked;
        let objection = if revoked.digests.iter().any(|revoked| revoked.as_str() == digest) {
            Some(Objection::RevokedDigest)
        } else {
            match unsigned {
                // It can be allowed, unless the pins say that it cannot.
                Some(Objection::Unsigned) => {
                    self.against_pins(candidate.driver, &digest, key).or(Some(Objection::Unsigned))
                }
                Some(objection) => Some(objection),
                None => self.against_pins(candidate.driver, &digest, key),
            }
        };
        Verdict { digest, signer, objection }
    }

    /// Who has signed these bytes. What is revoked is said before anything is verified.
    fn signer(&self, signature: &Signature, component: &[u8]) -> Result<Signer, Objection> {
        let id = signature.key;
        if self.policy.revoked.keys.contains(&id) {
            return Err(Objection::RevokedKey(id));
        }
        let key = self.key(id).ok_or(Objection::UnknownKey(id))?;
        if !signature.is_of(key, component) {
            return Err(Objection::WrongSignature(id, key.name.clone()));
        }
        let trusted_comment = signature.trusted_comment.clone();
        Ok(Signer { key_id: id, key_name: key.name.clone(), trusted_comment })
    }

    fn against_pins(
        &self,
        driver: Option<&DriverName>,
        digest: &str,
        key: Option<KeyId>,
    ) -> Option<Objection> {
        let pins = self.policy.drivers.get(driver?)?;
        if let Some(digests) = &pins.digests
            && !digests.iter().any(|pinned| pinned.as_str() == digest)
        {
            let digests = digests.iter().map(ToString::to_string).collect();
            return Some(Objection::PinnedDigests(digests));
        }
        let keys = pins.keys.as_ref()?;
        let is_one = key.is_some_and(|key| keys.contains(&key));
        (!is_one).then(|| Objection::PinnedKeys(keys.clone(), key))
    }
}

/// What the texts name.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// The component.
    pub component: &'a str,
    /// Its signature.
    pub signature: &'a Path,
    /// What it is to be installed as.
    pub driver: Option<&'a DriverName>,
}

impl Objection {
    /// In a word, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RevokedDigest => "revoked-digest",
            Self::RevokedKey(_) => "revoked-key",
            Self::Unsigned => "unsigned",
            Self::Unusable(Mistake::Legacy) => "legacy-signature",
            Self::Unusable(_) => "unusable-signature",
            Self::UnknownKey(_) => "unknown-key",
            Self::WrongSignature(..) => "wrong-signature",
            Self::PinnedKeys(..) => "pinned-to-other-keys",
            Self::PinnedDigests(_) => "pinned-to-other-digests",
        }
    }

    /// What is the matter.
    pub fn what(&self, names: Names<'_>, store: &Store, digest: &str) -> String {
        let (file, signature) = (names.component, names.signature.display());
        let policy = store.policy_path();
        let policy = policy.display();
        let pinned =
            || names.driver.map(|driver| format!("{driver} is pinned")).unwrap_or_default();
        match self {
            Self::RevokedDigest => format!("{file} is revoked: {policy} has its digest, {digest}"),
            Self::RevokedKey(key) => {
                format!("{file} is signed with the key {key}, which is revoked by {policy}")
            }
            Self::Unsigned => format!("{file} is not signed: there is no {signature}"),
            Self::Unusable(mistake) => format!("{signature} {mistake}"),
            Self::UnknownKey(key) => {
                format!(
                    "{file} is signed with the key {key}, and no key of {} is that",
                    store.path.display()
                )
            }
            Self::WrongSignature(key, name) => format!(
                "{signature} is not a signature of {file}, though it says it is, with the key {key} \
                 ({name}): one of the two was changed"
            ),
            Self::PinnedKeys(keys, signer) => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                let keys = keys.join(", ");
                let signed = match signer {
                    Some(key) => format!("signed with {key}"),
                    None => "not signed".to_owned(),
                };
                format!("{} to the keys {keys} by {policy}, and {file} is {signed}", pinned())
            }
            Self::PinnedDigests(digests) => {
                let digests = digests.join(", ");
                format!("{} to {digests} by {policy}, and {file} is {digest}", pinned())
            }
        }
    }

    /// What to do about it, for whoever would install the component.
    pub fn remedy(&self, names: Names<'_>, store: &Store) -> String {
        let signature = names.signature.display();
        match self {
            Self::RevokedDigest | Self::RevokedKey(_) => {
                "get a component from the vendor that is not revoked".to_owned()
            }
            Self::Unsigned => {
                "get the signature from the vendor, or say --allow-unsigned if you know where the \
                 component is from"
                    .to_owned()
            }
            Self::Unusable(Mistake::Legacy) => {
                "have it signed again, by `wasmount sign` or by `minisign -S -H`".to_owned()
            }
            Self::Unusable(_) | Self::WrongSignature(..) => {
                "get both from the vendor again".to_owned()
            }
            Self::UnknownKey(_) => format!(
                "if it is the vendor's, put its public key there as NAME.pub; or remove {signature} \
                 and say --allow-unsigned, if you know where the component is from"
            ),
            Self::PinnedKeys(..) | Self::PinnedDigests(_) => {
                format!("install what it is pinned to, or change {}", store.policy_path().display())
            }
        }
    }

    /// Both, as an error says it.
    pub fn describe(&self, names: Names<'_>, store: &Store, digest: &str) -> String {
        format!("{}; {}", self.what(names, store, digest), self.remedy(names, store))
    }
}
