//! Calls about which there is nothing left to do.
//!
//! kubelet repeats calls; after a crash between attaching a mount and replying, too. What is
//! already as it should be is success, without asking the component. What looks alike and is
//! not, is a Failure: kubelet would hand a stranger's mount to a pod.

use crate::call::{Access, Call, Operation};
use crate::failure::{Code, Failure};
use crate::journal::record::MountRef;
use crate::kernel::target::{self, Mounted, Target};
use crate::rehearsal;
use crate::reply::Reply;

use super::ledger::Ledger;

/// The reply of a call that has nothing to do.
pub(super) fn reply(
    call: &Call,
    ledger: &Ledger,
    target: Option<&Target>,
) -> Result<Option<Reply>, Failure> {
    let (Some(path), Some(target)) = (call.target(), target) else { return Ok(None) };
    let mounted = target::mounted(target)?;
    match (call.operation(), mounted) {
        (Operation::Mount | Operation::MountDevice, Some(mounted)) => {
            let recorded =
                ledger.record.as_ref().and_then(|record| record.mount_at(&path.beneath_root));
            let access = call.volume().map_or(Access::ReadWrite, |volume| volume.facts.access);
            match recorded {
                Some(recorded) if recorded.device == mounted.device => {
                    same_access(target, recorded, &mounted, access)
                }
                _ => Err(stranger(target)),
            }
        }
        // Of several operations in one call, one before would have made it.
        (Operation::Mount | Operation::MountDevice, None)
            if !target.exists && !rehearsal::is_made(&target.path) =>
        {
            let message = format!(
                "{} does not exist; kubelet makes it before it calls",
                target.path.display()
            );
            Err(Failure::new(Code::NotFound, "no-target", message))
        }
        (Operation::Unmount | Operation::UnmountDevice, None) if !ledger.in_use() => {
            Ok(Some(Reply::DONE))
        }
        (Operation::ExpandFs, None) => {
            let message = format!("nothing is mounted on {}", target.path.display());
            Err(Failure::new(Code::FailedPrecondition, "not-mounted", message))
        }
        _ => Ok(None),
    }
}

/// What was asked for in the same way and is as it was made is the same; a component may have
/// made it read-only although it was asked for read-write.
fn same_access(
    target: &Target,
    recorded: &MountRef,
    mounted: &Mounted,
    access: Access,
) -> Result<Option<Reply>, Failure> {
    if mounted.access == recorded.access && recorded.asked == access {
        return Ok(Some(Reply::DONE));
    }
    let (is, wanted) = match access {
        Access::ReadOnly => ("read-write", "read-only"),
        Access::ReadWrite => ("read-only", "read-write"),
    };
    let message = format!(
        "the volume is already mounted {is} on {} and is wanted {wanted}; unmount it first",
        target.path.display()
    );
    Err(Failure::new(Code::FailedPrecondition, "mounted-otherwise", message))
}

fn stranger(target: &Target) -> Failure {
    let message = format!(
        "something that this driver did not mount there is mounted on {}; find out what it is and \
         unmount it",
        target.path.display()
    );
    Failure::new(Code::FailedPrecondition, "target-busy", message)
}
