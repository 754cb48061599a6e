//! `secrets`: which keys there are, told at the start; everything else is asked.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::{Answer, Imports, handle};
use crate::guest::bindings::imported::secrets::{Host, HostSecret, Secret};
use crate::wire::{Bytes, Request, Response};

impl Host for Imports {
    fn open(&mut self, key: String) -> Answer<Resource<Secret>> {
        self.handle(Request::SecretsOpen { key })
    }

    fn keys(&mut self) -> Result<Vec<String>> {
        Ok(self.start.secret_keys.clone())
    }
}

impl HostSecret for Imports {
    fn reveal(&mut self, secret: Resource<Secret>) -> Answer<Vec<u8>> {
        self.obtain(Request::SecretReveal { secret: handle(&secret) }, |response| match response {
            Response::Bytes(Some(Bytes(value))) => Some(value),
            _ => None,
        })
    }

    fn drop(&mut self, secret: Resource<Secret>) -> Result<()> {
        self.dropped(&secret)
    }
}
