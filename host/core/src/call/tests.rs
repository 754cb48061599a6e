//! Calls as kubelet, the documents and an attacker would make them, and what becomes of them.

use super::*;

const ROOT: &str = "/var/lib/kubelet";
const POD: &str = "/var/lib/kubelet/pods/8f1c-22/volumes/example.com~x/pv-1";
const DEVICE: &str = "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/example.com/x/mounts/pv-1";
const BASE: &str = r#"{"kubernetes.io/fsType":"ext4","kubernetes.io/pvOrVolumeName":"pv-1","kubernetes.io/readwrite":"ro","size":"1Gi"}"#;
const BARE: &str = r#"{"size":"1Gi"}"#;

fn driver() -> DriverName {
    "example.com/x".parse().expect("a driver's name")
}

fn read(line: &[&[u8]]) -> Result<Call, Failure> {
    let operation = Operation::parse(line[0]).expect("an operation");
    Call::parse(operation, &line[1..], &driver(), Path::new(ROOT))
}

fn call(line: &[&str]) -> Call {
    let bytes: Vec<&[u8]> = line.iter().map(|arg| arg.as_bytes()).collect();
    let call = read(&bytes).unwrap_or_else(|failure| panic!("{line:?}: {failure}"));
    assert_eq!(call.operation().name(), line[0]);
    call
}

fn refusal(line: &[&str]) -> String {
    let bytes: Vec<&[u8]> = line.iter().map(|arg| arg.as_bytes()).collect();
    let failure = read(&bytes).map(drop).expect_err(&format!("{line:?}"));
    assert_eq!(failure.code, Code::InvalidArgument, "{line:?}");
    format!("{} [{}]", failure.message, failure.reason)
}

