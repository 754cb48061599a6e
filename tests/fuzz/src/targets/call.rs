//! kubelet's argument list: operation and arguments, with a zero byte between them as in
//! `/proc/PID/cmdline`.
//!
//! What is read names a directory of this driver's and no other. What is not is one line of JSON
//! that repeats no secret.

use std::fs;
use std::path::{Component, Path};

use wasmount_core::call::{Attachment, Call, DriverName, Operation};
use wasmount_core::failure::Code;
use wasmount_core::reply::Reply;

use crate::{Target, root};

pub(super) const TARGET: Target = Target { name: "call", holds, seeds };

const KUBELET_ROOT: &str = "/var/lib/kubelet";

/// A secret as kubelet passes it, and as it is: texts that no message has of itself.
const SECRET: &str = "c29ycnktaG9yc2U";
const DECODED: &str = "sorry-horse";

fn driver() -> DriverName {
    "example.com/x".parse().expect("a driver's name")
}

fn holds(data: &[u8]) {
    let args: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let Some(operation) = Operation::parse(args[0]) else { return };
    let (driver, root) = (driver(), Path::new(KUBELET_ROOT));
    match Call::parse(operation, &args[1..], &driver, root) {
        Ok(mut call) => {
            assert_eq!(call.operation(), operation);
            if let Some(target) = call.target() {
                assert_eq!(target.path, root.join(&target.beneath_root));
                let straight = |part| matches!(part, Component::Normal(_));
                assert!(target.beneath_root.components().all(straight));
                assert!(target.path.ends_with(target.name.as_str()));
                let own = ["example.com~x", "example.com/x"];
                assert!(own.iter().any(|own| target.path.display().to_string().contains(own)));
            }
            call.take_secrets();
            assert!(call.secrets().values().next().is_none(), "they were taken");
            if let Some(volume) = call.volume() {
                let told = format!("{:?}", volume.facts);
                let said = String::from_utf8_lossy(data);
                assert!(!told.contains(DECODED) || said.contains(DECODED), "{told}");
            }
        }
        Err(failure) => {
            let unparsed = matches!(operation, Operation::Init | Operation::GetVolumeName);
            assert!(failure.code == Code::InvalidArgument || unparsed, "{failure}");
            // Keys are told, and what is in them is not.
            let said = String::from_utf8_lossy(data);
            let as_value = format!(":\"{SECRET}");
            let only_as_value = said.matches(SECRET).count() == said.matches(&as_value).count();
            assert!(!only_as_value || !failure.message.contains(SECRET), "{failure}");
            let line = Reply::failure(Some(&driver), Some(operation), &failure).to_json_line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let reply: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
            assert_eq!(reply["status"], "Failure");
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let json = format!(
        r#"{{"kubernetes.io/fsType":"ext4","kubernetes.io/readwrite":"rw","kubernetes.io/pvOrVolumeName":"vol","kubernetes.io/mounterArgs.FsGroup":"1000","kubernetes.io/pod.name":"p","kubernetes.io/pod.namespace":"n","kubernetes.io/pod.uid":"u","kubernetes.io/serviceAccount.name":"s","kubernetes.io/secret/password":"{SECRET}=","image":"vol.img"}}"#
    );
    let device =
        format!("{KUBELET_ROOT}/plugins/kubernetes.io/flexvolume/example.com/x/mounts/vol");
    let pod = format!("{KUBELET_ROOT}/pods/4c9a6c2e/volumes/example.com~x/vol");
    let name = "vol".parse().expect("a name");
    let token = Attachment::wrap("token", &driver(), &name).expect("a token");
    for args in [
        vec!["attach", &json, "node-1"],
        vec!["detach", "vol", "node-1"],
        vec!["isattached", &json, "node-1"],
        vec!["waitforattach", &token, &json],
        vec!["mountdevice", &device, &token, &json],
        vec!["unmountdevice", &device],
        vec!["mount", &pod, &json],
        vec!["unmount", &pod],
        vec!["expandvolume", &json, "", "134217728", "67108864"],
        vec!["expandfs", &json, "", &device, "134217728", "67108864"],
    ] {
        seeds.push(args.join("\0").into_bytes());
    }
    // Those of the reply tables, as far as they stand there.
    for table in ["arguments", "paths"] {
        let path = root().join(format!("tests/cases/{table}.toml"));
        let table: toml::Table =
            fs::read_to_string(path).expect("a table").parse().expect("a table");
        for case in table["case"].as_array().expect("cases") {
            let args: Vec<_> = case["args"]
                .as_array()
                .expect("arguments")
                .iter()
                .filter_map(toml::Value::as_str)
                .collect();
            let filled = args.join("\0").replace("{json}", &json).replace("{pod}", &pod);
            let filled = filled.replace("{device}", &device).replace("{root}", KUBELET_ROOT);
            seeds.push(filled.replace("~hostile", "~x").into_bytes());
        }
    }
    seeds
}
