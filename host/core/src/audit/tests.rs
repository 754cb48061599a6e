//! The audit log as it is written: what is in it and how much, how its lines are chained, and what the next
//! line makes of whatever it finds.

use rustix::fs::FlockOperation;

use super::chain::{MAX_FILE, open};
use super::*;

/// One that this is not.
const EARLIER_BOOT: &str = "4c9a6c2e-0d5b-4f0e-9a1b-1f2e3d4c5b6a";

fn log(dir: &Path) -> Audit {
    Audit::new(dir, &dir.join("data"), "v~d")
}

fn head(dir: &Path) -> Head {
    let path = Head::path(&dir.join("data"), "v~d");
    Head::parse(&std::fs::read(path).expect("a head")).expect("it is one")
}

/// The lines of files, oldest first, which have to be numbered and chained throughout.
fn chained(paths: &[PathBuf]) -> Vec<Map<String, Value>> {
    in_order(paths).expect("a chain")
}

/// The same, if they are. A torn line belongs to the one before.
fn in_order(paths: &[PathBuf]) -> Option<Vec<Map<String, Value>>> {
    let (mut lines, mut before) = (Vec::<Map<String, Value>>::new(), String::new());
    for path in paths {
        for text in std::fs::read_to_string(path).expect("a log").lines() {
            let Ok(line) = serde_json::from_str::<Map<String, Value>>(text) else {
                before = format!("{before}\n{text}");
                continue;
            };
            let prev = if before.is_empty() { String::new() } else { digest(before.as_bytes()) };
            if line["seq"] != lines.len() as u64 || line["prev"] != prev.as_str() {
                return None;
            }
            before = text.to_owned();
            lines.push(line);
        }
    }
    Some(lines)
}

#[test]
fn lines_are_numbered_and_chained_and_the_head_knows_the_last() {
    let dir = tempfile::tempdir().expect("a directory");
    for what in ["one", "two"] {
        let mut audit = log(dir.path());
        audit.line("call", json!({ "what": what }));
        audit.line("reply", json!({ "what": what }));
        audit.flush_last();
    }
    let path = dir.path().join("v~d.jsonl");
    assert_eq!(chained(std::slice::from_ref(&path)).len(), 4);
    let text = std::fs::read_to_string(&path).expect("a log");
    let Head { seq, digest: last, oldest, began, .. } = head(dir.path());
    assert_eq!((seq, oldest, began), (3, 0, 0));
    assert_eq!(last, digest(text.lines().last().expect("a line").as_bytes()));
}

/// A component that asks for the same again and again, to have what it does besides left out.
#[test]
fn what_a_flooded_call_has_no_room_for_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut audit = log(dir.path());
    let mut asks = |call: &str, key: &str, decision: &str, reason: Option<&str>| {
        let request = json!({ "call": call, "key": key });
        audit.line(
            "host-call",
            json!({ "request": request, "decision": decision, "reason": reason }),
        );
    };
    for _ in 0..2 * MAX_CALL / 1000 {
        asks("state.get", &"x".repeat(1000), "allowed", None);
    }
    for key in ["a", "b", "c"] {
        asks("secret.reveal", key, "allowed", None);
        asks("images.open", key, "refused", Some("grant:images"));
        asks("images.open", key, "allowed", Some("no-image"));
    }
    // Too long for a line, and told all the same.
    asks("filesystems.format", &"x".repeat(MAX_LINE), "fault", Some("component-fault"));
    (0..4).for_each(|_| audit.line("log", json!({ "message": "x" })));
    audit.line("step", json!({ "operation": "mount" }));
    audit.line("reply", json!({}));
    audit.flush_last();
    let path = dir.path().join("v~d.jsonl");
    let lines = chained(std::slice::from_ref(&path));
    assert!(std::fs::metadata(&path).expect("a log").len() < 2 * MAX_CALL as u64);
    let reply = lines.last().expect("a line");
    let reads = lines.iter().filter(|line| line["kind"] == "host-call");
    let reads = reads.filter(|line| line["request"]["call"] == "state.get").count();
    assert_eq!(
        reply["omitted"],
        json!({
            "allowed": {
                "log.write": 3, "secret.reveal": 2, "state.get": 2 * MAX_CALL / 1000 - reads,
            },
            "failed": { "images.open": 2 },
            "refused": { "images.open": 2 },
        })
    );
    let firsts: Vec<&Map<_, _>> =
        lines.iter().filter(|line| line.get("request").is_some()).skip(reads).collect();
    let told = |line: &&Map<String, Value>| {
        (line["request"].clone(), line["decision"].clone(), line["reason"].clone())
    };
    assert_eq!(
        firsts.iter().map(told).collect::<Vec<_>>(),
        [
            (json!({ "call": "secret.reveal", "key": "a" }), json!("allowed"), Value::Null),
            (json!({ "call": "images.open", "key": "a" }), json!("refused"), json!("grant:images")),
            (json!({ "call": "images.open", "key": "a" }), json!("allowed"), json!("no-image")),
            (json!({ "call": "filesystems.format" }), json!("fault"), json!("component-fault")),
        ]
    );
    assert!(lines.iter().any(|line| line["kind"] == "step"));
}

