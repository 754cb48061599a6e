//! `wasmount call --record`: a real call, and a recording of it for `wasmount replay` and for a vendor's
//! tests. What is observed of the call becomes text here; every secret in it becomes `[secret]`, as far as it can
//! be known for one.

mod clean;
mod file;
mod part;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use wasmount_core::call::{Call, DriverName, Operation};
use wasmount_core::observe::Event;
use wasmount_core::offer::Offer;
use wasmount_core::wire::{Request, Response};
use wasmount_recording::{self as recording, Recorded, Recording};

use crate::arguments;
use crate::layout::PluginDir;
use crate::output::Output;
use crate::replay::reply::{self, End};
use crate::served::{CUT_OFF, Servable, Served};
use crate::time::rfc3339;

pub(crate) use clean::Cleaner;

use file::File;
use part::Part;

/// Makes the call and appends it to the file. Reply and exit code are the driver's.
pub fn run(
    arguments: &arguments::Call,
    given: Vec<OsString>,
    path: &Path,
    output: &mut Output<'_>,
) -> Result<ExitCode> {
    let operation = operation(&given)?;
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let driver = Servable::find(&plugins, &arguments.driver)?;
    let mut file = File::open(path)?;
    let began = SystemTime::now();
    let served = driver.serve(given.clone())?;
    output.out.write_all(&served.document).context("writing to standard output")?;
    let tape = Tape::of(&driver, operation, &given[1..], began, &served);
    // The call is made, and its reply is what a script goes by.
    match file.append(&tape.text) {
        Err(error) => {
            output.warn(&format!("the call was made and is not recorded: {error:#}"));
        }
        Ok(()) => {
            if !served.all {
                output.warn(&format!("not all of the call is recorded: {CUT_OFF}"));
            }
            if tape.revealed {
                output.warn(&format!("{REVEALED}; look through {} for it", path.display()));
            }
        }
    }
    Ok(ExitCode::from(u8::try_from(served.exit).unwrap_or(u8::MAX)))
}

/// What is said where a component may have taken a secret apart.
const REVEALED: &str = "the component was revealed a secret in this call; a part of one, or one that it has \
                        encoded in a way of its own, is recorded as it is";

/// The operation. Of anything else it is not known which of its arguments hold secrets.
fn operation(given: &[OsString]) -> Result<Operation> {
    let operation = given.first().and_then(|name| Operation::parse(name.as_bytes()));
    operation.with_context(|| {
        let names = Operation::ALL.map(Operation::name).join(", ");
        format!(
            "nothing was called: what is recorded begins with an operation of kubelet's ({names}), since of \
             anything else it is not known where its secrets are"
        )
    })
}

/// What stands in the file of a call.
struct Tape {
    text: String,
    /// Whether the component has seen a secret.
    revealed: bool,
}

impl Tape {
    fn of(
        driver: &Servable,
        operation: Operation,
        given: &[OsString],
        began: SystemTime,
        served: &Served,
    ) -> Self {
        let bundle = &driver.bundle;
        let receipt = &bundle.receipt;
        let given: Vec<&[u8]> = given.iter().map(|argument| argument.as_bytes()).collect();
        let mut call = Call::parse(operation, &given, &bundle.driver, &receipt.kubelet_root).ok();
        let secrets = call.as_mut().map(Call::take_secrets).unwrap_or_default();
        let revealed = served.events.iter().any(|event| {
            matches!(
                event,
                Event::HostCall(Request::SecretReveal { .. }, Ok(Response::Bytes(Some(_))))
            )
        });
        let cleaner = Cleaner::new(secrets, revealed);
        let id = served.events.iter().find_map(|event| match event {
            Event::Line { call, .. } => Some(call.clone()),
            _ => None,
        });
        // What is answered without a line in the log still needs a name.
        let id = id.unwrap_or_else(|| {
            let since = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            format!("{:016x}", since.as_nanos() as u64)
        });
        let parts = Part::all(&served.events);
        let mut host: Vec<String> = parts.iter().flat_map(Part::host).collect();
        if parts.is_empty() {
            host.push("no component was asked".to_owned());
        }
        if !served.all {
            host.push(format!("not all of the call is on record: {CUT_OFF}"));
        }
        let (mut calls, mut ends, mut last) = (Vec::new(), Vec::new(), parts.is_empty());
        for part in &parts {
            let read = part.call(&id, &cleaner).and_then(|call| read_again(&bundle.driver, &call));
            last = read.is_some();
            match read {
                Some((call, end)) => {
                    calls.push(call);
                    ends.push(end);
                }
                None => host.extend(part.untold()),
            }
        }
        let mut recorded = Recorded {
            id,
            time: rfc3339(began),
            driver: bundle.driver.slash(),
            version: bundle.id.clone(),
            component: receipt.digests.component.clone(),
            wasmount: receipt.host_version.clone(),
            wasmtime: receipt.wasmtime_version.clone(),
            node_only: receipt.node_only,
            operation: operation.name().to_owned(),
            volume: call.as_ref().map(|call| cleaner.text(call.name().as_str())),
            host: host.iter().map(|act| cleaner.text(act)).collect(),
            reply: cleaner.text(String::from_utf8_lossy(&served.document).trim_end()),
            reply_follows: false,
            exit: served.exit,
        };
        let follows = match parts[..] {
            [] => reply::of_offer(&recorded, &Offer::of(receipt)),
            _ => reply::of_ends(&bundle.driver, &recorded, &ends),
        };
        // What only the host did after the component may have come to something else.
        let known = served.all && (last || ends.iter().any(Result::is_err));
        recorded.reply_follows = known && follows.as_ref() == Some(&recorded.reply);
        let mut text = "\n".to_owned();
        if revealed {
            text += &format!("# Mind: {REVEALED}.\n");
        }
        text += &recorded.to_string();
        for call in &calls {
            text += &format!("\n{call}");
        }
        Self { text, revealed }
    }
}

/// The call as it will be read from the file, and what its end means. None if it would not be read: the end
/// of a process that its component has broken out of may be anything.
fn read_again(driver: &DriverName, call: &recording::Call) -> Option<(recording::Call, End)> {
    let call = Recording::parse(&call.to_string()).ok()?.calls.pop()?;
    let end = reply::on_record(driver, &call).ok()?;
    Some((call, end))
}

#[cfg(test)]
mod tests {
    use wasmount_recording::{Failure, Outcome};

    use super::*;

    /// Native code in the component's place may end in what no component could.
    #[test]
    fn an_end_that_no_recording_can_say_is_left_out() {
        let text =
            "[[call]]\nname = \"n\"\npart-of = \"1\"\noperation = \"unmount\"\nvolume = \"v\"\n";
        let call = Recording::parse(text).expect("a call").calls.remove(0);
        let driver: DriverName = "example.com/it".parse().expect("a driver");
        assert!(read_again(&driver, &call).is_some());
        let (code, message) = ("internal".to_owned(), String::new());
        let failure = Failure { code, reason: "No Reason\n".to_owned(), message };
        for outcome in [Outcome::Flag(true), Outcome::Failed(failure)] {
            let ended = recording::Call { outcome, ..call.clone() };
            assert!(read_again(&driver, &ended).is_none(), "{ended}");
        }
    }
}
