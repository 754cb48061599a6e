//! Every crash and what comes after it: each operation of each backend, with each filesystem, loses
//! its broker, its guest, its supervisor or all of them at each of its crash points; then the call
//! is made again, or the opposite one, or the node has rebooted. The node ends up as if nothing had
//! happened, no data changes, nothing leaks, and the audit log is one chain after each death.
//!
//! `cargo xtask crash` tries all of that, `cargo xtask test` every point and a part of the rest.
//! The driver here is one with the feature `crash-points`; what is shipped has none.

mod aftermath;
mod backends;
mod inventory;
mod life;
mod sequel;
mod stage;

use std::sync::{Mutex, PoisonError};

use wasmount_core::crash::{NODE_ONLY_POINTS, POINTS};
use wasmount_tests::{figures, figures_are_wanted, root};

use backends::Backend;
use life::{Counted, Trial};

/// Of the trials that are not the plainest, `cargo xtask test` makes one in so many.
const ONE_IN: usize = 61;

#[test]
fn whatever_dies_the_volume_ends_up_as_if_nothing_had() {
    if !root() {
        return;
    }
    let queue = Mutex::new(Backend::all());
    let total = Mutex::new(Counted::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(backend) = next(&queue) {
                    let counted = try_all(backend);
                    total.lock().unwrap_or_else(PoisonError::into_inner).add(counted);
                }
            });
        }
    });
    let total = total.into_inner().expect("no worker has failed");
    let known = POINTS.iter().chain(NODE_ONLY_POINTS);
    let silent: Vec<_> = known.filter(|point| !total.met.contains(**point)).collect();
    assert!(silent.is_empty(), "no operation meets {silent:?}");
    assert!(total.points == total.outcomes && total.points == total.converged);
    figures(&[
        ("points", total.points),
        ("outcomes", total.outcomes),
        ("converged", total.converged),
    ]);
}

fn next(queue: &Mutex<Vec<Backend>>) -> Option<Backend> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// All trials of one backend.
fn try_all(backend: Backend) -> Counted {
    let mut lives = life::Lives::of(backend);
    let mut counted = Counted { met: lives.met(), ..Counted::default() };
    for (number, trial) in Trial::all(lives.most_points()).enumerate() {
        let is_plain = trial.is_plain() && !backend.is_like_another();
        if figures_are_wanted() || is_plain || number % ONE_IN == 0 {
            counted.add(lives.live(trial));
        }
    }
    counted
}
