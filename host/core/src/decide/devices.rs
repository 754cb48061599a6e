//! `devices`: which block devices can be found, and reading what they are.

use std::rc::Rc;
use std::time::Duration;

use super::advice::{Advice, not_granted, proposed, quoted};
use super::{Act, Granted, Handles, No, grant, half_formatted, invalid, unclaimed};
use crate::grants::{is_id, is_rule_name};
use crate::kernel::device::{Device, DeviceQuery};
use crate::session::Session;
use crate::wire::{Handle, Response};

/// The longest that a component waits for a device at a time.
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(super) fn find(session: &Session, handles: &Handles, rule: &str, id: &str) -> Result<Act, No> {
    Ok(Act::DeviceFind(query(session, handles, rule, id)?))
}

pub(super) fn wait(
    session: &Session,
    handles: &Handles,
    rule: &str,
    id: &str,
    milliseconds: u32,
) -> Result<Act, No> {
    let time = Duration::from_millis(milliseconds.into()).min(MAX_WAIT);
    Ok(Act::DeviceWait(query(session, handles, rule, id)?, time))
}

pub(super) fn size(session: &Session, handles: &mut Handles, device: Handle) -> Result<Act, No> {
    Ok(Act::DeviceSize(grant(own(session, handles, device)?)))
}

pub(super) fn is_read_only(
    session: &Session,
    handles: &mut Handles,
    device: Handle,
) -> Result<Act, No> {
    Ok(Act::DeviceIsReadOnly(grant(own(session, handles, device)?)))
}

pub(super) fn probe(session: &Session, handles: &mut Handles, device: Handle) -> Result<Act, No> {
    let device = own(session, handles, device)?;
    // What an interrupted format of this volume left can look like a filesystem. It never held
    // data: the component is to see it as blank, and to format it again.
    if half_formatted(session, &device).is_some() {
        return Ok(Act::Answer(Response::Text(None)));
    }
    Ok(Act::DeviceProbe(grant(device)))
}

/// A device that the component holds and that no other volume has.
pub(super) fn own(
    session: &Session,
    handles: &mut Handles,
    device: Handle,
) -> Result<Rc<Device>, No> {
    let device = handles.device(device)?;
    unclaimed(session, handles, &device.identity)?;
    Ok(device)
}

fn query(
    session: &Session,
    handles: &Handles,
    rule: &str,
    id: &str,
) -> Result<Granted<DeviceQuery>, No> {
    handles.room()?;
    if !is_rule_name(rule) {
        return Err(invalid("bad-rule", "a device rule's name is 1 to 64 of a-z 0-9 -"));
    }
    if !is_id(id) {
        return Err(invalid(
            "bad-id",
            "a device's id is 1 to 128 of A-Z a-z 0-9 . _ : -, and begins with a letter or digit",
        ));
    }
    let asked = format!("for the device `{id}` by the rule `{rule}`");
    let proposed = quoted(&proposed(session, id));
    let Some(granted) = session.grants.devices.iter().find(|granted| granted.rule == rule) else {
        let lines = format!(
            "[[devices]] rule = {} path = \"/dev/disk/by-id/{{id}}\" id = {} verify = {{ attribute \
             = \"device/serial\", value = \"{{id}}\" }}",
            quoted(rule),
            proposed
        );
        return Err(not_granted("devices", &asked, Advice::Add(lines)));
    };
    if !granted.id.matches(&session.name, id) {
        let lines = format!("[[devices]] rule = {} id = {proposed}", quoted(rule));
        return Err(not_granted("devices.id", &asked, Advice::Set(lines)));
    }
    Ok(grant(DeviceQuery {
        path: granted.path.of(id),
        attribute: granted.verify.attribute.path().to_owned(),
        value: granted.verify.value.of(id),
        rule: rule.to_owned(),
    }))
}
