//! `cargo xtask fuzz [--minutes N] [--json]`: libFuzzer looks for inputs of which what `tests/fuzz` says
//! does not hold, for so many minutes in all, a target after the other.
//!
//! What it finds it leaves in `target/fuzz`, with all inputs that led it on: the next run begins with
//! those. `cargo xtask test` runs it for a moment.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

use crate::cargo::{self, Workspace};
use crate::packages::{self, Program};
use crate::proof::{Proof, verdict};
use crate::steps::step;

/// libFuzzer is C++.
const COMPILER: &[Program] = &[Program("c++", "g++")];

/// What has the compiler tell libFuzzer where an input leads, and what it is compared with.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1";

/// How long it takes if nobody says.
const MINUTES: u32 = 8;

/// How long a target is tried with every change.
const MOMENT: Duration = Duration::from_secs(3);

/// What libFuzzer allows one input: it would report one that takes longer, or more memory. The time
/// is the clock's, also while the machine is busy with something else.
const BOUNDS: [&str; 2] = ["-timeout=100", "-rss_limit_mb=1024"];

/// The command.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (json, options) = Proof { name: "fuzz", options: &["minutes"] }.parse(arguments)?;
    let minutes = options.first().map_or(Ok(MINUTES), |(_, number)| number.parse())?;
    packages::ensure(COMPILER, "fuzzing")?;
    let workspace = Workspace::discover()?;
    let targets = targets(&workspace)?;
    let time = Duration::from_secs(60 * u64::from(minutes)) / u32::try_from(targets.len())?;
    let figures = all(&workspace, &targets, time)?;
    println!("{}", verdict("fuzz", figures, json));
    Ok(())
}

/// A moment of it, where it can be built: with every change nobody should have to install a
/// compiler.
pub(crate) fn smoke(workspace: &Workspace) -> anyhow::Result<()> {
    let missing = packages::find("c++").is_none() && !packages::can_install();
    if missing && std::env::var_os("CI").is_none_or(|ci| ci != "true") {
        eprintln!("notice: skipped: fuzzing needs a C++ compiler, g++ or its like");
        return Ok(());
    }
    packages::ensure(COMPILER, "fuzzing, under CI,")?;
    all(workspace, &targets(workspace)?, MOMENT).map(drop)
}

/// The names of the targets: each is a file.
fn targets(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(workspace.root.join("tests/fuzz/src/targets"))? {
        let path = file?.path();
        names.push(path.file_stem().context("a file")?.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn all(
    workspace: &Workspace,
    targets: &[String],
    time: Duration,
) -> anyhow::Result<Map<String, Value>> {
    let program = step("building the fuzz targets", || build(workspace))?;
    let mut runs = 0;
    for name in targets {
        let directory = workspace.target.join("fuzz").join(name);
        runs += step(&format!("fuzzing {name} for {} s", time.as_secs()), || {
            one(&program, name, &directory, time)
        })?;
    }
    let figures = [("targets", targets.len() as u64), ("runs", runs)];
    Ok(figures.map(|(key, value)| (key.to_owned(), Value::from(value))).into_iter().collect())
}

/// Builds libFuzzer's program. It has a directory of its own, so that nothing else is built anew
/// with its flags, or without.
fn build(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let directory = workspace.target.join("fuzz/build");
    let mut build = cargo::cargo();
    build.current_dir(&workspace.root).args(["build", "--profile", "fuzz"]);
    build.args(["--package", "wasmount-fuzz", "--features", "libfuzzer"]);
    build.args(["--target", &workspace.triple, "--target-dir"]).arg(&directory);
    build.env("RUSTFLAGS", COVERAGE).env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo::run(&mut build)?;
    Ok(directory.join(&workspace.triple).join("fuzz/wasmount-fuzz"))
}

/// Tries one target for so long. Returns how many inputs were tried.
fn one(program: &Path, name: &str, directory: &Path, time: Duration) -> anyhow::Result<u64> {
    let (corpus, seeds) = (directory.join("corpus"), directory.join("seeds"));
    fs::create_dir_all(&corpus)?;
    let _ = fs::remove_dir_all(&seeds);
    fs::create_dir_all(&seeds)?;
    // It says a lot, of which this is the end.
    let said = directory.join("log");
    let mut fuzz = std::process::Command::new(program);
    fuzz.args([&corpus, &seeds]).args(BOUNDS);
    fuzz.arg(format!("-max_total_time={}", time.as_secs().max(1)));
    fuzz.arg(format!("-artifact_prefix={}/found-", directory.display()));
    fuzz.arg("-print_final_stats=1");
    fuzz.env("WASMOUNT_FUZZ_TARGET", name).env("WASMOUNT_FUZZ_SEEDS", &seeds);
    fuzz.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said)?);
    let status = fuzz.status().with_context(|| format!("cannot run {}", program.display()))?;
    let log = String::from_utf8_lossy(&fs::read(&said)?).into_owned();
    if !status.success() {
        bail!("{}", found(name, &log, &said));
    }
    let runs = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let runs = runs.context("libFuzzer does not say what it did")?.trim().parse()?;
    ensure!(runs > 0, "libFuzzer tried nothing of {name}");
    Ok(runs)
}

/// What is wrong with a target, and where the input is.
fn found(name: &str, log: &str, said: &Path) -> String {
    let input =
        log.lines().find_map(|line| line.split_once("Test unit written to ").map(|it| it.1));
    let Some(input) = input else {
        return format!("{name}: libFuzzer gave up; {} has what it said", said.display());
    };
    let why = log.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    let why = why.unwrap_or("it takes too long, or too much memory");
    format!(
        "{name}: {why}; the input is {input}: put it into tests/fuzz/regressions/{name} and mend what \
         it shows"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_told_with_its_input() {
        let log = "#2 INITED\nthread 'x' panicked at src/a.rs:1:2:\nit does not hold\n\
                   artifact_prefix='t/found-'; Test unit written to t/found-crash-1\n";
        let told = found("wire", log, Path::new("t/log"));
        assert_eq!(
            told,
            "wire: it does not hold; the input is t/found-crash-1: put it into \
             tests/fuzz/regressions/wire and mend what it shows"
        );
        let told = found("wire", "no such file", Path::new("t/log"));
        assert_eq!(told, "wire: libFuzzer gave up; t/log has what it said");
    }
}
