//! The acts: everything that is done to the node is done here, and only to what a decision has
//! granted.
//!
//! Each act takes a [`Granted`](crate::decide::Granted) value and nothing of the component's own
//! wording. No policy is decided here; what is checked here is whether the node is what the
//! decision took it to be, because that may have changed in between. Nothing is journalled or
//! undone here either: what an act makes vanishes with the value it returns (detached mounts,
//! loop devices with autoclear), or has a function that takes it back.
//!
//! Reasons that failures of this module carry. They are stable: components and operators' tools
//! may match them.
//!
//! | reason | code | meaning |
//! |---|---|---|
//! | `symlink` | invalid-argument | the target directory is or goes through a symbolic link |
//! | `bad-path` | invalid-argument | a path or a name is not of the form it must have |
//! | `bad-option` | invalid-argument | an option is unknown for the filesystem, or its value is out of range |
//! | `unknown-filesystem` | invalid-argument | no filesystem of that name is supported |
//! | `not-found` | not-found | the directory, device or file is not there |
//! | `target-busy` | failed-precondition | something is mounted on the target already |
//! | `not-mounted` | failed-precondition | the mount that the act needs is not there |
//! | `wrong-mount` | failed-precondition | what is mounted is not what was recorded |
//! | `staged-read-only` | failed-precondition | a writable bind of a read-only mount was asked for |
//! | `busy` | failed-precondition | the mount or device is in use |
//! | `in-use` | failed-precondition | somebody else holds the device |
//! | `image-in-use` | failed-precondition | another loop device has the image |
//! | `device-changed` | failed-precondition | the device is no longer the one that was found |
//! | `device-mismatch` | failed-precondition | what the path leads to does not prove to be the device asked for |
//! | `not-a-device` | failed-precondition | what the path leads to is no block device below /dev |
//! | `no-device-node` | failed-precondition | /dev lacks the node of a device that exists |
//! | `device-read-only` | failed-precondition | the act has to write, the device cannot |
//! | `too-small` | failed-precondition | the device is smaller than anything that is used |
//! | `not-blank` | failed-precondition | there is something on the device that is to be formatted |
//! | `fs-mismatch` | failed-precondition | the device holds something other than that filesystem |
//! | `uuid-in-use` | failed-precondition | another btrfs with its fsid is mounted on the node |
//! | `past-device` | failed-precondition | the filesystem reaches past the end of its device |
//! | `dirty-log` | failed-precondition | a read-only volume whose filesystem would have to be repaired first |
//! | `mount-failed` | failed-precondition | the kernel does not mount the filesystem; its words follow |
//! | `fs-errors` | data-loss | the filesystem has errors that are not safe to repair unattended |
//! | `unreadable` | data-loss | a device gave an error instead of its contents |
//! | `tool-missing` | unavailable | a tool is not installed, or is not safe to run |
//! | `tool-failed` | internal | a tool ended with an error; its last words follow |
//! | `kernel-refused` | failed-precondition, internal | the kernel refused; the message says what and why |
//! | `not-an-image` | failed-precondition | the name is there and is not a regular file |
//! | `image-directory` | failed-precondition | the image directory is not fit for images |
//! | `already-exists` | already-exists | a file of that name is there already |
//! | `sealed` | failed-precondition | the tmpfs was made read-only before |
//! | `leased` | failed-precondition | the image is given to another node or volume |
//! | `lease-unreadable` | failed-precondition | a lease file is not what wasmount writes |
//! | `exhausted` | resource-exhausted | space, memory or descriptors are used up |
//! | `io`, `again` | data-loss, unavailable | a system call failed in that way |

pub mod blank;
mod bystanders;
pub mod device;
pub mod filesystems;
pub mod images;
pub mod loopdev;
pub mod mounts;
mod raw;
pub mod requirements;
pub mod staging;
pub mod superblocks;
pub mod target;
#[cfg(test)]
mod testing;
pub mod tmpfs;
pub mod tools;
pub mod uuid;

use std::fmt::Display;

use rustix::io::Errno;

use crate::failure::{Code, Failure};

/// Turns an errno into a failure; `what` says what was being done.
fn failed(what: impl Display) -> impl FnOnce(Errno) -> Failure {
    move |error| Failure::io(what, &error.into())
}

/// A failure because the node is not in the state that the act needs.
fn unfit(reason: &str, message: impl Into<String>) -> Failure {
    Failure::new(Code::FailedPrecondition, reason, message)
}

/// A failure because what was asked for is wrong in itself.
fn invalid(reason: &str, message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidArgument, reason, message)
}
