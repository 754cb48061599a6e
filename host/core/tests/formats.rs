//! What earlier versions of wasmount have written is read by this one, and what this one writes is
//! read by them: the files of `format-1` are as they were first written, and stay for ever. Whoever
//! changes a format makes files of the next beside them.
//!
//! A program that meets a newer format says so and changes nothing: what it left out in reading
//! would be lost when it wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use wasmount_core::bundle::Receipt;
use wasmount_core::bundle::receipt::{
    Capabilities, Component, Digests, GrantsFrom, GrantsOrigin, Signature,
};
use wasmount_core::call::Access;
use wasmount_core::journal::Journal;
use wasmount_core::journal::record::{DeviceRef, FormatRef, ImageRef, MountRef, VolumeRecord};
use wasmount_core::kernel::images::LeaseRecord;
use wasmount_core::wire::Bytes;

const IMAGE: &str = "image:259:1:1234:77";
const LEASE: &str = "0d9fbb55-0000-4000-8000-1f2e3d4c5b6a";

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format-1").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(name: &str) -> String {
    String::from_utf8(read(name)).expect("UTF-8")
}

fn mount(path: &str, access: Access) -> MountRef {
    let beneath_root = PathBuf::from(path);
    MountRef { beneath_root, asked: access, access, fs_type: "ext4".to_owned(), device: (7, 3) }
}

fn at_rest() -> VolumeRecord {
    let boot = "7b1f0c1e-6f0f-4f57-8a3a-2d1c3b4a5e6f".to_owned();
    let fs_type = Some("ext4".to_owned());
    VolumeRecord { fs_type, mounted: vec![IMAGE.to_owned()], ..VolumeRecord::empty("pv-1", boot) }
}

fn in_use() -> VolumeRecord {
    let options = [("create", "true"), ("size", "64Mi")];
    let image = ImageRef {
        directory: "/srv/images".into(),
        name: "pv-1.img".to_owned(),
        identity: IMAGE.to_owned(),
        lease: Some(LEASE.to_owned()),
    };
    let staged = "plugins/kubernetes.io/flexvolume/example.com/x/mounts/pv-1";
    VolumeRecord {
        options: options.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        attached_node: Some("node-1".to_owned()),
        image: Some(image),
        device: Some(DeviceRef { number: (7, 3), identity: IMAGE.to_owned(), is_loop: true }),
        staged: Some(mount(staged, Access::ReadWrite)),
        published: vec![mount("pods/4c9a6c2e/volumes/example.com~x/pv-1", Access::ReadOnly)],
        state: BTreeMap::from([("cursor".to_owned(), Bytes(vec![0, 0xff, 0x10]))]),
        ..at_rest()
    }
}

fn being_formatted() -> VolumeRecord {
    let identity = "disk:wwn:naa.5000c500a0b1c2d3".to_owned();
    let format = FormatRef {
        identity: identity.clone(),
        fs_type: "xfs".to_owned(),
        uuid: "f81d4fae-7dec-41d0-a765-00a0c91e6bf6".to_owned(),
        lease: None,
    };
    VolumeRecord {
        fs_type: None,
        access: Access::ReadOnly,
        device: Some(DeviceRef { number: (8, 16), identity, is_loop: false }),
        formatting: Some(format),
        mounted: Vec::new(),
        ..at_rest()
    }
}

#[test]
fn volumes_records_are_read_and_written_as_ever() {
    let directory = tempfile::tempdir().expect("a directory");
    let driver = "example.com/x".parse().expect("a driver's name");
    let journal = Journal::open(directory.path(), &driver).expect("a journal");
    for (file, record) in [
        ("volume-in-use.json", in_use()),
        ("volume-being-formatted.json", being_formatted()),
        ("volume-at-rest.json", at_rest()),
    ] {
        assert_eq!(VolumeRecord::parse(&read(file)).as_ref(), Ok(&record), "{file}");
        journal.save("pv/1", &record).expect("saved");
        let path = directory.path().join("example.com~x/volumes/pv%2f1.json");
        assert_eq!(fs::read_to_string(path).expect("its name"), text(file), "{file}");
    }
}

