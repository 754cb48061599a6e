//! Image files in the operator's directory. Needs `[images]`.
//!
//! An image belongs to one volume. Names are plain file names; the grants say which ones a
//! volume may use.

use crate::host::images as raw;
use crate::{Access, BlockDevice, Result};

/// Opens an image. `not-found` if it is absent.
pub fn open(name: &str) -> Result<Image> {
    Ok(Image(raw::open(name)?))
}

/// Creates a sparse image of so many bytes, or opens the one that is there. Needs
/// `create = true`. One image a call.
pub fn create(name: &str, size: u64) -> Result<Image> {
    Ok(Image(raw::create(name, size)?))
}

/// The loop device that this volume has on this node.
pub fn attached() -> Result<Option<BlockDevice>> {
    Ok(raw::attached()?.map(BlockDevice))
}

/// Takes down the loop device that this volume has on this node. None there is success. Fails
/// while it is in use.
pub fn detach() -> Result {
    Ok(raw::detach()?)
}

/// Ends the lease that this volume's image has for a node. None there is success.
pub fn release(node: &str) -> Result {
    Ok(raw::release(node)?)
}

/// An image file of this volume.
#[derive(Debug)]
pub struct Image(raw::Image);

impl Image {
    /// Its size in bytes.
    pub fn size(&self) -> Result<u64> {
        Ok(self.0.size()?)
    }

    /// Makes it this many bytes long; never shorter. Returns its size.
    pub fn grow(&self, size: u64) -> Result<u64> {
        Ok(self.0.grow(size)?)
    }

    /// Gives the image to a node. Given to that node already is success; given to another is
    /// `failed-precondition` with reason `leased`, and the message names the holder.
    pub fn lease(&self, node: &str) -> Result {
        Ok(self.0.lease(node)?)
    }

    /// The node that has the image.
    pub fn holder(&self) -> Result<Option<String>> {
        Ok(self.0.holder()?)
    }

    /// Makes the image a loop device of this node, or finds the one it is. The image has to be
    /// given to this node. The device stays when the call has succeeded.
    pub fn attach(&self, access: Access) -> Result<BlockDevice> {
        Ok(BlockDevice(self.0.attach(access)?))
    }
}
