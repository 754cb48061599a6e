//! Install, list, upgrade and uninstall by the program itself, as root: a component that consists
//! of its interfaces only, and a driver program that only answers `init`. Whether the real driver
//! works is for the end-to-end tests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};
use wasmount_core::guest::compiler::Cpu;

mod node;

use node::{Node, STATE, component};

/// A program that is no driver.
const NO_DRIVER: &str = "#!/bin/sh\necho hello\n";

/// The record of a volume that is in use.
const RECORD: &str = r#"{"v": 1, "volume": "pv-1", "options": {}, "fs_type": null,
    "access": "read-write", "boot_id": "", "attached_node": "node-1", "image": null,
    "device": null, "staged": null, "published": [], "formatting": null,
    "mounted": [], "state": {}}"#;

/// What is said of the node, and where a receipt has it.
const SETTINGS: [(&str, &str); 7] = [
    ("--kubelet-root", "kubelet_root"),
    ("--data-dir", "data_dir"),
    ("--run-dir", "run_dir"),
    ("--log-dir", "log_dir"),
    ("--node-name", "node_name"),
    ("--target-cpu", "target_cpu"),
    ("--trust-dir", "trust_dir"),
];

#[test]
fn from_installation_to_uninstallation() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    let compiling = "compiling disk 1.0 for this machine\n".to_owned();

    let installed = node.install(&[])?;
    let first = node.version()?;
    let told = format!(
        "installed example.com/disk: disk 1.0\n  at       $NODE/plugins/example.com~disk\n  \
         version  {first}\n  exports  volume\n         REQUESTED  GRANTED\n  state  yes        no\n  signed   by nobody, which was allowed\n\
         next: see `wasmount inspect disk.wasm`, and install again with --grants FILE, or with \
         --accept-requested to grant what it asks for\n"
    );
    assert_eq!(installed, (told, compiling.clone(), Some(0)));
    let grants = fs::read_to_string(node.path("plugins/example.com~disk/current/grants.toml"))?;
    assert_eq!(grants, "version = 1\n");

    let upgraded = node.install(&["--grants", "grants.toml"])?;
    let second = node.version()?;
    let told = format!(
        "upgraded example.com/disk to disk 1.0\n  at       $NODE/plugins/example.com~disk\n  \
         version  {second}\n  before   {first} (kept)\n  exports  volume\n         REQUESTED  GRANTED\n  \
         state  yes        yes\n  signed   by nobody, which was allowed\n  grants   + [state]\n\
         next: wasmount call --plugin-dir plugins example.com/disk init\n"
    );
    assert_eq!(upgraded, (told, compiling, Some(0)));

    let head = "DRIVER            COMPONENT  EXPORTS  ATTACH  VERSION           WASMTIME  HEALTH\n\
                example.com/disk  disk 1.0   volume   nobody ";
    let kept = format!(
        "                  disk 1.0   volume           {first}  48.0.8    kept, installed $TIME"
    );
    let listed = format!("{head} {second}  48.0.8    ok\n{kept}\n");
    let (mut list, said, code) = node.run(&["list"])?;
    list.replace_range(list.len() - 21..list.len() - 1, "$TIME");
    assert_eq!((list, said.as_str(), code), (listed, "", Some(0)));

    // In use, by its own record.
    let volumes = node.path("data/example.com~disk/volumes");
    fs::create_dir_all(&volumes)?;
    fs::write(volumes.join("pv-1.json"), RECORD)?;
    let told = "wasmount: a volume of example.com/disk is in use\n  pv-1: given to node node-1\n\
                remove the pods and volumes that use the driver, or take them down with \
                `wasmount call`, then try again\n";
    let uninstalled = node.run(&["uninstall", "example.com/disk"])?;
    assert_eq!(uninstalled, (String::new(), told.to_owned(), Some(1)));
    let (_, told, code) = node.install(&["--data-dir", "/elsewhere"])?;
    assert_eq!(
        told.lines().last(),
        Some(
            "wasmount: volumes of example.com/disk are in use (pv-1: given to node node-1), and \
             what is to be undone is on record for other directories; install it with --data-dir \
             $NODE/data"
        )
    );
    assert_eq!((node.version()?, code), (second, Some(1)));

    fs::remove_file(volumes.join("pv-1.json"))?;
    let told = "uninstalled example.com/disk\n  left records in $NODE/data/example.com~disk\n";
    let uninstalled = node.run(&["uninstall", "example.com/disk"])?;
    assert_eq!(uninstalled, (told.to_owned(), String::new(), Some(0)));
    assert_eq!(fs::read_dir(node.path("plugins"))?.count(), 0);
    Ok(())
}

