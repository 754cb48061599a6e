//! The programs that the driver is compared with: compiled or written out for one run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;

/// Where they are, all in the scratch directory.
pub(super) struct Programs {
    /// Prints a reply; C, static.
    pub(super) static_c: PathBuf,
    /// Prints a reply; bash.
    pub(super) bash: PathBuf,
    /// The usual driver.
    pub(super) bash_jq: PathBuf,
    /// The acts and fsyncs of ours in plain C.
    pub(super) native: PathBuf,
    /// Tells how much memory a program has had resident.
    pub(super) resident: PathBuf,
}

/// Puts them into `bench` in the directory, which is made.
pub(super) fn build(directory: &Path) -> anyhow::Result<Programs> {
    let directory = directory.join("bench");
    fs::create_dir(&directory)?;
    let compile = |name: &str, source: &str| -> anyhow::Result<PathBuf> {
        let (file, program) = (directory.join(format!("{name}.c")), directory.join(name));
        fs::write(&file, source)?;
        cargo::run(Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(&file))?;
        Ok(program)
    };
    let write = |name: &str, source: &str| -> anyhow::Result<PathBuf> {
        let program = directory.join(name);
        fs::write(&program, source)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(program)
    };
    Ok(Programs {
        static_c: compile("static", include_str!("static.c"))?,
        bash: write("print.sh", include_str!("print.sh"))?,
        bash_jq: write("bash-jq.sh", include_str!("bash-jq.sh"))?,
        native: compile("native", include_str!("native.c"))?,
        resident: compile("resident", include_str!("resident.c"))?,
    })
}
