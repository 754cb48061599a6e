//! A call to decide about: the volume `pv-1` of `example.com/demo` on `node-1`, and what its
//! component holds. The one place in these tests that makes kernel objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::call::{Access, Call, MountDir, Operation, Secrets, TargetPath, Volume};
use crate::decide::{Handles, Held};
use crate::failure::Failure;
use crate::grants::Grants;
use crate::journal::Claim;
use crate::journal::record::{FormatRef, MountRef, VERSION, VolumeRecord};
use crate::kernel::device::Device;
use crate::kernel::images::{ImageDir, ImageFile, LeaseRecord};
use crate::kernel::mounts::PendingMount;
use crate::kernel::target::{self, Target};
use crate::session::{Claims, Opened, Place, Session};
use crate::wire::{Bytes, Handle, Level, Request, VolumeFacts};

/// The handles that the component has from the start.
pub(super) const DEVICE: Handle = Handle(1);
pub(super) const PENDING: Handle = Handle(2);
pub(super) const TMPFS: Handle = Handle(3);
pub(super) const IMAGE: Handle = Handle(4);
pub(super) const SECRET: Handle = Handle(5);

/// The UUID of the filesystem whose making was interrupted.
pub(super) const HALF_FORMATTED: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

/// Nothing is refused for want of a grant with these.
pub(super) const EVERYTHING: &str = r#"
version = 1
[reply]
failure-exit-code = 0
[state]
[[secrets]]
key = "password"
uses = ["reveal", "file"]
[images]
directory = "/usr"
names = ["*"]
create = true
grow = true
[[devices]]
rule = "nvme"
path = "/dev/disk/by-id/nvme-{id}"
id = "*"
verify = { attribute = "device/serial", value = "{id}" }
[filesystems]
types = ["ext4"]
format = true
check = true
grow = true
[mounts.block]
filesystems = ["ext4"]
options = ["noatime", "discard"]
[mounts.bind]
[mounts.tmpfs]
"#;

/// A call in the making.
pub(super) struct Scene {
    operation: Operation,
    grants: Grants,
    access: Access,
    node: &'static str,
    keeps_records: bool,
    record: VolumeRecord,
    device: bool,
    secrets: Vec<(String, Vec<u8>)>,
}

impl Scene {
    pub(super) fn new(operation: Operation, grants: &str) -> Self {
        Self {
            operation,
            grants: Grants::parse(grants).expect("grants"),
            access: Access::ReadWrite,
            node: "node-1",
            keeps_records: true,
            record: VolumeRecord {
                v: VERSION,
                volume: "pv-1".to_owned(),
                options: BTreeMap::new(),
                fs_type: None,
                access: Access::ReadWrite,
                boot_id: String::new(),
                attached_node: None,
                image: None,
                device: None,
                staged: None,
                published: Vec::new(),
                formatting: None,
                mounted: Vec::new(),
                state: [("known".to_owned(), Bytes(vec![1, 2]))].into(),
            },
            device: false,
            secrets: vec![
                ("password".to_owned(), b"hunter2".to_vec()),
                ("other".to_owned(), b"swordfish".to_vec()),
            ],
        }
    }

    /// Adds a circumstance.
    pub(super) fn add(&mut self, circumstance: &str) {
        let mount = |path: &str, access| MountRef {
            beneath_root: PathBuf::from(path),
            asked: access,
            access,
            fs_type: "ext4".to_owned(),
            device: (7, 0),
        };
        let format = |fs_type: &str| {
            Some(FormatRef {
                identity: "image:1".to_owned(),
                fs_type: fs_type.to_owned(),
                uuid: HALF_FORMATTED.to_owned(),
                lease: None,
            })
        };
        match circumstance {
            "read-only" => self.access = Access::ReadOnly,
            "was-mounted" => self.record.mounted = vec!["image:0".into(), "image:1".into()],
            "another-device-was-mounted" => self.record.mounted = vec!["image:0".into()],
            "wants-xfs" => self.record.fs_type = Some("xfs".to_owned()),
            "half-formatted" => self.record.formatting = format("ext4"),
            "half-formatted-as-xfs" => self.record.formatting = format("xfs"),
            "staged" => self.record.staged = Some(mount("staging", Access::ReadWrite)),
            "staged-read-only" => self.record.staged = Some(mount("staging", Access::ReadOnly)),
            "mounted" => self.record.published = vec![mount("target", Access::ReadWrite)],
            "mounted-read-only" => self.record.published = vec![mount("target", Access::ReadOnly)],
            "device" => self.device = true,
            "no-secret" => self.secrets.clear(),
            "long-secret" => self.secrets[0].1 = vec![b'x'; 70_000],
            "away-from-the-node" => self.keeps_records = false,
            "for-node-2" => self.node = "node-2",
            "store-full" => {
                let keys = (0..32).map(|n| (format!("k{n}"), Bytes(vec![0])));
                self.record.state = keys.collect();
            }
            "store-has-10-bytes-left" => {
                let value = Bytes(vec![0; 16 * 1024 - "key".len() - 10]);
                self.record.state = [("key".to_owned(), value)].into();
            }
            other => panic!("unknown circumstance {other}"),
        }
    }

