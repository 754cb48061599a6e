//! `volumes`: the volume of this call, as the broker told it at the start.

use wasmtime::component::Resource;
use wasmtime::{Result, bail};

use super::Imports;
use crate::guest::bindings::imported::types::Access;
use crate::guest::bindings::imported::volumes::{
    Host, HostVolume, HostVolumeRecord, PodFact, Volume, VolumeRecord,
};
use crate::wire::VolumeFacts;

impl Imports {
    fn facts(&self) -> Result<&VolumeFacts> {
        match &self.start.volume {
            Some(facts) => Ok(facts),
            None => bail!("a bug in wasmount: a call without a volume"),
        }
    }

    fn all_options(&self) -> Result<Vec<(String, String)>> {
        let options = &self.facts()?.options;
        Ok(options.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl Host for Imports {}

impl HostVolume for Imports {
    fn name(&mut self, _: Resource<Volume>) -> Result<String> {
        Ok(self.start.name.clone())
    }

    fn option(&mut self, _: Resource<Volume>, key: String) -> Result<Option<String>> {
        Ok(self.facts()?.options.get(&key).cloned())
    }

    fn options(&mut self, _: Resource<Volume>) -> Result<Vec<(String, String)>> {
        self.all_options()
    }

    fn fs_type(&mut self, _: Resource<Volume>) -> Result<Option<String>> {
        Ok(self.facts()?.fs_type.clone())
    }

    fn access(&mut self, _: Resource<Volume>) -> Result<Access> {
        Ok(self.facts()?.access.into())
    }

    fn fs_group(&mut self, _: Resource<Volume>) -> Result<Option<u32>> {
        Ok(self.facts()?.fs_group)
    }

    fn pod(&mut self, _: Resource<Volume>, fact: PodFact) -> Result<Option<String>> {
        let [name, namespace, uid, service_account] = &self.facts()?.pod;
        Ok(match fact {
            PodFact::Name => name,
            PodFact::Namespace => namespace,
            PodFact::Uid => uid,
            PodFact::ServiceAccount => service_account,
        }
        .clone())
    }

    fn drop(&mut self, _: Resource<Volume>) -> Result<()> {
        Ok(())
    }
}

impl HostVolumeRecord for Imports {
    fn option(&mut self, _: Resource<VolumeRecord>, key: String) -> Result<Option<String>> {
        Ok(self.facts()?.options.get(&key).cloned())
    }

    fn options(&mut self, _: Resource<VolumeRecord>) -> Result<Vec<(String, String)>> {
        self.all_options()
    }

    fn fs_type(&mut self, _: Resource<VolumeRecord>) -> Result<Option<String>> {
        Ok(self.facts()?.fs_type.clone())
    }

    fn access(&mut self, _: Resource<VolumeRecord>) -> Result<Access> {
        Ok(self.facts()?.access.into())
    }

    fn drop(&mut self, _: Resource<VolumeRecord>) -> Result<()> {
        Ok(())
    }
}
