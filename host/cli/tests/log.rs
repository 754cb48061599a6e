//! What `wasmount log` shows of a log that is given: calls of every kind of end, lines that are
//! none, and text that would drive a terminal.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// A refused call, one that a component made much of, one that never ended, and one that could
/// not be read. Times are in 2026.
const LOG: &str = r#"{"v":1,"call":"a1b2","time":1795247999.001,"kind":"call","operation":"mountdevice","volume":"pv-1","target":"/k/pv-1","access":"read-write","ignored":[],"seq":0,"prev":""}
{"v":1,"call":"a1b2","time":1795247999.003,"kind":"host-call","request":{"call":"images.open","name":"pv-1.img"},"decision":"allowed","reason":null,"message":null,"us":120,"seq":1,"prev":"x"}
{"v":1,"call":"c3d4","time":1795247999.004,"kind":"call","operation":"unmount","volume":"pv-2","target":"/k/pv-2","access":null,"ignored":null,"seq":2,"prev":"x"}
{"v":1,"call":"a1b2","time":1795247999.005,"kind":"log","level":"warn","message":"odd \u001b[2Jtext","seq":3,"prev":"x"}
torn {"v":1,
{"v":1,"call":"a1b2","time":1795247999.013,"kind":"host-call","request":{"call":"filesystems.format","device":0,"fs_type":"ext4\u009b"},"decision":"refused","reason":"grant:filesystems","message":"not granted;\nadd it","us":10,"seq":4,"prev":"x"}
{"v":1,"call":"a1b2","time":1795247999.026,"kind":"reply","status":"Failure","code":"permission-denied","reason":"grant:filesystems","message":"not granted","operation":"mountdevice","process":7,"seq":5,"prev":"x"}
{"v":1,"call":"c3d4","time":1795247999.008,"kind":"host-act","act":"target-unmount","seq":6,"prev":"x"}
{"v":1,"call":"c3d4","time":1795247999.009,"kind":"reply","status":"Success","operation":"unmount","process":8,"seq":7,"prev":"x"}
{"v":1,"call":"e5f6","time":1795248000.5,"kind":"reply","status":"Failure","code":"invalid-argument","reason":"path","message":"DIRECTORY is not one","operation":"mount","process":9,"seq":8,"prev":"x","omitted":{"allowed":{"secret.reveal":3},"refused":{"images.open":1200}}}
{"v":1,"call":"0708","time":1795248001.25,"kind":"call","operation":"attach","volume":"pv\u001b[31m","target":null,"access":"read-write","ignored":[],"seq":9,"prev":"x"}
"#;

const A1B2: &str = "2026-11-21T07:59:59.001Z  a1b2  mountdevice    pv-1                     25 ms  Failure [grant:filesystems]\n";
const C3D4: &str =
    "2026-11-21T07:59:59.004Z  c3d4  unmount        pv-2                      5 ms  Success\n";
const E5F6: &str = "2026-11-21T08:00:00.500Z  e5f6  mount          -                            -  Failure [path]\n";
const N0708: &str = "2026-11-21T08:00:01.250Z  0708  attach         pv\\u{1b}[31m                 -  no reply on record: it is still running, or was killed\n";

fn logs() -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    // Rotated in the middle of a call.
    let (old, new) = LOG.split_at(LOG.find("torn").context("it is there")?);
    fs::write(directory.path().join("example.com~disk.jsonl.1"), old)?;
    fs::write(directory.path().join("example.com~disk.jsonl"), new)?;
    Ok(directory)
}

/// Runs `wasmount log` on the logs; `$LOGS` stands for their directory in what it says.
fn log(logs: &TempDir, arguments: &[&str]) -> Result<(String, String, Option<i32>)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmount"));
    let output = command.arg("log").args(arguments).arg("--log-dir").arg(logs.path()).output()?;
    let said = String::from_utf8(output.stderr)?;
    let said = said.replace(&logs.path().display().to_string(), "$LOGS");
    Ok((String::from_utf8(output.stdout)?, said, output.status.code()))
}

