//! Who may bring what onto a node: components that are signed, unsigned, tampered with, revoked,
//! pinned or old, by the program itself and as root. Whatever is refused, the driver that is there
//! goes on.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::Command;

use anyhow::{Context as _, Result};
use wasmount_core::bundle::receipt;

mod node;

use node::{Node, STATE, component};

const DRIVER: &str = "example.com/disk";

/// How every installation says what is trusted, and what is granted.
const TRUST: [&str; 4] = ["--trust-dir", "trust", "--grants", "grants.toml"];

/// A key of minisign's own tests, and what it signed in the old format, which is `test`.
const OLD_KEY: &str = "untrusted comment: minisign public key E7620F1842B4E81F\n\
     RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
const OLD_SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
     RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n\
     trusted comment: timestamp:1555779966\tfile:test\n\
     QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==\n";

/// A node that trusts a vendor, whose disk 1.0 is installed and whose disk 1.1 lies there signed.
struct Desk {
    node: Node,
    vendor: String,
    other: String,
}

impl Desk {
    fn new() -> Result<Option<Self>> {
        let Some(node) = Node::new()? else { return Ok(None) };
        for key in ["vendor", "other"] {
            let made = node.run(&["keygen", key, "--no-passphrase"])?;
            let told = format!(
                "made a key pair\n  secret   {key}.key  to sign with: keep it, and show it to \
                 nobody\n  public   {key}.pub  for /etc/wasmount/trust of the nodes that trust you\n"
            );
            assert_eq!(made, (told, String::new(), Some(0)));
        }
        let id = |key: &str| -> Result<String> {
            let text = fs::read_to_string(node.path(&format!("{key}.pub")))?;
            let first = text.lines().next().context("a comment")?;
            Ok(first.rsplit(' ').next().context("an identifier")?.to_owned())
        };
        let (vendor, other) = (id("vendor")?, id("other")?);
        fs::create_dir(node.path("trust"))?;
        let desk = Self { node, vendor, other };
        desk.mode("trust", 0o755)?;
        fs::copy(desk.node.path("vendor.pub"), desk.node.path("trust/vendor.pub"))?;
        desk.mode("trust/vendor.pub", 0o644)?;
        desk.sign("vendor")?;
        let (_, said, code) = desk.node.install_strictly(&TRUST)?;
        assert_eq!(code, Some(0), "{said}");
        desk.brings("1.1")?;
        desk.sign("vendor")?;
        Ok(Some(desk))
    }

    fn mode(&self, name: &str, mode: u32) -> Result<()> {
        Ok(fs::set_permissions(self.node.path(name), fs::Permissions::from_mode(mode))?)
    }

    /// A component of that version is what is to be installed; nobody has signed it.
    fn brings(&self, version: &str) -> Result<()> {
        let _ = fs::remove_file(self.node.path("disk.wasm.minisig"));
        Ok(fs::write(self.node.path("disk.wasm"), component("disk", version, STATE)?)?)
    }

    fn sign(&self, key: &str) -> Result<()> {
        let (printed, said, code) =
            self.node.run(&["sign", "disk.wasm", "--key", &format!("{key}.key")])?;
        assert_eq!((said.as_str(), code), ("", Some(0)), "{printed}");
        Ok(())
    }

    fn policy(&self, text: &str) -> Result<()> {
        let text = text.replace("$VENDOR", &self.vendor).replace("$OTHER", &self.other);
        fs::write(self.node.path("trust/policy.toml"), text.replace("$DIGEST", &self.digest()?))?;
        self.mode("trust/policy.toml", 0o644)
    }

    fn digest(&self) -> Result<String> {
        Ok(receipt::digest(&fs::read(self.node.path("disk.wasm"))?))
    }

    /// Changes one letter of a line of the signature.
    fn flip(&self, line: usize) -> Result<()> {
        let path = self.node.path("disk.wasm.minisig");
        let mut lines: Vec<String> =
            fs::read_to_string(&path)?.lines().map(str::to_owned).collect();
        let at = lines[line].len() / 2;
        let letter = if &lines[line][at..=at] == "A" { "B" } else { "A" };
        lines[line].replace_range(at..=at, letter);
        Ok(fs::write(&path, lines.join("\n") + "\n")?)
    }

    /// What is told, by names instead of identifiers.
    fn told(&self, text: &str) -> Result<String> {
        let text = text.replace(&self.vendor, "$VENDOR").replace(&self.other, "$OTHER");
        Ok(text.replace(&self.digest()?, "$DIGEST"))
    }

