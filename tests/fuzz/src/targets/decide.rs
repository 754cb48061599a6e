//! A request of a component that holds nothing but a secret, in each operation.
//!
//! Where nothing is granted nothing is done but logging, and whatever is refused is said in a line
//! that an operator can read, with what would have to be granted.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use wasmount_core::call::{Call, DriverName, Operation};
use wasmount_core::decide::{Handles, Held, No, decide};
use wasmount_core::failure::{Code, Failure};
use wasmount_core::grants::Grants;
use wasmount_core::journal::Claim;
use wasmount_core::kernel::images::{ImageFile, LeaseRecord};
use wasmount_core::session::{Claims, Opened, Place, Session};
use wasmount_core::wire::Request;

use crate::{Target, root};

pub(super) const TARGET: Target = Target { name: "decide", holds, seeds };

const KUBELET_ROOT: &str = "/var/lib/kubelet";

thread_local! {
    /// A call of each operation, without any grant and with all.
    static SESSIONS: [Vec<Session>; 2] = {
        let path = root().join("tests/hostile/grants.toml");
        let all = fs::read_to_string(path).expect("a grants file").replace("{images}", "/usr");
        ["version = 1", &all].map(sessions)
    };
}

fn holds(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(data) else { return };
    SESSIONS.with(|[without, with]| {
        for (session, granted) in
            without.iter().map(|session| (session, false)).chain(with.iter().map(|it| (it, true)))
        {
            let mut handles = Handles::new();
            handles.insert(Held::Secret("password".to_owned())).expect("there is room");
            match decide(session, &mut handles, request.clone()) {
                Ok(act) => {
                    let name = act.name();
                    assert!(granted || ["log", "answer"].contains(&name), "{name} is not granted");
                }
                Err(No::Refused(failure)) => {
                    assert!(!failure.message.chars().any(char::is_control), "{failure:?}");
                    let refused = failure.code == Code::PermissionDenied;
                    assert_eq!(
                        refused,
                        failure.message.contains(" in grants.toml: ")
                            || failure.message.contains(" to grants.toml: ")
                    );
                }
                Err(No::Fault(what)) => assert!(!what.chars().any(char::is_control), "{what:?}"),
            }
        }
    });
}

fn sessions(grants: &str) -> Vec<Session> {
    let grants = Rc::new(Grants::parse(grants).expect("valid"));
    let driver: DriverName = "example.com/x".parse().expect("a driver");
    let json = r#"{"kubernetes.io/fsType":"ext4","kubernetes.io/readwrite":"rw","kubernetes.io/pvOrVolumeName":"vol"}"#;
    let mounted = r#"{"kubernetes.io/fsType":"ext4","kubernetes.io/readwrite":"rw","kubernetes.io/secret/password":"aHVudGVyMg=="}"#;
    let device =
        format!("{KUBELET_ROOT}/plugins/kubernetes.io/flexvolume/example.com/x/mounts/vol");
    let pod = format!("{KUBELET_ROOT}/pods/4c9a6c2e/volumes/example.com~x/vol");
    let calls: [(Operation, Vec<&str>); 10] = [
        (Operation::Attach, vec![json, "node-1"]),
        (Operation::Detach, vec!["vol", "node-1"]),
        (Operation::IsAttached, vec![json, "node-1"]),
        (Operation::WaitForAttach, vec!["", json]),
        (Operation::MountDevice, vec![&device, "", json]),
        (Operation::UnmountDevice, vec![&device]),
        (Operation::Mount, vec![&pod, mounted]),
        (Operation::Unmount, vec![&pod]),
        (Operation::ExpandVolume, vec![json, "", "2", "1"]),
        (Operation::ExpandFs, vec![json, "", &device, "2", "1"]),
    ];
    calls
        .into_iter()
        .map(|(operation, args)| {
            let args: Vec<&[u8]> = args.into_iter().map(str::as_bytes).collect();
            let mut call =
                Call::parse(operation, &args, &driver, Path::new(KUBELET_ROOT)).expect("a call");
            let secrets = call.take_secrets();
            let place = Place {
                driver: driver.clone(),
                node_name: "node-1".to_owned(),
                keeps_records: true,
                claims: Rc::new(Nobody),
            };
            Session::new(place, Rc::clone(&grants), &call, secrets, None, Opened::default())
        })
        .collect()
}

/// Nobody has anything.
struct Nobody;

impl Claims for Nobody {
    fn holder(&self, _: &str) -> Result<Option<Claim>, Failure> {
        Ok(None)
    }

    fn lease(&self, _: &ImageFile) -> Result<Option<LeaseRecord>, Failure> {
        Ok(None)
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let path = root().join("host/core/tests/decisions.toml");
    let table: toml::Table = fs::read_to_string(path).expect("a table").parse().expect("a table");
    let calls = table["case"].as_array().expect("cases").iter();
    calls.filter_map(|case| case["call"].as_str()).map(|call| call.as_bytes().to_vec()).collect()
}
