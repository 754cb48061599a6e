//! A volume on its node while its life goes on: what kubelet does to it, and what is seen of it.

use std::fs;
use std::time::{Duration, Instant};

use wasmount_tests::{Answer, Driver, Node, between_starts};

use crate::backends::{DATA, Down, Step, Volume};
use crate::inventory;
use crate::life::Known;

/// How long the kernel may take to let go of what nobody has any more.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
pub(crate) struct Stage<'a> {
    pub(crate) node: &'a Node,
    pub(crate) driver: &'a Driver<'a>,
    pub(crate) volume: &'a Volume,
}

impl Stage<'_> {
    /// Makes a call, which answers what it answered in the life that was left alone.
    pub(crate) fn answers(&self, step: &Step, known: &Known) {
        known.is_answered_by(&reply(&self.driver.call(&step.args)));
    }

    /// kubelet sets the volume up from a level to another.
    pub(crate) fn raise(&self, from: usize, to: usize) {
        for args in &self.volume.up[from.min(to)..to] {
            self.driver.call(args).success();
        }
    }

    /// kubelet takes down what it finds of a volume at a level.
    pub(crate) fn lower(&self, level: usize) {
        for Down { args, only_if } in self.volume.down[..level].iter().rev().flatten() {
            if only_if.as_ref().is_none_or(|dir| wasmount_tests::is_mount_point(dir)) {
                self.driver.call(args).success();
            }
        }
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        inventory::of(self.node, self.driver, self.volume)
    }

    /// Asserts that the node has exactly this of the volume.
    pub(crate) fn settles_to(&self, expected: &[String]) {
        let seen = self.settle(|seen| seen == expected);
        assert!(seen == expected, "the node has {seen:#?} and should have {expected:#?}");
    }

    /// Asserts that the node has nothing of the volume but its data.
    pub(crate) fn nothing_is_left(&self) {
        let seen = self.settle(|seen| inventory::leftovers(seen).is_empty());
        let left = inventory::leftovers(&seen);
        assert!(left.is_empty(), "the node still has {left:#?}");
    }

    /// Looks until it is as expected or patience is at its end.
    fn settle(&self, is_expected: impl Fn(&[String]) -> bool) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen();
            if is_expected(&seen) || Instant::now() > end {
                return seen;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Has the pod write the data as soon as it has the volume, and find it there ever after.
    /// Whether it is written.
    pub(crate) fn has_data(&self, written: bool) -> bool {
        if !self.volume.is_published() {
            return written;
        }
        between_starts(|| {
            let file = self.volume.data();
            if !written {
                fs::write(&file, DATA).expect("a writable volume");
            }
            let data = fs::read_to_string(&file);
            assert_eq!(data.ok().as_deref(), Some(DATA), "data was lost");
        });
        true
    }

    /// The end of a life, at whatever level.
    pub(crate) fn ends(&self) {
        self.lower(self.volume.up.len());
        self.node.is_idle();
        fs::remove_dir(&self.volume.pod).expect("an empty directory");
        self.nothing_is_left();
        if let Some(image) = &self.volume.image {
            fs::remove_file(image).expect("an image");
        }
    }
}

/// The status of an answer, and the reason of a failure.
pub(crate) fn reply(answer: &Answer) -> (String, String) {
    let json = answer.json();
    let text = |key: &str| json[key].as_str().unwrap_or_default();
    let reason = text("message").rsplit_once(" [").map_or("", |(_, reason)| reason);
    (text("status").to_owned(), reason.trim_end_matches(']').to_owned())
}
