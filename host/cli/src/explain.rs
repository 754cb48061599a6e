//! `wasmount explain`: a call, rehearsed by the driver's own code. The component runs, each of its host
//! calls is decided as it would be, and what it was decided by is told; but nothing of it lasts, nothing
//! is written, and no lock is held.

mod lines;
mod rule;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;
use wasmount_core::decide::function;
use wasmount_core::observe::Event;
use wasmount_core::wire::{Request, Response};

use crate::arguments;
use crate::call::{expand, warn_of_secrets};
use crate::layout::PluginDir;
use crate::output::{Output, printable};
use crate::served::{CUT_OFF, Servable, Served};

use lines::Lines;
use rule::{Rule, Secrets};

/// What is told of a call.
#[derive(Debug, Serialize)]
struct Explanation {
    driver: String,
    version: String,
    /// One for each operation that the call consists of; none if it does not come so far.
    operations: Vec<Operation>,
    /// What kubelet would be answered.
    reply: Value,
    exit: i32,
    /// Whether all of the call is told.
    complete: bool,
}

#[derive(Debug, Serialize)]
struct Operation {
    operation: &'static str,
    /// Whether the component is asked.
    component: bool,
    host_calls: Vec<HostCall>,
    /// What the host would do by itself.
    host: Vec<HostAct>,
}

#[derive(Debug, Serialize)]
struct HostAct {
    act: String,
    /// What of grants.toml it goes by; none if the host does it whatever is granted.
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
struct HostCall {
    call: &'static str,
    /// What is asked, as the audit log would have it.
    request: Value,
    /// `allowed`, `refused`, or `fault`, which ends the component.
    decision: String,
    /// Why it is not, or did not succeed.
    reason: Option<String>,
    message: Option<String>,
    /// Whether it is allowed only by a grant.
    needs_grant: bool,
    /// What of grants.toml it goes by.
    rules: Vec<Rule>,
    /// What it would do on the node and has not done: from here on it is assumed to have
    /// succeeded.
    would: Option<&'static str>,
}

/// Rehearses the call and tells what of it would be allowed. Fails if that is not all of it.
pub fn run(arguments: &arguments::Explain, output: &mut Output<'_>) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "only root can find out what a call would do on this node: as another user it would be rehearsed as \
             in kube-controller-manager; try `sudo wasmount explain …`"
        );
    }
    warn_of_secrets(&arguments.arguments, output);
    let plugins = PluginDir::find(arguments.plugin_dir.as_deref())?;
    let driver = Servable::find(&plugins, &arguments.driver)?;
    let given = arguments.arguments.iter().map(|argument| expand(argument));
    let served = driver.rehearse(given.collect::<Result<_>>()?)?;
    let explanation = explanation(&driver, &served);
    match arguments.json {
        true => output.json(&explanation)?,
        false => output.text(&text(&explanation))?,
    }
    if !explanation.complete {
        bail!("not all of the call is told, and what is missing may be anything: {CUT_OFF}");
    }
    Ok(())
}

fn explanation(driver: &Servable, served: &Served) -> Explanation {
    let bundle = &driver.bundle;
    let lines = Lines::of(&bundle.grants_text);
    let mut operations: Vec<Operation> = Vec::new();
    let mut secrets = Secrets::default();
    let mut asked: Option<(&Request, bool)> = None;
    for event in &served.events {
        if let Event::Operation(operation) = event {
            let (operation, host_calls, host) = (operation.name(), Vec::new(), Vec::new());
            operations.push(Operation { operation, component: false, host_calls, host });
            // Handles are of one operation.
            secrets = Secrets::default();
        }
        let Some(operation) = operations.last_mut() else { continue };
        match event {
            Event::Started(_) => operation.component = true,
            Event::HostCall(request, answer) => {
                secrets.note(request, answer);
                let done = !matches!(answer, Ok(Response::Failed(_)) | Err(_));
                asked = Some((request, done));
            }
            Event::Line { kind, fields, .. } if kind == "host-call" => {
                let Some((request, done)) = asked.take() else { continue };
                let text = |key: &str| fields[key].as_str().map(str::to_owned);
                let rules = rule::of(request, &lines, &secrets);
                operation.host_calls.push(HostCall {
                    call: function(request),
                    request: fields["request"].clone(),
                    decision: text("decision").unwrap_or_default(),
                    reason: text("reason"),
                    message: text("message"),
                    needs_grant: rules.is_some(),
                    rules: rules.unwrap_or_default(),
                    would: done.then(|| would(request)).flatten(),
                });
            }
            Event::Line { kind, fields, .. } if kind == "host-act" => {
                let act = fields["act"].as_str().unwrap_or_default().to_owned();
                operation.host.push(HostAct { act, rules: rule::of_host(fields, &lines) });
            }
            _ => {}
        }
    }
    Explanation {
        driver: bundle.driver.slash(),
        version: bundle.id.clone(),
        operations,
        reply: serde_json::from_slice(&served.document).unwrap_or_default(),
        exit: served.exit,
        complete: served.all,
    }
}

