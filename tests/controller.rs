//! The driver in kube-controller-manager's surroundings: a read-only root filesystem with nothing
//! in it but the plugin directory, `/proc` and `/dev/null`; no shell, no data, run or log
//! directory, and any user. What needs no node works there, and all else says why it does not.

use std::fs;
use std::process::Command;

use wasmount_tests::{Answer, EDITION, Edition, LOOP_IMAGE_GRANTS, Node, answer, options};

/// Makes the surroundings, in a mount namespace that ends with the call, and the call in them.
const SCRIPT: &str = r#"
root=$1 plugins=$2 user=$3
shift 3
mount -t tmpfs -o mode=755 none "$root"
mkdir "$root/plugins" "$root/proc" "$root/dev"
touch "$root/dev/null"
mount --bind "$plugins" "$root/plugins"
mount -o remount,bind,ro "$root/plugins"
mount --rbind /proc "$root/proc"
mount --bind /dev/null "$root/dev/null"
mount -o remount,ro "$root"
exec chroot --userspec="$user:$user" --groups= "$root" "$@"
"#;

/// A call as kube-controller-manager makes it.
fn call(node: &Node, driver: &str, user: u32, args: &[&str]) -> Answer {
    let root = node.path("controller");
    fs::create_dir_all(&root).expect("a directory");
    let (directory, name) = (driver.replace('/', "~"), driver.rsplit('/').next().expect("a name"));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", SCRIPT, "sh"]);
    command.arg(root).arg(node.path("plugins")).arg(user.to_string());
    command.arg(format!("/plugins/{directory}/{name}")).args(args);
    answer(&mut command, args.join(" "))
}

#[test]
fn what_needs_no_node_works_and_all_else_says_why_not() {
    let Some(node) = Node::new() else { return };
    Edition { component: 1, setting: 1 }.installed(&node);
    let json = options("pv-1", "rw", &[]);
    let failing = options("pv-1", "rw", &[("fail", "true")]);
    let kubelet = node.path("kubelet").display().to_string();
    let (data, run) = (node.path("data"), node.path("run"));
    let pod_dir = format!("{kubelet}/pods/1/volumes/example.com~edition/pv-1");
    let device_dir = format!("{kubelet}/plugins/kubernetes.io/flexvolume/{EDITION}/mounts/pv-1");
    let capable = r#"{"status":"Success","capabilities":{"attach":true,"selinuxRelabel":true,"supportsMetrics":false,"fsGroup":true,"requiresFSResize":true}}"#;
    let named = r#"{"status":"Not supported","message":"volumes go by the name that Kubernetes gives them"}"#;
    let token = |node: &str| {
        let token = "edition-1.setting-1.edition-1.on.";
        format!(r#"{{"status":"Success","device":"wm1:TAG:{token}{node}"}}"#)
    };
    let told = r#"{"status":"Failure","message":"example.com/edition isattached: edition-1.setting-1.edition-1 [told]"}"#;
    let grown = r#"{"status":"Success","volumeNewSize":2}"#;
    let works: [(&[&str], String); 9] = [
        (&["init"], capable.to_owned()),
        (&["getvolumename", &json], named.to_owned()),
        (&["attach", &json, "node-1"], token("node-1")),
        (&["attach", &json, "node-7"], token("node-7")),
        (&["isattached", &json, "node-1"], r#"{"status":"Success","attached":true}"#.to_owned()),
        (&["isattached", &failing, "node-1"], told.to_owned()),
        (&["detach", "pv-1", "node-1"], r#"{"status":"Success"}"#.to_owned()),
        // The path is relative: there, nobody has a directory for plugins.
        (&["expandvolume", &json, "example.com/edition/mounts/pv-1", "2", "1"], grown.to_owned()),
        (&["expandvolume", &json, "", "2", "1"], grown.to_owned()),
    ];
    let nodes: [&[&str]; 6] = [
        &["waitforattach", "", &json],
        &["mountdevice", &device_dir, "", &json],
        &["mount", &pod_dir, &json],
        &["expandfs", &json, "", &pod_dir, "2", "1"],
        &["unmount", &pod_dir],
        &["unmountdevice", &device_dir],
    ];
    for user in [65532, 0] {
        for (args, expected) in &works {
            let got = call(&node, EDITION, user, args);
            let tag = got.stdout.split_once("wm1:").and_then(|(_, rest)| rest.split_once(':'));
            let tag = tag.map_or("TAG", |(tag, _)| tag).to_owned();
            assert_eq!(got.stdout.trim_end().replace(&tag, "TAG"), *expected, "{user}: {args:?}");
            assert_eq!(got.stderr, "", "{user}: {args:?}");
            let exit = i32::from(!expected.starts_with(r#"{"status":"Success""#));
            assert_eq!(got.exit, Some(exit), "{user}: {args:?}");
        }
        for args in nodes {
            let message = call(&node, EDITION, user, args).failure();
            let why = match user {
                // It might be a node whose directories cannot be written to.
                0 => format!(
                    "making {}/example.com~edition: Read-only file system (os error 30) [no-directory]",
                    run.display()
                ),
                _ => "can only be done as root on a node [not-root]".to_owned(),
            };
            assert_eq!(message, format!("{EDITION} {}: {why}", args[0]), "{user}");
        }
    }
    assert!(!data.exists() && !run.exists() && !node.path("log").exists(), "nothing is written");
}

/// A driver that keeps its volumes where the controller does not get at them: it must not seem as
/// if there were none.
#[test]
fn a_directory_that_is_absent_is_told() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("loop-image", LOOP_IMAGE_GRANTS);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "64Mi")]);
    driver.call(&["attach", &json, "node-1"]).success();
    for user in [65532, 0] {
        for args in [
            &["attach", &json, "node-1"][..],
            &["isattached", &json, "node-1"],
            &["detach", "pv-1", "node-1"],
            &["expandvolume", &json, "", "2", "1"],
        ] {
            let message = call(&node, driver.name(), user, args).failure();
            let told = format!(
                "{} {}: opening the image directory {}: No such file or directory (os error 2); it \
                 has to be there wherever volumes are attached or grown, also in \
                 kube-controller-manager [image-directory]",
                driver.name(),
                args[0],
                node.path("images").display()
            );
            assert_eq!(message, told, "{user}");
        }
    }
    assert_eq!(driver.call(&["isattached", &json, "node-1"]).success()["attached"], true);
    driver.call(&["detach", "pv-1", "node-1"]).success();
    node.has_given_back(&driver, "pv-1");
}
