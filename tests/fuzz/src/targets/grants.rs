//! `grants.toml`. What is read holds nothing that is wider than the documentation says, whatever is
//! written; what is not is a mistake with its line, on one line.

use std::fs;
use std::path::{Component, Path};

use wasmount_core::call::VolumeName;
use wasmount_core::grants::{Grants, MAX_FILE, Use, is_rule_name};

use crate::{Target, root};

pub(super) const TARGET: Target = Target { name: "grants", holds, seeds };

fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let grants = match Grants::parse(text) {
        Ok(grants) => grants,
        Err(error) => {
            assert!((1..=text.lines().count().max(1) + 1).contains(&error.line), "{error}");
            assert!(!error.to_string().contains('\n'), "{error:?}");
            return;
        }
    };
    assert!(text.len() <= MAX_FILE);
    // A comment grants nothing.
    let commented = format!("{text}\n# [mounts.bind]\n");
    if commented.len() <= MAX_FILE {
        assert_eq!(Grants::parse(&commented).as_ref(), Ok(&grants));
    }
    let straight = |path: &Path| {
        path.is_absolute()
            && path
                .components()
                .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
    };
    // Whoever lets a driver use secrets has to say what failures exit with.
    assert!(grants.secrets.is_empty() || grants.failure_exit_code.is_some());
    assert!((1..=1024).contains(&(grants.limits.memory_bytes() >> 20)));
    assert!((1..=100).contains(&grants.limits.cpu_seconds()));
    for secret in &grants.secrets {
        // A pattern lets no key be read.
        assert!(secret.key.is_name() || !secret.uses.contains(&Use::Reveal));
    }
    if let Some(images) = &grants.images {
        assert!(straight(images.directory.path()));
        let volume: VolumeName = "pv-1".parse().expect("a name");
        for pattern in &images.names {
            // None gives a path.
            assert!(!pattern.matches(&volume, "../pv-1") && !pattern.matches(&volume, "a/b"));
        }
    }
    for device in &grants.devices {
        assert!(is_rule_name(&device.rule));
        let path = device.path.of("vol-1");
        assert!(straight(&path) && path.starts_with("/dev"), "{}", path.display());
        let attribute = device.verify.attribute.path();
        let parts = attribute.components();
        assert!(parts.into_iter().all(|part| matches!(part, Component::Normal(_))));
        assert!(device.verify.value.of("vol-1").contains("vol-1"));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let files = [
        "plugins/loop-image/grants.toml",
        "plugins/secret-files/grants.toml",
        "examples/hello/grants.toml",
        "tests/hostile/grants.toml",
    ];
    let mut seeds: Vec<_> = files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(root().join(file)).expect("a grants file");
            text.replace("{images}", "/srv/images").into_bytes()
        })
        .collect();
    // What the documentation shows, section by section.
    let docs = fs::read_to_string(root().join("docs/grants.md")).expect("the documentation");
    let examples = docs.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    seeds.extend(examples.map(|example| format!("version = 1\n{example}").into_bytes()));
    seeds
}