#[test]
fn claims_are_read_and_written_as_ever() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = |driver: &str| {
        Journal::open(directory.path(), &driver.parse().expect("a name")).expect("a journal")
    };
    journal("example.com/x").claim(IMAGE, "pv-1").expect("free");
    let path = directory.path().join("claims").join(IMAGE);
    let link = fs::read_link(&path).expect("a link");
    assert_eq!(link.to_str(), Some(text("claim").as_str()));
    let held = journal("example.com/y").claim(IMAGE, "pv-1").expect("readable").expect("taken");
    assert_eq!((held.driver.as_str(), held.key.as_str()), ("example.com/x", "pv-1"));
}

#[test]
fn leases_are_read_and_written_as_ever() {
    let lease = LeaseRecord {
        v: 1,
        driver: "example.com/x".to_owned(),
        volume: "pv-1".to_owned(),
        node: "node-1".to_owned(),
        image: IMAGE.to_owned(),
        id: LEASE.to_owned(),
        since: 1_790_000_000,
    };
    assert_eq!(LeaseRecord::parse(&read("lease.json")).as_ref(), Ok(&lease));
    assert_eq!(serde_json::to_string(&lease).expect("written"), text("lease.json"));
}

#[test]
fn receipts_are_read_and_written_as_ever() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let receipt = Receipt {
        version: 1,
        driver: "example.com/x".parse().expect("a driver's name"),
        host_version: "0.1.0".to_owned(),
        wasmtime_version: "48.0.8".to_owned(),
        target_cpu: "native".to_owned(),
        digests: Digests {
            driver: digest("1"),
            component: digest("2"),
            image: digest("3"),
            grants: digest("4"),
        },
        exports: ["volume", "device", "attacher", "expander"].map(str::to_owned).into(),
        imports: vec!["wasmount:driver/log@0.1.0#write".to_owned()],
        capabilities: Capabilities {
            fs_group: true,
            selinux_relabel: false,
            supports_metrics: true,
        },
        component: Component {
            name: "x".to_owned(),
            version: "1.0.0".to_owned(),
            description: "an example".to_owned(),
        },
        kubelet_root: "/var/lib/kubelet".into(),
        data_dir: "/var/lib/wasmount".into(),
        run_dir: "/run/wasmount".into(),
        log_dir: "/var/log/wasmount".into(),
        node_name: "node-1".to_owned(),
        node_only: true,
        signature: None,
        trust_dir: None,
        source: "/root/x.wasm".to_owned(),
        grants_source: "/root/grants.toml".to_owned(),
        grants_from: None,
        grants_origin: None,
        installed_by: "uid 0".to_owned(),
        installed_at: "2026-01-01T00:00:00Z".to_owned(),
    };
    assert_eq!(Receipt::parse(&read("receipt.json")).as_ref(), Ok(&receipt));
    assert_eq!(receipt.to_bytes(), read("receipt.json"));
    let before = Receipt::parse(&read("receipt-of-before-node-only.json"));
    assert_eq!(before, Ok(Receipt { node_only: false, ..receipt.clone() }));
    let accepted = Receipt { grants_from: Some(GrantsFrom::Accepted), ..receipt.clone() };
    let file = "receipt-with-provenance.json";
    assert_eq!(Receipt::parse(&read(file)).as_ref(), Ok(&accepted));
    assert_eq!(accepted.to_bytes(), read(file));
    let kept = Receipt {
        grants_from: Some(GrantsFrom::Kept),
        grants_origin: Some(GrantsOrigin::Accepted),
        ..receipt.clone()
    };
    let file = "receipt-with-origin.json";
    assert_eq!(Receipt::parse(&read(file)).as_ref(), Ok(&kept));
    assert_eq!(kept.to_bytes(), read(file));
    let signature = Signature::Signed {
        key_id: "0123456789ABCDEF".to_owned(),
        key_name: "vendor.pub".to_owned(),
        trusted_comment: "name:x version:1.0.0".to_owned(),
        digest: digest("5"),
    };
    let signed = Some(signature);
    for (file, signature, trust_dir) in [
        ("receipt-signed.json", signed.clone(), None),
        ("receipt-unsigned.json", Some(Signature::Unsigned), None),
        ("receipt-trusting.json", signed, Some("/srv/trust".into())),
    ] {
        let receipt = Receipt { signature, trust_dir, ..receipt.clone() };
        assert_eq!(Receipt::parse(&read(file)).as_ref(), Ok(&receipt), "{file}");
        assert_eq!(receipt.to_bytes(), read(file), "{file}");
    }
}

