//! `wasmount log verify` and `log head`: what is said of a log that was tampered with in each way
//! there is, or that a crash has left, word for word.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;
use wasmount_core::audit::head::Head;
use wasmount_core::audit::{Audit, digest};

const TILDE: &str = "example.com~disk";

/// Entries 4 to 15 in four files of three lines each, oldest first, as rotation leaves them, and
/// the head.
struct Log {
    directory: TempDir,
    files: Vec<Option<Vec<String>>>,
    head: Option<Head>,
}

impl Log {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut audit = Audit::new(directory.path(), &directory.path().join("data"), TILDE);
        for number in 0..16 {
            audit.line("host-call", json!({ "request": { "call": "images.open", "n": number } }));
        }
        audit.flush_last();
        let text = fs::read_to_string(directory.path().join("example.com~disk.jsonl"))?;
        let lines: Vec<String> = text.lines().skip(4).map(str::to_owned).collect();
        let files = lines.chunks(3).map(|lines| Some(lines.to_vec())).collect();
        let head = Head::parse(&fs::read(Head::path(&directory.path().join("data"), TILDE))?);
        let head = head.map(|head| Head { oldest: 4, ..head });
        Ok(Self { directory, files, head })
    }

    /// Line `number` of the file that is `nth` from the oldest, both from 0.
    fn line(&mut self, nth: usize, number: usize) -> &mut String {
        &mut self.lines(nth)[number]
    }

    fn lines(&mut self, nth: usize) -> &mut Vec<String> {
        self.files[nth].as_mut().expect("a file")
    }

    fn head(&mut self) -> &mut Head {
        self.head.as_mut().expect("a head")
    }

    /// The head as it was when the log ended with an entry.
    fn at(&mut self, seq: u64) -> Head {
        let nth = (seq - 4) as usize;
        let line = self.line(nth / 3, nth % 3).clone();
        Head { seq, digest: digest(line.as_bytes()), ..self.head().clone() }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let names = [".3", ".2", ".1", ""];
        let at = |name| self.directory.path().join(format!("{TILDE}.jsonl{name}"));
        names.map(at).into()
    }

    /// Writes the files as they are to be.
    fn write(&self) -> Result<()> {
        for (path, lines) in self.paths().iter().zip(&self.files) {
            match lines {
                Some(lines) => fs::write(path, lines.join("\n") + "\n")?,
                None if path.exists() => fs::remove_file(path)?,
                None => {}
            }
        }
        let path = Head::path(&self.directory.path().join("data"), TILDE);
        match &self.head {
            Some(head) => fs::write(path, format!("{:<255}\n", head.to_json().to_string()))?,
            None => fs::remove_file(path)?,
        }
        Ok(())
    }

    /// The driver writes on.
    fn go_on(&self) {
        let path = self.directory.path();
        let mut audit = Audit::new(path, &path.join("data"), TILDE);
        audit.line("reply", json!({}));
        audit.flush_last();
    }

    /// Exports the head as it was at an entry, as that of a driver. Returns the document's path.
    fn export(&mut self, seq: u64, driver: &str) -> Result<String> {
        let mut entry = self.at(seq).to_json();
        entry["driver"] = json!(driver);
        let file = self.directory.path().join("head.json");
        fs::write(&file, json!({ "v": 1, "heads": [entry] }).to_string())?;
        Ok(file.display().to_string())
    }

    /// What is said, `$LOG` for the newest file.
    fn verify(&self, arguments: &[&str]) -> Result<(String, Option<i32>)> {
        self.verify_all(&[&["example.com/disk"], arguments].concat())
    }

    /// The same of whatever logs there are.
    fn verify_all(&self, arguments: &[&str]) -> Result<(String, Option<i32>)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmount"));
        command.args(["log", "verify"]).args(arguments);
        command.arg("--log-dir").arg(self.directory.path());
        command.arg("--data-dir").arg(self.directory.path().join("data"));
        let output = command.output()?;
        let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        let log = self.directory.path().join(format!("{TILDE}.jsonl"));
        Ok((said.replace(&log.display().to_string(), "$LOG"), output.status.code()))
    }
}