/// Whoever upgrades a program has said nothing about what it may do.
#[test]
fn an_upgrade_keeps_the_grants_unless_told_otherwise() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    let path = |file: &str| node.path("plugins/example.com~disk/current").join(file);
    let grants = || fs::read_to_string(path("grants.toml"));
    let source = || -> Result<String> {
        let receipt: serde_json::Value = serde_json::from_slice(&fs::read(path("receipt.json"))?)?;
        Ok(receipt["grants_source"].as_str().context("a text")?.to_owned())
    };
    node.install(&["--grants", "grants.toml"])?;
    let (first, from) = (node.version()?, source()?);
    fs::write(node.path("disk.wasm"), component("disk", "2.0", STATE)?)?;
    let upgraded = node.install(&[])?;
    let told = format!(
        "upgraded example.com/disk to disk 2.0\n  at       $NODE/plugins/example.com~disk\n  \
         version  {}\n  before   {first} (kept)\n  exports  volume\n         REQUESTED  GRANTED\n  \
         state  yes        yes\n  signed   by nobody, which was allowed\n  kept     what was granted before, from $NODE/grants.toml\n\
         next: wasmount call --plugin-dir plugins example.com/disk init\n",
        node.version()?
    );
    let said = "disk 2.0 takes the place of disk 1.0, which is installed as example.com/disk:\n  \
                component ~ version: 1.0 -> 2.0\ncompiling disk 2.0 for this machine\n";
    assert_eq!(upgraded, (told, said.to_owned(), Some(0)));
    assert_eq!((grants()?.as_str(), source()?), ("version = 1\n[state]\n", from));

    // What was changed by others is not made good by a new receipt.
    fs::write(path("grants.toml"), "version = 1\n[state]\n[mounts.bind]\n")?;
    let present = node.version()?;
    let (printed, said, code) = node.install(&[])?;
    let told = format!(
        "wasmount: what example.com/disk is granted cannot be kept; say what it is to be, with \
         --grants FILE or --no-grants: $NODE/plugins/example.com~disk/.versions/.{present}/\
         grants.toml was changed after installation; reinstall the driver with `wasmount install` (file-changed)"
    );
    assert_eq!((printed.as_str(), said.lines().last(), code), ("", Some(told.as_str()), Some(1)));
    assert_eq!(node.version()?, present);

    let (printed, ..) = node.install(&["--no-grants"])?;
    assert!(printed.contains("\n  state  yes        no\n  signed   by nobody"), "{printed}");
    assert_eq!((grants()?.as_str(), source()?.as_str()), ("version = 1\n", "none"));
    let (_, said, code) = node.install(&["--no-grants", "--grants", "grants.toml"])?;
    assert!(said.contains("'--no-grants' cannot be used with '--grants <FILE>'"), "{said}");
    assert_eq!(code, Some(2));
    Ok(())
}