#[test]
fn a_line_a_call_filtered_and_harmless() -> Result<()> {
    let logs = logs()?;
    let warning = "warning: line 1 of $LOGS/example.com~disk.jsonl is torn or somebody else's, and \
                   was skipped\n";
    let all = [A1B2, C3D4, E5F6, N0708];
    for (arguments, shown) in [
        (&[][..], &all[..]),
        (&["example.com/disk"], &all),
        (&["example.com/other"], &[]),
        (&["--failed"], &[A1B2, E5F6, N0708]),
        (&["--volume", "pv-2"], &[C3D4]),
        (&["--operation", "mount"], &[E5F6]),
        (&["--since", "2026-11-21T08:00:00Z"], &[E5F6, N0708]),
        (&["--failed", "--volume", "pv-2"], &[]),
    ] {
        let (printed, said, code) = log(&logs, arguments)?;
        assert_eq!((printed, code), (shown.concat(), Some(0)), "{arguments:?}");
        let warns = arguments.first() != Some(&"example.com/other");
        assert_eq!(said, if warns { warning } else { "" }, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn all_of_one_call() -> Result<()> {
    let logs = logs()?;
    let story = "call a1b2 of example.com/disk\n  \
                 operation  mountdevice\n  \
                 volume     pv-1\n  \
                 target     /k/pv-1\n  \
                 access     read-write\n  \
                 began      2026-11-21T07:59:59.001Z\n      \
                 0 ms  the host has read the call\n      \
                 2 ms  images.open name=\"pv-1.img\": allowed, 0.12 ms\n      \
                 4 ms  the component says (warn): odd \\u{1b}[2Jtext\n     \
                 12 ms  filesystems.format device=0 fs_type=\"ext4\\u{9b}\": refused \
                 [grant:filesystems], 0.01 ms\n            \
                 not granted;\\nadd it\n     \
                 25 ms  Failure [grant:filesystems]\n            \
                 not granted\n";
    assert_eq!(log(&logs, &["--call", "a1"])?.0, story);
    let lines: String =
        LOG.lines().filter(|line| line.contains("c3d4")).flat_map(|line| [line, "\n"]).collect();
    assert_eq!(log(&logs, &["--call", "c3d4", "--json"])?.0, lines);
    let e5f6 = log(&logs, &["--call", "e5f6"])?.0;
    let omitted = "and, without lines in the log, since there were so many: secret.reveal 3 (allowed), \
                   images.open 1200 (refused)\n";
    assert!(e5f6.ends_with(omitted), "{e5f6}");
    let (printed, said, code) = log(&logs, &["--call", "ff"])?;
    let told = "wasmount: no call whose id begins with ff is in the log; `wasmount log` shows \
                which are\n";
    assert_eq!((printed.as_str(), said.ends_with(told), code), ("", true, Some(1)));
    Ok(())
}

/// Lines of before the driver wrote them so that they can be looked at.
#[test]
fn lines_as_they_are_drive_no_terminal() -> Result<()> {
    let logs = logs()?;
    let line = |text: &str| {
        format!(
            "{{\"v\":1,\"call\":\"aa\",\"time\":1.5,\"kind\":\"reply\",\"status\":\"{text}\"}}\n"
        )
    };
    fs::write(logs.path().join("example.com~disk.jsonl"), line("\u{9b}31m\u{202e}\u{7f}\u{e9}"))?;
    let (printed, _, code) = log(&logs, &["--call", "aa", "--json"])?;
    assert_eq!((printed, code), (line("\\u009b31m\\u202e\\u007f\u{e9}"), Some(0)));
    Ok(())
}

#[test]
fn what_is_followed_goes_on_after_a_rotation() -> Result<()> {
    let logs = logs()?;
    let at = |name: &str| -> PathBuf { logs.path().join(name) };
    let mut child = Command::new(env!("CARGO_BIN_EXE_wasmount"))
        .args(["log", "--follow", "--since", "2027-01-01", "--log-dir"])
        .arg(logs.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
    let call = |id: &str| {
        format!(
            "{{\"v\":1,\"call\":\"{id}\",\"time\":1830000000.0,\"kind\":\"reply\",\"status\":\"Success\"}}\n"
        )
    };
    let mut before = OpenOptions::new().append(true).open(at("example.com~disk.jsonl"))?;
    before.write_all(call("one").as_bytes())?;
    fs::rename(at("example.com~disk.jsonl"), at("example.com~disk.jsonl.1"))?;
    fs::write(at("example.com~disk.jsonl"), call("two"))?;
    for id in ["one", "two"] {
        let line = lines.next().context("a line")??;
        assert!(line.contains(&format!("  {id}  ")), "{line}");
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}
