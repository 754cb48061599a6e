//! What the component holds in this call, and what of it is spent. A handle is a number that was
//! given out once; one that is not held, or is of another kind, is forged.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::No;
use crate::kernel::device::Device;
use crate::kernel::images::{ImageFile, ImageName};
use crate::kernel::mounts::PendingMount;
use crate::wire::Handle;

/// How many handles a component may hold at a time.
pub const MAX_HANDLES: usize = 64;

/// How many requests a component may make in a call.
pub const MAX_REQUESTS: u32 = 10_000;

/// Something that the component holds.
#[derive(Clone, Debug)]
pub enum Held {
    /// A block device whose identity was proven.
    Device(Rc<Device>),
    /// A mount that is not attached, of a device or a bind.
    Pending(Rc<PendingMount>),
    /// A tmpfs that is not attached: files can be put into it.
    Tmpfs(Rc<PendingMount>),
    /// An image file.
    Image(Rc<ImageFile>),
    /// A key of the call's secret.
    Secret(String),
}

impl Held {
    fn kind(&self) -> &'static str {
        match self {
            Self::Device(_) => "a device",
            Self::Pending(_) | Self::Tmpfs(_) => "a mount",
            Self::Image(_) => "an image",
            Self::Secret(_) => "a secret",
        }
    }
}

/// Everything that the component holds.
#[derive(Debug, Default)]
pub struct Handles {
    live: BTreeMap<u32, Held>,
    given: u32,
    requests: u32,
    /// How many tmpfs files were granted in this call.
    pub(super) files: u64,
    /// The image that was granted to be created.
    pub(super) created: Option<ImageName>,
    /// Whether a mount was granted to be put on the target.
    pub(super) attached: bool,
    /// Identities that no other volume claims.
    cleared: Vec<String>,
}

impl Handles {
    /// Nothing held.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the component a handle. A number is never given twice. A fault if it holds
    /// [`MAX_HANDLES`] already.
    pub fn insert(&mut self, held: Held) -> Result<Handle, No> {
        self.room()?;
        // It cannot overflow: each handle takes a request, and those are bounded.
        self.given += 1;
        self.live.insert(self.given, held);
        Ok(Handle(self.given))
    }

    /// Takes a handle back.
    pub fn take(&mut self, handle: Handle) -> Result<Held, No> {
        self.live.remove(&handle.0).ok_or_else(|| forged(handle))
    }

    /// What a handle stands for.
    pub fn get(&self, handle: Handle) -> Result<&Held, No> {
        self.live.get(&handle.0).ok_or_else(|| forged(handle))
    }

    /// Whether one more can be held: asked before an act that yields something.
    pub(super) fn room(&self) -> Result<(), No> {
        match self.live.len() < MAX_HANDLES {
            true => Ok(()),
            false => Err(No::Fault(format!("it holds {MAX_HANDLES} handles and asks for more"))),
        }
    }

    pub(super) fn device(&self, handle: Handle) -> Result<Rc<Device>, No> {
        match self.get(handle)? {
            Held::Device(device) => Ok(Rc::clone(device)),
            other => Err(wrong_kind(handle, other, "a device")),
        }
    }

    /// A mount, and whether it is a tmpfs.
    pub(super) fn pending(&self, handle: Handle) -> Result<(Rc<PendingMount>, bool), No> {
        match self.get(handle)? {
            Held::Pending(pending) => Ok((Rc::clone(pending), false)),
            Held::Tmpfs(pending) => Ok((Rc::clone(pending), true)),
            other => Err(wrong_kind(handle, other, "a mount")),
        }
    }

    pub(super) fn image(&self, handle: Handle) -> Result<Rc<ImageFile>, No> {
        match self.get(handle)? {
            Held::Image(image) => Ok(Rc::clone(image)),
            other => Err(wrong_kind(handle, other, "an image")),
        }
    }

    pub(super) fn secret(&self, handle: Handle) -> Result<&str, No> {
        match self.get(handle)? {
            Held::Secret(key) => Ok(key),
            other => Err(wrong_kind(handle, other, "a secret")),
        }
    }

    pub(super) fn count_request(&mut self) -> Result<(), No> {
        self.requests += 1;
        match self.requests <= MAX_REQUESTS {
            true => Ok(()),
            false => Err(No::Fault(format!("it made over {MAX_REQUESTS} host calls in one call"))),
        }
    }

    pub(super) fn is_cleared(&self, identity: &str) -> bool {
        self.cleared.iter().any(|cleared| cleared == identity)
    }

    pub(super) fn clear(&mut self, identity: &str) {
        self.cleared.push(identity.to_owned());
    }
}

fn forged(handle: Handle) -> No {
    No::Fault(format!("it used handle {}, which it does not hold", handle.0))
}

fn wrong_kind(handle: Handle, held: &Held, wanted: &str) -> No {
    No::Fault(format!("it used handle {} as {wanted}, but that is {}", handle.0, held.kind()))
}
