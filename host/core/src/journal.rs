//! What is remembered of volumes on this node: durably, and before the act it speaks of.
//!
//! `<data-dir>/<vendor>~<driver>/volumes/<key>.json` is a volume's [record];
//! `<data-dir>/claims/<identity>` says which volume a resource belongs to, for all drivers that
//! share the data directory. A record is replaced as a whole: written beside it, synced, renamed
//! over it, and the directory synced; a crash leaves the old one or the new one. A claim is a
//! symbolic link to nothing whose text is the claim: made in one step, by one caller only.
//! Nothing here decides what is remembered, and no secret ever gets here.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::call::DriverName;
use crate::crash;
use crate::failure::{Code, Failure};
use crate::kernel::mounts;
use crate::rehearsal;

pub mod lock;
pub mod record;

use record::{Mistake, VolumeRecord};

/// The reason of a failure for want of a directory of the installation's.
pub const NO_DIRECTORY: &str = "no-directory";

/// A record holds a volume's options (bounded by kubelet's argument of 128 KiB) and its state.
const MAX_RECORD: u64 = 1024 * 1024;

/// The records of one driver on this node.
#[derive(Debug)]
pub struct Journal {
    driver: DriverName,
    data_dir: PathBuf,
    volumes: OwnedFd,
    claims: OwnedFd,
}

/// Which volume a resource belongs to.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    /// `vendor/name`.
    pub driver: String,
    /// The volume's key among the driver's.
    pub key: String,
}

impl Claim {
    /// The refusal of whoever wants the resource too.
    pub fn refusal(&self, identity: &str) -> Failure {
        let message =
            format!("{identity} belongs to volume {} of driver {}", self.key, self.driver);
        Failure::new(Code::FailedPrecondition, "claimed", message)
    }
}

impl Journal {
    /// Opens the driver's records, making the directories (mode 0700) where they are absent.
    pub fn open(data_dir: &Path, driver: &DriverName) -> Result<Self, Failure> {
        let volumes = private_dir(&data_dir.join(driver.tilde()).join("volumes"))?;
        let claims = private_dir(&data_dir.join("claims"))?;
        Ok(Self { driver: driver.clone(), data_dir: data_dir.to_owned(), volumes, claims })
    }

    /// A volume's record. Device and mounts of an earlier boot are left out: they are gone.
    pub fn load(&self, key: &str) -> Result<Option<VolumeRecord>, Failure> {
        let Some(bytes) = read_at(&self.volumes, &file_name(key)).map_err(|error| {
            Failure::io(format_args!("reading {}", self.path(key).display()), &error)
        })?
        else {
            return Ok(None);
        };
        let mut record = VolumeRecord::parse(&bytes).map_err(|mistake| {
            let (code, reason) = match mistake {
                Mistake::Foreign(_) => (Code::FailedPrecondition, "record-version"),
                Mistake::Damaged(_) => (Code::DataLoss, "record-damaged"),
            };
            Failure::new(code, reason, format!("{}: {mistake}", self.path(key).display()))
        })?;
        record.outlive(&boot_id()?);
        Ok(Some(record))
    }

    /// Makes a record durable. What it says holds even if the power goes the moment this returns.
    pub fn save(&self, key: &str, record: &VolumeRecord) -> Result<(), Failure> {
        if rehearsal::is_on() {
            return Ok(());
        }
        record
            .to_bytes()
            .and_then(|bytes| replace_at(&self.volumes, &file_name(key), &bytes))
            .map_err(|error| {
                Failure::io(format_args!("writing {}", self.path(key).display()), &error)
            })
    }

    /// Forgets a volume of which there is nothing to remember.
    pub fn forget(&self, key: &str) -> Result<(), Failure> {
        if rehearsal::is_on() {
            return Ok(());
        }
        remove_at(&self.volumes, &file_name(key)).map_err(|error| {
            Failure::io(format_args!("removing {}", self.path(key).display()), &error)
        })
    }