    /// Whether kubelet's calls are answered, by the version that was there.
    fn goes_on(&self, version: &str) -> Result<()> {
        assert_eq!(self.node.version()?, version);
        let driver = self.node.path("plugins/example.com~disk/disk");
        let reply = Command::new(driver).arg("init").output()?;
        assert!(reply.stdout.starts_with(b"{\"status\":\"Success\""), "{reply:?}");
        Ok(())
    }
}

type Change = fn(&Desk) -> Result<()>;

/// What is the matter, and what is told after `wasmount: `.
const REFUSED: &[(&str, Change, &str)] = &[
    (
        "signed by nobody",
        |desk| desk.brings("1.1"),
        "disk.wasm is not signed: there is no disk.wasm.minisig; get the signature from the vendor, \
         or say --allow-unsigned if you know where the component is from",
    ),
    (
        "signed by somebody else",
        |desk| desk.sign("other"),
        "disk.wasm is signed with the key $OTHER, and no key of $NODE/trust is that; if it is the \
         vendor's, put its public key there as NAME.pub; or remove disk.wasm.minisig and say \
         --allow-unsigned, if you know where the component is from",
    ),
    (
        "the signature of another component",
        |desk| {
            let signature = fs::read(desk.node.path("disk.wasm.minisig"))?;
            desk.brings("1.2")?;
            Ok(fs::write(desk.node.path("disk.wasm.minisig"), signature)?)
        },
        WRONG,
    ),
    (
        "a flipped bit in the manifest",
        |desk| {
            let path = desk.node.path("disk.wasm");
            let mut bytes = fs::read(&path)?;
            let manifest = bytes.windows(11).position(|window| window == b"to remember");
            bytes[manifest.context("why it asks")?] ^= 1;
            Ok(fs::write(path, bytes)?)
        },
        WRONG,
    ),
    (
        "a flipped bit in the component",
        |desk| {
            let path = desk.node.path("disk.wasm");
            let mut bytes = fs::read(&path)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            Ok(fs::write(path, bytes)?)
        },
        WRONG,
    ),
    ("another letter in the signature", |desk| desk.flip(1), WRONG),
    ("another letter in the trusted comment", |desk| desk.flip(2), WRONG),
    ("another letter in the comment's signature", |desk| desk.flip(3), WRONG),
    (
        "the key of one and the identifier of another",
        |desk| {
            // Whoever forges a signature writes the identifier of a key that is trusted.
            let path = desk.node.path("disk.wasm.minisig");
            let ours = fs::read_to_string(&path)?;
            desk.sign("other")?;
            let theirs = fs::read_to_string(&path)?;
            // Two bytes of algorithm and eight of identifier are the first 13 letters, and a part.
            let (ours, theirs): (Vec<_>, Vec<_>) =
                (ours.lines().collect(), theirs.lines().collect());
            let mut forged: Vec<String> = theirs.iter().map(|line| (*line).to_owned()).collect();
            forged[1].replace_range(..14, &ours[1][..14]);
            Ok(fs::write(path, forged.join("\n"))?)
        },
        WRONG,
    ),
    (
        "something else in the signature's place",
        |desk| Ok(fs::write(desk.node.path("disk.wasm.minisig"), "signed, the vendor\n")?),
        "disk.wasm.minisig is not a minisign signature; get both from the vendor again",
    ),
    (
        "a line more in the signature",
        |desk| {
            let path = desk.node.path("disk.wasm.minisig");
            let text = fs::read_to_string(&path)?;
            Ok(fs::write(path, text + "and this\n")?)
        },
        "disk.wasm.minisig is not a minisign signature; get both from the vendor again",
    ),
    (
        "a signature of the old format, right as it is",
        |desk| {
            fs::write(desk.node.path("trust/old.pub"), OLD_KEY)?;
            desk.mode("trust/old.pub", 0o644)?;
            fs::write(desk.node.path("disk.wasm"), "test")?;
            Ok(fs::write(desk.node.path("disk.wasm.minisig"), OLD_SIGNATURE)?)
        },
        "disk.wasm.minisig is a signature of minisign's old format, which is not accepted; have it \
         signed again, by `wasmount sign` or by `minisign -S -H`",
    ),
    (
        "a comment that nobody would read",
        |desk| {
            let key = fs::read_to_string(desk.node.path("vendor.key"))?;
            let key = minisign::SecretKeyBox::from(key).into_unencrypted_secret_key()?;
            let bytes = fs::File::open(desk.node.path("disk.wasm"))?;
            let signed = minisign::sign(None, &key, bytes, Some(&"x".repeat(1025)), None)?;
            Ok(fs::write(desk.node.path("disk.wasm.minisig"), signed.into_string())?)
        },
        "disk.wasm.minisig has a trusted comment of more than 1024 bytes; get both from the vendor \
         again",
    ),
    (
        "a key that was revoked",
        |desk| desk.policy("[revoked]\nkeys = [\"$VENDOR\"]\n"),
        "disk.wasm is signed with the key $VENDOR, which is revoked by $NODE/trust/policy.toml; get \
         a component from the vendor that is not revoked",
    ),
    (
        "a key that was revoked and taken away",
        |desk| {
            fs::remove_file(desk.node.path("trust/vendor.pub"))?;
            desk.policy("[revoked]\nkeys = [\"$VENDOR\"]\n")
        },
        "disk.wasm is signed with the key $VENDOR, which is revoked by $NODE/trust/policy.toml; get \
         a component from the vendor that is not revoked",
    ),
    (
        "a component that was revoked",
        |desk| desk.policy("[revoked]\ndigests = [\"$DIGEST\"]\n"),
        "disk.wasm is revoked: $NODE/trust/policy.toml has its digest, $DIGEST; get a component \
         from the vendor that is not revoked",
    ),
    (
        "a component that was revoked, without its signature",
        |desk| {
            desk.policy("[revoked]\ndigests = [\"$DIGEST\"]\n")?;
            Ok(fs::remove_file(desk.node.path("disk.wasm.minisig"))?)
        },
        "disk.wasm is revoked: $NODE/trust/policy.toml has its digest, $DIGEST; get a component \
         from the vendor that is not revoked",
    ),
    (
        "a driver that is pinned to another key",
        |desk| desk.policy("[drivers.\"example.com/disk\"]\nkeys = [\"$OTHER\"]\n"),
        "example.com/disk is pinned to the keys $OTHER by $NODE/trust/policy.toml, and disk.wasm is \
         signed with $VENDOR; install what it is pinned to, or change $NODE/trust/policy.toml",
    ),
    (
        "a driver that is pinned to a key, and nobody signed",
        |desk| {
            desk.policy("[drivers.\"example.com/disk\"]\nkeys = [\"$OTHER\", \"$VENDOR\"]\n")?;
            desk.brings("1.1")
        },
        "example.com/disk is pinned to the keys $OTHER, $VENDOR by $NODE/trust/policy.toml, and \
         disk.wasm is not signed; install what it is pinned to, or change $NODE/trust/policy.toml",
    ),
    (
        "a driver that is pinned to another component",
        |desk| {
            let zeroes = "0".repeat(64);
            desk.policy(&format!(
                "[drivers.\"example.com/disk\"]\nkeys = [\"$VENDOR\"]\ndigests = [\"sha256:{zeroes}\"]\n"
            ))
        },
        "example.com/disk is pinned to \
         sha256:0000000000000000000000000000000000000000000000000000000000000000 by \
         $NODE/trust/policy.toml, and disk.wasm is $DIGEST; install what it is pinned to, or change \
         $NODE/trust/policy.toml",
    ),
    (
        "a trust directory that others can write to",
        |desk| desk.mode("trust", 0o777),
        "trust directory $NODE/trust cannot be used: $NODE/trust can be written to by others than \
         its owner, who may have changed what is in it; run `chmod go-w $NODE/trust` and look at \
         what is in it, and let only root write to it (file-untrusted)",
    ),
    (
        "a key that others can write to",
        |desk| desk.mode("trust/vendor.pub", 0o664),
        "trust directory $NODE/trust cannot be used: $NODE/trust/vendor.pub can be written to by \
         others than its owner, who may have changed it; look at what is in it, and let only root \
         write to it (file-untrusted)",
    ),
    (
        "a policy that is another user's",
        |desk| {
            desk.policy("")?;
            Ok(chown(desk.node.path("trust/policy.toml"), Some(65534), None)?)
        },
        "trust directory $NODE/trust cannot be used: $NODE/trust/policy.toml belongs to user 65534 \
         and not to root; run `chown root $NODE/trust/policy.toml` and look at what is in it, and \
         let only root write to it (file-untrusted)",
    ),
    (
        "a link in the policy's place",
        |desk| Ok(symlink("/dev/null", desk.node.path("trust/policy.toml"))?),
        "trust directory $NODE/trust cannot be used: $NODE/trust/policy.toml is a symbolic link; \
         look at what is in it, and let only root write to it (file-untrusted)",
    ),
    (
        "a trust directory that is named and not there",
        |desk| Ok(fs::rename(desk.node.path("trust"), desk.node.path("elsewhere"))?),
        "trust directory $NODE/trust is not there; make it, and put the public keys there that are \
         trusted",
    ),
    (
        "a policy under another name",
        |desk| Ok(fs::write(desk.node.path("trust/policy.tml"), "")?),
        "trust directory $NODE/trust cannot be used: $NODE/trust/policy.tml is neither policy.toml \
         nor NAME.pub; move it away",
    ),
    (
        "a policy with a mistake in it",
        |desk| desk.policy("[revoked]\nkey = [\"$VENDOR\"]\n"),
        "trust directory $NODE/trust cannot be used: $NODE/trust/policy.toml: line 2: unknown field \
         `key`; valid: `keys`, `digests`",
    ),
    (
        "a key that is none",
        |desk| {
            fs::write(desk.node.path("trust/x.pub"), "ssh-ed25519 AAAA\n")?;
            desk.mode("trust/x.pub", 0o644)
        },
        "trust directory $NODE/trust cannot be used: $NODE/trust/x.pub is not a minisign public \
         key; put the vendor's there",
    ),
    (
        "two keys of one identifier",
        |desk| {
            fs::copy(desk.node.path("vendor.pub"), desk.node.path("trust/zebra.pub"))?;
            desk.mode("trust/zebra.pub", 0o644)
        },
        "trust directory $NODE/trust cannot be used: $NODE/trust/vendor.pub and zebra.pub have the \
         same identifier, $VENDOR; keep the one that is the vendor's",
    ),
    (
        "an older component",
        |desk| {
            desk.brings("0.9")?;
            desk.sign("vendor")
        },
        OLDER,
    ),
    (
        "an older one of another name",
        |desk| {
            fs::write(desk.node.path("disk.wasm"), component("disc", "0.9", STATE)?)?;
            desk.sign("vendor")
        },
        "example.com/disk has disk 1.0, and nobody can tell whether disc 0.9 is newer, since it has \
         another name; if it is to take that one's place, say --allow-downgrade",
    ),
    (
        "one of before the release",
        |desk| {
            desk.brings("1.0-rc.1")?;
            desk.sign("vendor")
        },
        "example.com/disk has disk 1.0, and 1.0-rc.1 is older: `wasmount rollback \
         example.com/disk` goes back to what was there before; --allow-downgrade installs it all \
         the same",
    ),
    (
        "a version that says nothing",
        |desk| {
            desk.brings("next")?;
            desk.sign("vendor")
        },
        "example.com/disk has disk 1.0, and nobody can tell whether next is newer, since only \
         versions such as 1.2.3 can be compared; if it is, say --allow-downgrade",
    ),
];