    pub(super) fn set(self) -> (Session, Handles) {
        let place = Place {
            driver: "example.com/demo".parse().expect("a name"),
            node_name: "node-1".to_owned(),
            keeps_records: self.keeps_records,
            claims: Rc::new(Others),
        };
        let opened = Opened {
            target: call(self.operation, self.access, self.node).target().map(|_| directory()),
            staging: self.record.staged.is_some().then(directory),
            device: self.device.then(|| Rc::new(Device::for_test("image:1"))),
        };
        let call = call(self.operation, self.access, self.node);
        let secrets: Secrets = self.secrets.into_iter().collect();
        let mut session =
            Session::new(place, Rc::new(self.grants), &call, secrets, Some(self.record), opened);
        // These never get as far as a session; it is only that nothing is to depend on it.
        session.operation = self.operation;
        session.access = self.access;
        (session, held())
    }
}

/// One request of each function, each as harmless as it can be.
pub(super) fn sample_requests() -> Vec<Request> {
    let (key, name, node) = ("password", "pv-1.img", "node-1");
    vec![
        Request::Log { level: Level::Info, message: "hello".into() },
        Request::StateGet { key: key.into() },
        Request::StatePut { key: key.into(), value: Bytes(vec![1]) },
        Request::StateDelete { key: key.into() },
        Request::SecretsOpen { key: key.into() },
        Request::SecretReveal { secret: SECRET },
        Request::TargetIsMounted,
        Request::TargetAttach { pending: PENDING },
        Request::TargetUnmount,
        Request::DevicesFind { rule: "nvme".into(), id: "vol-1".into() },
        Request::DevicesWait { rule: "nvme".into(), id: "vol-1".into(), milliseconds: 1 },
        Request::DeviceSize { device: DEVICE },
        Request::DeviceIsReadOnly { device: DEVICE },
        Request::DeviceProbe { device: DEVICE },
        Request::FilesystemsFormat { device: DEVICE, fs_type: "ext4".into(), options: vec![] },
        Request::FilesystemsCheck { device: DEVICE, fs_type: "ext4".into() },
        Request::FilesystemsGrow,
        Request::MountsBlock {
            device: DEVICE,
            fs_type: "ext4".into(),
            access: Access::ReadOnly,
            options: vec![],
        },
        Request::MountsBind { access: Access::ReadOnly },
        Request::TmpfsCreate { size: 4096, mode: 0o750, group: None },
        Request::TmpfsWriteFile {
            pending: TMPFS,
            name: "file".into(),
            contents: Bytes(vec![]),
            mode: 0o400,
        },
        Request::TmpfsWriteSecret {
            pending: TMPFS,
            name: "file".into(),
            secret: SECRET,
            mode: 0o400,
        },
        Request::TmpfsSeal { pending: TMPFS },
        Request::ImagesOpen { name: name.into() },
        Request::ImagesCreate { name: name.into(), size: 4096 },
        Request::ImageSize { image: IMAGE },
        Request::ImageGrow { image: IMAGE, size: 4096 },
        Request::ImageLease { image: IMAGE, node: node.into() },
        Request::ImageHolder { image: IMAGE },
        Request::ImageAttach { image: IMAGE, access: Access::ReadOnly },
        Request::ImagesAttached,
        Request::ImagesDetach,
        Request::ImagesRelease { node: node.into() },
        Request::Drop { handle: DEVICE },
    ]
}

