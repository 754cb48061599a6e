//! What a driver answers by what it is, whoever asks and for whatever volume: `init`, and that it has
//! no such operation. Nothing is asked, opened or looked at for that, so what is on record of it is
//! answered again from a component alone.

use crate::broker::route::Route;
use crate::bundle::Receipt;
use crate::bundle::receipt::{Attaching, Capabilities};
use crate::call::{DriverName, Operation};
use crate::reply::{self, Reply};

/// What a driver is.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is the receipt's")]
pub struct Offer<'a> {
    pub driver: &'a DriverName,
    pub exports: &'a [String],
    pub attaching: Attaching,
    pub capabilities: Capabilities,
}

impl<'a> Offer<'a> {
    /// What is installed.
    pub fn of(receipt: &'a Receipt) -> Self {
        Self {
            driver: &receipt.driver,
            exports: &receipt.exports,
            attaching: receipt.attaching(),
            capabilities: receipt.capabilities,
        }
    }

    /// The reply to an operation, if this is all that it depends on.
    pub fn reply(&self, operation: Operation) -> Option<Reply> {
        match (operation, Route::of_call(operation, self)) {
            (Operation::Init, _) => Some(self.init()),
            (Operation::GetVolumeName, _) => Some(nameless()),
            (_, Route::Nobody) => {
                Some(Reply::NotSupported { message: self.unsupported(operation) })
            }
            _ => None,
        }
    }

    /// What is answered to `init`, which takes no arguments.
    pub(crate) fn init(&self) -> Reply {
        let told = &self.capabilities;
        Reply::capable(reply::Capabilities {
            attach: self.attaching == Attaching::Cluster,
            selinux_relabel: told.selinux_relabel,
            supports_metrics: told.supports_metrics,
            fs_group: told.fs_group,
            requires_fs_resize: self.exports.iter().any(|export| export == "expander"),
        })
    }

    /// Why an operation has nobody.
    fn unsupported(&self, operation: Operation) -> String {
        let why = match self.attaching {
            Attaching::Node if Route::of(operation, self.exports) != Route::Nobody => {
                "the driver attaches volumes on the node itself, within mount and unmount"
            }
            _ => "the driver has no such operation",
        };
        format!("{} {}: {why}", self.driver, operation.name())
    }
}

/// What is answered to `getvolumename`: kubelet throws names away, and answered like this it asks only
/// once.
pub(crate) fn nameless() -> Reply {
    Reply::NotSupported { message: "volumes go by the name that Kubernetes gives them".to_owned() }
}
