//! `config`: the operator's settings, which the broker told at the start.

use wasmtime::Result;

use super::Imports;
use crate::guest::bindings::imported::config::Host;

impl Host for Imports {
    fn get(&mut self, key: String) -> Result<Option<String>> {
        Ok(self.start.config.get(&key).cloned())
    }

    fn node_name(&mut self) -> Result<String> {
        Ok(self.start.node_name.clone())
    }
}
