//! The command line, as clap reads it. Nothing here touches the node.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wasmount_core::call::{DriverName, NodeName, Operation};
use wasmount_core::failure::Failure;
use wasmount_core::guest::compiler::Cpu;
use wasmount_pack::manifest::{Name, Operators};

use crate::finding::Severity;
use crate::{layout, new, time};

/// Builds, installs and examines wasmount drivers
#[derive(Debug, Parser)]
#[command(name = "wasmount", version, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage. `call` exits as the driver does."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a crate to write a driver in
    New(New),
    /// Build a driver's crate into a component
    Build(Build),
    /// Play calls on record with a component, without a node and without root
    Test(Test),
    /// Show what a component is, exports and asks for
    Inspect(Inspect),
    /// Compare two components, two grants files, or what is installed with either
    Diff(Diff),
    /// Install a component as a FlexVolume driver of this node, or upgrade one
    Install(Box<Install>),
    /// Remove a driver from this node, unless volumes of it are in use
    Uninstall(Uninstall),
    /// List the installed drivers and whether they are in order
    List(List),
    /// Examine a grants file, or give it to an installed driver
    #[command(subcommand)]
    Grants(Grants),
    /// Go back to the program that a driver had before, and keep its grants
    Rollback(Rollback),
    /// Call an installed driver as kubelet would
    Call(Call),
    /// Rehearse a call: say what of it would be allowed, by which line of grants.toml, and what it
    /// would do. Nothing is changed
    ///
    /// It waits for no call and none waits for it, but while it lasts it has the volume's device
    /// open, or a read-only loop device of its image. A call for the same volume that comes just then
    /// may find the image in use, and kubelet has to try again: explain no call for a volume that is
    /// being set up or taken down.
    Explain(Explain),
    /// Play recorded calls with a component again, and say which it answers otherwise
    Replay(Replay),
    /// Serve a call in this process: for `call --record` and `explain`
    #[command(hide = true)]
    ServeCall,
    /// Show what drivers were asked, what was decided and done
    Log(Box<Log>),
    /// Show what drivers ask for, may do and have done, and what a reviewer should look at
    Audit(Audit),
    /// Look for what is wrong on this node and in its drivers, and say what to do
    Doctor(Doctor),
    /// Show what interrupted calls have left of volumes, and settle it
    Recover(Recover),
    /// Make a key pair to sign components with
    Keygen(Keygen),
    /// Sign a component: the signature is put beside it
    Sign(Sign),
    /// Say who signed a component, and whether this node would take it
    Verify(Verify),
    /// Print what a shell needs to complete the arguments of this program
    Completions(Completions),
}

/// `wasmount new`.
#[derive(Debug, Args)]
pub struct New {
    /// The driver's name, and that of the directory to make: 1 to 63 of a-z, 0-9 and -
    #[arg(value_name = "NAME", value_parser = crate_name)]
    pub name: Name,
    /// Where wasmount-guest-sdk is: `guest-sdk` in a clone of wasmount, until it is published
    #[arg(long, value_name = "DIR")]
    pub sdk: PathBuf,
}

/// `wasmount build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The crate: a directory with Cargo.toml and wasmount.toml
    pub dir: PathBuf,
    /// Where to write the component
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `wasmount test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The component
    pub file: PathBuf,
    /// Files with calls on record, such as tests/calls.toml of its crate
    #[arg(required = true, value_name = "RECORDING")]
    pub recordings: Vec<PathBuf>,
}

/// `wasmount inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The component
    pub file: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `wasmount install`.
