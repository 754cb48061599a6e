//! Lines of an audit log, and what they say was used, failed and was refused.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::log::Line;

/// Lines as a driver writes them, but for their digests: a volume that is created, one that is
/// refused, a pod with a secret, and the end of a call whose beginning was rotated away.
const LOG: &str = r#"
{"call":"00","decision":"allowed","kind":"host-call","message":null,"prev":"x","reason":null,"request":{"call":"images.detach"},"seq":70,"time":100.0,"us":9,"v":1}
{"call":"00","code":"internal","kind":"reply","message":"no","operation":"unmountdevice","prev":"x","process":7,"reason":"busy","seq":71,"status":"Failure","time":100.5,"v":1,"version":"a"}
{"access":"read-write","call":"a1","ignored":[],"isolation":"full","kind":"call","operation":"attach","prev":"x","seq":72,"target":null,"time":101.0,"v":1,"version":"a","volume":"pv-1"}
{"call":"a1","decision":"allowed","kind":"host-call","message":null,"prev":"x","reason":null,"request":{"call":"images.create","directory":"/srv/images","name":"pv-1.img","size":67108864},"seq":73,"time":101.1,"us":900,"v":1}
{"call":"a1","decision":"allowed","kind":"host-call","message":null,"prev":"x","reason":null,"request":{"call":"image.lease","image":"pv-1.img","node":"node-1"},"seq":74,"time":101.2,"us":300,"v":1}
{"call":"a1","kind":"reply","operation":"attach","prev":"x","process":8,"seq":75,"status":"Success","time":101.3,"v":1,"version":"a"}
{"access":"read-write","call":"b2","ignored":[],"isolation":"full","kind":"call","operation":"mountdevice","prev":"x","seq":76,"target":"/k/m","time":102.0,"v":1,"version":"a","volume":"pv-1"}
{"call":"c3","ignored":[],"isolation":"full","kind":"call","operation":"attach","prev":"x","seq":77,"target":null,"time":102.1,"v":1,"version":"a","volume":"pv-2"}
{"call":"b2","decision":"allowed","kind":"host-call","message":null,"prev":"x","reason":null,"request":{"call":"filesystems.format","device":"image:1:2:3","fs_type":"ext4","options":[]},"seq":78,"time":102.2,"us":9000,"v":1}
{"call":"c3","decision":"refused","kind":"host-call","message":"the component asked to open the image `other.img`, which is not granted","prev":"x","reason":"grant:images.names","request":{"call":"images.open","directory":"/srv/images","name":"other.img"},"seq":79,"time":102.3,"us":3,"v":1}
{"call":"c3","decision":"refused","kind":"host-call","message":"the component asked to open the image `another.img`, which is not granted","prev":"x","reason":"grant:images.names","request":{"call":"images.open","directory":"/srv/images","name":"another.img"},"seq":80,"time":102.4,"us":3,"v":1}
{"act":"grow","call":"b2","fs_type":"ext4","kind":"host-act","prev":"x","seq":81,"time":102.5,"v":1}
{"call":"b2","decision":"allowed","kind":"host-call","message":null,"prev":"x","reason":null,"request":{"access":"read-write","call":"mounts-block.mount","device":"image:1:2:3","fs_type":"ext4","options":["noatime"]},"seq":82,"time":102.6,"us":400,"v":1}
{"call":"b2","kind":"reply","operation":"mountdevice","prev":"x","process":9,"seq":83,"status":"Success","time":102.7,"v":1,"version":"a"}
{"call":"c3","code":"permission-denied","kind":"reply","message":"no","operation":"attach","prev":"x","process":9,"reason":"grant:images.names","seq":84,"status":"Failure","time":102.8,"v":1,"version":"a"}
{"access":"read-write","call":"d4","ignored":[],"isolation":"full","kind":"call","operation":"mount","prev":"x","seq":85,"target":"/k/p","time":103.0,"v":1,"version":"a","volume":"s"}
{"call":"d4","decision":"allowed","kind":"host-call","message":null,"prev":"x","reason":null,"request":{"call":"secrets.open","key":"password"},"seq":86,"time":103.1,"us":1,"v":1}
{"call":"d4","decision":"allowed","kind":"host-call","message":null,"prev":"x","reason":null,"request":{"call":"mounts-tmpfs.create","group":null,"mode":493,"size":1048576},"seq":87,"time":103.2,"us":1,"v":1}
{"call":"d4","decision":"allowed","kind":"host-call","message":null,"prev":"x","reason":null,"request":{"bytes":3,"call":"mounts-tmpfs.write-file","mode":256,"name":"a","pending":2},"seq":88,"time":103.3,"us":1,"v":1}
{"call":"d4","decision":"allowed","kind":"host-call","message":null,"prev":"x","reason":null,"request":{"call":"mounts-tmpfs.write-secret","mode":256,"name":"p","pending":2,"secret":"password"},"seq":89,"time":103.4,"us":1,"v":1}
{"call":"d4","decision":"allowed","kind":"host-call","message":null,"prev":"x","reason":null,"request":{"call":"devices.find","id":"vol-1","rule":"nvme"},"seq":90,"time":103.5,"us":1,"v":1}
"#;