#[test]
fn where_there_is_no_data_directory_there_is_no_head() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("data"), "not a directory").expect("written");
    for _ in 0..2 {
        let mut audit = log(dir.path());
        audit.line("reply", json!({}));
        audit.flush_last();
    }
    assert_eq!(chained(&[dir.path().join("v~d.jsonl")]).len(), 2);
}

/// What cut-off calls, power cuts and hands leave: how the log goes on after it.
#[test]
fn the_next_line_tells_what_was_found() {
    // Appends after something was done to a log of four lines and its head.
    let after = |done: &dyn Fn(&Path, &Path, &str)| {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("v~d.jsonl");
        for _ in 0..4 {
            let mut audit = log(dir.path());
            audit.line("reply", json!({}));
            audit.flush_last();
        }
        let text = std::fs::read_to_string(&path).expect("a log");
        done(&path, &Head::path(&dir.path().join("data"), "v~d"), &text);
        let mut audit = log(dir.path());
        audit.line("reply", json!({}));
        audit.flush_last();
        let text = std::fs::read_to_string(&path).expect("a log");
        let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        assert_eq!(head(dir.path()).seq, last["seq"]);
        assert!(text.ends_with("}\n"));
        let fits = in_order(&[path]).is_some();
        (last["seq"].as_u64(), last["gap"].as_str().map(str::to_owned), fits)
    };
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("written");
    let half = |text: &str| text.len() - 50;
    let change = |path: &Path, change: &dyn Fn(&mut Head)| {
        let mut head = Head::parse(&std::fs::read(path).expect("a head")).expect("it is one");
        change(&mut head);
        let text = format!("{:<255}\n", head.to_json().to_string());
        assert_eq!(text.len(), 256);
        std::fs::write(path, text).expect("written");
    };
    assert_eq!(after(&|_, _, _| ()), (Some(4), None, true));
    // A call was killed while it wrote, or before it wrote the head.
    assert_eq!(
        after(&|log, _, text| write(log, &format!("{text}{{\"v\":1"))),
        (Some(4), None, true)
    );
    assert_eq!(
        after(&|log, _, text| write(log, &format!("{text}{{\"v\":1\n"))),
        (Some(4), None, true)
    );
    assert_eq!(
        after(&|log, _, text| {
            let prev = digest(text.lines().last().expect("a line").as_bytes());
            write(log, &format!("{text}{{\"seq\":4,\"prev\":\"{prev}\"}}\n"));
        }),
        (Some(5), None, true)
    );
    // Lines are gone, or torn, that the head knows: their numbers are not given again.
    let cut = |log: &Path, text: &str| write(log, &text[..half(text)]);
    let gone = Some("unexplained".to_owned());
    assert_eq!(after(&|log, _, text| cut(log, text)), (Some(4), gone.clone(), false));
    assert_eq!(after(&|log, _, _| write(log, "")), (Some(4), gone.clone(), false));
    assert_eq!(
        after(&|log, _, _| std::fs::remove_file(log).expect("removed")),
        (Some(4), gone, false)
    );
    // Which boot it was is known by the boot's id, and not by a clock that may have been set; of a
    // head of before that was noted, by the clock.
    for (boot, time, gap) in [
        (Some(EARLIER_BOOT), now() + 1e6, "restart"),
        (None, 1.0, "restart"),
        (None, now(), "unexplained"),
    ] {
        let cut_off = after(&|log, head, text| {
            cut(log, text);
            change(head, &|head| (head.boot, head.time) = (boot.map(str::to_owned), time));
        });
        assert_eq!(cut_off, (Some(4), Some(gap.to_owned()), false), "{boot:?} {time}");
    }
    let set_back = after(&|log, head, text| {
        cut(log, text);
        change(head, &|head| head.time = 1.0);
    });
    assert_eq!(set_back, (Some(4), Some("unexplained".to_owned()), false));
    // The last line was changed, and is not vouched for.
    assert_eq!(
        after(&|log, _, text| write(
            log,
            &(text[..half(text)].to_owned()
                + &text[half(text)..].replace('2', "3").replace('1', "2"))
        )),
        (Some(4), None, false)
    );
    // The head is gone, or no head: it is begun anew.
    assert_eq!(
        after(&|_, head, _| std::fs::remove_file(head).expect("removed")),
        (Some(4), None, true)
    );
    assert_eq!(after(&|_, head, _| write(head, "")), (Some(4), None, true));
    // More than a line is torn, and zeroes, as some filesystems leave it.
    assert_eq!(
        after(&|log, _, text| write(log, &format!("{text}{}\n\n{{", "\0".repeat(1024 * 1024)))),
        (Some(4), None, true)
    );
}

