//! One exec of a driver: the process, its time, and the verdict on exit code and output.

use std::fs::File;
use std::io::{PipeReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::Deserialize;

/// No call may take longer: the driver's own deadline is 110 s. kubelet itself waits for ever,
/// except 10 min for `waitforattach`.
const DEADLINE: Duration = Duration::from_secs(120);

/// How long after SIGTERM a driver may still run. A kubelet panics when it runs out.
const AFTER_TERM: Duration = Duration::from_secs(10);

/// One call as it was made and answered.
#[derive(Debug)]
pub(crate) struct Exec {
    /// The arguments after the program.
    pub(crate) arguments: Vec<String>,
    /// stdout and stderr, as they came.
    pub(crate) output: String,
    /// From the exec until the output has ended and the process is gone.
    pub(crate) elapsed: Duration,
    /// What kubelet makes of it.
    pub(crate) verdict: Verdict,
}

/// What kubelet makes of an answer.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// `Success`, with what came along.
    Success(Reply),
    /// Any other status: the text of the pod's event.
    Failure(String),
    /// Never asked again.
    NotSupported,
}

/// The reply as kubelet decodes it. Keys it does not know are ignored, types are strict.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reply {
    status: String,
    message: Option<String>,
    /// From `attach` and `waitforattach`.
    pub(crate) device: Option<String>,
    /// From `isattached`.
    pub(crate) attached: Option<bool>,
    #[serde(default, deserialize_with = "never_null")]
    /// From `init`.
    pub(crate) capabilities: Option<Capabilities>,
}

/// What a driver says of itself, with kubelet's defaults.
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Capabilities {
    /// Whether the volumes are attachable.
    pub(crate) attach: bool,
    /// Whether `expandfs` is called.
    #[serde(rename = "requiresFSResize")]
    pub(crate) requires_fs_resize: bool,
}

impl Default for Capabilities {
    fn default() -> Capabilities {
        Capabilities { attach: true, requires_fs_resize: true }
    }
}

/// Execs the driver once.
pub(crate) fn exec(executable: &Path, arguments: &[&str]) -> anyhow::Result<Exec> {
    let (output, status, elapsed) = run(executable, arguments, DEADLINE)?;
    let operation = arguments.first().copied().unwrap_or_default();
    let verdict = judge(status, &output).with_context(|| {
        format!("{operation}: kubelet cannot use {:?}", String::from_utf8_lossy(&output))
    })?;
    let arguments = arguments.iter().map(|argument| argument.to_string()).collect();
    Ok(Exec { arguments, output: String::from_utf8(output)?, elapsed, verdict })
}

/// Runs the program as kubelet does: it is done when every holder of the pipe has closed it.
fn run(
    executable: &Path,
    arguments: &[&str],
    limit: Duration,
) -> anyhow::Result<(Vec<u8>, ExitStatus, Duration)> {
    let (mut reader, writer) = std::io::pipe()?;
    let mut command = Command::new(executable);
    command.args(arguments).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let begun = Instant::now();
    let child = command.spawn();
    // The command holds the writing end, and the output would never end.
    drop(command);
    let mut child = child.with_context(|| format!("cannot exec {}", executable.display()))?;
    let mut output = Vec::new();
    match finish(&mut child, &mut reader, &mut output, begun + limit) {
        Ok(Some(status)) => Ok((output, status, begun.elapsed())),
        Ok(None) => {
            terminate(&mut child)?;
            bail!("no answer within {} s", limit.as_secs());
        }
        Err(error) => {
            terminate(&mut child)?;
            Err(error)
        }
    }
}

/// Reads to the end and waits; none if the deadline came first. Without a thread, since its
/// start would be part of every time that is measured.
fn finish(
    child: &mut Child,
    reader: &mut PipeReader,
    output: &mut Vec<u8>,
    deadline: Instant,
) -> anyhow::Result<Option<ExitStatus>> {
    let mut chunk = [0; 8192];
    loop {
        if !ready(PollFd::new(&*reader, PollFlags::IN), deadline)? {
            return Ok(None);
        }
        match reader.read(&mut chunk)? {
            0 => break,
            count => output.extend_from_slice(&chunk[..count]),
        }
    }
    let process = File::from(pidfd_open(pid(child)?, PidfdFlags::empty())?);
    if !ready(PollFd::new(&process, PollFlags::IN), deadline)? {
        return Ok(None);
    }
    Ok(Some(child.wait()?))
}

