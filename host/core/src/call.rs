//! One call of kubelet's, from its argument list to a value that holds only what is valid.
//!
//! What kubelet passes was checked by nobody: user options come from whoever may create a pod.
//! So everything is parsed into types that cannot hold anything else, and no failure repeats a
//! value, since any of them may be a secret. Nothing here touches the node, except
//! [`arguments`], which takes the argument list out of the process's memory.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::{Code, Failure};
use crate::wire::VolumeFacts;

pub mod arguments;
mod attachment;
mod forms;
mod names;
mod operation;
mod options;
mod paths;
mod secrets;

pub use attachment::Attachment;
pub use names::{DriverName, NodeName, VolumeName};
pub use operation::Operation;
pub use paths::{MountDir, TargetPath};
pub use secrets::Secrets;

use forms::Given;
use options::Options;
use paths::Wanted;

/// Whether a volume may be written to: `kubernetes.io/readwrite`, `ro` or `rw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// `ro`.
    ReadOnly,
    /// `rw`.
    ReadWrite,
}

/// A volume as a call describes it.
#[derive(Debug)]
pub struct Volume {
    /// `kubernetes.io/pvOrVolumeName`, or the last part of the directory of a call without it.
    pub name: VolumeName,
    /// All that the component may know.
    pub facts: VolumeFacts,
    /// The keys of the secret that the volume refers to. kubelet gives them to `mount` alone.
    pub secrets: Secrets,
    /// Keys under `kubernetes.io/` that mean nothing to this version; for the log.
    pub ignored: Vec<String>,
}

impl Volume {
    /// The same volume as kubelet describes it for an operation on its device: without the pod, and
    /// without what is the pod's own.
    pub fn of_device(&self) -> Self {
        let pod = [const { None }; 4];
        Self {
            name: self.name.clone(),
            facts: VolumeFacts { fs_group: None, pod, ..self.facts.clone() },
            secrets: Secrets::default(),
            ignored: Vec::new(),
        }
    }
}

/// A call. Each case holds what its operation needs, and there is no case for what is answered
/// without looking at arguments: `init` and `getvolumename`.
#[derive(Debug)]
#[expect(missing_docs, reason = "the cases are the operations; sizes are in bytes")]
pub enum Call {
    Attach { volume: Volume, node: NodeName },
    Detach { name: VolumeName, node: NodeName },
    IsAttached { volume: Volume, node: NodeName },
    WaitForAttach { volume: Volume, attachment: Option<Attachment> },
    MountDevice { target: TargetPath, volume: Volume, attachment: Option<Attachment> },
    UnmountDevice { target: TargetPath },
    Mount { target: TargetPath, volume: Volume },
    Unmount { target: TargetPath },
    ExpandVolume { volume: Volume, new_size: u64, old_size: u64 },
    ExpandFs { volume: Volume, target: TargetPath, new_size: u64, old_size: u64 },
}

impl Call {
    /// Reads the arguments that follow the operation's name. Every failure is
    /// `invalid-argument`, says what is wrong with which argument, and repeats none.
    pub fn parse(
        operation: Operation,
        args: &[&[u8]],
        driver: &DriverName,
        kubelet_root: &Path,
    ) -> Result<Self, Failure> {
        let given = Given::read(operation, args)?;
        let target = |wanted| TargetPath::parse(given.directory()?, wanted, driver, kubelet_root);
        let named = || Options::parse(given.options()?)?.volume(None);
        let attachment = |name: &VolumeName| match given.device {
            None | Some("") => Ok(None),
            Some(text) => Attachment::unwrap(text, driver, name).map(Some),
        };
        Ok(match operation {
            Operation::Init | Operation::GetVolumeName => {
                let message = "is answered without arguments; this is a bug in wasmount";
                return Err(Failure::new(Code::Internal, "arguments", message));
            }
            Operation::Attach => Self::Attach { node: given.node()?, volume: named()? },
            Operation::IsAttached => Self::IsAttached { node: given.node()?, volume: named()? },
            Operation::Detach => Self::Detach { name: given.name()?, node: given.node()? },
            Operation::WaitForAttach => {
                let volume = named()?;
                Self::WaitForAttach { attachment: attachment(&volume.name)?, volume }
            }
            Operation::MountDevice => {
                let target = target(Wanted::Device)?;
                let volume = Options::parse(given.options()?)?.volume(Some(&target))?;
                Self::MountDevice { attachment: attachment(&volume.name)?, target, volume }
            }
            Operation::Mount => {
                let target = target(Wanted::Pod)?;
                let volume = Options::parse(given.options()?)?.volume(Some(&target))?;
                Self::Mount { target, volume }
            }
            Operation::UnmountDevice => Self::UnmountDevice { target: target(Wanted::Device)? },
            Operation::Unmount => Self::Unmount { target: target(Wanted::Pod)? },
            Operation::ExpandVolume => {
                let (new_size, old_size) = given.sizes()?;
                Self::ExpandVolume { volume: named()?, new_size, old_size }
            }
            Operation::ExpandFs => {
                let target = target(Wanted::Either)?;
                let (new_size, old_size) = given.sizes()?;
                let volume = Options::parse(given.options()?)?.volume(Some(&target))?;
                Self::ExpandFs { volume, target, new_size, old_size }
            }
        })
    }

