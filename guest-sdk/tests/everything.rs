//! The native side of every function that asks the host: what it asks by, and that it hands on the
//! answer; and what `play` says where there is something to say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use wasmount_guest_sdk::testing::play;
use wasmount_guest_sdk::{
    Access, Code, Error, MountTarget, Result, VolumeRecord, VolumeSpec, clock, config, devices,
    export, filesystems, images, info, mounts, random, secrets, state,
};

struct Everything;

export! {
    impl Volume for Everything {
        fn mount(volume: &VolumeSpec, target: &MountTarget) -> Result {
            facts(volume);
            assert_eq!(state::get("k")?.as_deref(), Some(&b"v"[..]));
            state::put("k", &[255, 0])?;
            state::delete("k")?;
            let user = secrets::open("user")?;
            assert_eq!(user.reveal()?, b"root");
            assert!(!target.is_mounted()?);
            assert!(devices::find("nvme", "vol-1")?.is_none());
            let device = devices::wait("nvme", "vol-1", Duration::from_millis(1500))?;
            assert_eq!((device.identity().as_str(), device.size()?), ("nvme0", 4096));
            assert!(device.is_read_only()?);
            assert_eq!(device.probe()?.as_deref(), Some("xfs"));
            filesystems::format(&device, "xfs", &[("label", "data")])?;
            assert!(filesystems::check(&device, "xfs")?);
            assert_eq!(filesystems::grow(target)?, 4096);
            mounts::block::mount(&device, "xfs", Access::ReadOnly, &["noatime"])?;
            mounts::bind::staged(Access::ReadWrite)?;
            let tmpfs = mounts::tmpfs::Tmpfs::create(4096, 0o750, Some(2000))?;
            tmpfs.write_file("f", "c", 0o440)?;
            tmpfs.write_secret("u", &user, 0o400)?;
            let tmpfs = tmpfs.seal()?;
            let absent = Error { code: Code::NotFound, reason: "no-image".into(), message: "gone".into() };
            assert_eq!(images::open("a.img").map(drop), Err(absent));
            let image = images::create("a.img", 8192)?;
            assert_eq!((image.size()?, image.grow(16384)?), (8192, 16384));
            image.lease("node-7")?;
            assert_eq!(image.holder()?.as_deref(), Some("node-7"));
            assert_eq!(image.attach(Access::ReadWrite)?.identity(), "loop0");
            let attached = images::attached()?.map(|device| device.identity());
            assert_eq!(attached.as_deref(), Some("loop0 again"));
            images::detach()?;
            images::release("node-7")?;
            target.attach(tmpfs)?;
            target.unmount()
        }

        fn unmount(name: &str, previous: Option<&VolumeRecord>, target: &MountTarget) -> Result {
            info!("unmounting {name}");
            match previous.map(|record| (record.option("a"), record.fs_type(), record.access())) {
                None => panic!("nothing is known of {name}"),
                Some((None, None, Access::ReadWrite)) => target.unmount(),
                Some(known) => panic!("{known:?}"),
            }
        }
    }
}

fn facts(volume: &VolumeSpec) {
    assert_eq!((volume.name().as_str(), volume.option("b").as_deref()), ("pv-1", Some("2")));
    let options = volume.options();
    assert_eq!(options, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    assert_eq!((volume.fs_type().as_deref(), volume.fs_group()), (Some("xfs"), Some(2000)));
    assert_eq!(volume.access(), Access::ReadOnly);
    let pod =
        [volume.pod_name(), volume.pod_namespace(), volume.pod_uid(), volume.pod_service_account()];
    assert_eq!(pod.map(Option::unwrap_or_default), ["app-0", "default", "4c9a6c2e", "app"]);
    assert_eq!(secrets::keys(), ["password", "user"]);
    assert_eq!((config::get("endpoint").as_deref(), config::get("none")), (Some("e"), None));
    assert_eq!(config::node_name(), "node-7");
    let began = clock::Instant::now();
    clock::sleep(Duration::from_millis(1));
    assert!(began.elapsed() >= Duration::from_millis(1));
    assert_ne!(random::bytes::<32>(), random::bytes::<32>());
}

#[test]
fn every_function_asks_what_wit_says() {
    play::<Everything>("tests/everything.toml");
}

#[test]
fn every_call_that_goes_otherwise_is_told() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("otherwise.toml");
    let text = r#"
[[call]]
name = "nothing is known"
operation = "unmount"
volume = "pv-1"
on-record = false

[[call]]
name = "all is well"
operation = "unmount"
volume = "pv-1"
host-calls = [{ call = "mount-target.unmount" }]

[[call]]
name = "another interface"
operation = "detach"
volume = "pv-1"
node = "node-1"
"#;
    std::fs::write(&path, text).expect("written");
    let panic = catch_unwind(AssertUnwindSafe(|| play::<Everything>(&path))).expect_err("two fail");
    let told = panic.downcast_ref::<String>().expect("a text");
    let expected = format!(
        "{}: 2 of 3 calls did not go as recorded

nothing is known
  the end
    recorded  success
    ended     it panicked: nothing is known of pv-1
    log       info: unmounting pv-1

another interface
  the end
    recorded  success
    but       the driver does not export `attacher`
",
        path.display()
    );
    assert_eq!(told, &expected);
}

#[test]
fn without_a_call_there_is_no_host() {
    let panic = catch_unwind(config::node_name).expect_err("nobody answers");
    let told = panic.downcast_ref::<&str>().expect("a text");
    assert!(told.starts_with("there is no host here"), "{told}");
}
