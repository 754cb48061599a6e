//! What a vendor sees of a mistake in `wasmount.toml`.

use super::*;
use crate::capability::Capability;

const HEAD: &str = "name = \"hello\"\nversion = \"0.1.0\"\ndescription = \"d\"\n";

#[test]
fn a_manifest_needs_three_keys_and_has_kubelets_defaults() {
    let manifest = Manifest::parse(HEAD).expect("nothing else is needed");
    assert_eq!(manifest.name.as_str(), "hello");
    assert!(manifest.fs_group && manifest.selinux_relabel && !manifest.supports_metrics);
    assert!(manifest.asks.is_empty());
}

#[test]
fn a_manifest_survives_the_component() {
    let ask = "[[asks]]\ncapability = \"mounts.tmpfs\"\nreason = \"because\"\n";
    let manifest = Manifest::parse(&format!("{HEAD}fs-group = false\n{ask}")).expect("valid");
    assert_eq!(manifest.asks[0].capability, Capability::MountsTmpfs);
    assert_eq!(Manifest::from_section(&manifest.to_section()), Ok(manifest));
}

#[test]
fn a_mistake_is_named_with_its_line_and_the_valid_choices() {
    let table = [
        ("fsgroup = true\n", &["line 4", "unknown field `fsgroup`", "`fs-group`"][..]),
        ("fs-group = \"yes\"\n", &["line 4", "expected a boolean"]),
        (
            "\n[[asks]]\ncapability = \"mount.tmpfs\"\nreason = \"r\"\n",
            &["line 6", "unknown variant `mount.tmpfs`", "`mounts.tmpfs`"],
        ),
        ("[[asks]]\ncapability = \"state\"\n", &["line 4", "missing field `reason`"]),
        (
            "[[asks]]\ncapability = \"state\"\nreason = \"a\\u001bb\"\n",
            &["line 6", "control or invisible characters"],
        ),
        (
            "[[asks]]\ncapability = \"state\"\nreason = \"r\"\n\
             [[asks]]\ncapability = \"state\"\nreason = \"r\"\n",
            &["`state` is asked for twice"],
        ),
        (
            "\n[[asks]]\ncapability = \"images\"\nreason = \"r\"\n",
            &[
                "line 5: `images` is asked for without saying of what; add such as names = [\"{volume}.img\"]",
            ],
        ),
        (
            "\n[[asks]]\ncapability = \"state\"\nreason = \"r\"\nnames = [\"a\"]\n",
            &["line 5", "`state` has no parameter `names`; valid: none"],
        ),
        (
            "\n[[asks]]\ncapability = \"images\"\nreason = \"r\"\nnames = [\"a/b\"]\n",
            &["line 5", "`a/b` cannot match; valid: a plain file name"],
        ),
        (
            "\n[[asks]]\ncapability = \"images\"\nreason = \"r\"\nnames = [\"a\\u200b\"]\n",
            &["line 5", "control or invisible characters"],
        ),
        (
            "\n[[asks]]\ncapability = \"images\"\nreason = \"r\"\ndirectory = \"/srv\"\n",
            &["line 8", "unknown field `directory`"],
        ),
        (
            "\n[[asks]]\ncapability = \"secrets\"\nreason = \"r\"\n\
             keys = [{ key = \"*\", uses = [\"reveal\"] }]\n",
            &["line 5", "`*` is a pattern, and a key is revealed by its name only"],
        ),
        (
            "\n[[asks]]\ncapability = \"mounts.tmpfs\"\nreason = \"r\"\nmax-size = \"2Gi\"\n",
            &["line 5", "2Gi is out of bounds; valid: 1 to 1Gi"],
        ),
        (
            "\n[[asks]]\ncapability = \"mounts.block\"\nreason = \"r\"\nfilesystems = [\"xfs\"]\n\
             options = [\"compress-zstd\"]\n",
            &["line 5", "xfs has no mount option \"compress-zstd\"; valid: noatime"],
        ),
        (
            "\n[[asks]]\ncapability = \"devices\"\nreason = \"r\"\nrules = [\"a\", \"a\"]\n",
            &["line 5", "each rule once"],
        ),
        (
            "[[asks]]\ncapability = \"filesystems.check\"\nreason = \"r\"\ntypes = [\"ext4\"]\n\
             [[asks]]\ncapability = \"filesystems.grow\"\nreason = \"r\"\ntypes = [\"xfs\"]\n",
            &["different `types`"],
        ),
        ("\n[limits]\nmemory-mib = 2000\n", &["line 6", "2000 is out of bounds; valid: 1 to 1024"]),
        ("\n[limits]\ndisk = 1\n", &["line 6", "unknown field `disk`", "`memory-mib`"]),
        (
            "\n[[options]]\nname = \"a b\"\ndescription = \"d\"\n",
            &["line 6", "an option's name is"],
        ),
        (
            "\n[[options]]\nname = \"a\"\ndescription = \"d\"\nrequired = true\ndefault = \"x\"\n",
            &["line 5", "the option `a` is required, and cannot have a default"],
        ),
        (
            "\n[[options]]\nname = \"a\"\ndescription = \"d\"\ndefault = \"x\"\nvalues = [\"y\"]\n",
            &["line 5", "the default of the option `a` is none of its values"],
        ),
        (
            "[[options]]\nname = \"a\"\ndescription = \"d\"\n\
             [[options]]\nname = \"a\"\ndescription = \"d\"\n",
            &["the option `a` is there twice"],
        ),
        ("name = \"again\"\n", &["line 4", "duplicate key"]),
        ("= 1\n", &["line 4"]),
    ];
    for (tail, expected) in table {
        let error = Manifest::parse(&format!("{HEAD}{tail}")).expect_err(tail).to_string();
        for part in expected {
            assert!(error.contains(part), "{tail:?}: {error:?} lacks {part:?}");
        }
    }
}