const WRONG: &str = "disk.wasm.minisig is not a signature of disk.wasm, though it says it is, with \
    the key $VENDOR (vendor.pub): one of the two was changed; get both from the vendor again";

const OLDER: &str = "example.com/disk has disk 1.0, and 0.9 is older: `wasmount rollback \
    example.com/disk` goes back to what was there before; --allow-downgrade installs it all the same";

#[test]
fn what_is_not_trusted_is_refused_and_the_driver_goes_on() -> Result<()> {
    for (what, change, told) in REFUSED {
        let Some(desk) = Desk::new()? else { return Ok(()) };
        let version = desk.node.version()?;
        change(&desk).with_context(|| (*what).to_owned())?;
        // What one flag allows, the other does not; and nothing else is allowed by any.
        let mut flags = vec!["--allow-unsigned", "--allow-downgrade"];
        if told.starts_with("disk.wasm is not signed: ") {
            flags.retain(|flag| *flag != "--allow-unsigned");
        }
        if told.ends_with("the same") || told.ends_with("--allow-downgrade") {
            flags.retain(|flag| *flag != "--allow-downgrade");
        }
        for more in [&[][..], &flags] {
            let (printed, said, code) = desk.node.install_strictly(&[&TRUST[..], more].concat())?;
            let last = desk.told(said.lines().last().unwrap_or_default())?;
            assert_eq!(last, format!("wasmount: {told}"), "{what} {more:?}");
            assert_eq!((printed.as_str(), code), ("", Some(1)), "{what}");
            desk.goes_on(&version)?;
        }
        // `verify` thinks the same, but that it knows of no version that is installed.
        if !told.contains("--allow-downgrade") {
            let verify = ["verify", "disk.wasm", "--trust-dir", "trust", "--driver", DRIVER];
            let (_, said, code) = desk.node.run(&verify)?;
            let said = desk.told(&said)?;
            assert_eq!((said, code), (format!("wasmount: {told}\n"), Some(1)), "{what}");
        }
    }
    Ok(())
}

