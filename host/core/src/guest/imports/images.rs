//! `images`: image files, which the broker holds.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::{Answer, Imports, handle};
use crate::guest::bindings::imported::devices::BlockDevice;
use crate::guest::bindings::imported::images::{Host, HostImage, Image};
use crate::guest::bindings::imported::types::Access;
use crate::wire::Request;

impl Host for Imports {
    fn open(&mut self, name: String) -> Answer<Resource<Image>> {
        self.handle(Request::ImagesOpen { name })
    }

    fn create(&mut self, name: String, size: u64) -> Answer<Resource<Image>> {
        self.handle(Request::ImagesCreate { name, size })
    }

    fn attached(&mut self) -> Answer<Option<Resource<BlockDevice>>> {
        self.device(Request::ImagesAttached)
    }

    fn detach(&mut self) -> Answer<()> {
        self.done(Request::ImagesDetach)
    }

    fn release(&mut self, node: String) -> Answer<()> {
        self.done(Request::ImagesRelease { node })
    }
}

impl HostImage for Imports {
    fn size(&mut self, image: Resource<Image>) -> Answer<u64> {
        self.number(Request::ImageSize { image: handle(&image) })
    }

    fn grow(&mut self, image: Resource<Image>, size: u64) -> Answer<u64> {
        self.number(Request::ImageGrow { image: handle(&image), size })
    }

    fn lease(&mut self, image: Resource<Image>, node: String) -> Answer<()> {
        self.done(Request::ImageLease { image: handle(&image), node })
    }

    fn holder(&mut self, image: Resource<Image>) -> Answer<Option<String>> {
        self.text(Request::ImageHolder { image: handle(&image) })
    }

    fn attach(&mut self, image: Resource<Image>, access: Access) -> Answer<Resource<BlockDevice>> {
        self.some_device(Request::ImageAttach { image: handle(&image), access: access.into() })
    }

    fn drop(&mut self, image: Resource<Image>) -> Result<()> {
        self.dropped(&image)
    }
}
