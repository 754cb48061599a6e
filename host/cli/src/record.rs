//! `wasmount call --record`: a real call, and a recording of it for `wasmount replay` and for a vendor's
//! tests. What is observed of the call becomes text here; every secret in it becomes `[secret]`.

mod clean;
mod file;
mod part;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use wasmount_core::call::{Call, Operation};
use wasmount_core::observe::Event;
use wasmount_core::wire::{Request, Response};
use wasmount_recording::Recorded;

use crate::arguments;
use crate::layout::PluginDir;
use crate::output::Output;
use crate::served::{Servable, Served};
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
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let driver = Servable::find(&plugins, &arguments.driver)?;
    let mut file = File::open(path)?;
    let began = SystemTime::now();
    let served = driver.serve(given.clone())?;
    output.out.write_all(&served.document).context("writing to standard output")?;
    let text = recording(&driver, &given, began, &served);
    // The call is made, and its reply is what a script goes by.
    if let Err(error) = file.append(&text) {
        output.warn(&format!("the call was made and is not recorded: {error:#}"));
    }
    Ok(ExitCode::from(u8::try_from(served.exit).unwrap_or(u8::MAX)))
}

/// What stands in the file of a call.
fn recording(driver: &Servable, given: &[OsString], began: SystemTime, served: &Served) -> String {
    let bundle = &driver.bundle;
    let receipt = &bundle.receipt;
    let given: Vec<&[u8]> = given.iter().map(|argument| argument.as_bytes()).collect();
    let operation = given.first().copied().unwrap_or_default();
    let mut call = Operation::parse(operation).and_then(|operation| {
        Call::parse(operation, &given[1..], &bundle.driver, &receipt.kubelet_root).ok()
    });
    let secrets = call.as_mut().map(Call::take_secrets).unwrap_or_default();
    let revealed = served.events.iter().any(|event| {
        matches!(event, Event::HostCall(Request::SecretReveal { .. }, Ok(Response::Bytes(Some(_)))))
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
    let reply = String::from_utf8_lossy(&served.document);
    let reply = reply.trim_end();
    let mut host: Vec<String> = parts.iter().flat_map(Part::host).collect();
    if parts.is_empty() {
        host.push("no component was asked".to_owned());
    }
    if !served.all {
        host.push("what was observed is more than is kept: its end is missing".to_owned());
    }
    let recorded = Recorded {
        id: id.clone(),
        time: rfc3339(began),
        driver: bundle.driver.slash(),
        version: bundle.id.clone(),
        component: receipt.digests.component.clone(),
        wasmount: receipt.host_version.clone(),
        wasmtime: receipt.wasmtime_version.clone(),
        operation: match Operation::parse(operation) {
            Some(operation) => operation.name().to_owned(),
            None => cleaner.text(&String::from_utf8_lossy(operation)),
        },
        volume: call.as_ref().map(|call| cleaner.text(call.name().as_str())),
        host: host.iter().map(|act| cleaner.text(act)).collect(),
        reply: cleaner.text(reply),
        exit: served.exit,
    };
    let mut text = format!("\n{recorded}");
    for call in parts.iter().filter_map(|part| part.call(&id, &cleaner)) {
        text += &format!("\n{call}");
    }
    text
}