#[test]
fn what_is_trusted_is_installed_and_what_vouched_is_kept() -> Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    desk.policy(
        "[drivers.\"example.com/disk\"]\nkeys = [\"$VENDOR\"]\ndigests = [\"$DIGEST\"]\n\
         [revoked]\nkeys = [\"$OTHER\"]\n",
    )?;
    let (printed, said, code) = desk.node.install_strictly(&TRUST)?;
    let shown = "disk 1.1 takes the place of disk 1.0, which is installed as example.com/disk:\n  \
                 component ~ version: 1.0 -> 1.1\ncompiling disk 1.1 for this machine\n";
    assert_eq!((code, said.as_str()), (Some(0), shown));
    let printed = desk.told(&printed)?;
    assert!(printed.contains("\n  signed   with the key $VENDOR (vendor.pub)\n"), "{printed}");
    let current = desk.node.path("plugins/example.com~disk/current");
    let signature = fs::read(desk.node.path("disk.wasm.minisig"))?;
    assert_eq!(fs::read(current.join("component.wasm.minisig"))?, signature);
    let receipt: serde_json::Value =
        serde_json::from_slice(&fs::read(current.join("receipt.json"))?)?;
    let signed = &receipt["signature"]["signed"];
    assert_eq!(signed["key_id"], desk.vendor);
    assert_eq!(signed["key_name"], "vendor.pub");
    assert_eq!(signed["digest"], receipt::digest(&signature));
    let comment = desk.told(signed["trusted_comment"].as_str().context("a text")?)?;
    let (comment, _time) = comment.rsplit_once(':').context("a time")?;
    assert!(comment.starts_with("name:disk version:1.1 digest:$DIGEST signed:2"), "{comment}");

    // What is installed is what it was, whatever becomes of the files that it came from.
    let again = "example.com/disk is installed already, as it is to be: disk 1.1\n";
    assert_eq!(desk.node.install_strictly(&TRUST)?.0, again);
    let kept = current.join("component.wasm");
    let kept = kept.to_str().context("UTF-8")?;
    let (printed, _, code) =
        desk.node.run(&["verify", kept, "--trust-dir", "trust", "--driver", DRIVER])?;
    assert_eq!(code, Some(0));
    assert!(printed.ends_with("/trust, as example.com/disk\n"), "{printed}");
    Ok(())
}