const WHOLE: &str = r#"
[[asks]]
capability = "images"
reason = "volumes"
names = ["{volume}.img"]

[[asks]]
capability = "images.create"
reason = "new \"volumes\""

[[asks]]
capability = "secrets"
reason = "logins"
keys = [{ key = "password", uses = ["file", "reveal"] }, { key = "tls.*", uses = ["file"] }]

[[asks]]
capability = "devices"
reason = "disks"
rules = ["disk"]

[[asks]]
capability = "filesystems.check"
reason = "health"
types = ["xfs", "ext4"]

[[asks]]
capability = "mounts.block"
reason = "mounts"
filesystems = ["ext4", "xfs"]
options = ["noatime"]

[[asks]]
capability = "mounts.tmpfs"
reason = "files"
max-size = "2048Ki"

[[options]]
name = "mkfs.*"
description = "what mkfs is given"

[[options]]
name = "create"
description = "whether to make the image"
default = "false"
values = ["true", "false"]

[limits]
memory-mib = 128
"#;

#[test]
fn what_is_asked_for_is_told_in_the_keys_of_grants_toml() {
    let manifest = Manifest::parse(&format!("{HEAD}{WHOLE}")).expect("valid");
    assert_eq!(Manifest::from_section(&manifest.to_section()).as_ref(), Ok(&manifest));
    let shown: Vec<String> = manifest
        .asks
        .iter()
        .map(|ask| {
            let parameters = ask
                .parameters()
                .into_iter()
                .map(|(key, values)| format!("{key} {}", Vec::from_iter(values).join(", ")));
            let super_privileged = ask.super_privileged().map(|name| format!("!{name} "));
            let parameters: Vec<String> = parameters.collect();
            format!(
                "{}{}: {}",
                super_privileged.unwrap_or_default(),
                ask.capability,
                parameters.join("; ")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "!images images: max-size 1Ti; names {volume}.img",
            "!images.create images.create: ",
            "!secrets.reveal secrets: keys password (file), password (reveal), tls.* (file)",
            "!devices devices: rules disk",
            "filesystems.check: types ext4, xfs",
            "mounts.block: filesystems ext4, xfs; options noatime",
            "mounts.tmpfs: max-files 32; max-size 2Mi",
        ]
    );
}

#[test]
fn the_grants_are_what_is_asked_for() {
    let manifest = Manifest::parse(&format!("{HEAD}{WHOLE}")).expect("valid");
    let operators = Operators {
        images_directory: Some("/srv/images".to_owned()),
        failure_exit_code: Some(0),
        config: [("a \"b\"".to_owned(), "c\\\u{1}".to_owned())].into(),
    };
    let expected = r#"version = 1

[reply]
failure-exit-code = 0

[config]
"a \"b\"" = "c\\\u0001"

[limits]
memory-mib = 128

# secrets: logins
[[secrets]]
key = "password"
uses = ["file", "reveal"]

[[secrets]]
key = "tls.*"
uses = ["file"]

# images: volumes
# images.create: new "volumes"
[images]
directory = "/srv/images"
max-size = "1Ti"
names = ["{volume}.img"]
create = true

# filesystems.check: health
[filesystems]
types = ["ext4", "xfs"]
check = true

# mounts.block: mounts
[mounts.block]
filesystems = ["ext4", "xfs"]
options = ["noatime"]

# mounts.tmpfs: files
[mounts.tmpfs]
max-files = 32
max-size = "2Mi"
"#;
    assert_eq!(manifest.grants(&operators), expected);
    wasmount_core::grants::Grants::parse(expected).expect("valid");
}

/// As components say it that were built before there were parameters.
#[test]
fn a_component_that_says_nothing_of_parameters_is_read() {
    let section = br#"{"name":"a","version":"1","description":"d",
        "asks":[{"capability":"images","reason":"r"}]}"#;
    let manifest = Manifest::from_section(section).expect("valid");
    assert_eq!(manifest.asks[0].parameters(), Parameters::new());
    assert_eq!(manifest.asks[0].super_privileged().as_deref(), Some("images"));
}