#[derive(Debug, Args)]
pub struct Install {
    /// The component
    pub file: PathBuf,
    /// The driver's name, as pods and PersistentVolumes write it
    #[arg(long, value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: DriverName,
    /// What the component may do; without it, what the driver is granted already. If it is new, or asks
    /// for more than before, somebody at a terminal is asked; elsewhere a new one is granted nothing, and
    /// an upgrade that asks for more is refused
    #[arg(long, value_name = "FILE", conflicts_with = "no_grants")]
    pub grants: Option<PathBuf>,
    /// Grant nothing, whatever the driver is granted already
    #[arg(long)]
    pub no_grants: bool,
    /// Grant what the component's manifest asks for, exactly as it asks
    #[arg(long, conflicts_with_all = ["grants", "no_grants"])]
    pub accept_requested: bool,
    /// Something super-privileged that is asked for and to be granted, such as `images` or
    /// `secrets.reveal`; once for each
    #[arg(long, value_name = "NAME", requires = "accept_requested")]
    pub accept: Vec<String>,
    /// Grant it also where what is super-privileged is asked for further than by what is installed
    #[arg(long, requires = "accept_requested")]
    pub accept_wider: bool,
    /// What no vendor can know of a grants file: images.directory=DIR, reply.failure-exit-code=0 or 1,
    /// config.KEY=TEXT; once for each
    #[arg(long, value_name = "KEY=VALUE", requires = "accept_requested", value_parser = operators)]
    pub with: Vec<Operators>,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// kubelet's --root-dir, which every mount is below [default: as installed, else
    /// /var/lib/kubelet]
    #[arg(long, value_name = "DIR", value_parser = directory)]
    pub kubelet_root: Option<PathBuf>,
    /// Where the driver keeps what it must remember of volumes [default: as installed, else
    /// /var/lib/wasmount]
    #[arg(long, value_name = "DIR", value_parser = directory)]
    pub data_dir: Option<PathBuf>,
    /// Where the driver keeps locks; lost at a reboot [default: as installed, else /run/wasmount]
    #[arg(long, value_name = "DIR", value_parser = directory)]
    pub run_dir: Option<PathBuf>,
    /// Where the driver keeps its audit log [default: as installed, else /var/log/wasmount]
    #[arg(long, value_name = "DIR", value_parser = directory)]
    pub log_dir: Option<PathBuf>,
    /// The name that Kubernetes has for this node [default: as installed, else the host name]
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    pub node_name: Option<NodeName>,
    /// The CPU to compile for: `native` is this machine's, with all it can do; for images of nodes,
    /// a level that all of them have, such as x86-64-v2 [default: as installed, else native]
    #[arg(long, value_name = "LEVEL", value_parser = cpu)]
    pub target_cpu: Option<Cpu>,
    /// Attach volumes on this node itself, within `mount`: for clusters that attach no FlexVolumes,
    /// such as OpenShift's. It is not kept: an upgrade without it has the cluster attach them again
    #[arg(long)]
    pub node_only: bool,
    /// The driver program [default: wasmount-driver beside this program]
    #[arg(long, value_name = "FILE")]
    pub driver_binary: Option<PathBuf>,
    /// Where the keys are that are trusted, and the policy [default: as installed, else
    /// /etc/wasmount/trust]
    #[arg(long, value_name = "DIR")]
    pub trust_dir: Option<PathBuf>,
    /// Install a component that nobody signed. One with a signature has to have a right one
    #[arg(long)]
    pub allow_unsigned: bool,
    /// Install a component that is older than the installed one, or has another name
    #[arg(long)]
    pub allow_downgrade: bool,
}