#[test]
fn what_is_allowed_is_on_record() -> Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let recorded = || -> Result<serde_json::Value> {
        let path = desk.node.path("plugins/example.com~disk/current/receipt.json");
        Ok(serde_json::from_slice::<serde_json::Value>(&fs::read(path)?)?["signature"].clone())
    };
    desk.brings("1.1")?;
    let (printed, said, code) = desk.node.install(&TRUST)?;
    assert_eq!(code, Some(0), "{said}");
    assert!(printed.contains("\n  signed   by nobody, which was allowed\n"), "{printed}");
    assert_eq!(recorded()?, "unsigned");
    desk.brings("0.9")?;
    desk.sign("vendor")?;
    let (_, said, code) =
        desk.node.install_strictly(&[&TRUST[..], &["--allow-downgrade"]].concat())?;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(recorded()?["signed"]["key_name"], "vendor.pub");
    // Grants are not the program's: what vouches for that stays.
    fs::write(desk.node.path("more.toml"), "version = 1\n[state]\n# the same\n")?;
    let (_, said, code) = desk.node.run(&["grants", "apply", DRIVER, "more.toml"])?;
    assert_eq!((said.as_str(), code), ("", Some(0)));
    assert_eq!(recorded()?["signed"]["key_name"], "vendor.pub");
    let kept = desk.node.path("plugins/example.com~disk/current/component.wasm.minisig");
    assert_eq!(fs::read(kept)?, fs::read(desk.node.path("disk.wasm.minisig"))?);
    Ok(())
}

