//! What the calls on record that are part of one of kubelet's come to for kubelet, found out by the driver's own
//! code: when it is recorded, to see whether its reply follows from them, and when it is played. Nothing is
//! played here.

use anyhow::Result;
use wasmount_core::bundle::receipt::Attaching;
use wasmount_core::call::{DriverName, Operation, VolumeName};
use wasmount_core::conclusion::{self, concluded};
use wasmount_core::failure::Failure;
use wasmount_core::offer::Offer;
use wasmount_core::reply::Reply;
use wasmount_core::wire::Outcome;
use wasmount_pack::Inspection;
use wasmount_recording::{self as recording, Call, Recorded};

use crate::receipt;
use crate::record::Cleaner;
use crate::test::words;

/// What the end of an operation means for kubelet.
pub(crate) type End = Result<Reply, Failure>;

/// What an end of a call means.
pub(crate) fn conclude(driver: &DriverName, call: &Call, outcome: Outcome) -> Result<End> {
    let volume: VolumeName = call.volume.parse()?;
    let operation = words::operation(call.operation);
    let asked = conclusion::Asked { operation, driver, volume: &volume };
    let attaches = call.host_calls.iter().any(|host_call| {
        host_call.function.name == "mount-target.attach"
            && host_call.answer == recording::Answer::Done
    });
    Ok(concluded(asked, outcome, attaches, Cleaner::of_placeholder().redactor()))
}

/// What the end means that is on record.
pub(crate) fn on_record(driver: &DriverName, call: &Call) -> Result<End> {
    match words::ending(&call.outcome)? {
        Ok(outcome) => conclude(driver, call, outcome),
        Err(failure) => Ok(Err(failure)),
    }
}

/// The reply that follows from the ends of a call's operations: the first failure or, without any, the last
/// of them. None if there are none.
pub(crate) fn of_ends<'e>(
    driver: &DriverName,
    recorded: &Recorded,
    ends: impl IntoIterator<Item = &'e End>,
) -> Option<String> {
    let operation = Operation::parse(recorded.operation.as_bytes());
    let reply = |end: &End| match end {
        Ok(reply) => text(reply),
        Err(failure) => text(&Reply::failure(Some(driver), operation, failure)),
    };
    let mut last = None;
    for end in ends {
        last = Some(reply(end));
        if end.is_err() {
            break;
        }
    }
    last
}

/// The reply of a call in which no component is asked, if it follows from what the component is.
pub(crate) fn of_component(
    driver: &DriverName,
    recorded: &Recorded,
    component: &Inspection,
) -> Option<String> {
    let exports = receipt::exports(component);
    let offer = Offer {
        driver,
        exports: &exports,
        attaching: Attaching::of(&exports, recorded.node_only),
        capabilities: receipt::capabilities(&component.manifest),
    };
    of_offer(recorded, &offer)
}

/// The same of a driver that is installed.
pub(crate) fn of_offer(recorded: &Recorded, offer: &Offer<'_>) -> Option<String> {
    let operation = Operation::parse(recorded.operation.as_bytes())?;
    offer.reply(operation).as_ref().map(text)
}

/// As kubelet reads it.
fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.to_json_line()).trim_end().to_owned()
}
