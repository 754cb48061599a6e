//! Calls whose processes die at a named crash point of `wasmount_core::crash`. Only a driver with the
//! feature `crash-points` meets any.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use wasmount_core::crash::{Death, Victim};

use crate::starts::start;
use crate::{Answer, Driver, Node, node};

/// Makes the call with the crash point armed. Whether broker and supervisor were killed.
pub fn killed(node: &Node, driver: &Driver<'_>, point: &str, args: &[&str]) -> bool {
    let death = Death { point: point.to_owned(), nth: 1, victim: Victim::Call };
    dies(node, driver, &death, args).is_none()
}

/// Makes the call, of which somebody dies. What it answered; none if its supervisor died, which has
/// to have written nothing then.
pub fn dies<A: AsRef<str>>(
    node: &Node,
    driver: &Driver<'_>,
    death: &Death,
    args: &[A],
) -> Option<Answer> {
    let file = node.path("run/crash-point");
    fs::write(&file, death.to_string()).expect("armed");
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let mut command = Command::new(driver.executable());
    command.args(&args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = start(&mut command).and_then(|child| child.wait_with_output());
    let output = output.expect("a driver");
    fs::remove_file(&file).expect("disarmed");
    if output.status.signal().is_none() {
        return Some(node::read(output, args.join(" ")));
    }
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}: {output:?}");
    None
}

/// Makes the call and leaves it alone. What it answered, and the crash points that it met.
pub fn points_met<A: AsRef<str>>(
    node: &Node,
    driver: &Driver<'_>,
    args: &[A],
) -> (Answer, Vec<String>) {
    let file = node.path("run/crash-points-met");
    fs::write(&file, "").expect("armed");
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let answer = driver.call(&args);
    let met = fs::read_to_string(&file).expect("it is there");
    fs::remove_file(&file).expect("disarmed");
    (answer, met.lines().map(str::to_owned).collect())
}
