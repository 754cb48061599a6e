//! The component `edition`, of which there can be any number of editions, and what its answers
//! show: the edition twice and the operator's setting between, so that a mixture would be seen.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Answer, Driver, Node, component};

/// The name that the editions are installed under.
pub const EDITION: &str = "example.com/edition";

/// The letters of the component that are exchanged.
const LETTERS: &str = "edition-1";

/// Which component and which grants: what an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edition {
    /// 1, 2 …
    pub component: u8,
    /// 0 or 1: also the exit code of failures.
    pub setting: u8,
}

impl Edition {
    /// Reads what the component has written; a mixture is none.
    pub fn shown(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("edition-")?;
        let (component, rest) = rest.split_once(".setting-")?;
        let (setting, last) = rest.split_once(".edition-")?;
        let last = last.split_once('.').map_or(last, |(last, _)| last);
        let edition = Self { component: component.parse().ok()?, setting: setting.parse().ok()? };
        (last == component).then_some(edition)
    }

    /// Its grants file.
    pub fn grants(self, node: &Node) -> String {
        let setting = self.setting;
        let text = format!(
            "version = 1\n[reply]\nfailure-exit-code = {setting}\n[config]\nsetting = \
             \"setting-{setting}\"\n[mounts.tmpfs]\n"
        );
        let file = node.path(&format!("setting-{setting}.toml"));
        fs::write(&file, text).expect("grants written");
        file.display().to_string()
    }

    /// Its component.
    pub fn component(self, node: &Node) -> PathBuf {
        let file = node.path(&format!("edition-{}.wasm", self.component));
        let mut bytes = fs::read(component("edition")).expect("a component");
        let new = format!("edition-{}", self.component);
        let places: Vec<usize> = bytes
            .windows(LETTERS.len())
            .enumerate()
            .filter_map(|(at, found)| (found == LETTERS.as_bytes()).then_some(at))
            .collect();
        assert!(!places.is_empty(), "the component has the letters in one piece");
        for at in places {
            bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
        }
        fs::write(&file, bytes).expect("a component written");
        file
    }

    /// `wasmount install` of it, with more arguments.
    pub fn install(self, node: &Node, more: &[&str]) -> Answer {
        node.installs_file(&self.component(node), EDITION, more)
    }

    /// The same with its grants, which has to work.
    pub fn installed(self, node: &Node) -> Driver<'_> {
        let answer = self.install(node, &["--grants", &self.grants(node)]);
        assert_eq!(answer.exit, Some(0), "{}{}", answer.stdout, answer.stderr);
        node.installed(EDITION)
    }
}

impl Driver<'_> {
    /// One call, as kubelet makes it: the process that it waited for, and what it got. An error if
    /// there is nothing to execute.
    pub fn exec(&self, args: &[&str]) -> io::Result<(u32, Answer)> {
        let mut command = Command::new(self.executable());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn()?;
        let process = child.id();
        Ok((process, crate::node::read(child.wait_with_output()?, args.join(" "))))
    }
}