/// Nor about the node: records are found by its directories, and leases are held in its name.
#[test]
fn an_upgrade_keeps_what_was_said_of_the_node_unless_told_otherwise() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    fs::create_dir(node.path("trust"))?;
    let installed = |more: &[&str]| -> Result<(String, [String; 7])> {
        let install = ["install", "disk.wasm", "--driver", "example.com/disk", "--allow-unsigned"];
        let driver = ["--driver-binary", "driver"];
        let (_, said, code) = node.run(&[&install[..], &driver, more].concat())?;
        assert_eq!(code, Some(0), "{said}");
        let receipt = fs::read(node.path("plugins/example.com~disk/current/receipt.json"))?;
        let receipt: serde_json::Value = serde_json::from_slice(&receipt)?;
        let setting = |(_, key)| receipt[key].as_str().unwrap_or("none").to_owned();
        Ok((said, SETTINGS.map(setting)))
    };
    let at = |name: &str| node.path(name).display().to_string();
    // Where there is no level to name, it is this machine.
    let level = Cpu::LEVELS.first().copied().unwrap_or("native");
    let machine = Cpu::LEVELS.first().copied().unwrap_or("this machine");
    let mut settings = [
        at("kubelet"),
        at("data"),
        at("run"),
        at("log"),
        "node-1".to_owned(),
        level.to_owned(),
        at("trust"),
    ];
    let flags = SETTINGS.iter().zip(&settings).flat_map(|((flag, _), said)| [*flag, said]);
    assert_eq!(installed(&flags.collect::<Vec<_>>())?.1, settings);

    fs::write(node.path("disk.wasm"), component("disk", "2.0", STATE)?)?;
    let (said, kept) = installed(&[])?;
    assert!(said.ends_with(&format!("\ncompiling disk 2.0 for {machine}\n")), "{said}");
    assert_eq!(kept, settings);
    settings[4] = "node-2".to_owned();
    assert_eq!(installed(&["--node-name", "node-2"])?.1, settings);

    // What cannot be read any more is repaired, and nobody is left to believe that it was kept.
    let version = node.version()?;
    fs::write(node.path("plugins/example.com~disk/current/receipt.json"), "{")?;
    let (said, new) = installed(&["--no-grants", "--node-name", "node-3"])?;
    let told = format!(
        "warning: what example.com/disk was installed with cannot be kept; whatever no argument \
         says is as for a new driver: its node is node-3, its records are in /var/lib/wasmount, \
         and the keys that are trusted in /etc/wasmount/trust: \
         $NODE/plugins/example.com~disk/.versions/.{version}/receipt.json cannot be used: "
    );
    assert!(said.starts_with(&told), "{said}");
    let defaults = ["/var/lib/kubelet", "/var/lib/wasmount", "/run/wasmount", "/var/log/wasmount"];
    assert_eq!(new, [&defaults[..], &["node-3", "native", "none"]].concat()[..]);
    Ok(())
}

