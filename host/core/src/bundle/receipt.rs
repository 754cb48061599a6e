//! What an installation recorded of itself: `receipt.json`. The CLI writes it once, the driver
//! reads it on every call; how it gets to its place is not known here.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::call::{DriverName, NodeName};

/// The version of the format.
pub const VERSION: u32 = 1;

/// The interfaces that a component can export.
pub const EXPORTS: [&str; 4] = ["volume", "device", "attacher", "expander"];

/// What starts every digest.
const SHA256: &str = "sha256:";

/// What was installed, as what, where from and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// [`VERSION`].
    pub version: u32,
    /// The driver's name.
    pub driver: DriverName,
    /// The version of wasmount.
    pub host_version: String,
    /// The full version of the WebAssembly engine that compiled the image.
    pub wasmtime_version: String,
    /// The CPU that it was compiled for.
    pub target_cpu: String,
    /// The digests of the version's other files.
    pub digests: Digests,
    /// Which of [`EXPORTS`] the component has.
    pub exports: Vec<String>,
    /// Which host functions it imports.
    pub imports: Vec<String>,
    /// What its manifest says of mounted volumes.
    pub capabilities: Capabilities,
    /// What its manifest says of itself.
    pub component: Component,
    /// kubelet's `--root-dir`; absolute, as are the other directories.
    pub kubelet_root: PathBuf,
    /// Where volume records are.
    pub data_dir: PathBuf,
    /// Where locks are.
    pub run_dir: PathBuf,
    /// Where the audit log is.
    pub log_dir: PathBuf,
    /// The node's name, as Kubernetes knows it.
    pub node_name: String,
    /// Whether the cluster is never asked to attach volumes; absent in older receipts.
    #[serde(default)]
    pub node_only: bool,
    /// Who vouched for the component when it was installed; absent in receipts of before anybody
    /// was asked. No call looks at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Where whoever installed it said that the keys are which the node trusts; absent if nobody did. No
    /// call looks at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_dir: Option<PathBuf>,
    /// Where the component came from.
    pub source: String,
    /// Where the grants came from.
    pub grants_source: String,
    /// Who said that they hold; absent in older receipts, and then not written either: the program that
    /// lies beside such a receipt would not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants_from: Option<GrantsFrom>,
    /// How their text came to be, whatever brought it into this version; absent in older receipts, and
    /// then not written either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants_origin: Option<GrantsOrigin>,
    /// Who installed it.
    pub installed_by: String,
    /// When: RFC 3339, UTC.
    pub installed_at: String,
}

/// By what the grants of an installation hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantsFrom {
    /// The operator's own file.
    File,
    /// The operator accepted what the manifest asks for.
    Accepted,
    /// Nobody has granted anything.
    Nothing,
    /// They are what held before an upgrade or a rollback of the program.
    Kept,
    /// The operator went back to them.
    RolledBack,
}

/// How a text of grants came to be. It goes along with the text, from version to version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantsOrigin {
    /// The operator wrote it.
    File,
    /// It was made of what the manifest asks for, and of what the operator said with that.
    Accepted,
    /// There is none.
    Nothing,
}

impl GrantsFrom {
    /// For the operator, after "granted".
    pub fn by(self) -> &'static str {
        match self {
            Self::File => "by the operator's file",
            Self::Accepted => "as its manifest asks",
            Self::Nothing => "nothing",
            Self::Kept => "what was granted before",
            Self::RolledBack => "what was gone back to",
        }
    }
}

/// Who gives a driver's volumes to nodes and mounts their devices there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attaching {
    /// kubelet and kube-controller-manager, by operations of their own.
    Cluster,
    /// The host, in `mount` and `unmount`, for which alone it is called.
    Node,
    /// Nobody: a volume of this driver is nothing but its mount.
    Nobody,
}