    /// Which operation this is a call of.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Attach { .. } => Operation::Attach,
            Self::Detach { .. } => Operation::Detach,
            Self::IsAttached { .. } => Operation::IsAttached,
            Self::WaitForAttach { .. } => Operation::WaitForAttach,
            Self::MountDevice { .. } => Operation::MountDevice,
            Self::UnmountDevice { .. } => Operation::UnmountDevice,
            Self::Mount { .. } => Operation::Mount,
            Self::Unmount { .. } => Operation::Unmount,
            Self::ExpandVolume { .. } => Operation::ExpandVolume,
            Self::ExpandFs { .. } => Operation::ExpandFs,
        }
    }

    /// The name of the volume that the call is about.
    pub fn name(&self) -> &VolumeName {
        match self {
            Self::Detach { name, .. } => name,
            Self::UnmountDevice { target } | Self::Unmount { target } => &target.name,
            Self::Attach { volume, .. }
            | Self::IsAttached { volume, .. }
            | Self::WaitForAttach { volume, .. }
            | Self::MountDevice { volume, .. }
            | Self::Mount { volume, .. }
            | Self::ExpandVolume { volume, .. }
            | Self::ExpandFs { volume, .. } => &volume.name,
        }
    }

    /// The volume's description. kubelet gives none for teardown.
    pub fn volume(&self) -> Option<&Volume> {
        match self {
            Self::Attach { volume, .. }
            | Self::IsAttached { volume, .. }
            | Self::WaitForAttach { volume, .. }
            | Self::MountDevice { volume, .. }
            | Self::Mount { volume, .. }
            | Self::ExpandVolume { volume, .. }
            | Self::ExpandFs { volume, .. } => Some(volume),
            Self::Detach { .. } | Self::UnmountDevice { .. } | Self::Unmount { .. } => None,
        }
    }

    /// The secrets that came with the call; none if they were taken or there were none.
    pub fn secrets(&self) -> &Secrets {
        self.volume().map_or(Secrets::NONE, |volume| &volume.secrets)
    }

    /// Takes the secrets out of the call, so that there is one place only where they are.
    pub fn take_secrets(&mut self) -> Secrets {
        match self {
            Self::Attach { volume, .. }
            | Self::IsAttached { volume, .. }
            | Self::WaitForAttach { volume, .. }
            | Self::MountDevice { volume, .. }
            | Self::Mount { volume, .. }
            | Self::ExpandVolume { volume, .. }
            | Self::ExpandFs { volume, .. } => std::mem::take(&mut volume.secrets),
            Self::Detach { .. } | Self::UnmountDevice { .. } | Self::Unmount { .. } => {
                Secrets::default()
            }
        }
    }

    /// The directory that the call names.
    pub fn target(&self) -> Option<&TargetPath> {
        match self {
            Self::MountDevice { target, .. }
            | Self::UnmountDevice { target }
            | Self::Mount { target, .. }
            | Self::Unmount { target }
            | Self::ExpandFs { target, .. } => Some(target),
            _ => None,
        }
    }
}

/// The one kind of failure that reading a call has.
fn invalid(reason: &str, message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidArgument, reason, message)
}

#[cfg(test)]
mod tests;
