//! What a vendor sees of a mistake in `wasmount.toml`.

use super::*;

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