fn ready(fd: PollFd<'_>, deadline: Instant) -> anyhow::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).context("a deadline out of range")?;
    Ok(poll(&mut [fd], Some(&left))? > 0)
}

/// SIGTERM to the direct child only, and kubelet's patience.
fn terminate(child: &mut Child) -> anyhow::Result<()> {
    let deadline = Instant::now() + AFTER_TERM;
    kill_process(pid(child)?, Signal::TERM)?;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("still running 10 s after SIGTERM: kubelet itself would have crashed");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn pid(child: &Child) -> anyhow::Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process without an id")
}

/// kubelet's matrix of exit code and status.
fn judge(status: ExitStatus, output: &[u8]) -> anyhow::Result<Verdict> {
    let reply: Reply = serde_json::from_slice(output).context("not one JSON document")?;
    match reply.status.as_str() {
        "Success" => {
            ensure!(status.success(), "Success, but {status}");
            Ok(Verdict::Success(reply))
        }
        "Not supported" => Ok(Verdict::NotSupported),
        other => Ok(Verdict::Failure(format!(
            "command failed, status: {other}, reason: {}",
            reply.message.unwrap_or_default()
        ))),
    }
}

/// A null here makes a real kubelet crash, so it is an error and not "not given".
fn never_null<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Capabilities>, D::Error> {
    Capabilities::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a driver with the shell and tells what kubelet makes of it.
    fn outcome(script: &str) -> String {
        match exec(Path::new("/bin/sh"), &["-c", script]) {
            Ok(Exec { verdict: Verdict::Success(reply), .. }) => {
                let attach = reply.capabilities.map(|capabilities| capabilities.attach);
                format!("success {:?} {:?} {attach:?}", reply.device, reply.attached)
            }
            Ok(Exec { verdict: Verdict::Failure(reason), .. }) => reason,
            Ok(Exec { verdict: Verdict::NotSupported, .. }) => "not supported".to_string(),
            Err(_) => "unusable".to_string(),
        }
    }

    #[test]
    fn exit_code_and_output_are_judged_as_kubelet_judges_them() {
        let failure = "command failed, status: Failure, reason: no";
        let cases = [
            (r#"echo '{"status":"Success"}'"#, "success None None None"),
            (r#"echo '{"status":"Success"}'; exit 1"#, "unusable"),
            (r#"echo '{"status":"Success","device":"d"}'"#, r#"success Some("d") None None"#),
            (r#"echo '{"status":"Success","attached":true}'"#, "success None Some(true) None"),
            (r#"echo '{"status":"Success","attached":"true"}'"#, "unusable"),
            (r#"echo '{"status":"Success","capabilities":{}}'"#, "success None None Some(true)"),
            (r#"echo '{"status":"Success","capabilities":null}'"#, "unusable"),
            (r#"echo '{"status":"Failure","message":"no"}'"#, failure),
            (r#"echo '{"status":"Failure","message":"no"}'; exit 1"#, failure),
            (r#"echo '{"status":"success"}'"#, "command failed, status: success, reason: "),
            (r#"echo '{"status":"Not supported"}'; exit 1"#, "not supported"),
            (r#"echo '{"status":"Success"}'; echo warning >&2"#, "unusable"),
            (r#"echo '{"status":"Success"}{"status":"Success"}'"#, "unusable"),
            (
                r#"if read line; then exit 1; fi; echo '{"status":"Success"}'"#,
                "success None None None",
            ),
            ("true", "unusable"),
        ];
        for (script, expected) in cases {
            assert_eq!(outcome(script), expected, "{script}");
        }
    }

    #[test]
    fn a_driver_that_hangs_is_terminated() {
        let limit = Duration::from_millis(50);
        for script in ["exec sleep 60", "exec >/dev/null 2>&1; exec sleep 60"] {
            let error = run(Path::new("/bin/sh"), &["-c", script], limit).expect_err(script);
            assert!(error.to_string().starts_with("no answer"), "{error}");
        }
    }
}
