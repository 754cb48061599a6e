//! A packet from the other side of the socket: the broker's, and the guest's.
//!
//! Nothing is taken for a message that is more than one, or longer than there can be; what is read
//! is written as what reads the same, and the audit log's view of it is bounded by it.

use std::fs;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmount_core::decide::{audit_view, function};
use wasmount_core::wire::{Channel, FromGuest, MAX_MESSAGE, Request, Response, Start};

use crate::{Target, root};

pub(super) const TARGET: Target = Target { name: "wire", holds, seeds };

fn holds(data: &[u8]) {
    let read = received(data);
    assert_eq!(read, parsed::<FromGuest>(data).filter(|_| data.len() <= MAX_MESSAGE));
    if let Some(FromGuest::Request(request)) = read {
        let view = audit_view(&request);
        assert_eq!(view["call"], function(&request));
        assert!(view.to_string().len() <= 2 * data.len() + 256, "{view}");
    }
    // A bare request, for what is only in front of it otherwise.
    parsed::<Request>(data);
    parsed::<Response>(data);
    parsed::<Start>(data);
}

/// What the broker takes it for.
fn received(data: &[u8]) -> Option<FromGuest> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a pair of sockets");
    // A packet that does not fit into the kernel's buffer does not come.
    rustix::net::send(&theirs, data, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).ok()?;
    Channel::new(ours).receive(&mut Vec::new()).ok().flatten()
}

fn parsed<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(data).ok()?;
    let written = serde_json::to_vec(&value).expect("it is plain data");
    assert_eq!(serde_json::from_slice::<T>(&written).ok().as_ref(), Some(&value));
    Some(value)
}

fn seeds() -> Vec<Vec<u8>> {
    let path = root().join("host/core/tests/decisions.toml");
    let table: toml::Table = fs::read_to_string(path).expect("a table").parse().expect("a table");
    let calls = table["case"].as_array().expect("cases").iter();
    let calls = calls.filter_map(|case| case["call"].as_str());
    let mut seeds: Vec<_> =
        calls.map(|call| format!(r#"{{"guest":"request","value":{call}}}"#).into_bytes()).collect();
    for other in [
        r#"{"guest":"finished","value":{"outcome":"done"}}"#,
        r#"{"guest":"finished","value":{"outcome":"attachment","value":"token"}}"#,
        r#"{"guest":"finished","value":{"outcome":"flag","value":true}}"#,
        r#"{"guest":"finished","value":{"outcome":"number","value":1}}"#,
        r#"{"guest":"finished","value":{"outcome":"refused","value":{"code":"not-found","reason":"r","message":"m"}}}"#,
        r#"{"guest":"finished","value":{"outcome":"trapped","value":{"cause":"c","frames":["f"]}}}"#,
        r#"{"answer":"device","value":[1,"image:1"]}"#,
        r#"{"answer":"bytes","value":"00ff"}"#,
        r#"{"answer":"failed","value":{"code":"not-found","reason":"r","message":"m"}}"#,
        r#"{"operation":"mount","name":"pv-1","volume":{"options":{"a":"b"},"fs_type":"ext4","access":"read-write","fs_group":1,"pod":["a",null,null,null]},"attachment":null,"node":null,"sizes":[2,1],"node_name":"node-1","config":{"a":"b"},"secret_keys":["password"],"memory_bytes":67108864,"cpu_seconds":10}"#,
    ] {
        seeds.push(other.as_bytes().to_vec());
    }
    seeds
}
