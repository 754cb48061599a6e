//! A call that is served here, by the code of the driver and not by its program: a process of its own
//! does it, which has the driver's version from this one and leaves what it has observed. It is
//! started anew, since guests are forked from it and nothing but the call's arguments may be in its memory.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::fs::MemfdFlags;
use wasmount_core::bundle::Bundle;
use wasmount_core::call::DriverName;
use wasmount_core::guest::engine::WASMTIME_VERSION;
use wasmount_core::observe::{self, Event, Plan};

use crate::installed;
use crate::layout::PluginDir;

/// The program that this is.
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// The command of the process that serves the call.
pub const COMMAND: &str = "serve-call";

/// Why something may be missing of what was observed.
pub const CUT_OFF: &str = "the component asked for more than is kept of a call, or the process that served it was \
                           stopped or killed";

/// A driver whose calls this program can serve as the driver itself would.
#[derive(Debug)]
pub struct Servable {
    /// Its version.
    pub bundle: Bundle,
}

/// A call that was served.
#[derive(Debug)]
pub struct Served {
    /// What kubelet would read.
    pub document: Vec<u8>,
    /// What kubelet would see the driver exit with.
    pub exit: i32,
    /// What was observed of it, in order.
    pub events: Vec<Event>,
    /// Whether that is all there was.
    pub all: bool,
}

impl Servable {
    /// The version of a driver that is in use. One that another wasmount has installed would do
    /// something else than this program.
    pub fn find(plugins: &PluginDir, driver: &DriverName) -> Result<Self> {
        let directory = plugins.installed(driver)?;
        let version = directory.version(&installed::current(&directory)?);
        let bundle = Bundle::read_at(&version)?;
        let receipt = &bundle.receipt;
        let (ours, theirs) = (env!("CARGO_PKG_VERSION"), &receipt.host_version);
        let (engine, compiled_by) = (WASMTIME_VERSION, &receipt.wasmtime_version);
        if ours != theirs || engine != compiled_by {
            bail!(
                "{driver} was installed by wasmount {theirs} with wasmtime {compiled_by}, and this is wasmount \
                 {ours} with wasmtime {engine}, which may serve the call otherwise; use the wasmount \
                 that installed it, or install the driver again with this one"
            );
        }
        Ok(Self { bundle })
    }

    /// Serves a call, and waits for it.
    pub fn serve(&self, arguments: Vec<OsString>) -> Result<Served> {
        self.run(arguments, false)
    }

    /// Rehearses a call: as it would be served, but that nothing of it lasts.
    pub fn rehearse(&self, arguments: Vec<OsString>) -> Result<Served> {
        self.run(arguments, true)
    }

    fn run(&self, arguments: Vec<OsString>, rehearsed: bool) -> Result<Served> {
        let what = "starting a process that serves the call";
        let mut file = memory().context(what)?;
        let plan = Plan { version: self.bundle.path.clone(), rehearsed, arguments };
        plan.write(&mut file).context(what)?;
        let stdin = Stdio::from(file.try_clone().context(what)?);
        // kubelet's driver has no environment either.
        let mut command = Command::new(OWN_EXECUTABLE);
        let command = command.arg(COMMAND).env_clear().stdin(stdin).stdout(Stdio::piped());
        let child = command.stderr(Stdio::null()).spawn().context(what)?;
        let output = child.wait_with_output().context("waiting for the call")?;
        let Some(exit) = output.status.code() else {
            bail!("the process that serves the call was killed ({})", output.status);
        };
        let (events, all) = observe::observed(&mut file).context("reading what was observed")?;
        Ok(Served { document: output.stdout, exit, events, all })
    }
}

/// `wasmount serve-call`, which nobody calls by hand.
pub fn run() -> Result<ExitCode> {
    let own = || {
        // The one that standard input is becomes the broker's /dev/null.
        let file = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
        rustix::fs::fcntl_get_seals(&file)?;
        Ok::<_, io::Error>(file)
    };
    let Ok(file) = own() else {
        bail!("`{COMMAND}` is this program's own; use `wasmount call`");
    };
    let exit = observe::serve(file).context("reading what to serve")?;
    Ok(ExitCode::from(u8::try_from(exit).unwrap_or(u8::MAX)))
}

/// A file that nobody else can open by a name.
fn memory() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(File::from(rustix::fs::memfd_create("call", flags)?))
}
