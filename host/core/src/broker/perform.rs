//! From a granted act to its answer: each act is performed by the kernel module that it names,
//! with what has to be remembered before it, and what it made is noted for the commit.

use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::call::{Access, Operation};
use crate::crash;
use crate::decide::{Act, Granted, Held, host};
use crate::failure::{Code, Failure};
use crate::journal::record::FormatRef;
use crate::kernel::device::{self, Device, DeviceQuery};
use crate::kernel::filesystems::{self, Check, Format};
use crate::kernel::images::ImageFile;
use crate::kernel::loopdev::{self, LoopAttach};
use crate::kernel::mounts::{BlockMount, PendingMount};
use crate::kernel::{blank, images, mounts, target, tmpfs};
use crate::rehearsal;
use crate::wire::{Bytes, Level, Response};

use super::Work;
use super::conversation::stopped;

/// How often a device that is waited for is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How much of a component's log is kept for a call, and of one line.
const MAX_LOG: usize = 64 * 1024;
const MAX_LINE: usize = 4 * 1024;

impl Work<'_> {
    /// Performs an act. A failure is the component's to deal with.
    pub(super) fn perform(&mut self, act: Act) -> Result<Response, Failure> {
        match act {
            Act::Answer(response) => Ok(response),
            Act::Hold(Held::Device(device)) => self.hold_device(device),
            Act::Hold(held) => self.hold(held),
            Act::Log { level, message } => {
                self.log(level, &message);
                Ok(Response::Done)
            }
            Act::StatePut { key, value } => {
                self.session.state.insert(key, value);
                Ok(Response::Done)
            }
            Act::StateDelete { key } => {
                self.session.state.remove(&key);
                Ok(Response::Done)
            }
            Act::SecretReveal(key) => {
                let value = self.session.secret(&key.into_inner()).map(<[u8]>::to_vec);
                Ok(Response::Bytes(value.map(Bytes)))
            }
            Act::TargetIsMounted(granted) => {
                let target = granted.into_inner();
                Ok(Response::Flag(target::mounted(&target)?.is_some()))
            }
            Act::TargetAttach { attach, seal } => {
                if let Some(pending) = seal {
                    tmpfs::seal(pending)?;
                }
                self.effects.attach = Some(attach);
                Ok(Response::Done)
            }
            Act::TargetUnmount(granted) => {
                mounts::unmount(granted)?;
                crash::point("unmounted");
                Ok(Response::Done)
            }
            Act::DeviceFind(query) => match device::find(&query)? {
                Some(device) => self.found(device),
                None => Ok(Response::Device(None)),
            },
            Act::DeviceWait(query, time) => self.wait_for_device(&query, time),
            Act::DeviceSize(device) => Ok(Response::Number(device::size(&device.into_inner())?)),
            Act::DeviceIsReadOnly(device) => {
                Ok(Response::Flag(device::is_read_only(&device.into_inner())?))
            }
            Act::DeviceProbe(device) => {
                let device = device.into_inner();
                let name = match rehearsal::filesystem(&device.identity) {
                    Some(made) => Some(made.name()),
                    None => blank::probe(&device)?.name(),
                };
                Ok(Response::Text(name.map(str::to_owned)))
            }
            Act::Format(format) => self.format(format),
            Act::Check(check) => self.check(check).map(Response::Flag),
            Act::Grow(grow) => {
                let size = filesystems::grow(grow, self.lock()?)?;
                crash::point("filesystem-grown");
                Ok(Response::Number(size))
            }
            Act::MountBlock(mount) => self.mount_block(mount),
            Act::MountBind(bind) => self.pending(mounts::bind(bind)?),
            Act::TmpfsCreate(create) => {
                let pending = tmpfs::create(create)?;
                crash::point("mount-made");
                self.hold(Held::Tmpfs(Rc::new(pending)))
            }
            Act::TmpfsWrite(file) => tmpfs::write(file).map(|()| Response::Done),
            Act::TmpfsSeal(pending) => tmpfs::seal(pending).map(|()| Response::Done),
            Act::ImageOpen(open) => {
                let path = open.get().dir.path().join(open.get().name.as_str());
                let Some(image) = images::open(open)? else {
                    let message = format!("there is no image {}", path.display());
                    return Err(Failure::new(Code::NotFound, "no-image", message));
                };
                self.hold(Held::Image(Rc::new(image)))
            }
            Act::ImageCreate(create) => {
                let (image, made) = images::create(create)?;
                let image = Rc::new(image);
                if made {
                    self.effects.created = Some(Rc::clone(&image));
                    crash::point("image-created");
                }
                self.hold(Held::Image(image))
            }
            Act::ImageSize(image) => Ok(Response::Number(images::size(&image.into_inner())?)),
            Act::ImageGrow(grow) => {
                let size = images::grow(grow)?;
                crash::point("image-grown");
                Ok(Response::Number(size))
            }
            Act::ImageLease(lease) => {
                let image = Rc::clone(&lease.get().image);
                if let Some(taken) = images::lease(lease)? {
                    self.effects.leased.push(taken);
                    crash::point("image-leased");
                }
                let id = images::holder(&image)?.map(|lease| lease.id);
                self.effects.image = Some((image, id));
                Ok(Response::Done)
            }
            Act::ImageHolder(image) => {
                let holder = images::holder(&image.into_inner())?;
                Ok(Response::Text(holder.map(|lease| lease.node)))
            }
            Act::LoopAttach(attach) => self.loop_attach(attach),
            Act::LoopDetach(device) => {
                self.loop_detach(device)?;
                Ok(Response::Done)
            }
            Act::ImageRelease(release) => {
                images::release(release)?;
                crash::point("lease-released");
                Ok(Response::Done)
            }
        }
    }

    /// Takes the volume's loop device down.
    pub(super) fn loop_detach(&mut self, device: Granted<Rc<Device>>) -> Result<(), Failure> {
        // One that cannot be taken down is still the volume's: whoever asks next tries again, and
        // the record goes on listing it.
        loopdev::detach(device)?;
        // It is gone once its last descriptor is closed, ours included.
        self.session.device = None;
        self.effects.device = None;
        crash::point("loop-detached");
        Ok(())
    }

    fn pending(&mut self, pending: PendingMount) -> Result<Response, Failure> {
        crash::point("mount-made");
        self.hold(Held::Pending(Rc::new(pending)))
    }

    /// Checks a filesystem, and does something else meanwhile.
    pub(super) fn check_now(
        &mut self,
        check: Granted<Check>,
        meanwhile: impl FnOnce(&mut Self),
    ) -> Result<bool, Failure> {
        let lock = self.ledger.as_ref().ok_or_else(away)?.lock_to_inherit()?;
        let repaired = filesystems::check(check, lock.as_fd(), || meanwhile(self))?;
        crash::point("filesystem-checked");
        Ok(repaired)
    }

    /// A filesystem smaller than its device is grown first, where the grants let it be grown: a
    /// kernel may have refused to while it was mounted, and a clone may be larger than its source.
    fn mount_block(&mut self, mount: Granted<BlockMount>) -> Result<Response, Failure> {
        let device = Rc::clone(&mount.get().device);
        if let Some(grow) = host::grow_before_mount(&self.session, &mount) {
            let filesystem = mount.get().filesystem;
            if filesystems::needs_growth(&device, filesystem)? {
                let told = serde_json::json!({ "act": "grow", "fs_type": filesystem.name() });
                self.audit.line("host-act", told);
                filesystems::grow_unmounted(grow, self.lock()?)?;
                crash::point("filesystem-grown");
            }
        }
        let pending = mounts::block(mount)?;
        self.effects.note_device(device)?;
        self.pending(pending)
    }

    fn hold(&mut self, held: Held) -> Result<Response, Failure> {
        self.effects.handles.insert(held).map(Response::Handle).map_err(too_many)
    }

    fn hold_device(&mut self, device: Rc<Device>) -> Result<Response, Failure> {
        let identity = device.identity.clone();
        let handle = self.effects.handles.insert(Held::Device(device)).map_err(too_many)?;
        Ok(Response::Device(Some((handle, identity))))
    }

    fn found(&mut self, device: Device) -> Result<Response, Failure> {
        let device = Rc::new(device);
        self.judge_format(&device, None)?;
        // From the moment that it is waited for, the device is the volume's.
        if matches!(self.call.operation(), Operation::WaitForAttach | Operation::MountDevice) {
            self.effects.note_device(Rc::clone(&device))?;
        }
        self.hold_device(device)
    }

    fn wait_for_device(
        &mut self,
        query: &Granted<DeviceQuery>,
        time: Duration,
    ) -> Result<Response, Failure> {
        // A rehearsal tells what there is now.
        let end = Instant::now() + if rehearsal::is_on() { Duration::ZERO } else { time };
        loop {
            if let Some(device) = device::find(query)? {
                return self.found(device);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let DeviceQuery { rule, path, .. } = query.get();
                let seconds = time.as_secs_f32();
                let message = format!(
                    "no device has come to {} within {seconds} s, where the rule `{rule}` looks \
                     for it; look whether it is attached, and what path it has",
                    path.display(),
                );
                return Err(Failure::new(Code::DeadlineExceeded, "no-device", message));
            }
            if self.link.is_stopped(LOOK.min(left)) {
                return Err(stopped());
            }
        }
    }

    /// The record says that a format began before anything is written, and that it ended after
    /// all of it was: what is found in between may be formatted again.
    fn format(&mut self, format: Granted<Format>) -> Result<Response, Failure> {
        let Format { device, filesystem, uuid, .. } = format.get();
        let lease = match &self.effects.image {
            Some((_, lease)) => lease.clone(),
            None => self.recorded_lease(),
        };
        let begun = FormatRef {
            identity: device.identity.clone(),
            fs_type: filesystem.name().to_owned(),
            uuid: uuid.clone(),
            lease,
        };
        let call = self.call;
        let Some(ledger) = &mut self.ledger else { return Err(away()) };
        let lock = ledger.lock_to_inherit()?;
        let made = filesystems::format(format, lock.as_fd(), || {
            ledger.formatting(call, Some(begun))?;
            crash::point("format-recorded");
            Ok(())
        });
        if made.is_ok() {
            crash::point("formatted");
            ledger.formatting(call, None)?;
        }
        self.session.record.clone_from(&ledger.record);
        crash::point("format-ended");
        made.map(|()| Response::Done)
    }

    /// A record of an interrupted format is believed only while nobody else can have used the
    /// device: what is on it has to be what that format leaves, under the same lease. Records are
    /// one node's, and volumes are not.
    pub(super) fn judge_format(
        &mut self,
        device: &Device,
        lease: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        let begun = ledger.record.as_ref().and_then(|record| record.formatting.as_ref());
        let Some(begun) = begun.filter(|begun| begun.identity == device.identity) else {
            return Ok(());
        };
        if begun.lease.as_deref() == lease && filesystems::left_by(device, &begun.uuid)? {
            return Ok(());
        }
        self.audit.line("format-record-void", serde_json::json!({ "device": device.identity }));
        ledger.formatting(self.call, None)?;
        self.session.record.clone_from(&ledger.record);
        Ok(())
    }

    /// The lease under which the recorded image was attached.
    pub(super) fn recorded_lease(&self) -> Option<String> {
        let record = self.ledger.as_ref()?.record.as_ref()?;
        record.image.as_ref()?.lease.clone()
    }

    /// The volume's loop device, or a new one, which clears itself unless the call commits.
    fn loop_attach(&mut self, attach: Granted<LoopAttach>) -> Result<Response, Failure> {
        let LoopAttach { image, access } = attach.get();
        let (image, access) = (Rc::clone(image), *access);
        let lease = images::holder(&image)?.map(|lease| lease.id);
        let (device, goes) = match self.standing_loop(&image, access)? {
            Some(device) => {
                let kept = loopdev::is_kept(&device)?;
                (device, !kept)
            }
            None => {
                let device = Rc::new(loopdev::attach(attach)?);
                crash::point("loop-attached");
                (device, true)
            }
        };
        self.judge_format(&device, lease.as_deref())?;
        self.session.device = Some(Rc::clone(&device));
        self.effects.device = Some((Rc::clone(&device), goes));
        self.effects.image = Some((image, lease));
        self.hold_device(device)
    }

    /// The loop device that the volume has of this image already, if it will do. A writable one
    /// does for a pod that only reads: its bind is read-only. One that cannot be used otherwise and
    /// is mounted nowhere is made anew.
    fn standing_loop(
        &mut self,
        image: &ImageFile,
        access: Access,
    ) -> Result<Option<Rc<Device>>, Failure> {
        let device = self.session.device.clone();
        let Some(device) = device.filter(|device| device.identity == image.identity) else {
            return Ok(None);
        };
        let is = match device::is_read_only(&device)? {
            true => Access::ReadOnly,
            false => Access::ReadWrite,
        };
        let staged = self.session.staged.is_some();
        if is == access || (is == Access::ReadWrite && staged) {
            if is == Access::ReadWrite {
                loopdev::refresh(&device)?;
            }
            return Ok(Some(device));
        }
        drop(device);
        match host::detach(&self.session) {
            Some(granted) if !staged => self.loop_detach(granted).map(|()| None),
            _ => {
                let message = "the volume is in use read-only on this node, and is wanted writable; \
                               the pods that read it have to end first";
                Err(Failure::new(Code::FailedPrecondition, "read-only-volume", message))
            }
        }
    }

    fn log(&mut self, level: Level, message: &str) {
        let clean = self.session.redactor().clean(message);
        let clean = printable(&clean);
        let room = MAX_LOG.saturating_sub(self.effects.logged).min(MAX_LINE);
        let text = &clean[..clean.floor_char_boundary(room)];
        self.effects.logged += text.len();
        if !text.is_empty() {
            self.audit.line("log", serde_json::json!({ "level": level, "message": text }));
        }
    }

    pub(super) fn lock(&self) -> Result<std::os::fd::BorrowedFd<'_>, Failure> {
        self.ledger.as_ref().map(|ledger| ledger.lock()).ok_or_else(away)
    }
}

/// One line, without what moves a terminal's cursor or colours it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn too_many(no: crate::decide::No) -> Failure {
    match no {
        crate::decide::No::Refused(failure) => failure,
        crate::decide::No::Fault(what) => {
            let message = format!("the component holds too much: {what}");
            Failure::new(Code::ResourceExhausted, "handles", message)
        }
    }
}

fn away() -> Failure {
    Failure::new(Code::FailedPrecondition, "not-root", "can only be done as root on a node")
}
