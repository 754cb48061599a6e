//! Whether a log is one chain from its first line to its head: the first place where it is not, and
//! what has to be told of it all the same. It judges what is on record; who has done it, and
//! whether somebody has rewritten all of it, nobody can tell from that.

use std::fmt;
use std::path::Path;

use wasmount_core::audit::head::Head;
use wasmount_core::audit::{KEPT, rotated};

use super::snapshot::{Link, NoHead, Place, Snapshot};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The first place where the chain is broken.
    pub(super) broken: Option<Broken>,
    /// What a cut-off call, a power cut or a move of directories leaves.
    pub(super) remarks: Vec<String>,
}

/// A place, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The line; none if there is none to name.
    pub(super) at: Option<Place>,
    pub(super) what: String,
}

impl Broken {
    pub(super) fn at(at: &Place, what: String) -> Self {
        Self { at: Some(at.clone()), what }
    }

    pub(super) fn nowhere(what: impl Into<String>) -> Self {
        Self { at: None, what: what.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file.display(), self.number)
    }
}

/// Examines a log.
pub(super) fn examine(log: &Snapshot) -> Findings {
    let mut findings = Findings::default();
    let broken = beginning(log, &mut findings.remarks)
        .or_else(|| middle(log, &mut findings.remarks))
        .or_else(|| end(log, &mut findings.remarks));
    findings.broken = broken;
    findings
}

/// What is wrong before the first line, and with its number, which no line before it gives.
fn beginning(log: &Snapshot, remarks: &mut Vec<String>) -> Option<Broken> {
    let Some(first) = log.lines.first() else {
        remarks.extend(log.torn.as_ref().map(|torn| cut_off(&torn.at)));
        return None;
    };
    let oldest = log.head.as_ref().map_or(0, |head| head.oldest);
    if let Some(torn) = &log.torn {
        // What is before the first line of all is told by it. What a line that rotation has given up
        // was followed by is told by none that is left.
        let known = match first.seq {
            0 => torn.is_all_before(first),
            seq => log.head.is_ok() && seq <= oldest,
        };
        if !known {
            return Some(Broken::at(&torn.at, "it is torn, or no line of the log's".to_owned()));
        }
        remarks.push(cut_off(&torn.at));
    }
    if let Some(number) = renumbered(log, first) {
        let what = format!("it was changed: it is entry {}, and was {number}", first.seq);
        return Some(Broken::at(&first.at, what));
    }
    if first.seq > oldest && log.head.is_ok() {
        let missing = missing(oldest, first.seq - 1);
        return Some(Broken::at(
            &first.at,
            format!(
                "{missing} before it, which rotation has kept: the beginning of the log was removed"
            ),
        ));
    }
    (first.seq == 0 && !first.prev.is_empty() && log.torn.is_none())
        .then(|| Broken::at(&first.at, changed(log, 0, "it is the first and has one before it")))
}

/// The number that the first line had, if another has taken its place and nothing else was changed.
fn renumbered(log: &Snapshot, first: &Link) -> Option<u64> {
    let (number, digest) = match (log.lines.get(1), &log.head) {
        (Some(next), _) if first.torn.is_none() => (next.seq.checked_sub(1)?, &next.prev),
        (None, Ok(head)) => (head.seq, &head.digest),
        _ => return None,
    };
    let text = std::str::from_utf8(&log.first).ok()?;
    let (is, was) = (format!("\"seq\":{}", first.seq), format!("\"seq\":{number}"));
    let mut as_it_was = text.match_indices(&is).map(|(at, _)| {
        let (before, after) = text.split_at(at);
        [before, &was, &after[is.len()..]].concat()
    });
    (number != first.seq
        && as_it_was.any(|text| wasmount_core::audit::digest(text.as_bytes()) == *digest))
    .then_some(number)
}

/// What a call leaves that is cut off while it writes.
fn cut_off(at: &Place) -> String {
    format!("{at}, is torn: a call or the node was cut off while it was written")
}

/// The first two neighbours that do not fit.
fn middle(log: &Snapshot, remarks: &mut Vec<String>) -> Option<Broken> {
    log.lines.windows(2).enumerate().find_map(|(index, pair)| {
        let [before, line] = pair else { return None };
        if line.prev != before.digest_to_next() {
            return Some(misfit(log, index, before, line));
        }
        if let Some(torn) = &before.torn {
            remarks.push(format!("{}, and the log goes on after it", cut_off(&torn.at)));
        }
        let next = before.seq + 1;
        match &line.gap {
            _ if line.seq == next => None,
            Some(gap) if line.seq > next => {
                let missing = missing(next, line.seq - 1);
                if gap == "restart" {
                    remarks.push(format!(
                        "{missing} before {}: the driver found the log so after the node was \
                         restarted, as a power cut leaves it",
                        line.at
                    ));
                    return None;
                }
                Some(Broken::at(
                    &line.at,
                    format!(
                        "{missing} before it: the driver found the log cut, and the node had not \
                         been restarted"
                    ),
                ))
            }
            _ => {
                let what = format!("it is entry {}, and {next} is due", line.seq);
                Some(Broken::at(&line.at, changed(log, index + 1, &what)))
            }
        }
    })
}