#[test]
fn texts_are_bounded() {
    let long = "x".repeat(600);
    let table = [
        ("name = \"Hello\"", "a name is"),
        ("name = \"-hello\"", "a name is"),
        ("name = \"../hello\"", "a name is"),
        ("version = \"\"", "a version is"),
        ("version = \"1 0\"", "a version is"),
        ("description = \"\"", "this text is"),
        ("description = \"a\\nb\"", "this text is"),
        ("description = \"a\\u202Eb\"", "this text is"),
        (&format!("description = \"{long}\""), "this text is"),
    ];
    for (line, expected) in table {
        let key = line.split(' ').next().expect("a key");
        let others: String =
            HEAD.lines().filter(|line| !line.starts_with(key)).flat_map(|l| [l, "\n"]).collect();
        let error = Manifest::parse(&format!("{others}{line}\n")).expect_err(line).to_string();
        assert!(error.starts_with("line 3: "), "{line:?}: {error}");
        assert!(error.contains(expected), "{line:?}: {error}");
    }
}

#[test]
fn a_section_that_nobody_trusts_is_held_to_the_same_rules() {
    let table: [(&[u8], &str); 4] = [
        (b"", "not valid"),
        (b"{\"name\":\"hello\"}", "missing field `version`"),
        (b"{\"name\":\"a b\",\"version\":\"1\",\"description\":\"d\"}", "a name is"),
        (b"{\"name\":\"a\",\"version\":\"1\",\"description\":\"d\",\"x\":1}", "unknown field `x`"),
    ];
    for (data, expected) in table {
        let error = Manifest::from_section(data).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let long = vec![b' '; MAX_MANIFEST + 1];
    assert!(Manifest::from_section(&long).is_err());
}
