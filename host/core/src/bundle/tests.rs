//! An installed version, what happens to its files, and what an operator then reads.

use std::fs::Permissions;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown, symlink};

use super::*;

const ENGINE: &str = "48.0.8";

/// A version in a temporary plugin directory.
struct Installed {
    root: tempfile::TempDir,
    version: PathBuf,
}

impl Installed {
    fn new() -> Self {
        Self::with(receipt::tests::receipt(), "example.com~x")
    }

    fn with(receipt: Receipt, directory: &str) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let version = root.path().join(format!("{directory}/.versions/.{}", receipt.id()));
        // The umask of whoever runs the tests may let a group write.
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(&version).expect("directories");
        for directory in version.ancestors().take(4) {
            std::fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("its owner");
        }
        let installed = Self { root, version };
        for (name, contents) in [
            (RECEIPT, receipt.to_bytes()),
            (GRANTS, b"version = 1\n".to_vec()),
            (COMPONENT, b"component".to_vec()),
            (IMAGE, b"image".to_vec()),
        ] {
            std::fs::write(installed.file(name), contents).expect("a file");
            installed.mode(name, 0o644);
        }
        installed
    }

    fn file(&self, name: &str) -> PathBuf {
        self.version.join(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.file(name), Permissions::from_mode(mode)).expect("its owner");
    }

    fn flip(&self, name: &str) {
        let mut bytes = std::fs::read(self.file(name)).expect("a file");
        // Within a text of the receipt, so that it remains one.
        let text = bytes.windows(6).position(|window| window == b"native");
        let place = text.unwrap_or(bytes.len() / 2);
        bytes[place] ^= 1;
        std::fs::write(self.file(name), bytes).expect("a file");
    }

    fn for_init(&self) -> Result<Bundle, Failure> {
        Bundle::trusting(&self.version, Trust::in_user(rustix::process::getuid().as_raw()))
    }

    /// Everything that a call checks, and the component besides.
    fn check(&self) -> Result<(), Failure> {
        let bundle = self.for_init()?.checked(ENGINE)?;
        bundle.image()?;
        bundle.verify_component()
    }

    /// What an operator reads, with `<version>` and `<root>` for the directories.
    fn told(&self, failure: &Failure) -> String {
        let version = self.version.to_str().expect("UTF-8");
        let root = self.root.path().to_str().expect("UTF-8");
        failure.to_string().replace(version, "<version>").replace(root, "<root>")
    }
}

#[test]
fn what_was_installed_is_used() {
    let installed = Installed::new();
    let bundle = installed.for_init().expect("trusted").checked(ENGINE).expect("unchanged");
    bundle.verify_component().expect("unchanged");
    assert_eq!(bundle.grants_text, "version = 1\n");
    assert_eq!(bundle.driver.slash(), "example.com/x");
    assert_eq!(
        format!(".{}", bundle.id),
        installed.version.file_name().expect("a name").to_str().expect("UTF-8")
    );
    let (mut image, digest) = bundle.image().expect("trusted");
    let mut bytes = Vec::new();
    image.read_to_end(&mut bytes).expect("readable");
    assert_eq!((bytes.as_slice(), digest), (&b"image"[..], receipt::sha256_hex(b"image").as_str()));
}

#[test]
fn what_was_changed_is_refused() {
    // What happens, to which file, what is told, and whether `init` is refused as well. It reads
    // receipt and grants and asks no more of them than that they are root's.
    type Change = fn(&Installed, &str);
    let missing: Change =
        |installed, name| std::fs::remove_file(installed.file(name)).expect("there");
    let flipped: Change = Installed::flip;
    let shared: Change = |installed, name| installed.mode(name, 0o664);
    let public: Change = |installed, name| installed.mode(name, 0o646);
    let linked: Change = |installed, name| {
        let elsewhere = installed.root.path().join("elsewhere");
        std::fs::rename(installed.file(name), &elsewhere).expect("there");
        symlink(elsewhere, installed.file(name)).expect("a link");
    };
    let directory: Change = |installed, name| {
        std::fs::remove_file(installed.file(name)).expect("there");
        std::fs::create_dir(installed.file(name)).expect("a directory");
    };
    let fifo: Change = |installed, name| {
        std::fs::remove_file(installed.file(name)).expect("there");
        let mode = nix::sys::stat::Mode::S_IRUSR;
        nix::unistd::mkfifo(&installed.file(name), mode).expect("a fifo");
    };
    let is_missing = "is missing; reinstall the driver with `wasmount install` (file-missing)";
    let is_changed = "was changed after installation; reinstall the driver with `wasmount install` (file-changed)";
    let is_shared = "can be written to by others than its owner, who may have changed it; \
                     reinstall the driver with `wasmount install` (file-untrusted)";
    let is_linked =
        "is a symbolic link; reinstall the driver with `wasmount install` (file-untrusted)";
    let is_irregular =
        "is not a regular file; reinstall the driver with `wasmount install` (file-untrusted)";
    for name in [RECEIPT, GRANTS, COMPONENT, IMAGE] {
        let read_by_init = name == RECEIPT || name == GRANTS;
        for (change, told, stops_init) in [
            (missing, is_missing, read_by_init),
            (flipped, is_changed, false),
            (shared, is_shared, read_by_init),
            (public, is_shared, read_by_init),
            (linked, is_linked, read_by_init),
            (directory, is_irregular, read_by_init),
            (fifo, is_irregular, read_by_init),
        ] {
            let installed = Installed::new();
            change(&installed, name);
            assert_eq!(installed.for_init().is_err(), stops_init, "{name} {told}");
            // The image's digest is compared by whoever loads it.
            if std::ptr::fn_addr_eq(change, flipped) && name == IMAGE {
                installed.check().expect("found out later");
                continue;
            }
            let failure = installed.check().expect_err(told);
            assert_eq!(installed.told(&failure), format!("<version>/{name} {told}"));
        }
    }
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if !rustix::process::getuid().is_root() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "needs root");
        // Shown with the test's output: an ordinary user cannot give files away.
        #[expect(clippy::print_stderr, reason = "the notice of a skipped test")]
        {
            eprintln!("skipped: what_belongs_to_another_user_is_refused needs root");
        }
        return;
    }
    let remedy = |path: &str| {
        format!(
            "run `chown root {path}` and reinstall the driver with `wasmount install` (file-untrusted)"
        )
    };
    for name in [RECEIPT, GRANTS, COMPONENT, IMAGE, "", "..", "../.."] {
        let installed = Installed::new();
        let path = match name {
            "" => installed.version.clone(),
            ".." => installed.version.parent().expect("one").to_owned(),
            "../.." => installed.root.path().join("example.com~x"),
            name => installed.file(name),
        };
        chown(&path, Some(65534), None).expect("root");
        let failure = installed.check().expect_err(name);
        let shown = path.to_str().expect("UTF-8");
        let expected = format!("{shown} belongs to user 65534 and not to root; {}", remedy(shown));
        assert_eq!(failure.to_string(), expected);
        let read_by_init = ![COMPONENT, IMAGE].contains(&name);
        assert_eq!(installed.for_init().is_err(), read_by_init, "{name}");
    }
}

