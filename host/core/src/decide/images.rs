//! `images`: image files, their leases and their loop devices.

use std::rc::Rc;

use super::advice::{Advice, list, not_granted, proposed, quoted};
use super::{Act, Handles, Held, No, filesystems, grant, invalid, precondition, unclaimed};
use crate::call::Access;
use crate::grants::{ImagesGrant, Size};
use crate::kernel::images::{
    ImageCreate, ImageDir, ImageFile, ImageGrow, ImageName, ImageOpen, Lease, LeaseRecord, Release,
};
use crate::kernel::loopdev::LoopAttach;
use crate::session::Session;
use crate::wire::{Handle, Response};

/// What the advice proposes where nothing is granted yet.
const EXAMPLE_DIRECTORY: &str = "/srv/images";

pub(super) fn open(session: &Session, handles: &Handles, name: &str) -> Result<Act, No> {
    handles.room()?;
    let name = granted_name(session, "open", name)?;
    Ok(Act::ImageOpen(grant(ImageOpen { dir: directory(session)?, name })))
}

pub(super) fn create(
    session: &Session,
    handles: &mut Handles,
    name: &str,
    size: u64,
) -> Result<Act, No> {
    handles.room()?;
    let name = granted_name(session, "create", name)?;
    let granted = granted(session, "to create an image", "")?;
    if !granted.create {
        let advice = Advice::Set("[images] create = true".to_owned());
        return Err(not_granted("images.create", "to create an image", advice));
    }
    granted_size(granted, "to create an image", size)?;
    // Only one is taken back if the call fails.
    if let Some(other) = handles.created.as_ref().filter(|created| **created != name) {
        let other = other.as_str();
        let message = format!(
            "the component has created the image `{other}` and wants another; a volume has one"
        );
        return Err(precondition("created-already", message));
    }
    handles.created = Some(name.clone());
    Ok(Act::ImageCreate(grant(ImageCreate { dir: directory(session)?, name, size })))
}

pub(super) fn size(session: &Session, handles: &mut Handles, image: Handle) -> Result<Act, No> {
    Ok(Act::ImageSize(grant(own(session, handles, image)?)))
}

pub(super) fn grow(
    session: &Session,
    handles: &mut Handles,
    image: Handle,
    size: u64,
) -> Result<Act, No> {
    let image = own(session, handles, image)?;
    let granted = granted(session, "to grow an image", " grow = true")?;
    if !granted.grow {
        let advice = Advice::Set("[images] grow = true".to_owned());
        return Err(not_granted("images.grow", "to grow an image", advice));
    }
    granted_size(granted, "to grow an image", size)?;
    // It grows before it is attached, too, when no volume has claimed it on this node yet.
    if let Some(lease) = session.claims().lease(&image)?
        && !is_ours(session, &lease)
    {
        return Err(leased(&lease));
    }
    Ok(Act::ImageGrow(grant(ImageGrow { image, size })))
}

pub(super) fn lease(
    session: &Session,
    handles: &mut Handles,
    image: Handle,
    node: &str,
) -> Result<Act, No> {
    let image = own(session, handles, image)?;
    same_node(session, node)?;
    Ok(Act::ImageLease(grant(lease_of(session, image))))
}

pub(super) fn holder(session: &Session, handles: &mut Handles, image: Handle) -> Result<Act, No> {
    Ok(Act::ImageHolder(grant(own(session, handles, image)?)))
}

pub(super) fn attach(
    session: &Session,
    handles: &mut Handles,
    image: Handle,
    access: Access,
) -> Result<Act, No> {
    handles.room()?;
    let image = own(session, handles, image)?;
    if access == Access::ReadWrite {
        filesystems::writable(session, "attached read-write")?;
    }
    let Some(lease) = session.claims().lease(&image)? else {
        return Err(precondition(
            "not-leased",
            format!("the image is not given to any node; it has to be given to `{}`", session.node),
        ));
    };
    if !is_ours(session, &lease) || lease.node != session.node_name {
        return Err(leased(&lease));
    }
    Ok(Act::LoopAttach(grant(LoopAttach { image, access })))
}

pub(super) fn attached(session: &Session, handles: &Handles) -> Result<Act, No> {
    handles.room()?;
    granted(session, "for its loop device", "")?;
    match session.device.as_ref().filter(|device| device.is_loop()) {
        Some(device) => Ok(Act::Hold(Held::Device(Rc::clone(device)))),
        None => Ok(Act::Answer(Response::Device(None))),
    }
}

