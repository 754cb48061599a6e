//! One driver's files: who could have changed them, whether somebody has, whether its program and
//! its image belong together, and whether what it may do can be done here.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use wasmount_core::bundle::{Bundle, COMPONENT, GRANTS, IMAGE, LOCK, RECEIPT, Receipt, receipt};
use wasmount_core::failure::Failure;
use wasmount_core::grants::Grants;
use wasmount_core::guest::{engine, landlock};
use wasmount_core::kernel::requirements;

use crate::accept;
use crate::finding::Findings;
use crate::installed;
use crate::layout::{DRIVER, SIGNATURE, VERSION_FILES};

const REINSTALL: &str = "install the driver again with `wasmount install`";

/// The files of the version in use.
pub(crate) fn examine(version: &Path, found: &mut Findings) {
    let before = found.all.len();
    examine_permissions(version, found);
    let path = version.join(RECEIPT);
    // Told already.
    let Ok(bytes) = fs::read(&path) else { return };
    let receipt = match Receipt::parse(&bytes) {
        Ok(receipt) => receipt,
        Err(mistake) => {
            let what = format!("{} cannot be used: {mistake}", path.display());
            return found.error("receipt-unusable", what, "every call fails", REINSTALL);
        }
    };
    // A version is called by what is in its receipt.
    let named = version.file_name().is_some_and(|name| {
        name.to_string_lossy().trim_start_matches('.') == receipt::id_of(&bytes)
    });
    if !named {
        changed(&path, found);
    }
    examine_digests(version, &receipt, found);
    examine_engine(version, &receipt, found);
    if let Ok(bundle) = Bundle::read_at(version)
        && let Err(error) = Grants::parse(&bundle.grants_text)
    {
        found.error(
            "grants-unusable",
            format!("{}: {error}", version.join(GRANTS).display()),
            "every call fails",
            "correct the file and give it with `wasmount grants apply`, or install again",
        );
    }
    // What the driver itself would not believe, and is none of the above.
    if found.all.len() == before
        && let Err(error) = installed::check(version, &receipt.wasmtime_version)
            .and_then(|()| accept::try_init(&version.join(DRIVER)))
    {
        found.error(
            "driver-unusable",
            format!("{error:#}"),
            "the driver answers every call with a Failure",
            REINSTALL,
        );
    }
}

fn examine_permissions(version: &Path, found: &mut Findings) {
    let driver = version.ancestors().nth(2);
    let paths = driver.into_iter().chain(version.parent()).chain([version]).map(Path::to_owned);
    for path in paths.chain(VERSION_FILES.map(|name| version.join(name))) {
        let shown = path.display();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            // Whether there is to be a signature is the receipt's word; older versions have no lock.
            if path.ends_with(SIGNATURE) || path.ends_with(LOCK) {
                continue;
            }
            found.error(
                "file-missing",
                format!("{shown} is missing"),
                "every call fails",
                REINSTALL,
            );
            continue;
        };
        let mode = metadata.mode() & 0o7777;
        if metadata.uid() != 0 {
            found.error(
                "file-owner",
                format!("{shown} belongs to user {} and not to root", metadata.uid()),
                "the driver believes no file that is another's, and every call fails",
                REINSTALL,
            );
        } else if mode & 0o022 != 0 {
            found.error(
                "file-writable",
                format!("{shown} can be written to by others than its owner (mode {mode:o})"),
                "whoever can may have changed it; the driver does not believe it, and every call \
                 fails",
                REINSTALL,
            );
        }
        let executable = path.ends_with(DRIVER) || metadata.is_dir();
        if executable && mode & 0o111 == 0 {
            found.error(
                "file-mode",
                format!("{shown} is not executable (mode {mode:o})"),
                "kubelet sees a driver that answers nothing",
                format!("chmod 0755 {shown}"),
            );
        } else if path.ends_with(LOCK) {
            if mode & 0o077 != 0 {
                found.warning(
                    "file-mode",
                    format!("{shown} can be opened by others than root (mode {mode:o})"),
                    "whoever opens it can lock it, and then no call works",
                    format!("chmod 0600 {shown}"),
                );
            }
        } else if mode & 0o004 == 0 {
            found.warning(
                "file-mode",
                format!("{shown} is not readable by everybody (mode {mode:o})"),
                "kube-controller-manager, which is not root, cannot use the driver there",
                format!("chmod go+r {shown}"),
            );
        }
    }
}