/// `wasmount diff`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 nothing differs, 3 something does, 1 failed, 2 wrong usage.")]
pub struct Diff {
    /// A component, a grants file, or an installed driver: VENDOR/NAME, or VENDOR/NAME@VERSION of those
    /// that `wasmount list` shows
    pub old: String,
    /// What it is compared with: the same
    pub new: String,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `wasmount uninstall`.
#[derive(Debug, Args)]
pub struct Uninstall {
    /// The driver's name
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: DriverName,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Where the driver's records are, should the driver's receipt not say so any more
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// `wasmount list`.
#[derive(Debug, Args)]
pub struct List {
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `wasmount grants`.
#[derive(Debug, Subcommand)]
pub enum Grants {
    /// Say what is wrong in a grants file, and what it lacks for a component
    Check(GrantsCheck),
    /// Give an installed driver other grants, and change nothing else of it
    Apply(GrantsApply),
    /// Print the narrowest grants that were needed so far, by the audit log
    Suggest(GrantsSuggest),
}

/// `wasmount grants check`.
#[derive(Debug, Args)]
pub struct GrantsCheck {
    /// The grants file
    pub file: PathBuf,
    /// Compare it with what this component asks for
    #[arg(long, value_name = "FILE")]
    pub component: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `wasmount grants apply`.
#[derive(Debug, Args)]
pub struct GrantsApply {
    /// The driver's name
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: DriverName,
    /// The grants file
    pub file: PathBuf,
    /// Only show what it would change
    #[arg(long)]
    pub dry_run: bool,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
}

/// `wasmount grants suggest`.
#[derive(Debug, Args)]
pub struct GrantsSuggest {
    /// The driver's name
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: DriverName,
    /// Print the grants file and nothing else, for `grants apply`
    #[arg(long)]
    pub toml: bool,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
}

/// `wasmount rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The driver's name
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: DriverName,
    /// Go back to this version, of those that `wasmount list` shows [default: the newest that has
    /// another program; with --with-grants, the one that was in use before]
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
    /// Go back to the grants of that version, too
    #[arg(long)]
    pub with_grants: bool,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Where the policy is, and the keys that are trusted [default: where `install` was told that they
    /// are, else /etc/wasmount/trust]
    #[arg(long, value_name = "DIR")]
    pub trust_dir: Option<PathBuf>,
}

/// `wasmount call`.
#[derive(Debug, Args)]
pub struct Call {
    /// Tell on standard error what the audit log says of the call: every host call, its decision,
    /// reason and time
    #[arg(long)]
    pub trace: bool,
    /// Serve the call here, by the same code as the driver's, and append it to this file for `replay`
    /// and for a driver's tests, with `[secret]` in place of every secret. The call is a real one
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    pub record: Option<PathBuf>,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// The driver's name
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: DriverName,
    /// The operation and its arguments; @FILE stands for what is in FILE, which keeps secrets out of
    /// the list of processes
    #[arg(value_name = "OP ARG", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// `wasmount explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// The driver's name
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: DriverName,
    /// The operation and its arguments; @FILE stands for what is in FILE, which keeps secrets out of
    /// the list of processes
    #[arg(
        value_name = "OP ARG",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub arguments: Vec<OsString>,
}

/// `wasmount replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The recording
    pub file: PathBuf,
    /// The component to play it with [default: that of the driver, if it is installed here]
    #[arg(long, value_name = "FILE")]
    pub component: Option<PathBuf>,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR", conflicts_with = "component")]
    pub plugin_dir: Option<PathBuf>,
}

/// `wasmount log`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Log {
    /// What to do with the log instead of showing calls.
    #[command(subcommand)]
    pub whole: Option<WholeLog>,
    /// The driver's name; without it, all drivers
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: Option<DriverName>,
    /// Tell all of one call: every host call, its decision, reason and time. The beginning of the
    /// call's id will do
    #[arg(long, value_name = "ID", conflicts_with_all = ["volume", "operation", "failed", "since", "follow"])]
    pub call: Option<String>,
    /// Only calls for this volume
    #[arg(long, value_name = "NAME")]
    pub volume: Option<String>,
    /// Only calls of this operation, such as mount
    #[arg(long, value_name = "OP", value_parser = operation)]
    pub operation: Option<Operation>,
    /// Only calls that did not succeed, or never ended
    #[arg(long)]
    pub failed: bool,
    /// Only calls that began then or later: 2026-11-21, 2026-11-21T10:31:05Z, or 10m, 2h, 3d ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<SystemTime>,
    /// Go on, and show each call when it has ended
    #[arg(short, long)]
    pub follow: bool,
    /// Print the lines of the calls as they are in the log: one JSON document a line
    #[arg(long)]
    pub json: bool,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Where the audit log is, of drivers that are no longer installed
    #[arg(long, value_name = "DIR", conflicts_with = "plugin_dir")]
    pub log_dir: Option<PathBuf>,
}

/// What is done with a log as a whole.
#[derive(Debug, Subcommand)]
pub enum WholeLog {
    /// Check that no line was changed or taken away, and name the first place where one was
    Verify(LogVerify),
    /// Print what `verify --head` compares the log with later; to be kept off the node
    Head(LogHead),
}

/// `wasmount log verify`.
#[derive(Debug, Args)]
pub struct LogVerify {
    /// The driver's name; without it, all drivers
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: Option<DriverName>,
    /// What `wasmount log head` printed earlier: that what the log had then is still there
    #[arg(long, value_name = "FILE")]
    pub head: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Where the audit log is, of drivers that are no longer installed
    #[arg(long, value_name = "DIR", conflicts_with = "plugin_dir", requires = "data_dir")]
    pub log_dir: Option<PathBuf>,
    /// Where their records were, and the head of the log is
    #[arg(long, value_name = "DIR", conflicts_with = "plugin_dir", requires = "log_dir")]
    pub data_dir: Option<PathBuf>,
}

/// `wasmount log head`.
#[derive(Debug, Args)]
pub struct LogHead {
    /// The driver's name; without it, all drivers
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: Option<DriverName>,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
}

/// `wasmount audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// The driver's name; without it, all drivers
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: Option<DriverName>,
    /// How to print it: `text` for a terminal; `json` (docs/audit.schema.json); `sarif` 2.1.0, the
    /// findings alone; `html`, one page that needs nothing else
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_possible_values = true)]
    pub format: AuditFormat,
    /// Exit with 1 if there is a finding that is at least so severe: error, warning or note
    #[arg(long, value_name = "SEVERITY", hide_possible_values = true)]
    pub fail_on: Option<Severity>,
    /// Where the keys are that are trusted, and the policy [default: where `install` was told that they
    /// are, else /etc/wasmount/trust]
    #[arg(long, value_name = "DIR")]
    pub trust_dir: Option<PathBuf>,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
}