pub(super) fn detach(session: &Session) -> Result<Act, No> {
    granted(session, "to take down its loop device", "")?;
    match session.device.as_ref().filter(|device| device.is_loop()) {
        Some(device) => Ok(Act::LoopDetach(grant(Rc::clone(device)))),
        None => Ok(Act::Answer(Response::Done)),
    }
}

pub(super) fn release(session: &Session, node: &str) -> Result<Act, No> {
    granted(session, "to end the lease of its image", "")?;
    same_node(session, node)?;
    no_longer_up(session, node)?;
    Ok(Act::ImageRelease(grant(release_of(session, directory(session)?))))
}

/// Another node may write to the image as soon as the lease is gone.
pub(super) fn no_longer_up(session: &Session, node: &str) -> Result<(), No> {
    match node == session.node_name && session.device.is_some() {
        true => Err(precondition(
            "in-use",
            "the volume still has its device on this node: the lease cannot end before it is down",
        )),
        false => Ok(()),
    }
}

/// The lease of the volume for the node that the call is about.
pub(super) fn lease_of(session: &Session, image: Rc<ImageFile>) -> Lease {
    Lease {
        image,
        driver: session.driver.slash(),
        volume: session.name.as_str().to_owned(),
        node: session.node.clone(),
    }
}

pub(super) fn release_of(session: &Session, dir: Rc<ImageDir>) -> Release {
    Release {
        dir,
        driver: session.driver.slash(),
        volume: session.name.as_str().to_owned(),
        node: session.node.clone(),
    }
}

/// An image that the component holds and that no other volume has.
fn own(session: &Session, handles: &mut Handles, image: Handle) -> Result<Rc<ImageFile>, No> {
    let image = handles.image(image)?;
    unclaimed(session, handles, &image.identity)?;
    Ok(image)
}

/// Whether a lease is this volume's, whatever node it is for.
fn is_ours(session: &Session, lease: &LeaseRecord) -> bool {
    lease.is_for(&session.driver.slash(), session.name.as_str())
}

fn leased(lease: &LeaseRecord) -> No {
    let LeaseRecord { driver, volume, node, .. } = lease;
    let message = format!(
        "the image is given to the node `{node}`, for the volume `{volume}` of {driver}; detach it there first"
    );
    precondition("leased", message)
}

/// The grant; `more` is what is advised beyond the section itself.
fn granted<'s>(session: &'s Session, asked: &str, more: &str) -> Result<&'s ImagesGrant, No> {
    let granted = session.grants.images.as_ref();
    granted.ok_or_else(|| section_missing(asked, "{volume}.img", more))
}

fn section_missing(asked: &str, name: &str, more: &str) -> No {
    let (directory, names) = (quoted(EXAMPLE_DIRECTORY), list([name]));
    let lines = format!("[images] directory = {directory} names = {names}{more}");
    not_granted("images", asked, Advice::Add(lines))
}

fn granted_name(session: &Session, verb: &str, name: &str) -> Result<ImageName, No> {
    let parsed = ImageName::parse(name)?;
    let asked = format!("to {verb} the image `{name}`");
    let proposed = proposed(session, name);
    let Some(granted) = &session.grants.images else {
        let more = if verb == "create" { " create = true" } else { "" };
        return Err(section_missing(&asked, &proposed, more));
    };
    if !granted.names.iter().any(|pattern| pattern.matches(&session.name, name)) {
        let names = granted.names.iter().map(|pattern| pattern.text()).chain([proposed.as_str()]);
        let advice = Advice::Set(format!("[images] names = {}", list(names)));
        return Err(not_granted("images.names", &asked, advice));
    }
    Ok(parsed)
}

fn granted_size(granted: &ImagesGrant, asked: &str, size: u64) -> Result<(), No> {
    if size == 0 || size > Size::MAX.bytes() {
        return Err(invalid("bad-size", format!("an image has 1 byte to {}", Size::MAX)));
    }
    if size > granted.max_size.bytes() {
        let proposed = quoted(&Size::covering(size).to_string());
        let advice = Advice::Set(format!("[images] max-size = {proposed}"));
        return Err(not_granted("images.max-size", &format!("{asked} of {size} bytes"), advice));
    }
    Ok(())
}

fn directory(session: &Session) -> Result<Rc<ImageDir>, No> {
    let dir = session.image_dir()?;
    dir.ok_or_else(|| section_missing("for the image directory", "{volume}.img", ""))
}

fn same_node(session: &Session, node: &str) -> Result<(), No> {
    match node == session.node {
        true => Ok(()),
        false => Err(invalid(
            "other-node",
            format!("this call is about the node `{}` and no other", session.node),
        )),
    }
}
