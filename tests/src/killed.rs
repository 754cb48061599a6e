//! Calls whose broker and supervisor die at a named crash point of `wasmount_core::crash`. Only a
//! driver with the feature `crash-points` meets any.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use crate::{Driver, Node};

/// Makes the call with the crash point armed, then twice without. Whether it was killed.
pub fn killed_and_repeated(node: &Node, driver: &Driver<'_>, point: &str, args: &[&str]) -> bool {
    let killed = killed(node, driver, point, args);
    driver.call(args).success();
    driver.call(args).success();
    killed
}

/// Makes the call with the crash point armed. Whether it was killed.
pub fn killed(node: &Node, driver: &Driver<'_>, point: &str, args: &[&str]) -> bool {
    fs::write(node.path("run/crash-point"), point).expect("armed");
    let status = Command::new(driver.executable())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("a driver");
    fs::remove_file(node.path("run/crash-point")).expect("disarmed");
    status.signal().is_some()
}