/// What a host call does that lasts, and that a rehearsal does not do.
fn would(request: &Request) -> Option<&'static str> {
    Some(match request {
        Request::StatePut { .. } => "store the value with the volume's record",
        Request::StateDelete { .. } => "delete the value from the volume's record",
        Request::TargetAttach { .. } => "put the mount on the directory, once the call succeeds",
        Request::TargetUnmount => "unmount the directory",
        Request::FilesystemsFormat { .. } => "make the filesystem on the device",
        Request::FilesystemsCheck { .. } => {
            "check the filesystem, and repair what is safe to repair"
        }
        Request::FilesystemsGrow => "grow the filesystem to its device's size",
        Request::MountsBlock { .. } => "mount the device's filesystem",
        Request::ImagesCreate { .. } => "create the image, unless it is there",
        Request::ImageGrow { .. } => "make the image longer",
        Request::ImageLease { .. } => "give the image to the node",
        Request::ImageAttach { .. } => "make the image a loop device",
        Request::ImagesDetach => "take the loop device down",
        Request::ImagesRelease { .. } => "end the image's lease",
        _ => return None,
    })
}

fn text(explanation: &Explanation) -> String {
    let Explanation { driver, version, operations, reply, exit, complete } = explanation;
    let mut text = format!("{driver}, version {version}: rehearsed, and nothing was changed\n");
    for operation in operations {
        text += &format!("\n{}", operation.operation);
        text += if operation.component { "\n" } else { ": no component is asked\n" };
        for host_call in &operation.host_calls {
            let HostCall { call, decision, reason, message, needs_grant, rules, would, .. } =
                host_call;
            // That a component lets go of something decides nothing.
            if *call == "drop" && decision == "allowed" {
                continue;
            }
            text += &format!("  {decision:<8} {call}{}\n", arguments_of(&host_call.request));
            text += &text_of(rules);
            match (*needs_grant, &rules[..]) {
                (false, _) if decision == "allowed" => text += "           no grant is needed\n",
                (true, []) if decision == "allowed" => {
                    text += "           granted, by a line of grants.toml that was not found\n";
                }
                _ => {}
            }
            if let (Some(reason), Some(message)) = (reason, message) {
                text += &format!("           {} [{}]\n", printable(message), printable(reason));
            }
            if let Some(would) = would {
                text += &format!("           would {would}; assumed to succeed from here on\n");
            }
        }
        for HostAct { act, rules } in &operation.host {
            text += &format!("  host     would: {}\n", printable(act));
            text += &text_of(rules);
            if rules.is_empty() {
                text += "           by itself: no grant is needed\n";
            }
        }
    }
    if !complete {
        text += &format!("\nTHIS IS NOT ALL: {CUT_OFF}\n");
    }
    text += &format!(
        "\nwould be answered, with exit code {exit}:\n{}\n",
        printable(&reply.to_string())
    );
    text
}

fn text_of(rules: &[Rule]) -> String {
    let line = |rule: &Rule| format!("           {}\n", printable(&rule.to_string()));
    rules.iter().map(line).collect()
}

/// The arguments, without what says which call it is.
fn arguments_of(request: &Value) -> String {
    let fields = request.as_object().into_iter().flatten().filter(|(key, _)| *key != "call");
    fields.map(|(key, value)| format!(" {key}={}", printable(&value.to_string()))).collect()
}