    /// Takes a resource for a volume, durably; whoever has it instead is returned. Taken by the
    /// volume already is success.
    pub fn claim(&self, identity: &str, key: &str) -> Result<Option<Claim>, Failure> {
        let claim = Claim { driver: self.driver.slash(), key: key.to_owned() };
        if rehearsal::is_on() {
            return Ok(self.claimed(identity)?.filter(|held| *held != claim));
        }
        let text = format!("{} {key}", claim.driver);
        let failed = |error: Errno| Failure::io(format_args!("claiming {identity}"), &error.into());
        match rustix::fs::symlinkat(text, &self.claims, identity_name(identity)) {
            Ok(()) => rustix::fs::fsync(&self.claims).map(|()| None).map_err(failed),
            Err(Errno::EXIST) => match self.claimed(identity)? {
                Some(held) if held == claim => Ok(None),
                Some(held) => Ok(Some(held)),
                None => {
                    let message = format!(
                        "{identity} was just let go by another volume; kubelet will try again"
                    );
                    Err(Failure::new(Code::Aborted, "again", message))
                }
            },
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes a claim that a crash left behind: made before its record, or outlived by it. The
    /// caller holds the lock of the volume that it names.
    pub fn drop_stale(&self, identity: &str, claim: &Claim) -> Result<bool, Failure> {
        if self.listed(identity, claim)? || self.claimed(identity)?.as_ref() != Some(claim) {
            return Ok(false);
        }
        if rehearsal::is_on() {
            // What would then be free cannot be taken here.
            return Ok(true);
        }
        remove_at(&self.claims, &identity_name(identity))
            .map_err(|error| Failure::io(format_args!("letting go of {identity}"), &error))?;
        Ok(true)
    }

    /// Removes what a call for a volume left that was cut off: claims that its record does not list,
    /// and a record that was not finished. The caller holds the volume's lock.
    pub fn clear_up(&self, key: &str, record: Option<&VolumeRecord>) -> std::io::Result<()> {
        if rehearsal::is_on() {
            return Ok(());
        }
        let listed = record.map(VolumeRecord::identities).unwrap_or_default();
        let listed: Vec<String> = listed.into_iter().map(identity_name).collect();
        let own = format!("{} {key}", self.driver.slash());
        let mut void = Vec::new();
        for entry in Dir::read_from(&self.claims)? {
            let name = entry?.file_name().to_owned();
            let is_own = || {
                let claim = rustix::fs::readlinkat(&self.claims, &*name, Vec::new());
                claim.is_ok_and(|claim| claim.as_bytes() == own.as_bytes())
            };
            if listed.iter().all(|listed| listed.as_bytes() != name.to_bytes()) && is_own() {
                void.push(name);
            }
        }
        for name in &void {
            rustix::fs::unlinkat(&self.claims, &**name, AtFlags::empty())?;
        }
        if !void.is_empty() {
            rustix::fs::fsync(&self.claims)?;
        }
        remove_at(&self.volumes, &beside(&file_name(key)))
    }

    /// Lets go of a resource that this volume has.
    pub fn disclaim(&self, identity: &str, key: &str) -> Result<(), Failure> {
        if rehearsal::is_on() {
            return Ok(());
        }
        match self.claimed(identity)? {
            Some(held) if held.driver == self.driver.slash() && held.key == key => {
                remove_at(&self.claims, &identity_name(identity))
                    .map_err(|error| Failure::io(format_args!("letting go of {identity}"), &error))
            }
            _ => Ok(()),
        }
    }

    /// Who else has a resource, according to both claim and record.
    pub fn holder(&self, identity: &str, key: &str) -> Result<Option<Claim>, Failure> {
        let Some(held) = self.claimed(identity)? else { return Ok(None) };
        let own = held.driver == self.driver.slash() && held.key == key;
        if own || !self.listed(identity, &held)? { Ok(None) } else { Ok(Some(held)) }
    }

    fn listed(&self, identity: &str, claim: &Claim) -> Result<bool, Failure> {
        // Another program's claim cannot be looked into, and is believed.
        let Ok(driver) = claim.driver.parse::<DriverName>() else { return Ok(true) };
        let record = Self::open(&self.data_dir, &driver)?.load(&claim.key)?;
        Ok(record.is_some_and(|record| record.identities().contains(&identity)))
    }

    fn claimed(&self, identity: &str) -> Result<Option<Claim>, Failure> {
        let failed = |error| Failure::io(format_args!("reading the claim on {identity}"), &error);
        let text = match rustix::fs::readlinkat(&self.claims, identity_name(identity), Vec::new()) {
            Err(Errno::NOENT) => return Ok(None),
            text => text.map_err(|error| failed(error.into()))?,
        };
        let claim = text.to_str().ok().and_then(|text| text.split_once(' '));
        let (driver, key) = claim.ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))?;
        Ok(Some(Claim { driver: driver.to_owned(), key: key.to_owned() }))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.data_dir.join(self.driver.tilde()).join("volumes").join(file_name(key))
    }
}

/// The boot that this is: `/proc/sys/kernel/random/boot_id`, see random(4).
pub fn boot_id() -> Result<String, Failure> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .map_err(|error| Failure::io("reading the kernel's boot id", &error))
}

/// A directory that only root can look into, made with its parents if it is absent.
pub(crate) fn private_dir(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty());
    let failed = |verb: &str, error: &std::io::Error| {
        let Failure { code, message, .. } =
            Failure::io(format_args!("{verb} {}", path.display()), error);
        Failure { code, reason: NO_DIRECTORY.to_owned(), message }
    };
    match open() {
        Err(Errno::NOENT) if rehearsal::is_on() => {
            can_be_made(path).map_err(|error| failed("making", &error.into()))?;
            return mounts::empty_directory().map_err(|error| failed("making", &error.into()));
        }
        Err(Errno::NOENT) => {}
        opened => return opened.map_err(|error| failed("opening", &error.into())),
    }
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path).map_err(|error| failed("making", &error))?;
    open().map_err(|error| failed("opening", &error.into()))
}

