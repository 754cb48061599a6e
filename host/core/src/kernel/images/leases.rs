//! To which node an image is given: a small JSON file beside it, `.wasmount-lease-INODE`.
//!
//! A lease is taken by giving a finished file its name, which either happens or finds the name
//! taken, also where several nodes share the directory. It is a record between well-behaved
//! drivers, not a lock: nothing here stops a node that does not ask.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{ImageDir, ImageFile};
use crate::decide::Granted;
use crate::failure::{Code, Failure};
use crate::kernel::{failed, unfit, uuid};
use crate::rehearsal;

const PREFIX: &str = ".wasmount-lease-";
const VERSION: u32 = 1;

/// The longest lease file, in bytes.
const MAX_LENGTH: u64 = 4096;

/// How many leases of the directory are looked at to find a volume's: of the whole cluster's, each of
/// which is a volume that is attached. Images do not count, since nobody ever removes them.
const MAX_LEASES: usize = 100_000;

/// A lease that is to be taken.
#[derive(Debug)]
pub struct Lease {
    /// Which image.
    pub image: Rc<ImageFile>,
    /// Who asks: the driver, `vendor/name`.
    pub driver: String,
    /// The volume that the image is.
    pub volume: String,
    /// The node that it is given to.
    pub node: String,
}

/// A lease that was taken, and may be given back: that very one, and none that the volume has besides.
#[derive(Debug)]
pub struct Taken {
    pub(super) image: Rc<ImageFile>,
    record: LeaseRecord,
}

/// The leases of a volume that are to be ended for a node. The image's name is not needed: it may
/// be gone.
#[derive(Debug)]
pub struct Release {
    /// The directory the image is in.
    pub dir: Rc<ImageDir>,
    /// The driver, `vendor/name`.
    pub driver: String,
    /// The volume.
    pub volume: String,
    /// The node that they are ended for.
    pub node: String,
}

/// A lease file's contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRecord {
    /// The format's version.
    pub v: u32,
    /// The driver, `vendor/name`.
    pub driver: String,
    /// The volume.
    pub volume: String,
    /// The node that has the image.
    pub node: String,
    /// The image's identity.
    pub image: String,
    /// Another one each time that it is taken: with the same, nobody else had the image meanwhile.
    pub id: String,
    /// When it was taken, in seconds since 1970.
    pub since: u64,
}

/// Takes the lease of an image. None if this volume has given it to this node before;
/// `leased` if somebody else has it.
pub fn lease(lease: Granted<Lease>) -> Result<Option<Taken>, Failure> {
    let Lease { image, driver, volume, node } = lease.into_inner();
    let what = format!("leasing {}", image.path().display());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (identity, id) = (image.identity.clone(), uuid::random()?);
    let record = LeaseRecord { v: VERSION, driver, volume, node, image: identity, id, since };
    let name = name_for(&image)?;
    if rehearsal::is_on() {
        image.dir.unnamed(&what)?;
        return match holder(&image)? {
            Some(held)
                if held.is_for(&record.driver, &record.volume) && held.node == record.node =>
            {
                Ok(None)
            }
            Some(held) => Err(leased(&what, &held, &name, &image)),
            None => {
                rehearsal::leased(record.clone());
                Ok(Some(Taken { image, record }))
            }
        };
    }
    for _ in 0..4 {
        let text = serde_json::to_vec(&record).map_err(std::io::Error::other);
        let mut file = image.dir.unnamed(&what)?;
        text.and_then(|text| file.write_all(&text))
            .and_then(|()| file.sync_all())
            .map_err(|error| Failure::io(&what, &error))?;
        if image.dir.give_name(&file, &name, &what)? {
            let taken = Taken { image, record };
            // The call that created it may have failed since it was opened, and removed it.
            if !is_named(&taken.image)? {
                give_back(taken)?;
                let message = format!("{what}: it was removed meanwhile");
                return Err(Failure::new(Code::Aborted, "again", message));
            }
            return Ok(Some(taken));
        }
        match read(&image.dir, &name)? {
            Some(held)
                if held.is_for(&record.driver, &record.volume) && held.node == record.node =>
            {
                return Ok(None);
            }
            Some(held) => return Err(leased(&what, &held, &name, &image)),
            // It was released between the two looks.
            None => {}
        }
    }
    Err(Failure::new(Code::Aborted, "again", format!("{what}: its lease keeps changing")))
}

/// Gives a lease back. One that somebody has ended meanwhile is given back already.
pub fn give_back(taken: Taken) -> Result<(), Failure> {
    if rehearsal::is_on() {
        rehearsal::released(taken.record);
        return Ok(());
    }
    let image = &taken.image;
    if end(&image.dir, &name_for(image)?, |held| taken.is(held))? {
        image.dir.sync(format_args!("giving back {}", image.path().display()))?;
    }
    Ok(())
}

/// Who has the image.
pub fn holder(image: &ImageFile) -> Result<Option<LeaseRecord>, Failure> {
    match rehearsal::lease(&image.identity) {
        Some(lease) => Ok(lease),
        None => read(&image.dir, &name_for(image)?),
    }
}

