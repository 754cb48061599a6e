//! The lives of a backend's volumes: one in which nothing happens, which says what crash points
//! each call meets and what it leaves, and those in which every call is cut off.

use std::collections::BTreeSet;

use wasmount_core::crash::{Death, Victim};
use wasmount_tests::{Answer, Driver, Node, dies, notice, points_met};

use crate::backends::{Backend, Volume};
use crate::inventory;
use crate::sequel::Sequel;
use crate::stage::{Stage, reply};

/// What is tried of each call of a life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// At which of the points that it meets; a call that meets fewer is left alone.
    point: usize,
    victim: Victim,
    sequel: Sequel,
}

/// What was tried, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Deaths at a point of an operation.
    pub(crate) points: u64,
    /// Those of which kubelet was told, and the node left, what is documented.
    pub(crate) outcomes: u64,
    /// Those after which the node ended up as if nothing had happened.
    pub(crate) converged: u64,
    /// The points that were met.
    pub(crate) met: BTreeSet<String>,
}

/// What a call does that is left alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The points that it meets; none of one that is only on the way to another.
    points: Vec<String>,
    /// What the node has before it and after it.
    pub(crate) before: Vec<String>,
    pub(crate) after: Vec<String>,
    /// What it has if the call fails: what it had before, but that kubelet begins again with
    /// `waitforattach` where it cannot mount a device.
    undone: Vec<String>,
    /// Its status, and the reason of a failure. A kernel may refuse to grow what is mounted.
    reply: (String, String),
}

/// The node of one backend, on which volumes live one after the other.
pub(crate) struct Lives {
    backend: Backend,
    node: Node,
    number: usize,
    known: Vec<Known>,
}

impl Trial {
    /// Everything that can be tried of calls which meet up to so many points.
    pub(crate) fn all(points: usize) -> impl Iterator<Item = Self> {
        (0..points).flat_map(|point| {
            Victim::ALL.into_iter().flat_map(move |victim| {
                Sequel::ALL.map(|sequel| Self { point, victim, sequel }).into_iter()
            })
        })
    }

    /// Whether all that there is of the call dies, and it is made again.
    pub(crate) fn is_plain(self) -> bool {
        self.victim == Victim::Call && self.sequel == Sequel::Again
    }
}

impl Counted {
    pub(crate) fn add(&mut self, other: Self) {
        self.points += other.points;
        self.outcomes += other.outcomes;
        self.converged += other.converged;
        self.met.extend(other.met);
    }
}

impl Lives {
    /// Installs the driver, and finds out what its calls do.
    pub(crate) fn of(backend: Backend) -> Self {
        let node = Node::new().expect("root, as was seen to");
        backend.install(&node);
        let mut lives = Self { backend, node, number: 0, known: Vec::new() };
        let volume = lives.next();
        let mut known: Vec<Known> = Vec::new();
        let (driver, mut written) = (lives.driver(), volume.image.is_none());
        for step in &volume.life {
            let stage = Stage { node: &lives.node, driver: &driver, volume: &volume };
            let before = stage.seen();
            let (answer, points) = points_met(stage.node, stage.driver, &step.args);
            stage.node.is_idle();
            let points = if step.tried { points } else { Vec::new() };
            let begun = ("mountdevice", "waitforattach", step.from);
            let from = volume.life[..known.len()]
                .iter()
                .position(|from| (step.args[0].as_str(), from.args[0].as_str(), from.to) == begun);
            let undone = from.map_or(&before, |from| &known[from].before).clone();
            let (after, reply) = (stage.seen(), reply(&answer));
            known.push(Known { points, before, after, undone, reply });
            written = stage.has_data(written);
        }
        Stage { node: &lives.node, driver: &driver, volume: &volume }.ends();
        drop(driver);
        lives.known = known;
        lives
    }

    /// All points that its calls meet.
    pub(crate) fn met(&self) -> BTreeSet<String> {
        self.known.iter().flat_map(|known| known.points.iter().cloned()).collect()
    }

