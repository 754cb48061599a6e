//! What an installation says of the node and of whom it trusts, and not of the component or of what
//! that may do.
//!
//! Whoever upgrades a program has said nothing about it: what no argument says stays as it is
//! installed. Records are found by the directories, and leases are held in the node's name.

use std::path::{self, PathBuf};

use anyhow::{Context as _, Result};
use wasmount_core::bundle::Receipt;
use wasmount_core::call::NodeName;
use wasmount_core::failure::Failure;
use wasmount_core::guest::compiler::Cpu;

use crate::arguments;

/// The fields of a receipt that an upgrade keeps.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the receipt's fields of the same name")]
pub struct Settings {
    pub kubelet_root: PathBuf,
    pub data_dir: PathBuf,
    pub run_dir: PathBuf,
    pub log_dir: PathBuf,
    pub node_name: String,
    pub target_cpu: Cpu,
    pub trust_dir: Option<PathBuf>,
}

impl Settings {
    /// As the arguments say, else as installed, else as for a driver that is new.
    pub fn of(arguments: &arguments::Install, installed: Option<&Receipt>) -> Result<Self> {
        let directory = |said: &Option<PathBuf>, kept: fn(&Receipt) -> &PathBuf, new: &str| {
            said.as_ref().or(installed.map(kept)).map_or_else(|| new.into(), PathBuf::clone)
        };
        let kept_cpu = installed.and_then(|receipt| Cpu::parse(&receipt.target_cpu));
        Ok(Self {
            kubelet_root: directory(
                &arguments.kubelet_root,
                |receipt| &receipt.kubelet_root,
                "/var/lib/kubelet",
            ),
            data_dir: directory(
                &arguments.data_dir,
                |receipt| &receipt.data_dir,
                "/var/lib/wasmount",
            ),
            run_dir: directory(&arguments.run_dir, |receipt| &receipt.run_dir, "/run/wasmount"),
            log_dir: directory(&arguments.log_dir, |receipt| &receipt.log_dir, "/var/log/wasmount"),
            node_name: match (&arguments.node_name, installed) {
                (Some(name), _) => name.to_string(),
                (None, Some(receipt)) => receipt.node_name.clone(),
                (None, None) => host_name()?.to_string(),
            },
            target_cpu: arguments.target_cpu.or(kept_cpu).unwrap_or_default(),
            trust_dir: match &arguments.trust_dir {
                Some(path) => Some(path::absolute(path).with_context(|| {
                    format!("trust directory {} cannot be used", path.display())
                })?),
                None => installed.and_then(|receipt| receipt.trust_dir.clone()),
            },
        })
    }
}

/// What kubelet takes for the node's name unless a cloud provider or the operator says otherwise.
fn host_name() -> Result<NodeName> {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().trim().to_lowercase();
    name.parse()
        .map_err(|failure: Failure| anyhow::Error::msg(failure.message))
        .context("the host name cannot be the node's; name the node with --node-name")
}
