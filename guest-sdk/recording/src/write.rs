//! A recording as it stands in a file. What is written reads the same.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use toml::Value;

use crate::answer::{Answer, Outcome};
use crate::call::{Access, Call, Pod};
use crate::host_call::{HostCall, bytes_value};
use crate::recorded::Recorded;
use crate::words::{quoted, value};

impl fmt::Display for Recorded {
    /// As `[[recorded]]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[[recorded]]")?;
        for (key, text) in [
            ("id", Some(&self.id)),
            ("time", Some(&self.time)),
            ("driver", Some(&self.driver)),
            ("version", Some(&self.version)),
            ("component", Some(&self.component)),
            ("wasmount", Some(&self.wasmount)),
            ("wasmtime", Some(&self.wasmtime)),
            ("operation", Some(&self.operation)),
            ("volume", self.volume.as_ref()),
        ] {
            if let Some(text) = text {
                writeln!(f, "{key} = {}", quoted(text))?;
            }
        }
        if self.node_only {
            writeln!(f, "node-only = true")?;
        }
        write_list(f, "host", self.host.iter().map(|act| quoted(act)))?;
        writeln!(f, "reply = {}", quoted(&self.reply))?;
        if !self.reply_follows {
            writeln!(f, "reply-follows = false")?;
        }
        writeln!(f, "exit = {}", self.exit)
    }
}

impl fmt::Display for Call {
    /// As `[[call]]`, without what goes without saying.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[[call]]\nname = {}", quoted(&self.name))?;
        let text = |f: &mut fmt::Formatter<'_>, key, text: Option<&String>| match text {
            Some(text) => writeln!(f, "{key} = {}", quoted(text)),
            None => Ok(()),
        };
        text(f, "part-of", self.part_of.as_ref())?;
        writeln!(
            f,
            "operation = {}\nvolume = {}",
            quoted(self.operation.name()),
            quoted(&self.volume)
        )?;
        write_table(f, "options", &self.options)?;
        text(f, "fs-type", self.fs_type.as_ref())?;
        if self.access == Access::ReadOnly {
            writeln!(f, "access = \"read-only\"")?;
        }
        if let Some(group) = self.fs_group {
            writeln!(f, "fs-group = {group}")?;
        }
        write_table(f, "pod", &of_pod(&self.pod))?;
        if !self.secret_keys.is_empty() {
            let keys: Vec<_> = self.secret_keys.iter().map(|key| quoted(key)).collect();
            writeln!(f, "secret-keys = [{}]", keys.join(", "))?;
        }
        write_table(f, "config", &self.config)?;
        writeln!(f, "node-name = {}", quoted(&self.node_name))?;
        text(f, "node", self.node.as_ref())?;
        text(f, "attachment", self.attachment.as_ref())?;
        if let Some((new, old)) = self.sizes {
            writeln!(f, "new-size = {}\nold-size = {}", number(new), number(old))?;
        }
        if !self.on_record {
            writeln!(f, "on-record = false")?;
        }
        if let Some(limits) = self.limits {
            let (memory, seconds) = (number(limits.memory), number(limits.cpu_seconds));
            writeln!(f, "limits = {{ memory = {memory}, cpu-seconds = {seconds} }}")?;
        }
        write_list(f, "host-calls", self.host_calls.iter().map(answered))?;
        match &self.outcome {
            Outcome::Done => Ok(()),
            Outcome::Trapped(cause) => writeln!(f, "crashes = {}", quoted(cause)),
            outcome => writeln!(f, "{outcome}"),
        }
    }
}

/// A host call with its answer, in one line.
fn answered(host_call: &HostCall) -> String {
    let mut line = String::new();
    let _ = host_call.write_asked(&mut line);
    let returns = match &host_call.answer {
        Answer::Done | Answer::Text(None) | Answer::Bytes(None) | Answer::Device(None) => None,
        Answer::Flag(flag) => Some(Value::Boolean(*flag)),
        Answer::Number(size) => Some(Value::Integer(number(*size))),
        Answer::Text(Some(text)) => Some(Value::String(text.clone())),
        Answer::Bytes(Some(bytes)) => Some(bytes_value(bytes)),
        Answer::Handle(held) | Answer::Device(Some(held)) => Some(Value::String(held.name.clone())),
        Answer::Failed(failure) => {
            let _ = write!(line, ", fails = {failure}");
            None
        }
        Answer::Ended => {
            line.push_str(", ends = true");
            None
        }
    };
    if let Some(returns) = returns {
        let _ = write!(line, ", returns = {}", value(&returns));
    }
    line.push_str(" }");
    line
}

fn of_pod(pod: &Pod) -> BTreeMap<String, String> {
    let fields = [
        ("name", &pod.name),
        ("namespace", &pod.namespace),
        ("uid", &pod.uid),
        ("service-account", &pod.service_account),
    ];
    let told = fields.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.clone()?)));
    told.collect()
}

fn write_table(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    table: &BTreeMap<String, String>,
) -> fmt::Result {
    if table.is_empty() {
        return Ok(());
    }
    let field = |(key, text): (&String, &String)| format!("{} = {}", quoted(key), quoted(text));
    let fields: Vec<_> = table.iter().map(field).collect();
    writeln!(f, "{key} = {{ {} }}", fields.join(", "))
}

fn write_list(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    items: impl ExactSizeIterator<Item = String>,
) -> fmt::Result {
    if items.len() == 0 {
        return Ok(());
    }
    writeln!(f, "{key} = [")?;
    for item in items {
        writeln!(f, "    {item},")?;
    }
    writeln!(f, "]")
}

/// TOML has no number beyond 2⁶³.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