impl Attaching {
    /// Of a component with these exports, in a cluster that is or is not asked to attach volumes.
    pub fn of(exports: &[String], node_only: bool) -> Self {
        let exports = |interface| exports.iter().any(|export| export == interface);
        match (exports("device"), exports("attacher") && !node_only) {
            (_, true) => Self::Cluster,
            (true, false) => Self::Node,
            (false, false) => Self::Nobody,
        }
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Nobody => "nobody",
        }
    }

    /// For the operator, after "attached".
    pub fn by(self) -> &'static str {
        match self {
            Self::Cluster => "by the cluster",
            Self::Node => "on the node, within mount",
            Self::Nobody => "by nobody",
        }
    }
}

/// Who vouches for a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Signature {
    /// Nobody, and whoever installed it allowed that.
    Unsigned,
    /// A key that was trusted then.
    Signed {
        /// minisign's identifier of the key: 16 hexadecimal digits in upper case.
        key_id: String,
        /// The name of the key's file in the trust directory.
        key_name: String,
        /// What the vendor says in the signature, with what would drive a terminal escaped.
        trusted_comment: String,
        /// The digest of the signature's own file.
        digest: String,
    },
}

impl Signature {
    /// The identifier of the key.
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Self::Unsigned => None,
            Self::Signed { key_id, .. } => Some(key_id),
        }
    }
}

/// Digests of files, each as `sha256:` and 64 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is the file of the same name")]
pub struct Digests {
    pub driver: String,
    pub component: String,
    pub image: String,
    pub grants: String,
}

impl Digests {
    /// The image's digest without what it starts with.
    pub(super) fn image_hex(&self) -> &str {
        self.image.strip_prefix(SHA256).unwrap_or(&self.image)
    }
}

/// What `init` tells kubelet beside what follows from the exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// kubelet changes group and modes of the volume's files to the pod's `fsGroup`.
    pub fs_group: bool,
    /// The container runtime relabels the volume's files.
    pub selinux_relabel: bool,
    /// kubelet reads the filesystem's usage.
    pub supports_metrics: bool,
}

/// The component, as its manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the manifest's fields of the same name")]
pub struct Component {
    pub name: String,
    pub version: String,
    pub description: String,
}

/// What is wrong with a receipt. Reads on after "cannot be used: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake(String);

impl Receipt {
    /// Reads a receipt's bytes, and checks whatever the types do not: digests, directories and
    /// names.
    pub fn parse(bytes: &[u8]) -> Result<Self, Mistake> {
        /// Whatever else is in it: the fields are those of its version.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let mistake = |error: serde_json::Error| Mistake(error.to_string());
        match serde_json::from_slice(bytes).map_err(mistake)? {
            Versioned { version: VERSION } => {}
            Versioned { version } => {
                let text = format!("it is of version {version}, and this driver reads {VERSION}");
                return Err(Mistake(text));
            }
        }
        let receipt: Self = serde_json::from_slice(bytes).map_err(mistake)?;
        receipt.check()?;
        Ok(receipt)
    }

    /// Whether the component exports an interface.
    pub fn exports(&self, interface: &str) -> bool {
        self.exports.iter().any(|export| export == interface)
    }

    /// The identifier of the key that signed the component; none if nobody did, or nobody looked.
    pub fn signer(&self) -> Option<&str> {
        self.signature.as_ref()?.key_id()
    }

    /// Who attaches this driver's volumes. kubelet mounts no device of a driver whose volumes are
    /// not attached: whoever exports `device` without `attacher` needs the host for that.
    pub fn attaching(&self) -> Attaching {
        Attaching::of(&self.exports, self.node_only)
    }

