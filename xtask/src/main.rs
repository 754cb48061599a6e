//! The project's own commands: `cargo xtask demo`, `test`, `bench` and the others of [`COMMANDS`].
//!
//! Only the table of commands is here; each command is a module. This program builds without the
//! WebAssembly engine, and it is a developer's tool: nothing of it reaches a node.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for people at a terminal: printing is what it does"
)]

mod bench;
mod cargo;
mod demo;
mod dist;
mod elf;
mod fuzz;
mod kubelet;
mod node;
mod packages;
mod proof;
mod sbom;
mod scratch;
mod steps;
mod test;
mod vm;
mod wasm_target;

use std::process::ExitCode;

use proof::Proof;

/// One row of the table.
struct Command {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        arguments: "",
        about: "play kubelet's whole sequence on a real ext4 volume, and a secret's (root)",
        run: demo::run,
    },
    Command {
        name: "test",
        arguments: "[--vm] [CARGO TEST ARGUMENT…]",
        about: "build everything and run every test (--vm, or CI=true: in a virtual machine, too)",
        run: test::run,
    },
    Command {
        name: "bench",
        arguments: "[--json]",
        about: "time the driver against native programs and a bash driver (root)",
        run: bench::run,
    },
    Command {
        name: "hostile",
        arguments: "[--json]",
        about: "misuse every host call, and see it refused and the node unchanged (root)",
        run: |arguments| Proof { name: "hostile", options: &[] }.run(arguments),
    },
    Command {
        name: "fuzz",
        arguments: "[--minutes N] [--json]",
        about: "look for inputs that break what reads what nobody has checked",
        run: fuzz::run,
    },
    Command {
        name: "crash",
        arguments: "[--json]",
        about: "kill the driver at every point of every operation, and see it recover (root)",
        run: |arguments| Proof { name: "crash", options: &[] }.run(arguments),
    },
    Command {
        name: "wall",
        arguments: "[--json]",
        about: "run hostile native code in the component's place, behind each layer of the wall (root)",
        run: |arguments| Proof { name: "wall", options: &[] }.run(arguments),
    },
    Command {
        name: "soak",
        arguments: "[--calls N] [--parallel N] [--volumes N] [--seed N] [--json]",
        about: "make many calls at once, kill some, and see that nothing is lost or left (root)",
        run: |arguments| {
            let options = &["calls", "parallel", "volumes", "seed"];
            Proof { name: "soak", options }.run(arguments)
        },
    },
    Command {
        name: "dist",
        arguments: "",
        about: "leave the static programs and the plugins in target/dist",
        run: dist::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", usage());
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    }
    // The sweeper is not a command: a scratch directory starts it to be cleaned up after.
    let run = if name == scratch::SWEEP {
        scratch::sweep_when_orphaned
    } else if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
        command.run
    } else {
        eprint!("no command of that name\n{}", usage());
        return ExitCode::from(2);
    };
    match run(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, and the last one: whoever reads the end of a log sees how it ended.
            let error = format!("{error:#}").trim().replace('\n', "; ");
            if rest.iter().any(|argument| argument == "--json") {
                println!("{}", serde_json::json!({ "name": name, "ok": false, "error": error }));
            } else {
                println!("{name}: failed: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let mut text = String::from("usage: cargo xtask COMMAND\n\n");
    for Command { name, arguments, about, .. } in COMMANDS {
        text.push_str(&format!("  {:<30} {about}\n", format!("{name} {arguments}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_the_usage() {
        for command in COMMANDS {
            assert!(usage().contains(command.about), "{}", command.name);
        }
    }
}
