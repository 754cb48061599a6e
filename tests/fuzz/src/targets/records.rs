//! What wasmount has written and reads again, which somebody may have changed meanwhile: volumes'
//! records, receipts, leases, names and attachments. What is read is written as what reads the same;
//! nothing is read in part.

use std::fs;

use wasmount_core::bundle::Receipt;
use wasmount_core::call::{Attachment, DriverName, NodeName, VolumeName};
use wasmount_core::journal::record::VolumeRecord;
use wasmount_core::kernel::images::LeaseRecord;

use crate::{Target, root};

pub(super) const TARGET: Target = Target { name: "records", holds, seeds };

fn holds(data: &[u8]) {
    if let Ok(mut record) = VolumeRecord::parse(data) {
        let written = record.to_bytes().expect("its paths are text");
        assert_eq!(VolumeRecord::parse(&written).as_ref(), Ok(&record));
        // What is no longer in use has nothing of a user's any more.
        let was_in_use = record.in_use();
        record.settle();
        assert_eq!(record.in_use(), was_in_use);
        assert!(was_in_use || (record.options.is_empty() && record.state.is_empty()));
    }
    if let Ok(receipt) = Receipt::parse(data) {
        assert_eq!(Receipt::parse(&receipt.to_bytes()).as_ref(), Ok(&receipt));
        assert_eq!(receipt.id().len(), 16);
        let directories =
            [&receipt.kubelet_root, &receipt.data_dir, &receipt.run_dir, &receipt.log_dir];
        assert!(directories.iter().all(|path| path.is_absolute()));
        receipt.attaching();
    }
    if let Ok(lease) = serde_json::from_slice::<LeaseRecord>(data) {
        let written = serde_json::to_vec(&lease).expect("it is plain data");
        assert_eq!(serde_json::from_slice::<LeaseRecord>(&written).ok(), Some(lease));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (driver, volume) = owner();
    if let Ok(driver) = text.parse::<DriverName>() {
        assert_eq!(driver.slash().parse().as_ref(), Ok(&driver));
        assert_eq!(driver.tilde().parse().as_ref(), Ok(&driver));
        let parts = [driver.vendor(), driver.name()];
        assert!(parts.iter().all(|part| !part.is_empty() && !part.starts_with('.')));
        assert!(parts.iter().all(|part| !part.contains(['/', '\0', ' '])));
    }
    for name in [
        text.parse::<VolumeName>().ok().map(|it| it.to_string()),
        text.parse::<NodeName>().ok().map(|it| it.as_str().to_owned()),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(name, text);
        assert!(!name.starts_with('.') && !name.contains(['/', '\0', ' ', '\n']));
    }
    if let Ok(token) = Attachment::unwrap(text, &driver, &volume) {
        assert_eq!(Attachment::wrap(token.as_str(), &driver, &volume).as_deref(), Ok(text));
    }
    if let Ok(wrapped) = Attachment::wrap(text, &driver, &volume) {
        let back = Attachment::unwrap(&wrapped, &driver, &volume).expect("just wrapped");
        assert_eq!(back.as_str(), text);
    }
}

fn owner() -> (DriverName, VolumeName) {
    ("example.com/x".parse().expect("a driver"), "pv-1".parse().expect("a volume"))
}

fn seeds() -> Vec<Vec<u8>> {
    let (driver, volume) = owner();
    let token = Attachment::wrap("token", &driver, &volume).expect("a token");
    let mut seeds = vec![token.into_bytes(), b"example.com/x".to_vec(), b"pv-1".to_vec()];
    let kept =
        fs::read_dir(root().join("host/core/tests/format-1")).expect("what was ever written");
    seeds.extend(kept.map(|file| fs::read(file.expect("an entry").path()).expect("readable")));
    seeds
}
