//! `state`: the small store of each volume, which the broker keeps.

use super::{Answer, Imports, bounded};
use crate::guest::bindings::imported::state::Host;
use crate::wire::Request;

impl Host for Imports {
    fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        self.bytes(Request::StateGet { key })
    }

    fn put(&mut self, key: String, value: Vec<u8>) -> Answer<()> {
        let value = bounded(value)?;
        self.done(Request::StatePut { key, value })
    }

    fn delete(&mut self, key: String) -> Answer<()> {
        self.done(Request::StateDelete { key })
    }
}