/// Which of two neighbours is to blame, if the second does not have the digest of the first.
fn misfit(log: &Snapshot, index: usize, before: &Link, line: &Link) -> Broken {
    let next = before.seq + 1;
    if let Some(torn) = &before.torn {
        return Broken::at(
            &torn.at,
            match line.seq > next {
                true => format!("it is torn, and was whole when entry {} was written", line.seq),
                false => "it is no line of the log's, and was put there later".to_owned(),
            },
        );
    }
    if line.seq == next {
        return match vouched(log, index + 1) {
            Some(false) => {
                Broken::at(&line.at, changed(log, index + 1, "it does not fit the line before"))
            }
            _ => Broken::at(
                &before.at,
                format!("it was changed: entry {next} has the digest of what it was"),
            ),
        };
    }
    if line.seq < next {
        return Broken::at(
            &line.at,
            format!("out of order: it is entry {}, after {}", line.seq, before.seq),
        );
    }
    let later = log.lines.iter().skip(index + 2).find(|later| later.seq == next);
    if let Some(later) = later {
        return Broken::at(
            &line.at,
            format!("out of order: it is entry {}, and {next} is in {}", line.seq, later.at),
        );
    }
    let missing = missing(next, line.seq - 1);
    let removed = match between(log, &before.at.file, &line.at.file) {
        None => "removed".to_owned(),
        Some(absent) if absent.is_empty() => {
            format!(
                "the end of {} or the beginning of this file was removed",
                before.at.file.display()
            )
        }
        Some(absent) => format!("{} was removed", absent.join(" and ")),
    };
    Broken::at(&line.at, format!("{missing} before it: {removed}"))
}

/// The files that should be between two files of the log; none if they are the same.
fn between(log: &Snapshot, older: &Path, newer: &Path) -> Option<Vec<String>> {
    let oldest_first = (1..=KEPT).rev().map(|n| rotated(&log.path, n)).chain([log.path.clone()]);
    let after = oldest_first.skip_while(|path| *path != *older).skip(1);
    let between = after.take_while(|path| *path != *newer).map(|path| path.display().to_string());
    (older != newer).then(|| between.collect())
}

/// What is wrong after the last line.
fn end(log: &Snapshot, remarks: &mut Vec<String>) -> Option<Broken> {
    let head = match (&log.head, log.lines.last()) {
        (Ok(head), _) => head,
        // No call was ever made, or none has written a line.
        (Err(NoHead::Absent | NoHead::Empty), None) => return None,
        (Err(NoHead::Empty), Some(_)) if log.of_one_call && log.lines[0].seq == 0 => {
            remarks.push(
                "there is no head yet: the first call was cut off before it wrote one, or is under \
                 way"
                .to_owned(),
            );
            return None;
        }
        (Err(NoHead::Absent | NoHead::Empty), Some(_)) => {
            return Some(Broken::nowhere(
                "there is no head in the data directory, so nothing tells whether the log's \
                 beginning and end are there; the driver's next call makes one",
            ));
        }
        (Err(NoHead::Damaged), _) => {
            return Some(Broken::nowhere(
                "the head in the data directory is damaged, so nothing tells whether the log's \
                 beginning and end are there; the driver's next call makes another",
            ));
        }
    };
    let Head { seq, digest, oldest, began, .. } = head;
    let Some(last) = log.lines.last() else {
        return Some(Broken::nowhere(format!(
            "there is no log: the head knows {}",
            numbers(*oldest, *seq)
        )));
    };
    if *began > 0 {
        remarks.push(format!(
            "the head was begun at entry {began}, when there was a log and no head: what was taken \
             away by then, only an exported head shows"
        ));
    }
    if *seq > last.seq {
        let missing = missing(last.seq + 1, *seq);
        let torn = if last.torn.is_none() { "" } else { " the rest is torn," };
        if head.is_of_earlier_boot() {
            remarks.push(format!(
                "{missing} after {},{torn} and the node was restarted since: a power cut leaves this",
                last.at
            ));
            return None;
        }
        return Some(Broken::at(
            &last.at,
            format!(
                "the log ends here,{torn} and the head knows {}: the end was cut off",
                numbers(last.seq + 1, *seq)
            ),
        ));
    }
    let known = log.lines.iter().rfind(|line| line.seq == *seq);
    match known {
        Some(line) if line.digest != *digest => {
            return Some(Broken::at(
                &line.at,
                "it was changed: the head has the digest of what it was".to_owned(),
            ));
        }
        None => {
            return Some(Broken::at(
                &last.at,
                format!("the head is older than the log: it knows none after entry {seq}"),
            ));
        }
        Some(_) if *seq < last.seq => remarks.push(format!(
            "the log goes on after entry {seq}, the last that the head knows: a call or the node was \
             cut off between writing the two"
        )),
        Some(_) => {}
    }
    remarks.extend(last.torn.as_ref().map(|torn| cut_off(&torn.at)));
    None
}

/// Whether what comes after a line has its digest; none if nothing comes after it.
fn vouched(log: &Snapshot, index: usize) -> Option<bool> {
    let line = log.lines.get(index)?;
    match (log.lines.get(index + 1), &log.head) {
        (Some(next), _) => Some(next.prev == line.digest_to_next()),
        (None, Ok(head)) if head.seq == line.seq => Some(head.digest == line.digest),
        _ => None,
    }
}

/// What to say of a line that does not fit.
fn changed(log: &Snapshot, index: usize, what: &str) -> String {
    match vouched(log, index) {
        Some(true) => format!("{what}: what was before it is gone, or another"),
        _ => format!("it was changed: {what}"),
    }
}

fn missing(from: u64, to: u64) -> String {
    let verb = if from == to { "is" } else { "are" };
    format!("{} {verb} missing", numbers(from, to))
}

/// Numbers that the log gives, which are not those of a file's lines.
fn numbers(from: u64, to: u64) -> String {
    match from == to {
        true => format!("entry {from}"),
        false => format!("entries {from} to {to}"),
    }
}

#[cfg(test)]
mod tests;