type Done = fn(&mut Log);

/// What is done to the log, and what is then said beyond whether it is in order.
const TAMPERED: &[(&str, Done, &str)] = &[
    (
        "a byte is changed",
        |log| *log.line(1, 1) = log.line(1, 1).replace("open", "oxen"),
        "$LOG.2, line 2\nit was changed: entry 9 has the digest of what it was",
    ),
    (
        "a byte of a digest",
        |log| flip_prev(log.line(1, 1)),
        "$LOG.2, line 2\nit was changed: it does not fit the line before",
    ),
    (
        "a byte of the last line",
        |log| *log.line(3, 2) = log.line(3, 2).replace("open", "oxen"),
        "$LOG, line 3\nit was changed: the head has the digest of what it was",
    ),
    (
        "a byte of the last digest",
        |log| flip_prev(log.line(3, 2)),
        "$LOG, line 3\nit was changed: it does not fit the line before",
    ),
    (
        "a byte of the last line of a file",
        |log| *log.line(1, 2) = log.line(1, 2).replace("open", "oxen"),
        "$LOG.2, line 3\nit was changed: entry 10 has the digest of what it was",
    ),
    (
        "a number",
        |log| *log.line(1, 1) = log.line(1, 1).replace("\"seq\":8", "\"seq\":9"),
        "$LOG.2, line 2\nit was changed: it is entry 9, and 8 is due",
    ),
    (
        "the number of the first line",
        |log| *log.line(0, 0) = log.line(0, 0).replace("\"seq\":4", "\"seq\":9"),
        "$LOG.3, line 1\nit was changed: it is entry 9, and was 4",
    ),
    (
        "the same, to a lower one",
        |log| *log.line(0, 0) = log.line(0, 0).replace("\"seq\":4", "\"seq\":3"),
        "$LOG.3, line 1\nit was changed: it is entry 3, and was 4",
    ),
    (
        "a line is removed",
        |log| drop(log.lines(1).remove(1)),
        "$LOG.2, line 2\nentry 8 is missing before it: removed",
    ),
    (
        "two lines are removed",
        |log| drop(log.lines(1).drain(..2)),
        "$LOG.2, line 1\nentries 7 to 8 are missing before it: the end of $LOG.3 or the beginning of this file was removed",
    ),
    (
        "lines are swapped",
        |log| log.lines(2).swap(0, 1),
        "$LOG.1, line 1\nout of order: it is entry 11, and 10 is in $LOG.1, line 2",
    ),
    (
        "a line is moved to another file",
        |log| {
            let line = log.lines(3).remove(0);
            log.lines(1).insert(1, line);
        },
        "$LOG.2, line 2\nout of order: it is entry 13, and 8 is in $LOG.2, line 3",
    ),
    (
        "two files are swapped",
        |log| log.files.swap(1, 2),
        "$LOG.2, line 1\nout of order: it is entry 10, and 7 is in $LOG.1, line 1",
    ),
    (
        "a line is there twice",
        |log| {
            let line = log.line(1, 1).clone();
            log.lines(1).insert(1, line);
        },
        "$LOG.2, line 3\nout of order: it is entry 8, after 8",
    ),
    (
        "a line is torn",
        |log| log.line(1, 1).truncate(40),
        "$LOG.2, line 2\nit is torn, and was whole when entry 9 was written",
    ),
    (
        "the first line is torn",
        |log| log.line(0, 0).truncate(40),
        "$LOG.3, line 1\nit is torn, or no line of the log's",
    ),
    (
        "a line is added",
        |log| log.lines(1).insert(1, "mine".to_owned()),
        "$LOG.2, line 2\nit is no line of the log's, and was put there later",
    ),
    (
        "four million empty lines are added",
        |log| log.lines(1).insert(1, "\n".repeat(4 * 1024 * 1024)),
        "$LOG.2, line 2\nit is no line of the log's, and was put there later",
    ),
    (
        "a line without end is added",
        |log| log.lines(1).insert(1, "x".repeat(4 * 1024 * 1024)),
        "$LOG.2, line 2\nit is no line of the log's, and was put there later",
    ),
    (
        "a file is removed",
        |log| log.files[1] = None,
        "$LOG.1, line 1\nentries 7 to 9 are missing before it: $LOG.2 was removed",
    ),
    (
        "a file is removed, and the older ones renamed",
        |log| {
            log.files.remove(1);
            log.files.insert(0, None);
        },
        "$LOG.1, line 1\nentries 7 to 9 are missing before it: the end of $LOG.2 or the beginning of this file was removed",
    ),
    (
        "the oldest file is removed",
        |log| log.files[0] = None,
        "$LOG.2, line 1\nentries 4 to 6 are missing before it, which rotation has kept: the beginning of the log was removed",
    ),
    (
        "the oldest line is removed",
        |log| drop(log.lines(0).remove(0)),
        "$LOG.3, line 1\nentry 4 is missing before it, which rotation has kept: the beginning of the log was removed",
    ),
    (
        "the newest file is removed",
        |log| log.files[3] = None,
        "$LOG.1, line 3\nthe log ends here, and the head knows entries 13 to 15: the end was cut off",
    ),
    (
        "the end is cut off",
        |log| log.lines(3).truncate(1),
        "$LOG, line 1\nthe log ends here, and the head knows entries 14 to 15: the end was cut off",
    ),
    (
        "the end is cut off within a line",
        |log| log.line(3, 2).truncate(40),
        "$LOG, line 2\nthe log ends here, the rest is torn, and the head knows entry 15: the end was cut off",
    ),
    (
        "all of the log is removed",
        |log| log.files.fill(None),
        "there is no log: the head knows entries 4 to 15",
    ),
    (
        "the head is removed",
        |log| log.head = None,
        "there is no head in the data directory, so nothing tells whether the log's beginning and end are there; the driver's next call makes one",
    ),
    (
        "the head is an old one",
        |log| log.head().seq = 2,
        "$LOG, line 3\nthe head is older than the log: it knows none after entry 2",
    ),
    (
        "the head is another's",
        |log| log.head().digest = "0".repeat(64),
        "$LOG, line 3\nit was changed: the head has the digest of what it was",
    ),
];