#[test]
fn directories_on_the_way() {
    let written = "can be written to by others than its owner, who may have changed what is in it; run `chmod go-w";
    // A sticky directory keeps strangers from replacing what is in it, and not from adding to it.
    for (levels, mode, refused) in [
        (0, 0o775, true),
        (0, 0o1777, true),
        (1, 0o757, true),
        (1, 0o1777, false),
        (2, 0o775, true),
        (2, 0o1777, false),
        (3, 0o777, true),
    ] {
        let installed = Installed::new();
        let path = installed.version.ancestors().nth(levels).expect("so many").to_owned();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its owner");
        match installed.check() {
            Ok(()) => assert!(!refused, "{levels} {mode:o}"),
            Err(failure) => {
                let shown = path.display();
                let told = format!("{shown} {written} {shown}`");
                assert!(
                    refused && failure.message.starts_with(&told),
                    "{levels} {mode:o}: {failure}"
                );
            }
        }
    }

    let mut installed = Installed::new();
    let link = installed.root.path().join("link");
    symlink(installed.version.parent().expect("one"), &link).expect("a link");
    installed.version = link.join(installed.version.file_name().expect("a name"));
    let failure = installed.check().expect_err("a link on the way");
    assert!(installed.told(&failure).starts_with("<root>/link is a symbolic link; reinstall"));

    let trust = Trust::in_user(rustix::process::getuid().as_raw());
    for (path, told) in [
        ("usr", "usr is not an absolute path without `..`"),
        ("/usr/../usr", "/usr/../usr is not an absolute path without `..`"),
        ("/proc/version", "/proc/version is not a directory"),
        ("/no-such-directory", "/no-such-directory is missing"),
    ] {
        let failure = trust.directory(Path::new(path)).expect_err(path);
        assert!(failure.message.starts_with(told), "{failure}");
    }
}

#[test]
fn receipts_that_do_not_fit() {
    let change = |change: fn(&mut Receipt)| {
        let mut receipt = receipt::tests::receipt();
        change(&mut receipt);
        receipt
    };
    let engine = change(|receipt| receipt.wasmtime_version = "48.0.7".to_owned());
    let version = change(|receipt| receipt.version = 2);
    for (receipt, directory, told) in [
        (
            engine,
            "example.com~x",
            "<version>/component.cwasm was compiled by wasmtime 48.0.7, and this driver runs \
             wasmtime 48.0.8; reinstall the driver with `wasmount install` (engine-version)",
        ),
        (
            version,
            "example.com~x",
            "<version>/receipt.json cannot be used: it is of version 2, and this driver reads 1; \
             reinstall the driver with `wasmount install` (receipt-invalid)",
        ),
        (
            change(|_| {}),
            "example.com~y",
            "<version> is not in a directory example.com~x though it was installed as \
             example.com/x; reinstall the driver with `wasmount install` (driver-name)",
        ),
    ] {
        let installed = Installed::with(receipt, directory);
        let failure = installed.check().expect_err(told);
        assert_eq!(installed.told(&failure), told);
    }
    let installed = Installed::new();
    let receipt = "{}".repeat(200_000);
    std::fs::write(installed.file(RECEIPT), receipt).expect("a file");
    let failure = installed.for_init().expect_err("too long");
    assert!(failure.message.contains("receipt.json is longer than 262144 bytes"), "{failure}");
}
