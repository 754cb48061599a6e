//! A filesystem in the making, see fsopen(2): what it is set to, one setting after the other, until it is a
//! mount. Where the kernel refuses, its own words are in the failure. What may be set is not known here.

use std::fmt::Display;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_create_exclusive,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::{PendingMount, Setting};
use crate::call::Access;
use crate::failure::{Code, Failure};
use crate::kernel::device::Device;
use crate::kernel::filesystems::Filesystem;
use crate::kernel::{failed, unfit};

/// A filesystem context, see fsopen(2).
pub(in crate::kernel) struct Context(OwnedFd);

impl Context {
    pub(in crate::kernel) fn open(fs_type: &str) -> Result<Self, Failure> {
        match fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(context) => Ok(Self(context)),
            Err(Errno::NODEV) => Err(unfit(
                "mount-failed",
                format!("this kernel does not know {fs_type}; run `modprobe {fs_type}`"),
            )),
            Err(error) => Err(failed(format_args!("opening a {fs_type} context"))(error)),
        }
    }

    pub(in crate::kernel) fn set(
        &self,
        key: &str,
        value: &str,
        what: impl Display,
    ) -> Result<(), Failure> {
        fsconfig_set_string(&self.0, key, value).map_err(|error| self.failure(what, error))
    }

    pub(in crate::kernel) fn flag(&self, key: &str) -> Result<(), Errno> {
        fsconfig_set_flag(&self.0, key)
    }

    /// A context for a device's filesystem, with all that it is to be set to.
    pub(super) fn of_device(
        device: &Device,
        filesystem: Filesystem,
        settings: &[Setting],
        what: &str,
    ) -> Result<Self, Failure> {
        let context = Self::open(filesystem.name())?;
        // The source is the device's usual name, not a descriptor's, because kubelet and resize2fs
        // look for it in the mount table. That it led to the same device is proven afterwards.
        context.set("source", &device.node().display().to_string(), what)?;
        for (key, value) in settings {
            match value {
                Some(value) => context.set(key, value, what)?,
                None => context.flag(key).map_err(|error| context.failure(what, error))?,
            }
        }
        Ok(context)
    }

    /// Makes the filesystem. `exclusive` refuses one that the kernel has mounted already.
    pub(in crate::kernel) fn create(&self, exclusive: bool) -> Result<(), Errno> {
        match exclusive.then(|| fsconfig_create_exclusive(&self.0)) {
            // Before Linux 6.6; the caller's own test for holders has to do.
            None | Some(Err(Errno::OPNOTSUPP)) => fsconfig_create(&self.0),
            Some(result) => result,
        }
    }

    /// Makes a detached mount of the filesystem that was made. The context ends here: it would
    /// hold the device.
    pub(in crate::kernel) fn mount(
        self,
        attributes: MountAttrFlags,
        access: Access,
        fs_type: &str,
        what: impl Display,
    ) -> Result<PendingMount, Failure> {
        PendingMount::new(self.detached(attributes, what)?, access, fs_type)
    }

    /// The same, not looked at.
    pub(super) fn detached(
        self,
        attributes: MountAttrFlags,
        what: impl Display,
    ) -> Result<OwnedFd, Failure> {
        let attributes = attributes | MountAttrFlags::MOUNT_ATTR_NOSUID;
        fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|error| self.failure(what, error))
    }

    /// The failure, with what the kernel wrote into the context.
    pub(in crate::kernel) fn failure(&self, what: impl Display, error: Errno) -> Failure {
        let mut words = String::new();
        let mut line = [0; 512];
        // The kernel keeps at most eight lines.
        for _ in 0..8 {
            let Ok(length @ 1..) = rustix::io::read(&self.0, &mut line) else { break };
            // "e text": the level, then the text.
            let text = String::from_utf8_lossy(&line[..length]);
            let text = text.trim_end();
            words.push_str("; ");
            words.push_str(text.get(2..).unwrap_or(text));
        }
        if error == Errno::BUSY {
            return unfit("in-use", format!("{what}: the device is in use{words}"));
        }
        let mut failure = Failure::io(what, &error.into());
        if matches!(failure.code, Code::Internal | Code::DataLoss) {
            failure.code = Code::FailedPrecondition;
            failure.reason = "mount-failed".to_owned();
        }
        failure.message.push_str(&words);
        failure
    }
}
