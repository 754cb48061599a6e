//! `state`: the volume's small store.

use super::advice::{Advice, not_granted};
use super::{Act, No, invalid};
use crate::failure::{Code, Failure};
use crate::session::Session;
use crate::wire::{Bytes, Response};

/// How many keys a volume may store.
const MAX_KEYS: usize = 32;

/// How many bytes a volume's keys and values may have together.
const MAX_STORED: usize = 16 * 1024;

pub(super) fn get(session: &Session, key: &str) -> Result<Act, No> {
    granted(session, "to read its store", key)?;
    Ok(Act::Answer(Response::Bytes(session.state.get(key).cloned())))
}

pub(super) fn put(session: &Session, key: String, value: Bytes) -> Result<Act, No> {
    granted(session, "to store a value", &key)?;
    if !session.keeps_records {
        return Err(super::precondition("no-store", "volumes have no store away from the node"));
    }
    let others = session.state.iter().filter(|(other, _)| **other != key);
    let (keys, bytes) = others
        .fold((1, key.len() + value.0.len()), |(keys, bytes), (key, value)| {
            (keys + 1, bytes + key.len() + value.0.len())
        });
    if keys > MAX_KEYS || bytes > MAX_STORED {
        return Err(No::Refused(Failure::new(
            Code::ResourceExhausted,
            "store-full",
            format!("the volume's store is full: {MAX_KEYS} keys and {MAX_STORED} bytes in all"),
        )));
    }
    // Not refused: a component that may not see the secrets could guess at them, and be told.
    if session.redactor().contains(&value.0) {
        return Err(No::Fault("it asked to store a value with a secret in it".to_owned()));
    }
    Ok(Act::StatePut { key, value })
}

pub(super) fn delete(session: &Session, key: String) -> Result<Act, No> {
    granted(session, "to delete from its store", &key)?;
    match session.state.contains_key(&key) {
        true => Ok(Act::StateDelete { key }),
        false => Ok(Act::Answer(Response::Done)),
    }
}

fn granted(session: &Session, asked: &str, key: &str) -> Result<(), No> {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    if key.is_empty() || !key.bytes().all(allowed) {
        return Err(invalid("bad-key", "a key of the store is 1 to 64 of a-z 0-9 - . _"));
    }
    match session.grants.state {
        true => Ok(()),
        false => Err(not_granted("state", asked, Advice::Add("[state]".to_owned()))),
    }
}
