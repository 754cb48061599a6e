//! Who serves an operation: the component, the host itself, or nobody.
//!
//! A call of kubelet's is one operation, unless the host attaches this driver's volumes itself: then
//! `mount` and `unmount` are several, each of which has its own route.
//!
//! Where a driver exports `device`, `mount`, `unmount` and `expandfs` are never "Not supported":
//! kubelet would remember that and fall back to mounts and formats of its own, which nothing
//! here would check.

use crate::bundle::receipt::Attaching;
use crate::call::Operation;
use crate::offer::Offer;

/// Who serves an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The component exports it.
    Component,
    /// The host does what every such driver would do.
    Host,
    /// The host goes through all operations that there would be otherwise.
    Steps,
    /// "Not supported".
    Nobody,
}

impl Route {
    /// The route of a call of kubelet's.
    pub(crate) fn of_call(operation: Operation, offer: &Offer<'_>) -> Self {
        match (offer.attaching, operation) {
            (Attaching::Node, Operation::Mount | Operation::Unmount) => Self::Steps,
            // Nobody calls them then. Whoever does all the same is not to get in between.
            (
                Attaching::Node,
                Operation::Attach
                | Operation::Detach
                | Operation::IsAttached
                | Operation::WaitForAttach
                | Operation::MountDevice
                | Operation::UnmountDevice,
            ) => Self::Nobody,
            _ => Self::of(operation, offer.exports),
        }
    }

    /// The route of an operation, by what the component exports.
    pub(crate) fn of(operation: Operation, exports: &[String]) -> Self {
        let exported = |name| exports.iter().any(|export| export == name);
        let (export, composed) = match operation {
            Operation::Mount | Operation::Unmount => ("volume", exported("device")),
            Operation::MountDevice | Operation::UnmountDevice => ("device", false),
            Operation::Detach => ("attacher", exported("device")),
            Operation::Attach | Operation::WaitForAttach | Operation::IsAttached => {
                ("attacher", false)
            }
            Operation::ExpandVolume => ("expander", false),
            Operation::ExpandFs => ("expander", exported("device")),
            Operation::Init | Operation::GetVolumeName => return Self::Nobody,
        };
        match (exported(export), composed) {
            (true, _) => Self::Component,
            (false, true) => Self::Host,
            (false, false) => Self::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Route::{Component, Host, Nobody};
    use super::*;

    #[test]
    fn kubelet_never_falls_back_on_an_attachable_driver() {
        let table = [
            ("volume", Operation::Mount, Component),
            ("volume", Operation::MountDevice, Nobody),
            ("volume", Operation::ExpandFs, Nobody),
            ("device", Operation::Mount, Host),
            ("device", Operation::Unmount, Host),
            ("device", Operation::ExpandFs, Host),
            ("device", Operation::ExpandVolume, Nobody),
            ("device", Operation::Attach, Nobody),
            ("device", Operation::Detach, Host),
            ("volume device attacher expander", Operation::Mount, Component),
            ("volume device attacher expander", Operation::ExpandFs, Component),
            ("volume device attacher expander", Operation::GetVolumeName, Nobody),
        ];
        for (exports, operation, route) in table {
            let exports: Vec<_> = exports.split(' ').map(str::to_owned).collect();
            assert_eq!(Route::of(operation, &exports), route, "{exports:?} {operation:?}");
        }
    }
}
