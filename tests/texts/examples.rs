//! Texts as somebody reads them: those that a table of the tests has, to the letter. The tests
//! beside those tables hold the programs to them, so nothing here is made up.

use std::fs;

use serde::Deserialize;
use wasmount_core::call::Operation;
use wasmount_core::decide::No;
use wasmount_core::failure::Failure;
use wasmount_core::reply::Reply;

use crate::sources::root;

/// What is said to the requests of a component.
const DECISIONS: &str = "host/core/tests/decisions.toml";
/// What the driver replies, a file for each driver.
const REPLIES: &str = "tests/cases";
/// What is said to a component that misuses the host, in some files.
const MISUSE: &str = "tests/hostile/cases";
/// What `wasmount` says to mistakes.
const MISTAKES: &str = "host/cli/tests/mistakes.toml";

/// A text as somebody reads it.
pub(crate) struct Example {
    /// With all that is around it.
    pub(crate) shown: String,
    /// What a program of wasmount says of it.
    pub(crate) said: String,
    /// Whether it is what a terminal shows of a mistake.
    pub(crate) is_mistake: bool,
}

/// All examples.
pub(crate) fn all() -> Vec<Example> {
    let mut all = mistakes();
    all.extend(decided("example.com/demo", table(DECISIONS)));
    all.extend(replies());
    all.extend(decided("example.com/misuse", tables(MISUSE)));
    all
}

#[derive(Deserialize)]
struct Table<T> {
    case: Vec<T>,
}

fn table<T: for<'a> Deserialize<'a>>(path: &str) -> Vec<T> {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    toml::from_str::<Table<T>>(&text).unwrap_or_else(|e| panic!("{path}: {e}")).case
}

/// The rows of every table in a directory.
fn tables<T: for<'a> Deserialize<'a>>(directory: &str) -> Vec<T> {
    let files = fs::read_dir(root().join(directory)).expect("tables");
    let mut files: Vec<String> = files
        .map(|file| file.expect("a table").file_name().into_string().expect("UTF-8"))
        .collect();
    files.sort();
    files.iter().flat_map(|file| table(&format!("{directory}/{file}"))).collect()
}

/// Terminals.
fn mistakes() -> Vec<Example> {
    #[derive(Deserialize)]
    struct Case {
        arguments: Vec<String>,
        stderr: String,
        exit: i32,
    }
    let shown = |Case { arguments, stderr, exit }| {
        let said = stderr.trim_end().to_owned();
        let shown = format!("$ wasmount {}\n{said}\n(exit code {exit})", arguments.join(" "));
        Example { shown, said, is_mistake: true }
    };
    table(MISTAKES).into_iter().map(shown).collect()
}

/// A request of a component or what it does with the host, and how that ends.
#[derive(Deserialize)]
struct Decided {
    #[serde(rename = "in")]
    operation: Operation,
    #[serde(default)]
    says: String,
}

/// Replies, where the component hands on to kubelet what it was answered.
fn decided(driver: &str, cases: Vec<Decided>) -> Vec<Example> {
    let driver = driver.parse().expect("a driver");
    let shown = |Decided { operation, says }: Decided| {
        let (head, message) = says.split_once(": ")?;
        let failure = match head.split_once(' ') {
            None if head == "fault" => No::Fault(message.to_owned()).into(),
            None => return None,
            Some((code, reason)) => {
                Failure::new(serde_json::from_value(code.into()).ok()?, reason, message)
            }
        };
        let reply = Reply::failure(Some(&driver), Some(operation), &failure);
        let document = String::from_utf8(reply.to_json_line()).expect("JSON is UTF-8");
        Some(replied(document.trim_end()))
    };
    cases.into_iter().filter_map(shown).collect()
}

fn replies() -> Vec<Example> {
    #[derive(Deserialize)]
    struct Case {
        stdout: String,
    }
    tables(REPLIES).into_iter().map(|Case { stdout }| replied(&stdout)).collect()
}

fn replied(document: &str) -> Example {
    let reply: serde_json::Value = serde_json::from_str(document).expect("a reply");
    let said = reply["message"].as_str().unwrap_or_default().to_owned();
    Example { shown: document.to_owned(), said, is_mistake: false }
}