/// What a program does that is older than the files it finds, as after a rollback.
#[test]
fn a_newer_format_is_told_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let driver = "example.com/x".parse().expect("a driver's name");
    let journal = Journal::open(directory.path(), &driver).expect("a journal");
    let path = directory.path().join("example.com~x/volumes/pv-1.json");
    let record = text("volume-in-use.json");
    let newer = "a newer one wrote it, or somebody changed it; install the newer one again, and leave \
                 the record where it is";
    let version = "it is of version 2, and this wasmount reads version 1";
    let version_and_more = record.replace("{\"v\":1,", "{\"v\":2,\"snapshots\":[],");
    let field = record.replace("{\"v\":1,", "{\"v\":1,\"snapshots\":[],");
    let damaged = &record[..100];
    let known = "`v`, `volume`, `options`, `fs_type`, `access`, `boot_id`, `attached_node`, `image`, \
                 `device`, `staged`, `published`, `formatting`, `mounted`, `state`";
    for (text, reason, told) in [
        (record.replace("\"v\":1", "\"v\":2"), "record-version", format!("{version}: {newer}")),
        (version_and_more, "record-version", format!("{version}: {newer}")),
        (
            field,
            "record-version",
            format!(
                "it holds what this wasmount does not know (unknown field `snapshots`, expected one \
                 of {known} at line 1 column 18): {newer}"
            ),
        ),
        (
            damaged.to_owned(),
            "record-damaged",
            "it is damaged (EOF while parsing a string at line 1 column 100); move it away after \
             checking that the volume is not mounted"
                .to_owned(),
        ),
    ] {
        fs::write(&path, &text).expect("written");
        let failure = journal.load("pv-1").expect_err("not to be used");
        assert_eq!(failure.to_string(), format!("{}: {told} ({reason})", path.display()));
        assert_eq!(fs::read_to_string(&path).expect("left alone"), text);
        // What it may have to itself is not given away meanwhile.
        let claimed = journal.claim(IMAGE, "pv-1").expect("free or its own");
        assert_eq!(claimed, None);
        let other = Journal::open(directory.path(), &"b.example/x".parse().expect("a name"));
        let other = other.expect("a journal");
        let held = other.claim(IMAGE, "pv-2").expect("readable").expect("taken");
        other.drop_stale(IMAGE, &held).expect_err("nobody knows");
    }
    let lease = text("lease.json").replace("\"v\":1", "\"v\":2,\"until\":0");
    let told = "it is a lease of version 2, and this wasmount reads version 1: a newer one took it; \
                install that here, too";
    assert_eq!(LeaseRecord::parse(lease.as_bytes()), Err(told.to_owned()));
    let lease = text("lease.json").replace("\"v\":1", "\"v\":1,\"until\":0");
    let told =
        "it is no lease that this version of wasmount reads; if no node uses the image, remove it";
    assert_eq!(LeaseRecord::parse(lease.as_bytes()), Err(told.to_owned()));
}