fn used(log: &str) -> Used {
    let mut reader = Reader::default();
    for line in log.lines().filter(|line| !line.is_empty()) {
        reader.take(&Line::parse(line.as_bytes()).expect("a line"));
    }
    reader.finish()
}

/// Everything in a line each.
fn told(used: &Used) -> Vec<String> {
    let joined = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
    used.capabilities
        .iter()
        .map(|(capability, uses)| {
            let operations: Vec<&str> = uses.operations.keys().map(String::as_str).collect();
            let parameters: Vec<String> = uses
                .parameters
                .iter()
                .map(|(key, values)| format!("{key} = {}", joined(values)))
                .collect();
            format!(
                "{capability}: {} in {} for {}: {}",
                uses.count,
                operations.join(", "),
                joined(&uses.volumes),
                parameters.join("; ")
            )
        })
        .collect()
}

#[test]
fn capabilities_with_what_was_used_of_them() {
    let used = used(LOG);
    let expected: &[&str] = &[
        "devices: 1 in mount for s: id = nvme: vol-1; rules = nvme",
        "filesystems.format: 1 in mountdevice for pv-1: types = ext4",
        "filesystems.grow: 1 in mountdevice for pv-1: types = ext4",
        "images: 3 in attach for pv-1: directory = /srv/images; max-size = 64Mi; names = pv-1.img",
        "images.create: 1 in attach for pv-1: ",
        "mounts.block: 1 in mountdevice for pv-1: filesystems = ext4; options = noatime",
        "mounts.tmpfs: 3 in mount for s: max-files = 2; max-size = 1Mi",
        "secrets: 2 in mount for s: keys = password (file)",
    ];
    assert_eq!(told(&used), expected);
    let images = &used.capabilities[&Capability::Images];
    let at = |milliseconds: u64| UNIX_EPOCH + Duration::from_micros(milliseconds * 1_000 + 500);
    assert_eq!((images.first, images.last), (at(100_000), at(101_200)));
    assert_eq!((used.since, used.rotated, used.calls), (Some(at(100_000)), true, 4));
    assert_eq!(used.images, [("pv-1".to_owned(), "pv-1.img".to_owned())].into());
    assert_eq!(
        used.operations,
        [("attach", 2), ("mount", 1), ("mountdevice", 1)]
            .map(|(name, count)| (name.to_owned(), count))
            .into()
    );
    // The mount has no reply yet, and one attach failed.
    assert_eq!(used.succeeded, ["attach", "mountdevice"].map(str::to_owned).into());
}

#[test]
fn what_was_refused_is_told_once_for_each_reason() {
    let used = used(LOG);
    let [denial] = used.denials.as_slice() else { panic!("{:?}", used.denials) };
    assert_eq!((denial.function.as_str(), denial.count), ("images.open", 2));
    assert_eq!(denial.reason, "grant:images.names");
    let [one, other] = denial.messages.as_slice() else { panic!("{:?}", denial.messages) };
    assert!(one.contains("`other.img`") && other.contains("`another.img`"), "{one} {other}");
    assert_eq!((denial.more_messages, denial.is_of_grants()), (0, true));
    assert_eq!(denial.volumes, ["pv-2".to_owned()].into());
}

/// A probe is not hidden by what is refused after it.
#[test]
fn of_many_messages_the_first_are_kept_and_the_others_counted() {
    let refused = |image: u64| {
        let request = r#"{"call":"images.open"}"#;
        format!(
            r#"{{"call":"a","kind":"host-call","decision":"refused","reason":"claimed","message":"{image}.img is another's","request":{request},"time":1.0,"v":1}}"#
        )
    };
    let used = used(&(0..12).map(refused).collect::<Vec<_>>().join("\n"));
    let [denial] = used.denials.as_slice() else { panic!("{:?}", used.denials) };
    assert_eq!(denial.messages[0], "0.img is another's");
    assert_eq!((denial.messages.len(), denial.more_messages), (MAX_MESSAGES, 4));
    // Another volume has it: that is no matter of grants.
    assert!(!denial.is_of_grants());
}

/// One call: its operation and version, the lines between, and how it ended.
fn call(operation: &str, version: &str, lines: &[&str], reply: &str) -> String {
    let first = format!(
        r#"{{"call":"a","kind":"call","operation":"{operation}","volume":"v","version":"{version}","isolation":"full","time":1.0,"v":1}}"#
    );
    let reply = format!(
        r#"{{"call":"a","kind":"reply","status":"Success","version":"{version}","time":1.0,"v":1{reply}}}"#
    );
    [&[first.as_str()], lines, &[&reply]].concat().join("\n") + "\n"
}

