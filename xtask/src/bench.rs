//! `cargo xtask bench [--json]`: what a call costs, beside programs that do the same work, held
//! against the budget of the design.
//!
//! Everything is measured in one run and interleaved, so that a busy machine slows all alike and
//! the ratios stand. Being over budget is a result and not an error.

mod budget;
mod crowd;
mod layers;
mod programs;
mod samples;
mod subjects;

use anyhow::{bail, ensure};

use crate::cargo::Workspace;
use crate::dist;
use crate::node::Node;
use crate::packages::{self, Program};
use crate::steps::step;
use subjects::Nodes;

/// What is compared with needs more than the driver does.
const TOOLS: &[Program] = &[
    Program("gcc", "gcc libc6-dev"),
    Program("jq", "jq"),
    Program("losetup", "mount"),
    Program("findmnt", "util-linux"),
    Program("blkid", "util-linux"),
];

/// The command. Its last line, or with `--json` the object's `ok`, says whether the budget holds.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let json = match arguments {
        [] => false,
        [option] if option == "--json" => true,
        _ => bail!("bench takes --json and nothing else"),
    };
    ensure!(packages::is_root(), "the bench mounts real filesystems: run it as root");
    packages::ensure(packages::EXT4_TOOLS, "the bench")?;
    packages::ensure(packages::OTHER_TOOLS, "the bench")?;
    packages::ensure(TOOLS, "the bench")?;
    let workspace = Workspace::discover()?;
    // First, since the shipped driver is then what is left where cargo puts both.
    let walls_driver = dist::build_breakout_driver(&workspace)?;
    dist::build(&workspace)?;
    let nodes = step("installing loop-image and secret-files on nodes of their own", || {
        let plain = Node::install(&workspace, "bench")?;
        let secrets = plain.add(&workspace, "example.com/secret-files")?;
        let crowded = Node::install(&workspace, "bench-1000")?;
        let walled = Node::install_with(&workspace, "bench-wall", &walls_driver)?;
        anyhow::Ok(Nodes { plain, secrets, crowded, walled })
    })?;
    step("giving one of them a thousand volumes", || crowd::gather(&nodes.crowded))?;
    let programs =
        step("compiling what they are compared with", || programs::build(nodes.plain.path()))?;
    let measured = step("measuring", || subjects::measure(&nodes, &programs))?;
    crowd::scatter(&nodes.crowded)?;
    nodes.crowded.check_clean(&["pv-bench.img"])?;
    nodes.walled.check_clean(&["pv-bench.img"])?;
    for node in [nodes.plain, nodes.crowded, nodes.walled] {
        node.uninstall()?;
    }
    let report = budget::Report::new(measured);
    if json {
        println!("{}", report.to_json());
        eprintln!("{}", report.verdict());
    } else {
        print!("{}", report.to_table());
        println!("{}", report.verdict());
    }
    Ok(())
}