    /// The bytes that are written: JSON for people too, with a newline at the end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("its paths are UTF-8 when parsed");
        bytes.push(b'\n');
        bytes
    }

    /// The version's name: the first 16 hexadecimal digits of the SHA-256 of the bytes.
    pub fn id(&self) -> String {
        id_of(&self.to_bytes())
    }

    fn check(&self) -> Result<(), Mistake> {
        let Digests { driver, component, image, grants } = &self.digests;
        for (name, digest) in
            [("driver", driver), ("component", component), ("image", image), ("grants", grants)]
        {
            if !is_digest(digest) {
                return Err(Mistake(format!("digests.{name} is not a SHA-256 digest")));
            }
        }
        if let Some(Signature::Signed { digest, .. }) = &self.signature
            && !is_digest(digest)
        {
            return Err(Mistake("signature.digest is not a SHA-256 digest".to_owned()));
        }
        for (name, path) in [
            ("kubelet_root", &self.kubelet_root),
            ("data_dir", &self.data_dir),
            ("run_dir", &self.run_dir),
            ("log_dir", &self.log_dir),
        ] {
            if !is_straight(path) {
                return Err(Mistake(format!("{name} is not an absolute path without `..`")));
            }
        }
        if let Some(export) = self.exports.iter().find(|name| !EXPORTS.contains(&name.as_str())) {
            return Err(Mistake(format!(
                "exports has `{}`, which is none of {}",
                export.escape_debug(),
                EXPORTS.join(", ")
            )));
        }
        self.node_name.parse::<NodeName>().map(drop).map_err(|failure| {
            Mistake(format!("node_name is not a node's name: {}", failure.message))
        })
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

/// The name of the version that has this receipt.
pub fn id_of(receipt: &[u8]) -> String {
    let mut hex = sha256_hex(receipt);
    hex.truncate(16);
    hex
}

/// The digest of bytes, as `sha256:<hex>`.
pub fn digest(bytes: &[u8]) -> String {
    format!("{SHA256}{}", sha256_hex(bytes))
}

/// The digest of all that is left to read, as `sha256:<hex>`.
pub fn digest_of(mut reader: impl Read) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(format!("{SHA256}{}", hex(&hash.finalize()))),
            Ok(length) => hash.update(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The SHA-256 of bytes, as 64 hexadecimal digits in lower case.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as hexadecimal digits in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is a digest as [`digest`] writes it.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix(SHA256).is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_straight(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|part| part != std::path::Component::ParentDir)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A receipt to change in tests.
    pub(in crate::bundle) fn receipt() -> Receipt {
        Receipt {
            version: VERSION,
            driver: "example.com/x".parse().expect("a driver"),
            host_version: "0.1.0".to_owned(),
            wasmtime_version: "48.0.8".to_owned(),
            target_cpu: "native".to_owned(),
            digests: Digests {
                driver: digest(b"driver"),
                component: digest(b"component"),
                image: digest(b"image"),
                grants: digest(b"version = 1\n"),
            },
            exports: vec!["device".to_owned(), "attacher".to_owned()],
            imports: vec!["wasmount:driver/log@0.1.0#write".to_owned()],
            capabilities: Capabilities {
                fs_group: true,
                selinux_relabel: false,
                supports_metrics: true,
            },
            component: Component {
                name: "x".to_owned(),
                version: "1.0.0".to_owned(),
                description: "an example".to_owned(),
            },
            kubelet_root: "/var/lib/kubelet".into(),
            data_dir: "/var/lib/wasmount".into(),
            run_dir: "/run/wasmount".into(),
            log_dir: "/var/log/wasmount".into(),
            node_name: "node-1".to_owned(),
            node_only: false,
            signature: None,
            trust_dir: None,
            source: "x.wasm".to_owned(),
            grants_source: "grants.toml".to_owned(),
            grants_from: Some(GrantsFrom::File),
            grants_origin: Some(GrantsOrigin::File),
            installed_by: "root".to_owned(),
            installed_at: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    #[test]
    fn a_receipt_reads_back() {
        let receipt = receipt();
        let bytes = receipt.to_bytes();
        assert!(bytes.ends_with(b"}\n"));
        assert_eq!(Receipt::parse(&bytes), Ok(receipt.clone()));
        assert_eq!(receipt.id(), sha256_hex(&bytes)[..16]);
        assert_eq!(
            digest_of(&b"abc"[..]).expect("a slice"),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest(b"abc"), digest_of(&b"abc"[..]).expect("a slice"));
    }

    #[test]
    fn who_attaches_follows_from_exports_and_setting() {
        use Attaching::{Cluster, Nobody, Node};
        for (exports, node_only, attaching) in [
            ("volume device attacher", false, Cluster),
            ("volume device attacher", true, Node),
            ("device", false, Node),
            ("device", true, Node),
            ("volume", false, Nobody),
            ("volume", true, Nobody),
        ] {
            let exports = exports.split(' ').map(str::to_owned).collect();
            let receipt = Receipt { exports, node_only, ..receipt() };
            assert_eq!(receipt.attaching(), attaching, "{:?} {node_only}", receipt.exports);
        }
    }

    #[test]
    fn a_receipt_of_before_the_setting_reads_as_without_it() {
        let text = String::from_utf8(receipt().to_bytes()).expect("JSON is UTF-8");
        let older = text.replacen("  \"node_only\": false,\n", "", 1);
        assert_ne!(older, text);
        assert_eq!(Receipt::parse(older.as_bytes()), Ok(receipt()));
    }

    /// A program of before the setting reads what is written beside it.
    #[test]
    fn a_receipt_of_before_provenance_is_written_without_it() {
        let text = String::from_utf8(receipt().to_bytes()).expect("JSON is UTF-8");
        let of_before_origins = text.replacen("  \"grants_origin\": \"file\",\n", "", 1);
        let of_before = of_before_origins.replacen("  \"grants_from\": \"file\",\n", "", 1);
        assert!(of_before.len() < of_before_origins.len() && of_before_origins.len() < text.len());
        for (older, grants_from) in [(of_before_origins, Some(GrantsFrom::File)), (of_before, None)]
        {
            let read = Receipt { grants_from, grants_origin: None, ..receipt() };
            assert_eq!(Receipt::parse(older.as_bytes()).as_ref(), Ok(&read));
            assert_eq!(read.to_bytes(), older.as_bytes());
        }
    }

    #[test]
    fn a_receipt_says_who_vouched() {
        let before = String::from_utf8(receipt().to_bytes()).expect("JSON is UTF-8");
        assert!(!before.contains("signature"), "as it was written before");
        let signed = Signature::Signed {
            key_id: "0123456789ABCDEF".to_owned(),
            key_name: "vendor.pub".to_owned(),
            trusted_comment: "name:x".to_owned(),
            digest: digest(b"signature"),
        };
        for signature in [Signature::Unsigned, signed] {
            let receipt = Receipt { signature: Some(signature), ..receipt() };
            let text = String::from_utf8(receipt.to_bytes()).expect("JSON is UTF-8");
            assert_eq!(Receipt::parse(text.as_bytes()), Ok(receipt));
            let wrong = text.replace(&digest(b"signature"), "sha256:0");
            if wrong != text {
                let mistake = Receipt::parse(wrong.as_bytes()).expect_err("no digest").to_string();
                assert_eq!(mistake, "signature.digest is not a SHA-256 digest");
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let text = String::from_utf8(receipt().to_bytes()).expect("JSON is UTF-8");
        for (from, to, mistake) in [
            ("\"version\": 1", "\"version\": 2", "it is of version 2, and this driver reads 1"),
            ("\"source\"", "\"sauce\"", "unknown field `sauce`"),
            ("\"fs_group\": true,", "", "missing field `fs_group`"),
            ("sha256:", "sha512:", "digests.driver is not a SHA-256 digest"),
            ("/run/wasmount", "run/wasmount", "run_dir is not an absolute path without `..`"),
            ("/run/wasmount", "/run/../etc", "run_dir is not an absolute path without `..`"),
            ("\"device\"", "\"devise\"", "exports has `devise`, which is none of volume, "),
            ("node-1", "../x", "node_name is not a node's name: a node's name is"),
            ("example.com/x", "example.com", "a driver's name is VENDOR/NAME"),
            ("{", "[", "expected"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let told = Receipt::parse(changed.as_bytes()).expect_err(from).to_string();
            assert!(told.contains(mistake), "{from}: {told}");
        }
    }
}