/// Whether a directory that is absent could be made, as far as can be told without doing it.
fn can_be_made(path: &Path) -> Result<(), Errno> {
    let may = Access::WRITE_OK | Access::EXEC_OK;
    let above = path.ancestors().skip(1);
    above
        .map(|directory| rustix::fs::accessat(CWD, directory, may, AtFlags::EACCESS))
        .find(|result| *result != Err(Errno::NOENT))
        .unwrap_or(Err(Errno::NOENT))
}

/// A record's file name.
fn file_name(key: &str) -> String {
    identity_name(key) + ".json"
}

/// A key or an identity as a file name: what is not plain is written as `%` and two digits.
fn identity_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len() + 5);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b':' | b'~' => {
                name.push(byte.into())
            }
            b'.' if !name.is_empty() => name.push('.'),
            _ => {
                let _ = write!(name, "%{byte:02x}");
            }
        }
    }
    name
}

/// Where a record is written before it takes its place.
fn beside(name: &str) -> String {
    format!("{name}.new")
}

fn read_at(dir: &OwnedFd, name: &str) -> std::io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => File::from(opened?),
    };
    let mut bytes = Vec::with_capacity(8 * 1024);
    file.take(MAX_RECORD + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_RECORD {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "longer than 1 MiB"));
    }
    Ok(Some(bytes))
}

fn replace_at(dir: &OwnedFd, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    // One left by a crash is overwritten: the volume's lock is held, so it is nobody else's.
    let beside = beside(name);
    let flags =
        OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(dir, &beside, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(bytes)?;
    file.sync_all()?;
    crash::point("record-written");
    rustix::fs::renameat(dir, &beside, dir, name)?;
    Ok(rustix::fs::fsync(dir)?)
}

fn remove_at(dir: &OwnedFd, name: &str) -> std::io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => Ok(rustix::fs::fsync(dir)?),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(dir: &Path, driver: &str) -> Journal {
        Journal::open(dir, &driver.parse().expect("a driver's name")).expect("a journal")
    }

    #[test]
    fn a_resource_belongs_to_one_volume() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, other) = (journal(dir.path(), "a.example/x"), journal(dir.path(), "b.example/x"));
        let takes = |journal: &Journal, key| journal.claim("image:1:2:3", key).expect("readable");
        assert_eq!(takes(&one, "pv-1"), None);
        assert_eq!(takes(&one, "pv-1"), None, "twice is once");
        let held = takes(&one, "pv-2").expect("taken");
        assert_eq!(
            held.refusal("image:1:2:3").to_string(),
            "image:1:2:3 belongs to volume pv-1 of driver a.example/x (claimed)"
        );
        assert!(takes(&other, "pv-1").is_some(), "another driver's volume of the same name");
        other.disclaim("image:1:2:3", "pv-1").expect("not its own: left alone");
        assert_eq!(takes(&one, "pv-1"), None, "still its own");
        one.disclaim("image:1:2:3", "pv-1").expect("its own");
        assert_eq!(takes(&other, "pv-1"), None, "free again");
    }

    #[test]
    fn a_claim_that_no_record_knows_of_is_stale() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = journal(dir.path(), "a.example/x");
        journal.claim("image:1:2:3", "pv-1").expect("free");
        let held = journal.claim("image:1:2:3", "pv-2").expect("readable").expect("taken");
        assert!(journal.drop_stale("image:1:2:3", &held).expect("readable"));
        assert_eq!(journal.claim("image:1:2:3", "pv-2").expect("readable"), None);
    }

    #[test]
    fn what_a_call_left_is_cleared_up_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, other) = (journal(dir.path(), "a.example/x"), journal(dir.path(), "b.example/x"));
        let mut record = VolumeRecord::empty("pv-1", boot_id().expect("readable"));
        record.device = Some(record::DeviceRef {
            number: (7, 1),
            identity: "image:1:2:3".to_owned(),
            is_loop: true,
        });
        let held =
            [(&one, "image:1:2:3", "pv-1"), (&one, "image:4", "pv-2"), (&other, "5", "pv-1")];
        for (journal, identity, key) in held {
            assert_eq!(journal.claim(identity, key).expect("readable"), None);
        }
        assert_eq!(one.claim("image:6", "pv-1").expect("readable"), None);
        std::fs::write(dir.path().join("a.example~x/volumes/pv-1.json.new"), "{").expect("written");
        one.clear_up("pv-1", Some(&record)).expect("cleared up");
        assert_eq!(other.claim("image:6", "pv-9").expect("readable"), None, "it is free");
        for (journal, identity, key) in held {
            assert_eq!(journal.claim(identity, "pv-9").expect("readable").expect("held").key, key);
        }
        let left = std::fs::read_dir(dir.path().join("a.example~x/volumes")).expect("there");
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn names_stay_within_the_directory() {
        for (text, name) in [
            ("pv-1", "pv-1.json"),
            ("..", "%2e..json"),
            ("a/b", "a%2fb.json"),
            (".x", "%2ex.json"),
            ("ä", "%c3%a4.json"),
        ] {
            assert_eq!(file_name(text), name);
        }
    }
}