fn host_call(request: &str, more: &str) -> String {
    format!(
        r#"{{"call":"a","kind":"host-call","decision":"allowed","request":{{"call":"{request}"}},"time":1.0,"v":1{more}}}"#
    )
}

#[test]
fn what_the_host_could_not_do_was_not_done() {
    let format = host_call("filesystems.format", r#","reason":"not-blank""#);
    let create = host_call("images.create", r#","reason":"no-space""#);
    let read = host_call("state.get", "");
    let used = used(&call("mountdevice", "x", &[&format, &format, &create, &read], ""));
    let counts = |of| {
        let uses = &used.capabilities[&of];
        (uses.count, uses.failed)
    };
    assert_eq!(counts(Capability::FilesystemsFormat), (0, 2));
    assert_eq!(counts(Capability::ImagesCreate), (0, 1));
    assert_eq!(counts(Capability::Images), (0, 1));
    assert_eq!(counts(Capability::State), (1, 0));
    assert_eq!(used.denials, []);
}

#[test]
fn what_the_log_has_no_line_for_was_used_all_the_same() {
    let omitted = r#","omitted":{"allowed":{"secret.reveal":3,"image.grow":1},"failed":{"filesystems.format":2},"refused":{"images.open":7}}"#;
    let used = used(&call("mount", "x", &[], omitted));
    let counts = |of| {
        let uses: &Uses = &used.capabilities[&of];
        (uses.count, uses.omitted, uses.failed)
    };
    assert_eq!(counts(Capability::Secrets), (3, 3, 0));
    assert_eq!(counts(Capability::Images), (1, 1, 0));
    assert_eq!(counts(Capability::ImagesGrow), (1, 1, 0));
    assert_eq!(counts(Capability::FilesystemsFormat), (0, 0, 2));
    let [denial] = used.denials.as_slice() else { panic!("{:?}", used.denials) };
    assert_eq!((denial.reason.as_str(), denial.count, denial.is_of_grants()), (OMITTED, 7, true));
    assert_eq!(used.omitted.functions["secret.reveal"], 3);
    assert_eq!(used.omitted.last, "a");
}

#[test]
fn taking_down_is_seen_where_the_component_did_it() {
    let unmount = host_call("mount-target.unmount", "");
    let failed =
        r#"{"call":"a","kind":"component-failed","reason":"component-trapped","time":1.0,"v":1}"#;
    for (lines, served) in
        [(&[][..], false), (&[unmount.as_str()], true), (&[&unmount, failed], false)]
    {
        let used = used(&call("unmount", "x", lines, ""));
        assert!(used.succeeded.contains("unmount"));
        assert_eq!(used.served.contains("unmount"), served, "{lines:?}");
    }
}

#[test]
fn versions_and_walls_are_told_apart() {
    let read = host_call("state.get", "");
    let log = call("mount", "one", &[&read, &read], "")
        + &call("mount", "two", &[], "").replace("\"full\"", "\"without Landlock\"");
    let used = used(&log);
    let state = &used.capabilities[&Capability::State];
    assert_eq!(state.versions, [("one".to_owned(), 2)].into());
    let counts: Vec<(&str, u64)> =
        used.versions.iter().map(|(version, calls)| (version.as_str(), calls.count)).collect();
    assert_eq!(counts, [("one", 1), ("two", 1)]);
    assert_eq!(used.partly_isolated.keys().collect::<Vec<_>>(), ["without Landlock"]);
}

/// Growing before a mount is the host's own doing; a key that is opened may be needed.
#[test]
fn what_the_host_does_itself_and_what_is_opened_is_told() {
    let used = used(LOG);
    assert_eq!(used.capabilities[&Capability::FilesystemsGrow].by_host, 1);
    assert_eq!(used.opened, ["password".to_owned()].into());
    let device = ("nvme".to_owned(), "s".to_owned(), "vol-1".to_owned());
    assert_eq!(used.devices, [device].into());
}

#[test]
fn steps_of_a_call_are_operations() {
    let call =
        r#"{"call":"a","kind":"call","operation":"mount","time":1.0,"v":1,"volume":"v","seq":0}"#;
    let step = |name: &str| {
        format!(r#"{{"call":"a","kind":"step","operation":"{name}","time":1.0,"v":1}}"#)
    };
    let state = r#"{"call":"a","kind":"host-call","decision":"allowed","request":{"call":"state.get"},"time":1.0,"v":1}"#;
    let reply = r#"{"call":"a","kind":"reply","status":"Success","time":1.0,"v":1}"#;
    let log = [call, &step("attach"), state, &step("mount"), reply].join("\n");
    let used = used(&log);
    assert_eq!(used.succeeded, ["attach", "mount"].map(str::to_owned).into());
    assert!(!used.rotated);
    let state = &used.capabilities[&Capability::State];
    assert_eq!(state.operations, [("attach".to_owned(), 1)].into());
}