/// Whether a request is made of something that the component was granted before.
pub(super) fn needs_handle(request: &Request) -> bool {
    let request = serde_json::to_value(request).expect("it serialises");
    ["secret", "device", "pending", "image"].iter().any(|kind| request[*kind].is_number())
}

/// Any directory: nothing is done to it.
fn directory() -> Rc<Target> {
    Rc::new(target::open(Path::new("/"), Path::new("usr")).expect("it is there"))
}

fn held() -> Handles {
    let dir = ImageDir::open(Path::new("/usr")).expect("a directory");
    let image = |name, id| Held::Image(Rc::new(ImageFile::for_test(Rc::clone(&dir), name, id)));
    let device = |identity| Held::Device(Rc::new(Device::for_test(identity)));
    let mut handles = Handles::new();
    for held in [
        device("image:1"),
        Held::Pending(Rc::new(PendingMount::for_test())),
        Held::Tmpfs(Rc::new(PendingMount::for_test())),
        image("pv-1.img", "image:1"),
        Held::Secret("password".to_owned()),
        device("image:of-pv-2"),
        image("pv-2.img", "image:of-pv-2"),
        image("away.img", "image:on-node-2"),
        image("free.img", "image:not-leased"),
        image("theirs.img", "image:leased-by-another-driver"),
    ] {
        handles.insert(held).expect("room");
    }
    handles
}

/// What others have.
struct Others;

impl Claims for Others {
    fn holder(&self, identity: &str) -> Result<Option<Claim>, Failure> {
        let claim = || Claim { driver: "example.com/demo".to_owned(), key: "pv-2".to_owned() };
        Ok((identity == "image:of-pv-2").then(claim))
    }

    fn lease(&self, image: &ImageFile) -> Result<Option<LeaseRecord>, Failure> {
        let (driver, node) = match image.identity.as_str() {
            "image:not-leased" => return Ok(None),
            "image:on-node-2" => ("example.com/demo", "node-2"),
            "image:leased-by-another-driver" => ("example.com/other", "node-1"),
            _ => ("example.com/demo", "node-1"),
        };
        Ok(Some(LeaseRecord {
            v: 1,
            driver: driver.to_owned(),
            volume: "pv-1".to_owned(),
            node: node.to_owned(),
            image: image.identity.clone(),
            id: String::new(),
            since: 0,
        }))
    }
}

fn call(operation: Operation, access: Access, node: &str) -> Call {
    let facts = VolumeFacts {
        options: BTreeMap::new(),
        fs_type: None,
        access,
        fs_group: None,
        pod: [None, None, None, None],
    };
    let name = || "pv-1".parse().expect("a name");
    let node = || node.parse().expect("a name");
    let volume =
        || Volume { name: name(), facts, secrets: Secrets::default(), ignored: Vec::new() };
    let target = || TargetPath {
        path: PathBuf::from("/run/target"),
        beneath_root: PathBuf::from("target"),
        dir: MountDir::Device,
        name: name(),
    };
    match operation {
        Operation::Init | Operation::GetVolumeName | Operation::Detach => {
            Call::Detach { name: name(), node: node() }
        }
        Operation::Attach => Call::Attach { volume: volume(), node: node() },
        Operation::IsAttached => Call::IsAttached { volume: volume(), node: node() },
        Operation::WaitForAttach => Call::WaitForAttach { volume: volume(), attachment: None },
        Operation::MountDevice => {
            Call::MountDevice { target: target(), volume: volume(), attachment: None }
        }
        Operation::UnmountDevice => Call::UnmountDevice { target: target() },
        Operation::Mount => Call::Mount { target: target(), volume: volume() },
        Operation::Unmount => Call::Unmount { target: target() },
        Operation::ExpandVolume => {
            Call::ExpandVolume { volume: volume(), new_size: 2, old_size: 1 }
        }
        Operation::ExpandFs => {
            Call::ExpandFs { volume: volume(), target: target(), new_size: 2, old_size: 1 }
        }
    }
}
