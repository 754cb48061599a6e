//! A small log, of which each byte is changed, one at a time.

use std::fs;

use serde_json::json;
use wasmount_core::audit::Audit;

use super::*;

/// Which bits of a byte are changed. The last one makes a space of the end of a line.
const FLIPS: [u8; 5] = [0x01, 0x04, 0x10, 0x80, b'\n' ^ b' '];

#[test]
fn a_byte_that_is_changed_anywhere_is_found_and_no_place_after_it_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("v~d.jsonl");
    let data = directory.path().join("data");
    for _ in 0..2 {
        let mut audit = Audit::new(directory.path(), &data, "v~d");
        audit.line("call", json!({ "operation": "mount", "volume": "pv-1" }));
        audit.line("host-call", json!({ "request": { "call": "images.open" }, "us": 17 }));
        audit.line("reply", json!({ "status": "Success" }));
        audit.flush_last();
    }
    let text = fs::read(&path).expect("a log");
    let newer = half(&text);
    let files = [(rotated(&path, 1), &text[..newer]), (path.clone(), &text[newer..])];
    let write = |nth: usize, bytes: &[u8]| fs::write(&files[nth].0, bytes).expect("written");
    (0..2).for_each(|nth| write(nth, files[nth].1));
    let broken = || {
        let log = Snapshot::take(&path, &Head::path(&data, "v~d")).expect("readable");
        examine(&log).broken
    };
    assert_eq!(broken(), None);
    for (nth, (file, text)) in files.iter().enumerate() {
        for (at, flip) in (0..text.len()).flat_map(|at| FLIPS.map(|flip| (at, flip))) {
            let mut changed = text.to_vec();
            changed[at] ^= flip;
            write(nth, &changed);
            let line = 1 + text[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
            let what = format!("byte {at} of {}, {flip:#x}", file.display());
            let Some(Broken { at: Some(place), what: said }) = broken() else {
                panic!("{what} is not found");
            };
            let is_older = nth == 1 && *place.file == *files[0].0;
            let is_there = *place.file == **file && place.number <= line;
            assert!(is_older || is_there, "{what}: {place}: {said}");
        }
        write(nth, text);
    }
}

/// Where the fourth of six lines begins.
fn half(text: &[u8]) -> usize {
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).nth(2).expect("a third line")
}
