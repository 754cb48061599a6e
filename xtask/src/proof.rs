//! `cargo xtask wall | hostile | crash | soak`: a property of the whole, shown by one test of
//! `tests/` that is run alone, at any length, and whose figures are the last line.
//!
//! `cargo xtask test` runs the same tests at a length that suits every change. What they measure is
//! theirs: they leave it in the file that `WASMOUNT_FIGURES` names, as one object of numbers. A
//! proof's option `--calls 2000` reaches its test as `WASMOUNT_CALLS=2000`.

use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

use crate::cargo::Workspace;
use crate::packages;
use crate::steps::step;
use crate::test;

/// What a proof's test leaves its figures in.
const FIGURES: &str = "WASMOUNT_FIGURES";

/// One of them.
pub(crate) struct Proof {
    /// Its command, and its test in `tests/`.
    pub(crate) name: &'static str,
    /// What `--NAME NUMBER` may be given.
    pub(crate) options: &'static [&'static str],
}

impl Proof {
    /// The command: builds everything, runs the test and says how it ended.
    pub(crate) fn run(&self, arguments: &[String]) -> anyhow::Result<()> {
        let (json, variables) = self.parse(arguments)?;
        ensure!(packages::is_root(), "it mounts real filesystems: run it as root");
        let workspace = Workspace::discover()?;
        let crash_driver = test::build(&workspace)?;
        let figures = tempfile::NamedTempFile::new()?;
        step(&format!("running {}", self.name), || {
            let mut test = test::cargo_test(&workspace, &crash_driver);
            test.args(["--test", self.name, "--", "--nocapture"]);
            test.envs(variables).env(FIGURES, figures.path());
            // Nothing may be skipped: a proof that shows half is none.
            test.env("CI", "true").stdin(Stdio::null());
            test.stdout(rustix::io::dup(std::io::stderr())?);
            ensure!(test.status()?.success(), "its test says so above");
            Ok(())
        })?;
        let figures = std::fs::read(figures.path())?;
        let figures: Map<String, Value> =
            serde_json::from_slice(&figures).context("its test left no figures")?;
        println!("{}", verdict(self.name, figures, json));
        Ok(())
    }

    /// Whether the result is to be JSON, and the environment of the test.
    pub(crate) fn parse(
        &self,
        arguments: &[String],
    ) -> anyhow::Result<(bool, Vec<(String, String)>)> {
        let (mut json, mut variables) = (false, Vec::new());
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let option = argument.strip_prefix("--").unwrap_or_default();
            if option == "json" {
                json = true;
            } else if self.options.contains(&option) {
                let number = arguments.next().and_then(|value| value.parse::<u32>().ok());
                let number = number.with_context(|| format!("{argument} takes a number"))?;
                variables.push((format!("WASMOUNT_{}", option.to_uppercase()), number.to_string()));
            } else {
                let known: String =
                    self.options.iter().map(|it| format!("--{it} NUMBER, ")).collect();
                bail!("{argument} means nothing here; there are {known}--json");
            }
        }
        Ok((json, variables))
    }
}

/// The last line.
pub(crate) fn verdict(name: &str, figures: Map<String, Value>, json: bool) -> String {
    if json {
        let mut object = Map::from_iter([
            ("name".to_owned(), Value::from(name)),
            ("ok".to_owned(), Value::from(true)),
        ]);
        object.extend(figures);
        return Value::from(object).to_string();
    }
    let figures: String = figures.iter().map(|(key, value)| format!(" {key}={value}")).collect();
    format!("{name}: ok{figures}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOAK: Proof = Proof { name: "soak", options: &["calls", "volumes"] };

    fn parse(line: &str) -> Result<(bool, Vec<(String, String)>), String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        SOAK.parse(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn options_become_variables() {
        let calls = ("WASMOUNT_CALLS".to_owned(), "20".to_owned());
        assert_eq!(parse(""), Ok((false, vec![])));
        assert_eq!(parse("--json --calls 20"), Ok((true, vec![calls])));
        assert_eq!(parse("--calls"), Err("--calls takes a number".into()));
        assert_eq!(parse("--calls x"), Err("--calls takes a number".into()));
        let known = "there are --calls NUMBER, --volumes NUMBER, --json";
        assert_eq!(parse("--cals 1"), Err(format!("--cals means nothing here; {known}")));
        assert_eq!(parse("20"), Err(format!("20 means nothing here; {known}")));
    }

    #[test]
    fn the_last_line_has_the_figures() {
        let figures = || Map::from_iter([("lost".to_owned(), Value::from(0))]);
        assert_eq!(verdict("soak", figures(), false), "soak: ok lost=0");
        assert_eq!(verdict("soak", figures(), true), r#"{"lost":0,"name":"soak","ok":true}"#);
    }
}
