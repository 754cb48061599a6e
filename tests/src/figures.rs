//! What a test has counted, for whoever asked for it (`cargo xtask crash` and the like).

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

/// The file that wants figures.
const FIGURES: &str = "WASMOUNT_FIGURES";

/// Tests run side by side.
static TURN: Mutex<()> = Mutex::new(());

/// Whether this run is for the figures, and the test to be at its full length.
pub fn figures_are_wanted() -> bool {
    std::env::var_os(FIGURES).is_some()
}

/// How much of something the run was asked for, by a variable such as `WASMOUNT_CALLS`.
pub fn asked(variable: &str, usual: u32) -> u32 {
    let asked = std::env::var(variable).ok();
    asked.map_or(usual, |number| number.parse().expect("a number"))
}

/// Adds to the figures of this run. Without anyone who wants them nothing is written.
pub fn figures(counted: &[(&str, u64)]) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(path) = std::env::var_os(FIGURES).map(PathBuf::from) else { return };
    let present = fs::read(&path).unwrap_or_default();
    let mut figures: Map<String, Value> = serde_json::from_slice(&present).unwrap_or_default();
    figures.extend(counted.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))));
    fs::write(&path, Value::from(figures).to_string()).expect("the figures are written");
}