/// A call that is killed in its first line of a file, or of the log.
#[test]
fn a_torn_line_belongs_to_what_is_before_it_in_whatever_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("v~d.jsonl");
    let append = || {
        let mut audit = log(dir.path());
        audit.line("reply", json!({}));
        audit.flush_last();
    };
    std::fs::write(&path, "{\"v\":1,").expect("written");
    append();
    let text = std::fs::read_to_string(&path).expect("a log");
    let first: Value = serde_json::from_str(text.lines().nth(1).expect("a line")).expect("JSON");
    assert_eq!((&first["seq"], &first["prev"]), (&json!(0), &json!(digest(b"{\"v\":1,"))));

    std::fs::write(&path, format!("{first}\n")).expect("written");
    std::fs::rename(&path, rotated(&path, 3)).expect("renamed");
    std::fs::write(rotated(&path, 2), "{\"v\"\n").expect("written");
    std::fs::write(&path, "{\"v\":1,").expect("written");
    append();
    let text = std::fs::read_to_string(&path).expect("a log");
    let next: Value = serde_json::from_str(text.lines().nth(1).expect("a line")).expect("JSON");
    let before = format!("{first}\n{{\"v\"\n{{\"v\":1,");
    assert_eq!((&next["seq"], &next["prev"]), (&json!(1), &json!(digest(before.as_bytes()))));
}

/// As long as a file of the log gets, less a little: chained lines from number 0 on. Returns how
/// many.
fn fill(path: &Path) -> u64 {
    let (mut long, mut prev, mut seq) = (String::new(), String::new(), 0);
    while long.len() as u64 <= MAX_FILE - 1000 {
        let line = json!({ "seq": seq, "prev": prev, "text": "x".repeat(60_000) }).to_string();
        prev = digest(line.as_bytes());
        long += &(line + "\n");
        seq += 1;
    }
    std::fs::write(path, &long).expect("written");
    seq
}