/// The options of a mount.
fn mounted(options: &str) -> Volume {
    match call(&["mount", POD, options]) {
        Call::Mount { volume, .. } => volume,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_forms_of_every_argument_list() {
    let token = Attachment::wrap("t", &driver(), &"pv-1".parse().expect("a name")).expect("ok");
    // What kube-controller-manager, which has no root directory, passes to expandvolume.
    let relative = "example.com/x/mounts/pv-1";
    for line in [
        &["attach", BASE, "node-1"][..],
        &["isattached", BASE, "node-1"],
        &["isattached", "node-1", BASE],
        &["waitforattach", &token, BASE],
        &["waitforattach", "", BASE],
        &["waitforattach", BASE],
        &["detach", "pv-1", "node-1"],
        &["mountdevice", DEVICE, &token, BASE],
        &["mountdevice", DEVICE, "", BASE],
        &["mountdevice", DEVICE, BASE],
        &["mountdevice", DEVICE, BARE],
        &["unmountdevice", DEVICE],
        &["mount", POD, BASE],
        &["mount", POD, BARE],
        &["mount", POD, "/dev/sdb", BASE],
        &["mount", &format!("{POD}/"), BASE],
        &["mount", POD, &format!(" \t\r\n{BASE} \n")],
        &["unmount", POD],
        &["expandvolume", BASE, relative, "2147483648", "1073741824"],
        &["expandvolume", BASE, DEVICE, "2147483648", "0"],
        &["expandfs", BASE, "/dev/loop0", POD, "2147483648", "1073741824"],
        &["expandfs", BASE, "", DEVICE, "2147483648", "1073741824"],
    ] {
        assert_eq!(call(line).name().as_str(), "pv-1", "{line:?}");
    }
}

#[test]
fn each_argument_gets_to_its_place() {
    let name: VolumeName = "pv-1".parse().expect("a name");
    let token = Attachment::wrap("tok:en", &driver(), &name).expect("a token");
    match call(&["mountdevice", DEVICE, &token, BASE]) {
        Call::MountDevice { target, volume, attachment } => {
            assert_eq!(attachment.expect("one").as_str(), "tok:en");
            assert_eq!((&target.name, &volume.name, target.dir), (&name, &name, MountDir::Device));
        }
        other => panic!("{other:?}"),
    }
    match call(&["isattached", "node-1", BASE]) {
        Call::IsAttached { node, .. } => assert_eq!(node.as_str(), "node-1"),
        other => panic!("{other:?}"),
    }
    match call(&["expandfs", BASE, "", POD, "20", "10"]) {
        Call::ExpandFs { target, new_size: 20, old_size: 10, .. } => {
            assert_eq!(target.path, Path::new(POD));
            let beneath = Path::new("pods/8f1c-22/volumes/example.com~x/pv-1");
            assert_eq!(target.beneath_root, beneath);
            assert_eq!(target.dir, MountDir::Pod { uid: "8f1c-22".to_owned() });
        }
        other => panic!("{other:?}"),
    }
    assert!(call(&["unmount", POD]).volume().is_none());
    assert!(call(&["detach", "pv-1", "n"]).target().is_none());
}

#[test]
fn argument_lists_that_fit_no_form() {
    for (line, message) in [
        (&["attach"][..], "takes OPTIONS NODE, but was given 0 arguments [arguments]"),
        (&["attach", BASE], "takes OPTIONS NODE, but was given 1 argument [arguments]"),
        (&["unmount", POD, BASE], "takes DIRECTORY, but was given 2 arguments [arguments]"),
        (
            &["mountdevice", DEVICE],
            "takes DIRECTORY DEVICE OPTIONS or DIRECTORY OPTIONS, but was given 1 argument [arguments]",
        ),
        (
            &["mount", POD, "hunter2"],
            "argument 2, OPTIONS, is not a JSON object; takes DIRECTORY OPTIONS or DIRECTORY DEVICE OPTIONS [arguments]",
        ),
        (
            &["mount", POD, "[1]"],
            "argument 2, OPTIONS, is not a JSON object; takes DIRECTORY OPTIONS or DIRECTORY DEVICE OPTIONS [arguments]",
        ),
        (
            &["attach", "node-1", BASE],
            "argument 1, OPTIONS, is not a JSON object; takes OPTIONS NODE [arguments]",
        ),
        (
            &["unmount", BASE],
            "argument 1, DIRECTORY, is a JSON object; takes DIRECTORY [arguments]",
        ),
        (
            &["detach", "/dev/sdb", "node-1"],
            "VOLUME is a path; pass the volume's name, as kubelet does (kubernetes.io/pvOrVolumeName of attach) [volume-name]",
        ),
        (
            &["attach", BASE, "a/b"],
            "NODE is not a node's name: a node's name is 1 to 253 letters, digits, dots, underscores and hyphens and starts with a letter or digit [node-name]",
        ),
        (&["expandvolume", BASE, "", "1e9", "0"], "NEW-SIZE is not a number of bytes [size]"),
        (&["expandvolume", BASE, "", "1", "-1"], "OLD-SIZE is not a number of bytes [size]"),
        (&["expandvolume", BASE, "", "+1", "1"], "NEW-SIZE is not a number of bytes [size]"),
        (&["expandvolume", BASE, "", "", "1"], "NEW-SIZE is not a number of bytes [size]"),
        (
            &["expandvolume", BASE, "", "9223372036854775808", "1"],
            "NEW-SIZE is not a number of bytes [size]",
        ),
        (
            &["mountdevice", DEVICE, "/dev/sdb", BASE],
            "DEVICE is not what attach or waitforattach of this driver returned; pass that, or an empty argument [attachment]",
        ),
        (
            &["waitforattach", "wm1:00000000:t", BASE],
            "DEVICE is what attach or waitforattach returned for another volume or another driver [attachment]",
        ),
        (
            &["attach", BARE, "node-1"],
            "OPTIONS lacks kubernetes.io/pvOrVolumeName, the volume's name [options]",
        ),
    ] {
        assert_eq!(refusal(line), message, "{line:?}");
    }
    let failure =
        read(&[b"mount", POD.as_bytes(), b"{\"hunter2\xff"]).map(drop).expect_err("bytes");
    assert_eq!(failure.to_string(), "argument 2 is not valid UTF-8 (not-utf-8)");
}

#[test]
fn options_that_are_refused() {
    let syntax = "OPTIONS is not valid JSON (line 1, column";
    let strings = "; all values are strings, one a key [options]";
    let reserved = "is in a namespace that is Kubernetes' own; rename it [options]";
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(128 * 1024));
    let key = "k".repeat(100);
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    for (options, message) in [
        ("{", format!("{syntax} 1) [options]")),
        (r#"{"a":"hunter2"#, format!("{syntax} 13) [options]")),
        (r#"{"a":"hunter2"} x"#, format!("{syntax} 17) [options]")),
        (r#"{"a":"hunter2"}{}"#, format!("{syntax} 16) [options]")),
        (r#"{"a":"\ud800"}"#, format!("{syntax} 13) [options]")),
        (r#"{a:"hunter2"}"#, format!("{syntax} 2) [options]")),
        (r#"{"a":1e999}"#, format!("{syntax} 10) [options]")),
        (&deep, format!(r#"OPTIONS has a list for "a"{strings}"#)),
        (&deep[..400], format!("{syntax} 400) [options]")),
        (&long, "OPTIONS is longer than 128 KiB [options]".to_owned()),
        (r#"{"a":"b","a":"hunter2"}"#, format!(r#"OPTIONS has "a" twice{strings}"#)),
        (r#"{"a":"b","\u0061":"hunter2"}"#, format!(r#"OPTIONS has "a" twice{strings}"#)),
        (r#"{"a":5}"#, format!(r#"OPTIONS has a number for "a"{strings}"#)),
        (r#"{"a":-5.5}"#, format!(r#"OPTIONS has a number for "a"{strings}"#)),
        (r#"{"a":true}"#, format!(r#"OPTIONS has true or false for "a"{strings}"#)),
        (r#"{"a":null}"#, format!(r#"OPTIONS has null for "a"{strings}"#)),
        (r#"{"a":["hunter2"]}"#, format!(r#"OPTIONS has a list for "a"{strings}"#)),
        (r#"{"a":{"b":{}}}"#, format!(r#"OPTIONS has an object for "a"{strings}"#)),
        (r#"{"\n\"":1}"#, format!(r#"OPTIONS has a number for "\n\""{strings}"#)),
        (
            &format!(r#"{{"{key}":1}}"#),
            format!(r#"OPTIONS has a number for "{}…"{strings}"#, "k".repeat(64)),
        ),
        (r#"{"k8s.io/x":"y"}"#, format!(r#"the option "k8s.io/x" {reserved}"#)),
        (r#"{"a.K8S.io/x":"y"}"#, format!(r#"the option "a.K8S.io/x" {reserved}"#)),
        (r#"{"k8s.io":"y"}"#, format!(r#"the option "k8s.io" {reserved}"#)),
        (r#"{"a.kubernetes.io/x":"y"}"#, format!(r#"the option "a.kubernetes.io/x" {reserved}"#)),
        (
            r#"{"Kubernetes.io/fsType":"y"}"#,
            format!(r#"the option "Kubernetes.io/fsType" {reserved}"#),
        ),
        (
            r#"{"kubernetes.io/readwrite":"RW"}"#,
            "kubernetes.io/readwrite is neither ro nor rw [options]".to_owned(),
        ),
        (
            r#"{"kubernetes.io/mounterArgs.FsGroup":"+5"}"#,
            "kubernetes.io/mounterArgs.FsGroup is not a group's number [options]".to_owned(),
        ),
        (
            r#"{"kubernetes.io/fsGroup":"4294967295"}"#,
            "kubernetes.io/fsGroup is not a group's number [options]".to_owned(),
        ),
        (
            r#"{"kubernetes.io/fsGroup":"1","kubernetes.io/mounterArgs.FsGroup":"2"}"#,
            "kubernetes.io/mounterArgs.FsGroup and kubernetes.io/fsGroup differ [options]"
                .to_owned(),
        ),
        (
            r#"{"kubernetes.io/pod.UID":"8f1c-22","kubernetes.io/pod.uid":"8f1c-23"}"#,
            "kubernetes.io/pod.uid and kubernetes.io/pod.UID differ [options]".to_owned(),
        ),
        (
            r#"{"kubernetes.io/secret/a/b":"aHVudGVyMg=="}"#,
            r#""kubernetes.io/secret/a/b" is not a secret's key; rename it in the secret, to 1 to 253 of A-Z a-z 0-9 . _ - [options]"#.to_owned(),
        ),
        (
            r#"{"kubernetes.io/secret/":"aHVudGVyMg=="}"#,
            r#""kubernetes.io/secret/" is not a secret's key; rename it in the secret, to 1 to 253 of A-Z a-z 0-9 . _ - [options]"#.to_owned(),
        ),
        (
            r#"{"kubernetes.io/pvOrVolumeName":"pv-2"}"#,
            "the last part of DIRECTORY is not kubernetes.io/pvOrVolumeName [path]".to_owned(),
        ),
        (
            r#"{"kubernetes.io/pod.uid":"8f1c-23"}"#,
            "DIRECTORY belongs to another pod than kubernetes.io/pod.uid [path]".to_owned(),
        ),
    ] {
        let told = refusal(&["mount", POD, options]);
        assert_eq!(told, message, "{options:.60}");
        assert!(!told.contains("hunter2") && !told.contains("aHVudGVyMg"), "{told}");
    }
}

#[test]
fn options_are_taken_apart() {
    let volume = mounted(
        r#"{"kubernetes.io/fsType":"","kubernetes.io/mounterArgs.FsGroup":"1000",
            "kubernetes.io/fsGroup":"1000","kubernetes.io/new.key":"1","kubernetes.io/pod.name":"web-0",
            "kubernetes.io/pod.namespace":"default","kubernetes.io/pod.UID":"8f1c-22",
            "kubernetes.io/pvOrVolumeName":"pv-1","kubernetes.io/readwrite":"rw",
            "kubernetes.io/secret/.key":"","kubernetes.io/secret/password":"aHVudGVyMg==",
            "kubernetes.io/secret/raw":"not base64!","kubernetes.io/serviceAccount.name":"",
            "a":"\u003cb\u003e","example.com/k8s.io":"c","notk8s.io/x":"d","":""}"#,
    );
    let facts = &volume.facts;
    let options: Vec<_> = facts.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expected = [("", ""), ("a", "<b>"), ("example.com/k8s.io", "c"), ("notk8s.io/x", "d")];
    assert_eq!(options, expected);
    assert_eq!(
        (&facts.fs_type, facts.access, facts.fs_group),
        (&None, Access::ReadWrite, Some(1000))
    );
    assert_eq!(
        facts.pod,
        ["web-0", "default", "8f1c-22", ""]
            .map(|text| { Some(text.to_owned()).filter(|text| !text.is_empty()) })
    );
    assert_eq!(volume.ignored, ["kubernetes.io/new.key"]);
    assert_eq!(volume.secrets.keys().collect::<Vec<_>>(), [".key", "password", "raw"]);
    assert_eq!(volume.secrets.get("password"), Some(&b"hunter2"[..]));
    assert_eq!(volume.secrets.get(".key"), Some(&b""[..]));
    assert_eq!(volume.secrets.get("raw"), Some(&b"not base64!"[..]));
    let printed = format!("{volume:?}");
    assert!(!printed.contains("hunter2") && !printed.contains("not base64"), "{printed}");

    let mut call = call(&["mount", POD, r#"{"kubernetes.io/secret/a":"Yg=="}"#]);
    assert_eq!(call.secrets().get("a"), Some(&b"b"[..]));
    assert_eq!(call.take_secrets().get("a"), Some(&b"b"[..]));
    assert!(call.secrets().is_empty() && call.take_secrets().is_empty());

    let read_only = mounted(BASE);
    assert_eq!(read_only.facts.access, Access::ReadOnly);
    assert_eq!(read_only.facts.fs_type.as_deref(), Some("ext4"));
    assert_eq!(mounted("{}").facts.access, Access::ReadWrite);
}

#[test]
fn the_largest_secret_that_fits_an_argument() {
    use base64::Engine as _;
    let secret: Vec<u8> = (0..95_000_u32).map(|n| ((n * 7919) >> 5) as u8).collect();
    let text = base64::engine::general_purpose::STANDARD.encode(&secret);
    let volume = mounted(&format!(r#"{{"kubernetes.io/secret/large":"{text}"}}"#));
    assert_eq!(volume.secrets.get("large"), Some(secret.as_slice()));
}

#[test]
fn no_damage_makes_a_secret_show() {
    let options = r#"{"kubernetes.io/secret/password":"aHVudGVyMg==","size":"hunter2"}"#;
    let mut damaged: Vec<Vec<u8>> =
        (0..options.len()).map(|n| options.as_bytes()[..n].to_vec()).collect();
    for place in 0..options.len() {
        for byte in [b'"', b'\\', b'{', b'[', b':', b',', b'/', b'5', b' ', 0, 0xff] {
            let mut bytes = options.as_bytes().to_vec();
            bytes[place] = byte;
            damaged.push(bytes);
        }
    }
    for bytes in damaged {
        if let Err(failure) = read(&[b"mount", POD.as_bytes(), &bytes]) {
            let told = failure.to_string();
            assert!(!told.contains("dGVyM") && !told.contains("nter"), "{told}");
        }
    }
}

#[test]
fn directories_that_are_not_this_drivers() {
    let absolute = "DIRECTORY is not an absolute path of at most 4095 bytes [path]";
    let parts = "DIRECTORY has an empty part, `.` or `..` in it [path]";
    let outside = "DIRECTORY is not beneath the kubelet root /var/lib/kubelet; if kubelet's --root-dir is another, install the driver with that as --kubelet-root [path]";
    let pod = "DIRECTORY is not one of this driver's: beneath the kubelet root those are pods/UID/volumes/example.com~x/VOLUME [path]";
    let device = "DIRECTORY is not one of this driver's: beneath the kubelet root those are plugins/kubernetes.io/flexvolume/example.com/x/mounts/VOLUME [path]";
    let either = format!(
        "{} or {}",
        pod.trim_end_matches(" [path]"),
        device.rsplit(' ').nth(1).unwrap_or("")
    );
    let name = "the last part of DIRECTORY is not a volume's name: a volume's name is 1 to 253 letters, digits, dots, underscores and hyphens and starts with a letter or digit [path]";
    let long = format!("{POD}{}", "x".repeat(4096));
    for (operation, path, message) in [
        ("unmount", "", absolute),
        ("unmount", "pods/u/volumes/example.com~x/pv-1", absolute),
        ("unmount", &long, absolute),
        ("unmount", "/", parts),
        ("unmount", "//", parts),
        ("unmount", &format!("{POD}//"), parts),
        ("unmount", &POD.replace("/pods", "//pods"), parts),
        ("unmount", &POD.replace("/pods", "/./pods"), parts),
        ("unmount", &format!("{POD}/.."), parts),
        ("unmount", "/var/lib/kubelet/pods/../../../../etc", parts),
        ("unmount", "/var/lib/kubelet", outside),
        ("unmount", "/var/lib/kubelet2/pods/u/volumes/example.com~x/pv-1", outside),
        ("unmount", "/etc", outside),
        ("unmount", "/var/lib/kubelet/pods", pod),
        ("unmount", "/var/lib/kubelet/pods/u/volumes/example.com~y/pv-1", pod),
        ("unmount", "/var/lib/kubelet/pods/u/volumes/example.com/x/pv-1", pod),
        ("unmount", "/var/lib/kubelet/pods/-u/volumes/example.com~x/pv-1", pod),
        ("unmount", &format!("{POD}/mount"), pod),
        ("unmount", DEVICE, pod),
        ("unmountdevice", POD, device),
        ("unmountdevice", &DEVICE.replace("/x/", "/y/"), device),
        ("unmountdevice", &DEVICE.replace("example.com/x", "example.com~x"), device),
        ("unmount", &POD.replace("pv-1", "pv 1"), name),
        ("unmount", &POD.replace("pv-1", "-pv"), name),
    ] {
        assert_eq!(refusal(&[operation, path]), message, "{path:.80}");
    }
    let told = refusal(&["expandfs", BASE, "", "/var/lib/kubelet/x", "2", "1"]);
    assert_eq!(told, format!("{either} [path]"));
}

#[test]
fn the_kubelet_root_can_be_anywhere() {
    for (root, path) in [
        ("/", "/pods/u/volumes/example.com~x/v"),
        ("/a/b/", "/a/b/pods/u/volumes/example.com~x/v"),
        ("/pods", "/pods/pods/u/volumes/example.com~x/v/"),
    ] {
        let parsed =
            Call::parse(Operation::Unmount, &[path.as_bytes()], &driver(), Path::new(root));
        let call = parsed.unwrap_or_else(|failure| panic!("{root}: {failure}"));
        let target = call.target().expect("a directory");
        assert_eq!(target.beneath_root, Path::new("pods/u/volumes/example.com~x/v"));
        assert_eq!(target.path, Path::new(path.trim_end_matches('/')));
    }
}