/// How `wasmount audit` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "each is the format of that name")]
pub enum AuditFormat {
    Text,
    Json,
    Sarif,
    Html,
}

/// `wasmount doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The driver's name; without it, all drivers
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: Option<DriverName>,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Where the keys are that are trusted, and the policy [default: where `install` was told that they
    /// are, else /etc/wasmount/trust]
    #[arg(long, value_name = "DIR")]
    pub trust_dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `wasmount keygen`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// The pair's name: NAME.key is the secret key, NAME.pub the public one
    pub name: PathBuf,
    /// Do not ask for a passphrase: whoever has NAME.key can sign
    #[arg(long)]
    pub no_passphrase: bool,
}

/// `wasmount sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// The component
    pub file: PathBuf,
    /// The secret key, of `wasmount keygen` or minisign. If it has a passphrase, that is asked for on
    /// the terminal
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
}

/// `wasmount verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The component
    pub file: PathBuf,
    /// Its signature [default: FILE.minisig]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Where the keys are that are trusted, and the policy [default: as the driver is installed,
    /// else /etc/wasmount/trust]
    #[arg(long, value_name = "DIR")]
    pub trust_dir: Option<PathBuf>,
    /// What it is to be installed as, which it may not be by the policy
    #[arg(long, value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: Option<DriverName>,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR", requires = "driver")]
    pub plugin_dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `wasmount recover`.
#[derive(Debug, Args)]
pub struct Recover {
    /// The driver's name
    #[arg(value_name = "VENDOR/NAME", value_parser = driver_name)]
    pub driver: DriverName,
    /// Only this volume
    pub volume: Option<String>,
    /// Settle it: have the driver take off its records what is not on the node, and take down what
    /// was set up for a pod and no pod has. What is in use is not touched
    #[arg(long)]
    pub yes: bool,
    /// Where kubelet looks for drivers
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Print one JSON document, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub json: bool,
}

/// `wasmount completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell. Its manual says where it looks for such a script
    pub shell: Shell,
}

/// A shell that can complete arguments.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[expect(missing_docs, reason = "each is the shell of that name")]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

fn driver_name(text: &str) -> Result<DriverName, String> {
    let driver: DriverName = text.parse().map_err(|failure: Failure| failure.message)?;
    // What kubelet executes has the driver's name and lies beside these.
    match driver.name() {
        layout::CURRENT => Err("every driver has a link of that name; choose another".to_owned()),
        _ => Ok(driver),
    }
}

fn crate_name(text: &str) -> Result<Name, String> {
    let name: Name = text.parse().map_err(|error: wasmount_pack::Error| error.to_string())?;
    match new::refusal(&name) {
        Some(refusal) => Err(refusal.to_owned()),
        None => Ok(name),
    }
}

fn cpu(text: &str) -> Result<Cpu, String> {
    let known = || ["native"].iter().chain(Cpu::LEVELS).copied().collect::<Vec<_>>().join(", ");
    Cpu::parse(text).ok_or_else(|| format!("valid: {}", known()))
}

fn operation(text: &str) -> Result<Operation, String> {
    Operation::parse(text.as_bytes()).ok_or_else(|| {
        let names: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        format!("valid: {}", names.join(", "))
    })
}

/// One key of what the operator says, and nothing of the others.
pub fn operators(text: &str) -> Result<Operators, String> {
    let known = "valid: images.directory=DIR, reply.failure-exit-code=0 or 1, config.KEY=TEXT";
    let (key, value) = text.split_once('=').ok_or(known)?;
    let mut operators = Operators::default();
    match (key, key.strip_prefix("config.")) {
        ("images.directory", _) => operators.images_directory = Some(value.to_owned()),
        ("reply.failure-exit-code", _) => {
            let code = value.parse().ok().filter(|code| *code <= 1);
            operators.failure_exit_code = Some(code.ok_or("valid: 0, 1")?);
        }
        (_, Some(setting)) if !setting.is_empty() => {
            operators.config.insert(setting.to_owned(), value.to_owned());
        }
        _ => return Err(known.to_owned()),
    }
    Ok(operators)
}

fn time(text: &str) -> Result<SystemTime, String> {
    time::parse(text, SystemTime::now())
}

fn node_name(text: &str) -> Result<NodeName, String> {
    text.parse().map_err(|failure: Failure| failure.message)
}

/// A directory that the driver uses later, wherever it is called from. The receipt has it as
/// text, so it is UTF-8.
fn directory(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let straight = path.components().all(|part| part != Component::ParentDir);
    if !path.is_absolute() || !straight {
        return Err("it is not an absolute path without `..`".to_owned());
    }
    // Without `//`, `/./` and a slash at the end.
    Ok(path.components().collect())
}
