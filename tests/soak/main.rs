//! Many callers on few volumes, of several drivers, in kubelet's order and out of it, the same call
//! twice at once and one while another undoes it; and every now and then a process of a call is
//! killed, or told to stop. After all of it nothing that was written is lost, nothing is left on the
//! node, no image was ever had twice, every call has answered, and every audit log is one chain.
//!
//! `cargo xtask soak --calls 2000 --parallel 16 --volumes 8 --seed 7`; `cargo xtask test` makes some
//! calls of it. The seed makes the choices; when they are made depends on the machine.

mod chance;
mod fleet;
mod volume;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use wasmount_tests::{Node, asked, figures, figures_are_wanted, notice};

use chance::Chance;
use fleet::Fleet;
use watch::Watch;

#[test]
fn nothing_is_lost_leaked_doubled_or_left_unanswered() {
    let Some(node) = Node::new() else { return };
    let long = figures_are_wanted();
    let calls = asked("WASMOUNT_CALLS", if long { 2000 } else { 150 });
    let parallel = asked("WASMOUNT_PARALLEL", if long { 16 } else { 8 });
    let volumes = asked("WASMOUNT_VOLUMES", 8);
    let seed = asked("WASMOUNT_SEED", if long { of_the_clock() } else { 1 });
    notice(&format!("soak: {calls} calls, {parallel} at once, {volumes} volumes, seed {seed}"));

    let fleet = Fleet::on(&node, volumes);
    let (watch, next, over) = (Watch::of(&fleet), AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch.until(&over));
        let callers: Vec<_> = (0..parallel)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= calls {
                            return;
                        }
                        fleet.call(&mut Chance::of(seed, number));
                    }
                })
            })
            .collect();
        let ended: Vec<_> = callers.into_iter().map(|caller| caller.join()).collect();
        over.store(true, Ordering::Relaxed);
        watching.join().expect("it only looks");
        ended.into_iter().for_each(|ended| ended.expect("a caller"));
    });
    fleet.is_taken_down();
    fleet.has_all_that_was_written();
    fleet.was_formatted_once();
    fleet.has_whole_logs();
    let leaked = fleet.leaks();

    let counted = &fleet.counted;
    let got = |count: &AtomicU32| u64::from(count.load(Ordering::Relaxed));
    let found = [
        ("lost", got(&counted.lost)),
        ("leaked", leaked),
        ("double", got(&counted.double)),
        ("mute", got(&counted.mute)),
    ];
    figures(&[("calls", u64::from(calls)), ("seed", u64::from(seed))]);
    figures(&found);
    figures(&[
        ("succeeded", got(&counted.succeeded)),
        ("failed", got(&counted.failed)),
        ("killed", got(&counted.killed)),
        ("stopped", got(&counted.stopped)),
        ("written", got(&counted.written)),
    ]);
    assert!(found.iter().all(|(_, count)| *count == 0), "{found:?}, seed {seed}");
    // A soak in which nothing happens shows nothing.
    for (what, count) in [
        ("succeeded", &counted.succeeded),
        ("failed", &counted.failed),
        ("was killed", &counted.killed),
        ("was stopped", &counted.stopped),
        ("was written", &counted.written),
    ] {
        assert!(got(count) > 0, "nothing {what}");
    }
}

fn of_the_clock() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.subsec_nanos())
}
