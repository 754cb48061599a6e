//! Which part of grants.toml each host call goes by. That it is allowed or not is decided elsewhere;
//! here is only where to look for the reason.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use wasmount_core::failure::Failure;
use wasmount_core::wire::{Handle, Request, Response};

use super::lines::Lines;

/// A place in grants.toml.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rule {
    /// From 1; none if the file does not say it, and what is usual holds.
    pub(super) line: Option<usize>,
    /// The section, dotted.
    pub(super) section: String,
    /// What it says.
    pub(super) text: String,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, section, text } = self;
        match line {
            Some(line) if text.starts_with('[') => write!(f, "grants.toml:{line} {text}"),
            Some(line) => write!(f, "grants.toml:{line} [{section}] {text}"),
            None => write!(f, "grants.toml   [{section}] {text}"),
        }
    }
}

/// Which key of the secret is behind a handle.
#[derive(Debug, Default)]
pub(super) struct Secrets(BTreeMap<u32, String>);

impl Secrets {
    pub(super) fn note(&mut self, request: &Request, answer: &Result<Response, Failure>) {
        if let (Request::SecretsOpen { key }, Ok(Response::Handle(handle))) = (request, answer) {
            self.0.insert(handle.0, key.clone());
        }
    }

    fn key(&self, handle: Handle) -> Option<&str> {
        self.0.get(&handle.0).map(String::as_str)
    }
}

/// The places that a host call goes by, none of which is there if nothing of the kind is granted. None if
/// it needs no grant.
pub(super) fn of(request: &Request, lines: &Lines<'_>, secrets: &Secrets) -> Option<Vec<Rule>> {
    let section = |section: &str, keys: &[&str]| section_of(lines, section, keys);
    let secret = |key: Option<&str>, which: &str| match key {
        Some(key) => entries(lines, "secrets", "key", key, which),
        None => Vec::new(),
    };
    Some(match request {
        Request::StateGet { .. } | Request::StatePut { .. } | Request::StateDelete { .. } => {
            section("state", &[])
        }
        Request::SecretsOpen { key } => secret(Some(key), "key"),
        Request::SecretReveal { secret: handle } => secret(secrets.key(*handle), "uses"),
        Request::TmpfsWriteSecret { secret: handle, .. } => {
            let mut rules = secret(secrets.key(*handle), "uses");
            rules.extend(section("mounts.tmpfs", &["max-files"]));
            rules
        }
        Request::DevicesFind { rule, .. } | Request::DevicesWait { rule, .. } => {
            entries(lines, "devices", "rule", rule, "id")
        }
        Request::FilesystemsFormat { .. } => section("filesystems", &["types", "format"]),
        Request::FilesystemsCheck { .. } => section("filesystems", &["types", "check"]),
        Request::FilesystemsGrow => section("filesystems", &["types", "grow"]),
        Request::MountsBlock { options, .. } if options.is_empty() => {
            section("mounts.block", &["filesystems"])
        }
        Request::MountsBlock { .. } => section("mounts.block", &["filesystems", "options"]),
        Request::MountsBind { .. } => section("mounts.bind", &[]),
        Request::TmpfsCreate { .. } => section("mounts.tmpfs", &["max-size"]),
        Request::TmpfsWriteFile { .. } => section("mounts.tmpfs", &["max-files"]),
        Request::TmpfsSeal { .. } => section("mounts.tmpfs", &[]),
        Request::ImagesOpen { .. } => section("images", &["directory", "names"]),
        Request::ImagesCreate { .. } => section("images", &["names", "create", "max-size"]),
        Request::ImageGrow { .. } => section("images", &["grow", "max-size"]),
        Request::ImageSize { .. }
        | Request::ImageLease { .. }
        | Request::ImageHolder { .. }
        | Request::ImageAttach { .. }
        | Request::ImagesAttached
        | Request::ImagesDetach
        | Request::ImagesRelease { .. } => section("images", &[]),
        // What is held was granted when it was handed out, and the directory is kubelet's.
        Request::Log { .. }
        | Request::TargetIsMounted
        | Request::TargetAttach { .. }
        | Request::TargetUnmount
        | Request::DeviceSize { .. }
        | Request::DeviceIsReadOnly { .. }
        | Request::DeviceProbe { .. }
        | Request::Drop { .. } => return None,
    })
}

/// The places that an act of the host's own goes by, as the audit log tells it; none if it does that
/// whatever is granted.
pub(super) fn of_host(act: &Value, lines: &Lines<'_>) -> Vec<Rule> {
    match (act["act"].as_str(), act["fs_type"].as_str()) {
        // What is mounted already is grown because kubelet asks for it.
        (Some("grow"), Some(_)) => section_of(lines, "filesystems", &["types", "grow"]),
        (Some("check"), _) => section_of(lines, "filesystems", &["types", "check"]),
        _ => Vec::new(),
    }
}

/// Keys of a section; without any, the section. What is not said is as usual.
fn section_of(lines: &Lines<'_>, section: &str, keys: &[&str]) -> Vec<Rule> {
    let path: Vec<&str> = section.split('.').collect();
    let rule = |(line, text)| Rule { line: Some(line), section: section.to_owned(), text };
    let Some(whole) = lines.find(&path) else { return Vec::new() };
    if keys.is_empty() {
        return vec![rule(whole)];
    }
    let key = |key: &&str| match lines.find(&[&path[..], &[*key]].concat()) {
        Some(found) => rule(found),
        None => {
            let text = format!("{key} is not set, and is as usual");
            Rule { line: None, section: section.to_owned(), text }
        }
    };
    keys.iter().map(key).collect()
}

/// The entries of a list of sections that are about a name: by name, or else by a pattern.
fn entries(lines: &Lines<'_>, section: &str, by: &str, name: &str, which: &str) -> Vec<Rule> {
    let mut found = Vec::new();
    for number in (0..).map(|number: usize| number.to_string()) {
        let Some((_, said)) = lines.find(&[section, &number, by]) else { break };
        let pattern = lines.text_of(&[section, &number, by]).unwrap_or_default();
        let fits = match pattern.split_once('*') {
            Some((start, end)) => {
                let rest = name.strip_prefix(start);
                rest.is_some_and(|rest| rest.ends_with(end.rsplit('*').next().unwrap_or_default()))
            }
            None => pattern == name,
        };
        if fits && let Some((line, text)) = lines.find(&[section, &number, which]) {
            let text = if which == by { text } else { format!("{said}, {text}") };
            found.push(Rule { line: Some(line), section: format!("[{section}]"), text });
        }
    }
    found
}
