//! What a head shows that was exported earlier and kept where root on the node does not reach:
//! whether the log still has what it had then. A head that shows nothing any more is no proof.

use wasmount_core::audit::head::Head;

use super::chain::{Broken, Findings};
use super::snapshot::Snapshot;

/// What an exported head shows of a log.
#[derive(Debug)]
pub(super) enum Shown {
    /// That what the log had then is there.
    Kept(String),
    /// That it is not.
    Broken(Broken),
    /// Nothing.
    Nothing(String),
}

/// Compares a log with the head that was exported of it, if one was.
pub(super) fn compare(log: &Snapshot, findings: &Findings, exported: Option<&Head>) -> Shown {
    let Some(Head { seq, digest, .. }) = exported else {
        return Shown::Nothing(
            "it has no head of this log, which vouches for nothing: export one".to_owned(),
        );
    };
    let (Some(first), Some(last)) = (log.lines.first(), log.lines.last()) else {
        return Shown::Broken(Broken::nowhere(format!(
            "the log is gone: it had entry {seq} when the head was exported"
        )));
    };
    if let Some(line) = log.lines.iter().find(|line| line.seq == *seq) {
        let broken = findings.broken.as_ref().and_then(|broken| broken.at.as_ref());
        return match line.digest == *digest {
            true if broken.is_some_and(|at| *at <= line.at) => Shown::Nothing(format!(
                "entry {seq} is there as it was, and not all that the log had before it"
            )),
            true => Shown::Kept(format!(
                "entry {seq} is there as it was, and so is what the log has before it"
            )),
            false => Shown::Broken(Broken::at(
                &line.at,
                format!(
                    "the log was rewritten: entry {seq} was another when the head was exported"
                ),
            )),
        };
    }
    if *seq > last.seq {
        return Shown::Broken(Broken::at(
            &last.at,
            format!(
                "the log was cut or rewritten: it ends here with entry {}, and had entry {seq} when \
                 the head was exported",
                last.seq
            ),
        ));
    }
    if *seq > first.seq {
        let at = log.lines.iter().find(|line| line.seq > *seq).unwrap_or(last);
        return Shown::Broken(Broken::at(
            &at.at,
            format!(
                "entry {seq}, which was there when the head was exported, is missing before it"
            ),
        ));
    }
    Shown::Nothing(format!(
        "entry {seq} is there no more, rotated away or removed, and nothing is left that the \
         exported head vouches for: export one more often"
    ))
}