fn flip_prev(line: &mut String) {
    let at = line.find("\"prev\":\"").expect("it has one") + 8;
    let digit = if line[at..].starts_with('0') { "1" } else { "0" };
    line.replace_range(at..=at, digit);
}

/// What crashes and power cuts leave, with what is noted of it: the log is in order.
const CUT_OFF: &[(&str, Done, &str)] = &[
    ("nothing", |_| (), ""),
    (
        "a call between log and head",
        |log| log.head = Some(log.at(14)),
        "the log goes on after entry 14, the last that the head knows: a call or the node was cut off between writing the two",
    ),
    (
        "a call within a line",
        |log| {
            let torn = log.lines(3).pop().expect("a line")[..40].to_owned();
            log.head = Some(log.at(14));
            log.lines(3).push(torn);
        },
        "$LOG, line 3, is torn: a call or the node was cut off while it was written",
    ),
    (
        "a call within the first line of a file, and the one before it was given up since",
        |log| log.lines(0).insert(0, "{\"v\":1".to_owned()),
        "$LOG.3, line 1, is torn: a call or the node was cut off while it was written",
    ),
    (
        "a call within the first line of a file",
        |log| {
            log.files[3] = Some(vec!["{\"v\":1".to_owned()]);
            log.head = Some(log.at(12));
        },
        "$LOG, line 1, is torn: a call or the node was cut off while it was written",
    ),
    (
        "the node, with zeroes in the place of what was written last",
        |log| {
            log.lines(3)[2] = "\0".repeat(512 * 1024);
            log.head = Some(log.at(14));
        },
        "$LOG, line 3, is torn: a call or the node was cut off while it was written",
    ),
    (
        "the node, and lines are lost",
        |log| {
            log.head().boot = Some("an earlier one".to_owned());
            log.lines(3).truncate(1);
        },
        "entries 14 to 15 are missing after $LOG, line 1, and the node was restarted since: a power cut leaves this",
    ),
    (
        "the node, and lines are lost and one is torn, and the head is of before boots were noted",
        |log| {
            (log.head().boot, log.head().time) = (None, 1.0);
            log.lines(3).truncate(2);
            log.line(3, 1).truncate(40);
        },
        "entries 14 to 15 are missing after $LOG, line 1, the rest is torn, and the node was restarted since: a power cut leaves this",
    ),
    ("a call within a rotation", |log| log.head().oldest = 7, ""),
    (
        "the head is lost, and another is begun",
        |log| log.head().began = 9,
        "the head was begun at entry 9, when there was a log and no head: what was taken away by then, only an exported head shows",
    ),
];