#[test]
fn a_rollback_is_deliberate_and_not_to_what_was_revoked() -> Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let rollback = ["rollback", DRIVER, "--trust-dir", "trust"];
    desk.node.install_strictly(&TRUST)?;
    let (newer, digest) = (desk.node.version()?, desk.digest()?);
    let (printed, said, code) = desk.node.run(&rollback)?;
    assert_eq!((said.as_str(), code), ("", Some(0)));
    assert!(printed.starts_with("rolled back example.com/disk to disk 1.0\n"), "{printed}");
    let older = desk.node.version()?;
    assert_ne!(older, newer);
    // Not forth again, since that one was revoked meanwhile; nor if its key was.
    let policy = "$NODE/trust/policy.toml";
    let to = format!("go back to another version with --to, or change {policy}");
    // It was installed by that directory, so it is judged by it if no other is named.
    let silent = ["rollback", DRIVER];
    for (text, told) in [
        (
            format!("[revoked]\ndigests = [\"{digest}\"]\n"),
            format!("disk 1.1 is revoked: {policy} has its digest, {digest}; {to}"),
        ),
        (
            "[revoked]\nkeys = [\"$VENDOR\"]\n".to_owned(),
            format!(
                "disk 1.1 is signed with the key {}, which is revoked by {policy}; {to}",
                desk.vendor
            ),
        ),
        (
            "[drivers.\"example.com/disk\"]\nkeys = [\"$OTHER\"]\n".to_owned(),
            format!(
                "example.com/disk is pinned to the keys {} by {policy}, and disk 1.1 is signed with \
                 {}; {to}",
                desk.other, desk.vendor
            ),
        ),
    ] {
        desk.policy(&text)?;
        for rollback in [&rollback[..], &silent] {
            let refused = desk.node.run(rollback)?;
            assert_eq!(refused, (String::new(), format!("wasmount: {told}\n"), Some(1)));
            desk.goes_on(&older)?;
        }
    }
    // A key that is only no longer there says nothing against what it signed.
    fs::remove_file(desk.node.path("trust/policy.toml"))?;
    fs::remove_file(desk.node.path("trust/vendor.pub"))?;
    assert_eq!(desk.node.run(&rollback)?.2, Some(0));
    Ok(())
}

#[test]
fn doctor_looks_again() -> Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let version = desk.node.version()?;
    let found = |what: &str| -> Result<Vec<String>> {
        let (printed, ..) = desk.node.run(&["doctor", "--json", "--trust-dir", "trust"])?;
        let document: serde_json::Value = serde_json::from_str(&desk.told(&printed)?)?;
        let findings = document["findings"].as_array().context("a list")?.iter();
        let about = findings.filter(|finding| finding.to_string().contains(what));
        let text = |finding: &serde_json::Value, key: &str| {
            finding[key].as_str().unwrap_or_default().to_owned()
        };
        Ok(about
            .map(|it| ["severity", "what", "why", "remedy"].map(|key| text(it, key)).join("|"))
            .collect())
    };
    assert_eq!(found("trust")?, Vec::<String>::new());
    desk.policy("[revoked]\nkeys = [\"$VENDOR\"]\n")?;
    let (silent, ..) = desk.node.run(&["doctor"])?;
    assert!(silent.contains("which is revoked by $NODE/trust/policy.toml"), "{silent}");
    assert_eq!(
        found("trust")?,
        ["error|disk 1.0 is signed with the key $VENDOR, which is revoked by \
          $NODE/trust/policy.toml|it is not to be used any more, and serves calls until it is \
          replaced|install a component that $NODE/trust/policy.toml allows"]
    );
    desk.policy("")?;
    fs::remove_file(desk.node.path("trust/vendor.pub"))?;
    assert_eq!(
        found("trust")?,
        ["warning|disk 1.0 is signed with the key $VENDOR, and no key of $NODE/trust is that|it \
          could not be installed again as it is, and serves calls all the same|put the vendor's \
          key into $NODE/trust, or install another"]
    );
    desk.mode("trust", 0o777)?;
    let unsafe_now = found("trust")?;
    assert!(unsafe_now[0].starts_with("error|trust directory $NODE/trust cannot be used: "));
    desk.goes_on(&version)
}

