//! The twelve operations, by the names that kubelet calls them by. What each of them does, and
//! whether a driver has it, is said elsewhere.

use serde::{Deserialize, Serialize};

/// What kubelet asks for: the first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is kubelet's operation of the same name")]
pub enum Operation {
    Init,
    GetVolumeName,
    Attach,
    Detach,
    WaitForAttach,
    IsAttached,
    MountDevice,
    UnmountDevice,
    Mount,
    Unmount,
    ExpandVolume,
    ExpandFs,
}

impl Operation {
    /// Every operation, in the order in which kubelet goes through them.
    pub const ALL: [Self; 12] = [
        Self::Init,
        Self::GetVolumeName,
        Self::Attach,
        Self::IsAttached,
        Self::WaitForAttach,
        Self::MountDevice,
        Self::Mount,
        Self::ExpandVolume,
        Self::ExpandFs,
        Self::Unmount,
        Self::UnmountDevice,
        Self::Detach,
    ];

    /// The operation of this name, in exactly kubelet's spelling.
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name().as_bytes() == name)
    }

    /// The name that kubelet calls it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::GetVolumeName => "getvolumename",
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::WaitForAttach => "waitforattach",
            Self::IsAttached => "isattached",
            Self::MountDevice => "mountdevice",
            Self::UnmountDevice => "unmountdevice",
            Self::Mount => "mount",
            Self::Unmount => "unmount",
            Self::ExpandVolume => "expandvolume",
            Self::ExpandFs => "expandfs",
        }
    }

    /// Whether it works on the node it runs on, and so cannot do without root. The others also
    /// run in kube-controller-manager, as any user and with no local state.
    pub fn needs_root(self) -> bool {
        match self {
            Self::Init
            | Self::GetVolumeName
            | Self::Attach
            | Self::Detach
            | Self::IsAttached
            | Self::ExpandVolume => false,
            Self::WaitForAttach
            | Self::MountDevice
            | Self::UnmountDevice
            | Self::Mount
            | Self::Unmount
            | Self::ExpandFs => true,
        }
    }

    /// Whether it takes down what another operation set up. Those get no options, and have to
    /// succeed in the end whatever the component does.
    pub fn is_teardown(self) -> bool {
        matches!(self, Self::Unmount | Self::UnmountDevice | Self::Detach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kubelets_in_arguments_and_in_json() {
        for operation in Operation::ALL {
            let name = operation.name();
            assert_eq!(Operation::parse(name.as_bytes()), Some(operation));
            assert_eq!(serde_json::to_value(operation).expect("a string"), name);
            assert_eq!(Operation::parse(name.to_uppercase().as_bytes()), None);
        }
        for none in ["", "mounts", "mount ", "mount\0"] {
            assert_eq!(Operation::parse(none.as_bytes()), None, "{none:?}");
        }
    }
}