#[test]
fn the_first_broken_place_is_named() -> Result<()> {
    for (name, done, broken) in TAMPERED {
        let mut log = Log::new()?;
        done(&mut log);
        log.write()?;
        let (said, code) = log.verify(&[])?;
        assert_eq!((told(&said, "broken"), code), ((*broken).to_owned(), Some(1)), "{name}");
        assert!(said.starts_with("example.com/disk: not in order\n"), "{said}");
        assert!(said.ends_with("\nwasmount: 1 log is not in order\n"), "{said}");
    }
    Ok(())
}

/// What the driver writes on does not make good what was done before, but for a head that is gone:
/// then only an exported one shows it.
#[test]
fn it_is_still_named_when_the_driver_has_written_on() -> Result<()> {
    for (name, done, broken) in TAMPERED {
        let mut log = Log::new()?;
        done(&mut log);
        log.write()?;
        log.go_on();
        let (said, code) = log.verify(&[])?;
        let first = |place: &str| place.lines().next().map(str::to_owned);
        match *name {
            "the head is removed" | "the head is an old one" => assert_eq!(code, Some(0), "{name}"),
            "the newest file is removed" | "the end is cut off" | "all of the log is removed" => {
                assert_eq!(code, Some(1), "{name}");
            }
            "the end is cut off within a line" => assert_eq!(code, Some(1), "{name}"),
            _ => assert_eq!(
                (first(&told(&said, "broken")), code),
                (first(broken), Some(1)),
                "{name}"
            ),
        }
    }
    let after = |done: Done| -> Result<String> {
        let mut log = Log::new()?;
        done(&mut log);
        log.write()?;
        log.go_on();
        Ok(told(&log.verify(&[])?.0, "broken"))
    };
    assert_eq!(
        after(|log| log.lines(3).truncate(1))?,
        "$LOG, line 2\nentries 14 to 15 are missing before it: the driver found the log cut, and the node had not been restarted"
    );
    assert_eq!(
        after(|log| log.files.fill(None))?,
        "$LOG, line 1\nentries 4 to 15 are missing before it, which rotation has kept: the beginning of the log was removed"
    );
    Ok(())
}

#[test]
fn what_a_crash_leaves_is_in_order_and_noted() -> Result<()> {
    for (name, done, note) in CUT_OFF {
        let mut log = Log::new()?;
        done(&mut log);
        log.write()?;
        let (said, code) = log.verify(&[])?;
        assert_eq!((told(&said, "note"), code), ((*note).to_owned(), Some(0)), "{name}: {said}");
        // And when the driver has found it so.
        log.go_on();
        let (said, code) = log.verify(&[])?;
        assert_eq!(code, Some(0), "{name}: {said}");
    }
    let mut log = Log::new()?;
    log.head().boot = Some("an earlier one".to_owned());
    log.lines(3).truncate(2);
    log.line(3, 1).truncate(40);
    log.write()?;
    log.go_on();
    let (said, _) = log.verify(&[])?;
    let noted = "  note     $LOG, line 2, is torn: a call or the node was cut off while it was written, and the log goes on after it\n  note     entries 14 to 15 are missing before $LOG, line 3: the driver found the log so after the node was restarted, as a power cut leaves it\n";
    assert!(said.ends_with(noted), "{said}");
    Ok(())
}

