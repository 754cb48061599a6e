//! `secrets`: which keys there are, and who gets to see what is in them.

use super::advice::{Advice, list, not_granted, quoted};
use super::{Act, Handles, Held, No, grant, invalid};
use crate::failure::{Code, Failure};
use crate::grants::{SecretGrant, Use};
use crate::session::Session;
use crate::wire::{Handle, MAX_BYTES};

pub(super) fn open(session: &Session, handles: &Handles, key: String) -> Result<Act, No> {
    handles.room()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if key.is_empty() || !key.bytes().all(allowed) {
        return Err(invalid("bad-key", "a secret's key is 1 to 253 of A-Z a-z 0-9 . _ -"));
    }
    if session.grants.secret(&key).next().is_none() {
        let asked = format!("to open the secret key `{key}`");
        // A file with secrets has to state this as well; with 0, kubelet logs no arguments.
        let reply = match session.grants.failure_exit_code {
            Some(_) => "",
            None => "[reply] failure-exit-code = 0 ",
        };
        let lines = format!("{reply}[[secrets]] key = {} uses = [\"file\"]", quoted(&key));
        return Err(not_granted("secrets", &asked, Advice::Add(lines)));
    }
    if session.secret(&key).is_none() {
        return Err(No::Refused(Failure::new(
            Code::NotFound,
            "no-secret",
            format!("the volume's secret has no key `{key}`, or the volume refers to no secret"),
        )));
    }
    Ok(Act::Hold(Held::Secret(key)))
}

pub(super) fn reveal(session: &Session, handles: &Handles, secret: Handle) -> Result<Act, No> {
    let key = handles.secret(secret)?;
    let value = usable(session, key, Use::Reveal)?;
    if value.len() > MAX_BYTES {
        return Err(No::Refused(Failure::new(
            Code::ResourceExhausted,
            "secret-too-long",
            format!("the secret key `{key}` has over {MAX_BYTES} bytes"),
        )));
    }
    Ok(Act::SecretReveal(grant(key.to_owned())))
}

/// The value of a key that was opened, if it may be used so.
pub(super) fn usable<'s>(session: &'s Session, key: &str, for_use: Use) -> Result<&'s [u8], No> {
    let not_ours = || No::Fault("it holds a secret that this call does not give it".to_owned());
    let value = session.secret(key).ok_or_else(not_ours)?;
    if !session.grants.secret(key).any(|grant| gives(grant, for_use)) {
        let asked = match for_use {
            Use::Reveal => format!("to read the secret key `{key}`"),
            Use::File => format!("to write the secret key `{key}` into a file"),
        };
        // A pattern's entry is left as it is: the key gets one of its own.
        let own = session.grants.secret(key).find(|grant| grant.key.is_name());
        let uses = own.iter().flat_map(|grant| &grant.uses).chain([&for_use]);
        let uses = list(uses.map(|granted| granted.name()));
        let lines = format!("[[secrets]] key = {} uses = {uses}", quoted(key));
        let advice = if own.is_some() { Advice::Set(lines) } else { Advice::Add(lines) };
        return Err(not_granted(&format!("secrets.{}", for_use.name()), &asked, advice));
    }
    Ok(value)
}

/// Whether an entry that the key fits gives it for a use. A pattern never lets a key be read,
/// whatever the file's parser let pass.
fn gives(grant: &SecretGrant, wanted: Use) -> bool {
    grant.uses.contains(&wanted) && (wanted == Use::File || grant.key.is_name())
}