/// A directory without records is no proof that no volume is in use.
#[test]
fn uninstalling_is_not_misled_about_where_the_records_are() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    let uninstall = |more: &[&str]| node.run(&[&["uninstall", "example.com/disk"], more].concat());
    let uninstalled = |more: &[&str], left: &str| -> Result<()> {
        let told = format!("uninstalled example.com/disk\n{left}");
        assert_eq!(uninstall(more)?, (told, String::new(), Some(0)));
        Ok(())
    };
    let refused = |more: &[&str], told: &str| -> Result<()> {
        let (printed, said, code) = uninstall(more)?;
        assert_eq!((printed.as_str(), code), ("", Some(1)), "{more:?}: {said}");
        assert!(said.starts_with(&format!("wasmount: {told}")), "{more:?}: {said}");
        node.version().map(drop)
    };
    // It was never called.
    node.install(&[])?;
    uninstalled(&[], "")?;

    node.install(&[])?;
    let volumes = node.path("data/example.com~disk/volumes");
    fs::create_dir_all(&volumes)?;
    fs::write(volumes.join("pv-1.json"), RECORD)?;
    let [data, wrong, bare] =
        ["data", "wrong", "plugins"].map(|name| node.path(name).display().to_string());
    let in_use = "a volume of example.com/disk is in use\n  pv-1: given to node node-1\n";
    refused(&["--data-dir", &data], in_use)?;
    for other in [&wrong, &bare] {
        let other = ["--data-dir", other];
        let told = "the records of example.com/disk are in $NODE/data, as its receipt says, and \
                    not in $NODE/";
        refused(&other, told)?;
    }

    fs::write(node.path("plugins/example.com~disk/current/receipt.json"), "{")?;
    refused(
        &[],
        "nothing tells where the driver's records are, and so whether volumes are in use; ",
    )?;
    refused(&["--data-dir", &data], in_use)?;
    refused(
        &["--data-dir", &wrong],
        "$NODE/wrong has no records of example.com/disk: there is no directory \
         $NODE/wrong/example.com~disk; name the --data-dir that it was installed with, or make the \
         directory if it was that one and the driver has never been called\n",
    )?;
    // One that is there may be another driver's.
    fs::create_dir(&wrong)?;
    refused(&["--data-dir", &wrong], "$NODE/wrong has no records of example.com/disk: ")?;
    fs::remove_file(volumes.join("pv-1.json"))?;
    uninstalled(&["--data-dir", &data], "  left records in $NODE/data/example.com~disk\n")
}

#[test]
fn what_would_not_work_is_not_installed() -> Result<()> {
    let Some(node) = Node::new()? else { return Ok(()) };
    fs::write(node.path("no-driver"), NO_DRIVER)?;
    fs::write(node.path("text"), "no program\n")?;
    fs::write(node.path("bad.toml"), "version = 2\n")?;
    fs::write(
        node.path("foreign.wasm"),
        component("disk", "1.0", "import other:thing/api@0.2.0;")?,
    )?;
    let would_not = "the driver would not work, and is not installed: ";
    let foreign = "the component cannot run here: it imports other:thing/api@0.2.0#call; build it \
                   with wasmount's guest-sdk for wasm32-unknown-unknown";
    for (component, driver, grants, told) in [
        ("foreign.wasm", "driver", "grants.toml", foreign.to_owned()),
        (
            "disk.wasm",
            "driver",
            "bad.toml",
            "bad.toml: line 1: version 2 is not known here; valid: 1".to_owned(),
        ),
        (
            "disk.wasm",
            "none",
            "grants.toml",
            "the driver program cannot be installed; name another with --driver-binary: reading \
             none: No such file or directory (os error 2)"
                .to_owned(),
        ),
        (
            "disk.wasm",
            "no-driver",
            "grants.toml",
            format!("{would_not}the driver program answers `init` with: hello"),
        ),
        (
            "disk.wasm",
            "text",
            "grants.toml",
            format!(
                "{would_not}the driver program cannot be executed: Exec format error (os error 8)"
            ),
        ),
    ] {
        let (_, said, code) = node.run(&[
            "install",
            component,
            "--allow-unsigned",
            "--driver",
            "example.com/disk",
            "--driver-binary",
            driver,
            "--grants",
            grants,
            "--node-name",
            "node-1",
        ])?;
        assert_eq!(said.lines().last(), Some(format!("wasmount: {told}").as_str()));
        assert_eq!(code, Some(1));
        assert_eq!(fs::read_dir(node.path("plugins"))?.count(), 0, "{told}");
    }

    // The driver would not believe files that others can write to.
    fs::set_permissions(node.path("plugins"), fs::Permissions::from_mode(0o777))?;
    let (_, said, code) = node.install(&[])?;
    let told = "wasmount: the driver would not work, and is not installed: $NODE/plugins can be \
                written to by others than its owner";
    assert!(said.lines().last().is_some_and(|line| line.starts_with(told)), "{said}");
    assert_eq!((code, fs::read_dir(node.path("plugins"))?.count()), (Some(1), 0));
    Ok(())
}