/// A log's very first call.
#[test]
fn a_first_call_that_is_cut_off_leaves_nothing_out_of_order() -> Result<()> {
    const TORN: &str = "$LOG, line 1, is torn: a call or the node was cut off while it was written";
    let log = Log::new()?;
    let path = log.directory.path().join(format!("{TILDE}.jsonl"));
    let head = Head::path(&log.directory.path().join("data"), TILDE);
    fs::write(&path, "{\"v\":1")?;
    fs::remove_file(&head)?;
    for _ in 0..2 {
        let (said, code) = log.verify(&[])?;
        assert_eq!((told(&said, "note").as_str(), code), (TORN, Some(0)), "{said}");
        log.go_on();
    }
    // Between the first lines and the head.
    fs::remove_file(&path)?;
    fs::remove_file(&head)?;
    log.go_on();
    fs::write(&head, "")?;
    let (said, code) = log.verify(&[])?;
    let none =
        "there is no head yet: the first call was cut off before it wrote one, or is under way";
    assert_eq!((told(&said, "note").as_str(), code), (none, Some(0)), "{said}");
    // Where another call has written, the head was taken away.
    log.go_on();
    fs::write(&head, "")?;
    assert_eq!(log.verify(&[])?.1, Some(1));
    Ok(())
}

/// An exported head, and what becomes of the log after it.
const SINCE: &[(&str, Done, &str)] = &[
    ("nothing", |_| (), "entry 13 is there as it was, and so is what the log has before it"),
    (
        "older lines are rotated away",
        |log| {
            log.files[0] = None;
            log.head().oldest = 7;
        },
        "entry 13 is there as it was, and so is what the log has before it",
    ),
    (
        "all that there was is rotated away",
        |log| {
            (log.files[0], log.files[1], log.files[2]) = (None, None, None);
            log.lines(3).remove(0);
            log.head().oldest = 14;
        },
        "entry 13 is there no more, rotated away or removed, and nothing is left that the exported head vouches for: export one more often",
    ),
    (
        "the log and its head are cut",
        |log| {
            log.lines(3).clear();
            log.head = Some(log.at(12));
        },
        "$LOG.1, line 3\nthe log was cut or rewritten: it ends here with entry 12, and had entry 13 when the head was exported",
    ),
    (
        "the log and its head are rewritten",
        |log| {
            *log.line(3, 0) = log.line(3, 0).replace("open", "oxen");
            log.lines(3).truncate(1);
            log.head = Some(log.at(13));
        },
        "$LOG, line 1\nthe log was rewritten: entry 13 was another when the head was exported",
    ),
    (
        "all of it is removed",
        |log| {
            log.files.fill(None);
            log.head = None;
        },
        "the log is gone: it had entry 13 when the head was exported",
    ),
];

/// What was exported is of entry 13.
#[test]
fn an_exported_head_shows_what_root_has_rewritten() -> Result<()> {
    for (name, done, shown) in SINCE {
        let mut log = Log::new()?;
        let file = log.export(13, "example.com/disk")?;
        done(&mut log);
        log.write()?;
        let (said, code) = log.verify(&["--head", &file])?;
        let is_there = shown.starts_with("entry 13 is there as");
        assert_eq!(told(&said, "exported"), *shown, "{name}: {said}");
        assert_eq!(code, Some(if is_there { 0 } else { 1 }), "{name}: {said}");
        assert_eq!(told(&said, "broken"), "", "the log and its head fit: {name}");
    }
    Ok(())
}