#[test]
fn a_rotation_that_fails_doubles_no_line_and_is_tried_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("v~d.jsonl");
    let filled = fill(&path);
    std::fs::create_dir_all(rotated(&path, KEPT)).expect("a directory");
    std::fs::write(rotated(&path, KEPT - 1), "").expect("written");
    let append = || {
        let mut audit = log(dir.path());
        audit.line("host-call", json!({ "text": "x".repeat(2000) }));
        audit.flush_last();
        audit.line("reply", json!({}));
        audit.flush_last();
    };
    append();
    assert_eq!(chained(std::slice::from_ref(&path)).len() as u64, filled + 2);
    assert_eq!(head(dir.path()).seq, filled + 1);
    std::fs::remove_dir(rotated(&path, KEPT)).expect("an empty directory");
    append();
    assert_eq!(chained(&[rotated(&path, 1), path]).len() as u64, filled + 4);
}

#[test]
fn a_file_is_rotated_only_when_nobody_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("v~d.jsonl");
    fill(&path);
    let mut audit = log(dir.path());
    audit.line("call", json!({ "text": "x".repeat(2000) }));
    audit.flush(|_| false);
    assert!(!rotated(&path, 1).exists());
    audit.line("reply", json!({}));
    audit.flush_last();
    assert!(rotated(&path, 1).exists() && !path.exists());
}

/// What a component writes is looked at with all kinds of programs.
#[test]
fn a_line_deceives_nobody_and_says_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let written = "\u{9b}31m\u{202e}\u{7f}\u{1b}\u{e9}";
    let mut audit = log(dir.path());
    audit.line("host-call", json!({ "request": { "call": written } }));
    audit.line("reply", json!({}));
    audit.flush_last();
    let path = dir.path().join("v~d.jsonl");
    let text = std::fs::read_to_string(&path).expect("a log");
    assert!(text.contains(r#"{"call":"\u009b31m\u202e\u007f\u001bé"}"#), "{text}");
    assert_eq!(chained(&[path])[0]["request"]["call"], written);
}

/// As on a busy node, where whoever has the log locked may not get a processor for long.
#[test]
fn a_log_that_is_locked_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("v~d.jsonl");
    let holder = open(&path).expect("a log");
    rustix::fs::flock(&holder, FlockOperation::LockExclusive).expect("free");
    let mut audit = log(dir.path());
    audit.line("call", json!({}));
    // Until the call is stopped: what it has gathered is kept for its end.
    let mut asked = 0;
    audit.flush(|_| {
        asked += 1;
        asked == 500
    });
    assert_eq!((asked, chained(std::slice::from_ref(&path)).len()), (500, 0));
    audit.line("reply", json!({}));
    let mut holder = Some(holder);
    let mut asked = 0;
    audit.flush(|_| {
        asked += 1;
        if asked == 500 {
            holder = None;
        }
        false
    });
    assert_eq!(chained(&[path]).len(), 2);
}

#[test]
fn calls_that_run_at_once_lose_no_line_of_a_log_that_is_rotated() {
    const CALLS: usize = 16;
    const LINES: usize = 200;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("v~d.jsonl");
    // As long as a file of the log gets, and as many as are kept.
    let old = "{\"seq\":7}\n".repeat(3);
    (1..=KEPT).for_each(|n| std::fs::write(rotated(&path, n), &old).expect("written"));
    let seq = fill(&path);
    let full = std::fs::metadata(&path).expect("a log").len();
    std::thread::scope(|calls| {
        for _ in 0..CALLS {
            calls.spawn(|| {
                let mut audit = log(dir.path());
                for _ in 0..LINES {
                    audit.line("host-call", json!({}));
                    audit.flush_last();
                }
            });
        }
    });
    let lines = chained(&[rotated(&path, 1), path.clone()]);
    assert_eq!(
        lines.iter().filter(|line| line["seq"].as_u64() >= Some(seq)).count(),
        CALLS * LINES
    );
    assert!(std::fs::metadata(rotated(&path, 1)).expect("rotated").len() >= full);
    let head = head(dir.path());
    assert_eq!(head.seq, lines.len() as u64 - 1);
    assert_eq!((head.oldest, head.began), (7, seq));
}