fn examine_digests(version: &Path, receipt: &Receipt, found: &mut Findings) {
    let digests = &receipt.digests;
    for (name, installed) in [
        (DRIVER, &digests.driver),
        (COMPONENT, &digests.component),
        (IMAGE, &digests.image),
        (GRANTS, &digests.grants),
    ] {
        let path = version.join(name);
        if let Ok(digest) = File::open(&path).and_then(receipt::digest_of)
            && digest != *installed
        {
            changed(&path, found);
        }
    }
    let path = version.join(SIGNATURE);
    if let Some(kept) = installed::signature_digest(receipt)
        && File::open(&path).and_then(receipt::digest_of).ok().as_deref() != Some(kept)
    {
        found.error(
            "signature-changed",
            format!("{} was changed after installation, or is missing", path.display()),
            "nobody can see any more who signed the component; a rollback to it fails",
            REINSTALL,
        );
    }
}

fn changed(path: &Path, found: &mut Findings) {
    let what = format!("{} was changed after installation", path.display());
    let why = "the driver believes no file that was changed, and calls fail";
    found.error("file-changed", what, why, REINSTALL);
}

fn examine_engine(version: &Path, receipt: &Receipt, found: &mut Findings) {
    let Ok(program) = fs::read(version.join(DRIVER)) else { return };
    let compiled_by = &receipt.wasmtime_version;
    if let Some(runs) = engine::version_in(&program).filter(|runs| runs != compiled_by) {
        found.error(
            "image-stale",
            format!("the image was compiled by wasmtime {compiled_by}, and the driver runs {runs}"),
            "every call that needs the component fails",
            REINSTALL,
        );
    }
}

/// What the grants let the driver do, and cannot be done on this node.
pub(crate) fn examine_needs(grants: &Grants, found: &mut Findings) {
    for missing in grants.filesystems.iter().flat_map(requirements::missing_tools) {
        let (what, remedy) = match missing.message.split_once("; ") {
            Some((what, remedy)) => (what.to_owned(), remedy.to_owned()),
            None => (missing.message, "let only root change it, or install it again".to_owned()),
        };
        found.error(
            "tool-missing",
            what,
            "calls that need the tool, by its [filesystems] grant, fail",
            remedy,
        );
    }
    if let Err(lacking) = landlock::demand(grants.isolation) {
        examine_isolation(&lacking, found);
    }
    let Some(images) = &grants.images else { return };
    let directory = images.directory.path();
    let shown = directory.display();
    match fs::metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => found.error(
            "image-directory",
            format!("the image directory {shown} is not a directory"),
            "no volume can be attached",
            "name the right one in [images], or put a directory there",
        ),
        Ok(metadata) if metadata.mode() & 0o002 != 0 => found.error(
            "image-directory-writable",
            format!("the image directory {shown} can be written to by everybody"),
            "anybody could put any file in an image's place, so no image in it is used",
            format!("chmod o-w {shown}"),
        ),
        Ok(metadata) if metadata.uid() != 0 || metadata.mode() & 0o020 != 0 => found.note(
            "image-directory-shared",
            format!(
                "the image directory {shown} can be changed by others than root: user {}, group {} \
                 (mode {:o})",
                metadata.uid(),
                metadata.gid(),
                metadata.mode() & 0o7777
            ),
            "they can put another file in an image's place, and read what volumes hold",
            format!("if that is not meant: chown root {shown} && chmod g-w {shown}"),
        ),
        Ok(_) => {}
        Err(error) => found.error(
            "image-directory",
            format!("the image directory {shown} cannot be used: {error}"),
            "no volume can be attached",
            format!("mount or make it, or name the right one in [images] of {GRANTS}"),
        ),
    }
    if !Path::new("/dev/loop-control").exists() {
        found.error(
            "loop-missing",
            "/dev/loop-control is missing",
            "image files cannot be attached",
            "modprobe loop, and see to it that it is loaded at boot",
        );
    }
}

fn examine_isolation(lacking: &Failure, found: &mut Findings) {
    let (what, remedy) = lacking.message.split_once("; ").unwrap_or((&lacking.message, ""));
    found.error(
        "isolation-missing",
        what,
        "the component is not run, and all calls fail that set up a volume",
        remedy,
    );
}

#[cfg(test)]
mod tests {
    use wasmount_core::failure::Code;

    use super::*;

    /// Of a kernel that lacks a part of the wall: not all machines have one.
    #[test]
    fn what_is_demanded_and_missing() {
        let message = "the grants demand all, and this kernel lacks a part; boot a newer one";
        let lacking = Failure::new(Code::FailedPrecondition, "isolation-missing", message);
        let mut found = Findings::default();
        examine_isolation(&lacking, &mut found);
        let finding = &found.all[0];
        assert_eq!(finding.id, "isolation-missing");
        assert_eq!(finding.what, "the grants demand all, and this kernel lacks a part");
        assert_eq!(finding.remedy, "boot a newer one");
    }
}