#[test]
fn an_exported_head_vouches_for_no_more_than_it_shows() -> Result<()> {
    let mut log = Log::new()?;
    let file = log.export(13, "example.com/disk")?;
    log.lines(1).remove(1);
    log.write()?;
    let (said, _) = log.verify(&["--head", &file, "--json"])?;
    assert!(said.contains("entry 13 is there as it was, and not all that the log had before it"));
    assert!(!said.contains("\"ok\": true"), "{said}");
    // What is broken after it is another matter.
    let mut log = Log::new()?;
    let file = log.export(5, "example.com/disk")?;
    log.lines(1).remove(1);
    log.write()?;
    let (said, code) = log.verify(&["--head", &file])?;
    let shown = "entry 5 is there as it was, and so is what the log has before it";
    assert_eq!((told(&said, "exported").as_str(), code), (shown, Some(1)));
    // A driver that went away with its log, and one that came since.
    let mut log = Log::new()?;
    let file = log.export(13, "example.com/gone")?;
    log.write()?;
    let (said, code) = log.verify_all(&["--head", &file])?;
    let nothing = "it has no head of this log, which vouches for nothing: export one";
    assert!(said.starts_with("example.com/disk: not vouched for\n"), "{said}");
    assert_eq!((told(&said, "exported").as_str(), code), (nothing, Some(1)));
    assert!(
        said.ends_with(
            "example.com/gone: not verified\n  exported the driver is not there, and had a log when \
             the head was exported; name where log and records were with --log-dir and --data-dir\n\
             wasmount: 2 logs are not vouched for by the exported head\n"
        ),
        "{said}"
    );
    // Of a log all of whose files are gone, the head is left.
    let mut log = Log::new()?;
    log.files.fill(None);
    log.write()?;
    let (said, code) = log.verify_all(&[])?;
    assert_eq!((said.starts_with("example.com/disk: not in order\n"), code), (true, Some(1)));
    Ok(())
}

#[test]
fn what_is_no_exported_head_is_refused() -> Result<()> {
    let log = Log::new()?;
    log.write()?;
    let file = log.directory.path().join("head.json");
    let path = file.display().to_string();
    for text in ["", "{}", "{\"v\":2,\"heads\":[]}", "{\"v\":1,\"heads\":[{\"driver\":\"a/b\"}]}"] {
        fs::write(&file, text)?;
        let (said, code) = log.verify(&["--head", &path])?;
        let expected = format!("wasmount: {path} is not what `wasmount log head` prints\n");
        assert_eq!((said, code), (expected, Some(1)), "{text}");
    }
    fs::write(&file, "{\"v\":1,\"heads\":[]}")?;
    let (said, code) = log.verify(&["--head", &path])?;
    assert!(said.starts_with("example.com/disk: not vouched for\n"), "{said}");
    assert!(said.ends_with("wasmount: 1 log is not vouched for by the exported head\n"), "{said}");
    assert_eq!(code, Some(1));
    Ok(())
}

#[test]
fn a_program_reads_the_same() -> Result<()> {
    let mut log = Log::new()?;
    log.lines(1).remove(1);
    log.write()?;
    let (said, code) = log.verify(&["--json"])?;
    let (document, rest) = said.rsplit_once("}\n").expect("a document");
    let document: serde_json::Value = serde_json::from_str(&format!("{document}}}"))?;
    let broken = &document["logs"][0]["broken"];
    assert_eq!((&document["ok"], &broken["line"]), (&json!(false), &json!(2)));
    assert_eq!(broken["file"], "$LOG.2");
    assert_eq!((rest, code), ("wasmount: 1 log is not in order\n", Some(1)));
    Ok(())
}

/// What is said under a heading, without its indentation.
fn told(said: &str, heading: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.starts_with(&format!("  {heading} ")));
    let first = lines.next().and_then(|line| line.get(11..)).unwrap_or_default().to_owned();
    let more = lines.take_while(|line| line.starts_with("           "));
    more.fold(first, |text, line| text + "\n" + line.trim_start())
}