/// One row a file: what `list` says when a byte of it was changed. What the driver says is in
/// `tests/cases/files.toml`.
#[test]
fn every_file_is_held_to_the_receipt() -> Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let version = desk.node.version()?;
    fs::write(desk.node.path("none.toml"), "version = 1\n")?;
    let changed = "was changed after installation; ";
    let again = "install the driver again";
    let by_driver = "reinstall the driver with `wasmount install` (file-changed)";
    for (file, told) in [
        ("wasmount-driver", format!("{changed}{again}")),
        ("component.wasm", format!("{changed}{by_driver}")),
        ("component.cwasm", format!("{changed}{again}")),
        ("grants.toml", format!("{changed}{by_driver}")),
        ("receipt.json", format!("{changed}{by_driver}")),
        ("component.wasm.minisig", format!("{changed}{again}")),
    ] {
        let path = desk.node.path("plugins/example.com~disk/current").join(file);
        let (whole, mut bytes) = (fs::read(&path)?, fs::read(&path)?);
        // Within a text of the receipt, so that it remains one.
        let text = bytes.windows(6).position(|window| window == b"native");
        let place = text.unwrap_or(bytes.len() - 1);
        bytes[place] ^= 1;
        fs::write(&path, bytes)?;
        let (listed, ..) = desk.node.run(&["list", "--json"])?;
        let listed: serde_json::Value = serde_json::from_str(&listed)?;
        let path_told = format!("$NODE/plugins/example.com~disk/.versions/.{version}/{file}");
        assert_eq!(listed["drivers"][0]["problem"], format!("{path_told} {told}"));
        let (found, ..) = desk.node.run(&["doctor"])?;
        assert!(found.contains(&format!("{path_told} was changed after installation")), "{found}");
        // Nor is it given other grants.
        let (_, said, code) = desk.node.run(&["grants", "apply", DRIVER, "none.toml"])?;
        assert!(said.contains(&format!("{path_told} {told}")), "{said}");
        assert_eq!((desk.node.version()?, code), (version.clone(), Some(1)));
        fs::write(&path, whole)?;
    }
    let (listed, ..) = desk.node.run(&["list"])?;
    assert!(listed.contains(" ok\n"), "{listed}");
    fs::remove_file(desk.node.path("plugins/example.com~disk/current/component.wasm.minisig"))?;
    let (listed, ..) = desk.node.run(&["list"])?;
    let told = "component.wasm.minisig cannot be read; install the driver again: No such file";
    assert!(listed.contains(told), "{listed}");
    Ok(())
}

/// A version that is kept to go back to is held to its receipt, too.
#[test]
fn nothing_is_gone_back_to_that_was_changed() -> Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let older = desk.node.version()?;
    desk.node.install_strictly(&TRUST)?;
    let newer = desk.node.version()?;
    let kept = desk.node.path(&format!("plugins/example.com~disk/.versions/.{older}"));
    for file in ["wasmount-driver", "component.wasm", "component.cwasm", "component.wasm.minisig"] {
        let path = kept.join(file);
        let (whole, mut bytes) = (fs::read(&path)?, fs::read(&path)?);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes)?;
        let (_, said, code) = desk.node.run(&["rollback", DRIVER, "--trust-dir", "trust"])?;
        let told = "wasmount: the version to go back to cannot be used: ";
        assert!(said.starts_with(told) && said.contains(file), "{said}");
        assert_eq!(code, Some(1));
        desk.goes_on(&newer)?;
        fs::write(&path, whole)?;
    }
    let (_, said, code) = desk.node.run(&["rollback", DRIVER, "--trust-dir", "trust"])?;
    assert_eq!((said.as_str(), code), ("", Some(0)));
    assert_ne!(desk.node.version()?, newer);
    desk.goes_on(&desk.node.version()?)
}

/// What is granted was granted to what somebody vouched for.
#[test]
fn another_signature_needs_consent() -> Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let version = desk.node.version()?;
    fs::copy(desk.node.path("other.pub"), desk.node.path("trust/other.pub"))?;
    desk.mode("trust/other.pub", 0o644)?;
    let stays = "nothing was changed, and what is installed stays in force; agree by saying what it \
                 is granted: --grants FILE, --no-grants or --accept-requested\n";
    for (signs, by) in [(Some("other"), "$OTHER"), (None, "nobody")] {
        desk.brings("1.1")?;
        if let Some(key) = signs {
            desk.sign(key)?;
        }
        let (printed, said, code) = desk.node.install(&["--trust-dir", "trust"])?;
        let told = format!(
            "wasmount: disk 1.1 takes the place of disk 1.0, which is installed as \
             example.com/disk:\n  component ~ version: 1.0 -> 1.1\n  component ~ signed: by $VENDOR \
             -> by {by}\nwho signed it is another than before\n{stays}"
        );
        assert_eq!((printed.as_str(), desk.told(&said)?, code), ("", told, Some(1)));
        desk.goes_on(&version)?;
    }
    let (_, said, code) = desk.node.install(&TRUST)?;
    assert_eq!(code, Some(0), "{said}");
    Ok(())
}