    /// How many points the call meets that meets the most.
    pub(crate) fn most_points(&self) -> usize {
        self.known.iter().map(|known| known.points.len()).max().unwrap_or_default()
    }

    /// One life, in which each call is cut off.
    pub(crate) fn live(&mut self, trial: Trial) -> Counted {
        let volume = self.next();
        let (driver, mut written) = (self.driver(), volume.image.is_none());
        let stage = Stage { node: &self.node, driver: &driver, volume: &volume };
        let mut counted = Counted::default();
        for (step, known) in volume.life.iter().zip(&self.known) {
            if let Some(death) = known.death(trial) {
                let backend = self.backend;
                let what = format!("{backend:?} {}: {death}, then {:?}", step.name, trial.sequel);
                let _shown = ShownOnPanic(what);
                counted.points += 1;
                let answer = dies(&self.node, &driver, &death, &step.args);
                driver.has_a_whole_log();
                let host = backend.needs_no_component(step);
                known.is_documented(trial, &stage, answer, step.to > step.from, host);
                counted.outcomes += 1;
                trial.sequel.play(&stage, step, known);
                self.node.is_idle();
                stage.settles_to(&known.after);
                counted.converged += 1;
            } else {
                stage.answers(step, known);
            }
            written = stage.has_data(written);
        }
        stage.ends();
        driver.has_a_whole_log();
        counted
    }

    fn next(&mut self) -> Volume {
        self.number += 1;
        let name = format!("pv-{:04}", self.number);
        self.backend.volume(&self.node, &self.driver(), name)
    }

    fn driver(&self) -> Driver<'_> {
        self.node.installed(&format!("example.com/{}", self.backend.component()))
    }
}

impl Known {
    /// Who dies where in this call, if it meets so many points.
    fn death(&self, trial: Trial) -> Option<Death> {
        let point = self.points.get(trial.point)?.clone();
        let nth = self.points[..=trial.point].iter().filter(|met| **met == point).count();
        Some(Death { point, nth: nth as u32, victim: trial.victim })
    }

    /// Asserts that it is answered as ever.
    pub(crate) fn is_answered_by(&self, told: &(String, String)) {
        // What a kernel refuses to grow while it is mounted may have grown with a mount since.
        let has_grown = self.reply.1 == "kernel-refused" && told.0 == "Success";
        assert!(*told == self.reply || has_grown, "{told:?} instead of {:?}", self.reply);
    }

    /// Asserts what kubelet is told, and what the node has while nobody calls again. Of a broker's
    /// death at any point only the next call knows.
    fn is_documented(
        &self,
        trial: Trial,
        stage: &Stage<'_>,
        answer: Option<Answer>,
        sets_up: bool,
        host_does_it: bool,
    ) {
        let still = |point: &str| self.points[trial.point + 1..].iter().any(|met| met == point);
        let told = answer.as_ref().map(reply);
        let reason = told.as_ref().map(|(_, reason)| reason.as_str());
        let undone = match trial.victim {
            Victim::Call => {
                assert_eq!(reason, None, "nobody was left to answer");
                return;
            }
            Victim::Broker => {
                assert_eq!(reason, Some("broker-died"));
                return;
            }
            // What nobody would hear of does not take effect.
            Victim::Supervisor => {
                assert_eq!(reason, None, "nobody was left to answer");
                still("permitted")
            }
            // A component that has said its last is not missed, nor where the host has the last word.
            Victim::Guest if still("concluded") && !host_does_it => {
                assert_eq!(reason, Some("guest-died"));
                true
            }
            Victim::Guest => {
                self.is_answered_by(&told.expect("one document"));
                false
            }
        };
        match undone {
            _ if !sets_up => {}
            // An image that was made for it may stay.
            true if inventory::leftovers(&self.before).is_empty() => stage.nothing_is_left(),
            true => stage.settles_to(&self.undone),
            false => stage.settles_to(&self.after),
        }
    }
}

/// What is tried, shown where it fails.
struct ShownOnPanic(String);

impl Drop for ShownOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            notice(&self.0);
        }
    }
}