/// Ends every lease that images of a volume have for a node. False if there is none: also where
/// the volume has moved to another node by now, whose lease stays.
pub fn release(release: Granted<Release>) -> Result<bool, Failure> {
    let Release { dir, driver, volume, node } = release.into_inner();
    let what = format!("releasing the lease of volume {volume} in {}", dir.path().display());
    let ours = |held: &LeaseRecord| held.is_for(&driver, &volume) && held.node == node;
    let rehearsed: Vec<_> = rehearsal::leases().into_iter().filter(&ours).collect();
    let mut names = Vec::new();
    let entries = Dir::read_from(&dir.file).map_err(failed(&what))?;
    let mut leases = 0;
    for entry in entries {
        let entry = entry.map_err(failed(&what))?;
        let Some(name) = entry.file_name().to_str().ok().filter(|name| name.starts_with(PREFIX))
        else {
            continue;
        };
        leases += 1;
        if leases > MAX_LEASES {
            let message = format!("{what}: the directory has more than {MAX_LEASES} leases");
            return Err(Failure::new(Code::ResourceExhausted, "exhausted", message));
        }
        // One that cannot be read may be another volume's: it must not keep this one from
        // being released.
        if read(&dir, name).is_ok_and(|held| held.as_ref().is_some_and(ours)) {
            names.push(name.to_owned());
        }
    }
    if rehearsal::is_on() {
        let there = names.iter().filter_map(|name| read(&dir, name).ok().flatten());
        // Of what the rehearsal has changed it knows better.
        let there = there.filter(|held| rehearsal::lease(&held.image).is_none());
        let ended: Vec<_> = there.chain(rehearsed).collect();
        let any = !ended.is_empty();
        ended.into_iter().for_each(rehearsal::released);
        return Ok(any);
    }
    // Only now: a directory that changes while it is read may show some names twice or not at all.
    let mut any = false;
    for name in &names {
        any |= end(&dir, name, ours)?;
    }
    if any {
        dir.sync(what)?;
    }
    Ok(any)
}

/// Removes the lease file of that name, if it is the lease that is meant. True if it was removed.
///
/// Since it was looked at, another call may have ended that lease, and another node have taken one.
/// So the file is locked from the look to the removal: whoever ends a lease has its lock, and in
/// place of a file that is there nobody puts another. Without locks there is only the look.
fn end(
    dir: &ImageDir,
    name: &str,
    is_meant: impl Fn(&LeaseRecord) -> bool,
) -> Result<bool, Failure> {
    let what = format!("removing {}", dir.path().join(name).display());
    let Some(mut file) = open(dir, name, OFlags::RDWR)? else { return Ok(false) };
    if !super::lock(&file, &what)? {
        let message = format!("{what}: another call is at it");
        return Err(Failure::new(Code::Aborted, "again", message));
    }
    if !super::is_at(dir, name, &file)? || !is_meant(&parse(&mut file, dir, name)?) {
        return Ok(false);
    }
    unlinkat(&dir.file, name, AtFlags::empty()).map_err(failed(what))?;
    Ok(true)
}

impl Taken {
    /// Whether it is a lease of that image.
    pub fn is_of(&self, image: &ImageFile) -> bool {
        self.image.identity == image.identity
    }

    /// Whether it is that lease.
    pub(super) fn is(&self, held: &LeaseRecord) -> bool {
        self.record.id == held.id
    }
}

impl LeaseRecord {
    /// Reads a lease file's bytes, or says what is wrong and what to do.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        /// Whatever else is in it: the fields are those of its version.
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        let record = match serde_json::from_slice(bytes) {
            Ok(Versioned { v }) if v > VERSION => {
                return Err(format!(
                    "it is a lease of version {v}, and this wasmount reads version {VERSION}: a newer \
                     one took it; install that here, too"
                ));
            }
            _ => serde_json::from_slice(bytes).ok(),
        };
        record
            .filter(|record: &Self| record.v == VERSION && bytes.len() as u64 <= MAX_LENGTH)
            .ok_or_else(|| {
                "it is no lease that this version of wasmount reads; if no node uses the image, \
                 remove it"
                    .to_owned()
            })
    }

    /// Whether it is that volume's.
    pub fn is_for(&self, driver: &str, volume: &str) -> bool {
        self.driver == driver && self.volume == volume
    }
}

/// Whether the image still has its name.
fn is_named(image: &ImageFile) -> Result<bool, Failure> {
    super::is_at(&image.dir, image.name.as_str(), &image.file)
}

fn leased(what: &str, held: &LeaseRecord, file: &str, image: &ImageFile) -> Failure {
    let LeaseRecord { driver, volume, node, .. } = held;
    let mut message = format!("{what}: volume {volume} of {driver} has given it to node {node}");
    // The inode number was used again after the image was deleted. Whether some other node
    // still uses the deleted one cannot be seen from here.
    if held.image != image.identity {
        message.push_str(&format!(
            "; that lease is of an image that was deleted: if no node uses it, remove {file}"
        ));
    }
    unfit("leased", message)
}

fn read(dir: &ImageDir, name: &str) -> Result<Option<LeaseRecord>, Failure> {
    let file = open(dir, name, OFlags::RDONLY)?;
    file.map(|mut file| parse(&mut file, dir, name)).transpose()
}

fn open(dir: &ImageDir, name: &str, access: OFlags) -> Result<Option<File>, Failure> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(&dir.file, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(failed(reading(dir, name))(error)),
    }
}

fn parse(file: &mut File, dir: &ImageDir, name: &str) -> Result<LeaseRecord, Failure> {
    let what = reading(dir, name);
    let mut text = Vec::new();
    file.take(MAX_LENGTH + 1).read_to_end(&mut text).map_err(|error| Failure::io(&what, &error))?;
    LeaseRecord::parse(&text)
        .map_err(|mistake| unfit("lease-unreadable", format!("{what}: {mistake}")))
}

fn reading(dir: &ImageDir, name: &str) -> String {
    format!("reading {}", dir.path().join(name).display())
}

fn name_for(image: &ImageFile) -> Result<String, Failure> {
    let found = image.file.metadata();
    let found = found.map_err(|error| {
        Failure::io(format_args!("looking at {}", image.path().display()), &error)
    })?;
    Ok(format!("{PREFIX}{}", found.ino()))
}