#[test]
fn keys_are_kept() -> Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let mode = |name: &str| -> Result<u32> {
        Ok(fs::metadata(desk.node.path(name))?.permissions().mode() & 0o777)
    };
    assert_eq!(mode("vendor.key")?, 0o600);
    let secret = fs::read(desk.node.path("vendor.key"))?;
    let there = "wasmount: vendor.key is there already, and no key is ever overwritten\n";
    let refused = desk.node.run(&["keygen", "vendor", "--no-passphrase"])?;
    assert_eq!(refused, (String::new(), there.to_owned(), Some(1)));
    assert_eq!(fs::read(desk.node.path("vendor.key"))?, secret);
    fs::remove_file(desk.node.path("vendor.key"))?;
    let there = "wasmount: vendor.pub is there already, and no key is ever overwritten\n";
    let refused = desk.node.run(&["keygen", "vendor", "--no-passphrase"])?;
    assert_eq!(refused, (String::new(), there.to_owned(), Some(1)));
    assert!(!desk.node.path("vendor.key").exists());
    // A public key signs nothing.
    let told =
        "wasmount: vendor.pub is not a secret key of minisign's; `wasmount keygen` makes one\n";
    let refused = desk.node.run(&["sign", "disk.wasm", "--key", "vendor.pub"])?;
    assert_eq!(refused, (String::new(), told.to_owned(), Some(1)));
    desk.mode("other.key", 0o644)?;
    let (_, said, code) = desk.node.run(&["sign", "disk.wasm", "--key", "other.key"])?;
    let warned = "warning: others can read other.key, and sign in your name: chmod 600 other.key\n";
    assert_eq!((said.as_str(), code), (warned, Some(0)));
    Ok(())
}

/// `verify`, that is, as an upgrade would be, which keeps the trust directory.
#[test]
fn a_driver_is_judged_by_the_trust_directory_that_it_is_installed_with() -> Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let verify = |more: &[&str]| desk.node.run(&[&["verify", "disk.wasm"], more].concat());
    let of_disk = ["--driver", DRIVER, "--plugin-dir", "plugins"];
    let (told, _, code) = verify(&of_disk)?;
    assert!(told.ends_with("/trust, as example.com/disk\n") && code == Some(0), "{told}");
    let of_other = ["--driver", "example.com/other", "--plugin-dir", "plugins"];
    for other in [&[][..], &of_other, &[&of_disk[..], &["--trust-dir", "/etc"]].concat()] {
        assert_eq!(verify(other)?.2, Some(1), "{other:?}");
    }

    desk.node.install_strictly(&TRUST)?;
    // It is said whose word it is that counts, where that is gone or cannot be read.
    fs::rename(desk.node.path("trust"), desk.node.path("gone"))?;
    let gone = "wasmount: example.com/disk is installed with a trust directory that cannot be used \
                now; name another with --trust-dir: trust directory $NODE/trust is not there; make \
                it, and put the public keys there that are trusted";
    for arguments in [&["rollback", DRIVER][..], &["install", "disk.wasm", "--driver", DRIVER]] {
        let (_, said, code) = desk.node.run(arguments)?;
        assert_eq!((said.lines().last(), code), (Some(gone), Some(1)));
    }
    fs::write(desk.node.path("plugins/example.com~disk/current/receipt.json"), "{")?;
    let (_, told, code) = verify(&of_disk)?;
    let unread = "warning: what example.com/disk is installed with cannot be read, so the keys of \
                  /etc/wasmount/trust count, as for a new driver; name others with --trust-dir: ";
    assert!(told.contains(unread) && code == Some(1), "{told}");
    Ok(())
}

#[test]
fn verify_tells_programs_too() -> Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let document = || -> Result<(serde_json::Value, Option<i32>)> {
        let verify = ["verify", "disk.wasm", "--trust-dir", "trust", "--json"];
        let (printed, _, code) = desk.node.run(&verify)?;
        Ok((serde_json::from_str(&desk.told(&printed)?)?, code))
    };
    let (trusted, code) = document()?;
    assert_eq!(code, Some(0));
    assert_eq!((&trusted["trusted"], &trusted["digest"]), (&true.into(), &"$DIGEST".into()));
    assert_eq!(trusted["signed-by"]["key-id"], "$VENDOR");
    assert_eq!(trusted["signed-by"]["key"], "vendor.pub");
    assert_eq!(trusted["objection"], serde_json::Value::Null);
    desk.flip(1)?;
    let (wrong, code) = document()?;
    assert_eq!(code, Some(1));
    assert_eq!(
        (&wrong["trusted"], &wrong["objection"]),
        (&false.into(), &"wrong-signature".into())
    );
    // Of what was not verified, nothing is repeated.
    assert_eq!(wrong["signed-by"], serde_json::Value::Null);
    Ok(())
}
