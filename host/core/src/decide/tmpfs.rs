//! `mounts-tmpfs`: filesystems in memory, and the files that are put into them.

use std::rc::Rc;

use super::advice::{Advice, not_granted, quoted};
use super::{Act, Handles, No, grant, invalid, secrets};
use crate::grants::{Size, TmpfsGrant, TmpfsSize, Use};
use crate::kernel::mounts::PendingMount;
use crate::kernel::tmpfs::{Tmpfs, TmpfsFile};
use crate::session::Session;
use crate::wire::Handle;

/// A directory's permissions and its set-group-id bit.
const DIRECTORY_MODE: u32 = 0o2777;
/// A file's permissions.
const FILE_MODE: u32 = 0o777;

pub(super) fn create(
    session: &Session,
    handles: &Handles,
    size: u64,
    mode: u32,
    group: Option<u32>,
) -> Result<Act, No> {
    handles.room()?;
    let granted = granted(session)?;
    // To the kernel, 0 is a tmpfs without a bound.
    if size == 0 {
        return Err(invalid("bad-size", "a tmpfs has at least one byte"));
    }
    if size > TmpfsSize::MAX.bytes() {
        return Err(invalid("bad-size", format!("a tmpfs has at most {}", TmpfsSize::MAX)));
    }
    if size > granted.max_size.bytes() {
        let asked = format!("for a tmpfs of {size} bytes");
        let size = quoted(&Size::covering(size).to_string());
        let advice = Advice::Set(format!("[mounts.tmpfs] max-size = {size}"));
        return Err(not_granted("mounts.tmpfs.max-size", &asked, advice));
    }
    if mode & !DIRECTORY_MODE != 0 {
        return Err(invalid("bad-mode", "a tmpfs root's mode is at most 0o2777"));
    }
    // As a group id, the highest number means "none" to the kernel.
    if group == Some(u32::MAX) {
        return Err(invalid("bad-group", "there is no such group id"));
    }
    Ok(Act::TmpfsCreate(grant(Tmpfs { size, mode, group })))
}

pub(super) fn write_file(
    session: &Session,
    handles: &mut Handles,
    pending: Handle,
    name: String,
    contents: Vec<u8>,
    mode: u32,
) -> Result<Act, No> {
    let pending = tmpfs(handles, pending)?;
    file(session, handles, pending, name, contents, mode)
}

pub(super) fn write_secret(
    session: &Session,
    handles: &mut Handles,
    pending: Handle,
    name: String,
    secret: Handle,
    mode: u32,
) -> Result<Act, No> {
    let pending = tmpfs(handles, pending)?;
    let value = secrets::usable(session, handles.secret(secret)?, Use::File)?.to_vec();
    file(session, handles, pending, name, value, mode)
}

pub(super) fn seal(session: &Session, handles: &Handles, pending: Handle) -> Result<Act, No> {
    let pending = tmpfs(handles, pending)?;
    granted(session)?;
    Ok(Act::TmpfsSeal(grant(pending)))
}

fn file(
    session: &Session,
    handles: &mut Handles,
    pending: Rc<PendingMount>,
    name: String,
    contents: Vec<u8>,
    mode: u32,
) -> Result<Act, No> {
    let granted = granted(session)?;
    let plain = !name.is_empty()
        && !matches!(name.as_str(), "." | "..")
        && !name.chars().any(|c| c == '/' || c.is_control());
    if !plain {
        return Err(invalid("bad-name", "a file of a tmpfs has a plain name without a slash"));
    }
    if mode & !FILE_MODE != 0 {
        return Err(invalid("bad-mode", "a file's mode is at most 0o777"));
    }
    if handles.files >= granted.max_files.get() {
        let wanted = handles.files + 1;
        let advice = Advice::Set(format!("[mounts.tmpfs] max-files = {wanted}"));
        let asked = format!("to write {wanted} files into memory");
        return Err(not_granted("mounts.tmpfs.max-files", &asked, advice));
    }
    handles.files += 1;
    Ok(Act::TmpfsWrite(grant(TmpfsFile { pending, name, contents, mode })))
}

fn tmpfs(handles: &Handles, pending: Handle) -> Result<Rc<PendingMount>, No> {
    match handles.pending(pending)? {
        (pending, true) => Ok(pending),
        (_, false) => Err(invalid("not-tmpfs", "the mount is not a tmpfs")),
    }
}

fn granted(session: &Session) -> Result<&TmpfsGrant, No> {
    session.grants.tmpfs.as_ref().ok_or_else(|| {
        let advice = Advice::Add("[mounts.tmpfs]".to_owned());
        not_granted("mounts.tmpfs", "for a filesystem in memory", advice)
    })
}
