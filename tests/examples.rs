//! The examples for operators, as they are: each manifest is what Kubernetes takes it for, and what
//! its containers run, in an image that is built as the Containerfile says, makes drivers of which
//! kubelet can mount the volumes of the other examples.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Container, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec, Secret,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use wasmount_tests::cluster::{
    Image, Manifest, NODE, arguments, binds, capabilities, options, options_of_pod,
};
use wasmount_tests::{Answer, UID, answer, host, is_mount_point, owner, program, root, until};

const CONTAINERFILE: &str = "Containerfile";

/// The DaemonSets, and the plugin directory of the clusters that they are for.
const DAEMON_SETS: [(&str, &str); 2] = [
    ("daemonset.yaml", "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"),
    ("daemonset-openshift.yaml", "/etc/kubernetes/kubelet-plugins/volume/exec"),
];

const KUBELET: &str = "/var/lib/kubelet";

fn pod_of(daemon_set: &str) -> PodSpec {
    let daemon_set: DaemonSet = Manifest::read(daemon_set).the();
    daemon_set.spec.and_then(|spec| spec.template.spec).expect("a pod")
}

/// The directories that are among the arguments, by their options.
fn directories(container: &Container) -> BTreeMap<String, PathBuf> {
    let options = arguments(container);
    let named = options.iter().filter_map(|option| option.split_once('='));
    let named = named.filter(|(_, value)| value.starts_with('/'));
    named.map(|(option, value)| (option.to_owned(), PathBuf::from(value))).collect()
}

#[test]
fn what_is_in_the_pods_is_where_the_node_has_it() {
    for (file, plugin_dir) in DAEMON_SETS {
        let pod = pod_of(file);
        let [first, second] = pod.init_containers.as_deref().expect("containers") else {
            panic!("{file}: two drivers")
        };
        let [log] = &pod.containers[..] else { panic!("{file}: one container stays") };
        for container in [first, second, log] {
            for bind in binds(&pod, container) {
                assert_eq!(bind.from, bind.to, "{file}");
            }
        }
        let has = |container: &Container, directory: &PathBuf| {
            binds(&pod, container).iter().any(|bind| bind.to == *directory)
        };
        let shared = ["--data-dir", "--kubelet-root", "--log-dir", "--run-dir", "--plugin-dir"];
        for install in [first, second] {
            let said = directories(install);
            assert_eq!(said["--plugin-dir"], Path::new(plugin_dir), "{file}");
            assert_eq!(said["--kubelet-root"], Path::new(KUBELET), "{file}");
            assert!(has(install, &said["--plugin-dir"]) && has(install, &said["--data-dir"]));
            for option in shared {
                assert_eq!(said[option], directories(first)[option], "{file} {option}");
                let needed = option != "--kubelet-root";
                assert!(!needed || has(log, &said[option]), "{file} {option}");
            }
        }
        assert_eq!(directories(log)["--plugin-dir"], Path::new(plugin_dir), "{file}");
    }
}

#[test]
fn claim_and_pod_are_of_the_volume() {
    let manifest = Manifest::read("loop-image.yaml");
    let volume: PersistentVolume = manifest.the();
    let claim: PersistentVolumeClaim = manifest.the();
    let pod: Pod = manifest.the();
    let (name, spec) = (&claim.metadata.name, claim.spec.expect("a spec"));
    assert_eq!(spec.volume_name, volume.metadata.name);
    let volume = volume.spec.expect("a spec");
    assert_eq!(volume.claim_ref.expect("a claim").name, *name);
    assert_eq!(spec.storage_class_name, volume.storage_class_name);
    assert_eq!(spec.access_modes, volume.access_modes);
    let wanted = spec.resources.and_then(|resources| resources.requests);
    assert_eq!(wanted, volume.capacity);
    let flex = volume.flex_volume.expect("a FlexVolume");
    assert_eq!(flex.options.expect("options")["size"], wanted.expect("a size")["storage"].0);
    let volumes = pod.spec.and_then(|spec| spec.volumes).expect("volumes");
    let claimed = volumes[0].persistent_volume_claim.as_ref().expect("a claim");
    assert_eq!(Some(&claimed.claim_name), name.as_ref());
}

#[test]
fn the_grants_are_what_the_components_ask_for() {
    let image = tempfile::tempdir().expect("a directory");
    Image::read(CONTAINERFILE).build(image.path());
    let inside = |path: &str| image.path().join(path.trim_start_matches('/'));
    for container in pod_of("daemonset.yaml").init_containers.expect("containers") {
        let arguments = arguments(&container);
        let grants = arguments.iter().find_map(|text| text.strip_prefix("--grants="));
        let mut check = Command::new(program("wasmount"));
        check.args(["grants", "check"]).arg(inside(grants.expect("grants")));
        check.arg("--component").arg(inside(&arguments[1]));
        let checked = answer(&mut check, container.name);
        assert_eq!((checked.exit, checked.stderr.as_str()), (Some(0), ""), "{}", checked.stdout);
    }
}

/// A node of a cluster on which a DaemonSet's pod runs.
struct Cluster {
    image: Image,
    pod: PodSpec,
    plugin_dir: &'static str,
}

impl Cluster {
    /// Runs a container to its end, with other arguments if there are any.
    fn run(&self, container: &Container, instead: &[&str]) -> Answer {
        let mut arguments = arguments(container);
        if !instead.is_empty() {
            arguments = instead.iter().map(|text| (*text).to_owned()).collect();
        }
        let binds = binds(&self.pod, container);
        let keeps = capabilities(container);
        let child = host::start(&self.image.entry_point, &arguments, &binds, keeps);
        let ended = child.wait_with_output().expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let (stdout, stderr) = (text(ended.stdout), text(ended.stderr));
        Answer { call: container.name.clone(), stdout, stderr, exit: ended.status.code() }
    }

    /// Runs the containers that install, one after the other, as kubelet does.
    fn install(&self, says: &str) {
        for container in self.pod.init_containers.as_deref().expect("containers") {
            let ran = self.run(container, &[]);
            assert_eq!(ran.exit, Some(0), "{}{}", ran.stdout, ran.stderr);
            assert!(ran.stdout.contains(says), "{}", ran.stdout);
            assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
        }
    }

    /// kubelet's call, on the host.
    fn call(&self, driver: &str, arguments: &[&str]) -> Value {
        let mut call = Command::new(self.executable(driver));
        answer(call.args(arguments), arguments[0].to_owned()).success()
    }

    fn executable(&self, driver: &str) -> PathBuf {
        Path::new(self.plugin_dir).join(format!("example.com~{driver}")).join(driver)
    }

    /// A volume of loop-image, taken up and down as such a cluster does.
    fn uses_a_volume(&self) {
        let volume: PersistentVolume = Manifest::read("loop-image.yaml").the();
        let (options, name) = (options(&volume), volume.metadata.name.expect("a name"));
        let pod = directory(&format!("pods/{UID}/volumes/example.com~loop-image/{name}"));
        let device = directory(&format!(
            "plugins/kubernetes.io/flexvolume/example.com/loop-image/mounts/{name}"
        ));
        let call = |arguments: &[&str]| self.call("loop-image", arguments);
        let _undo = Undo {
            driver: self.executable("loop-image"),
            calls: [
                vec!["unmount", &pod],
                vec!["unmountdevice", &device],
                vec!["detach", &name, NODE],
            ],
        };
        let attaches = call(&["init"])["capabilities"]["attach"] == true;
        assert_eq!(attaches, self.plugin_dir == DAEMON_SETS[0].1);
        for round in ["first", "second"] {
            if attaches {
                let token = call(&["attach", &options, NODE])["device"].clone();
                let token = token.as_str().expect("a token").to_owned();
                call(&["waitforattach", &token, &options]);
                call(&["mountdevice", &device, &token, &options]);
            }
            call(&["mount", &pod, &options]);
            assert!(is_mount_point(&pod));
            let file = Path::new(&pod).join("file");
            assert_eq!(file.exists(), round == "second", "what was written stays");
            fs::write(&file, "kept").expect("writable");
            call(&["unmount", &pod]);
            if attaches {
                call(&["unmountdevice", &device]);
                call(&["detach", &name, NODE]);
            }
            assert!(!is_mount_point(&pod) && !is_mount_point(&device));
        }
    }

    /// A pod that has a secret.
    fn uses_a_secret(&self) {
        let manifest = Manifest::read("secret-files.yaml");
        let (pod, secret): (Pod, Secret) = (manifest.the(), manifest.the());
        let options = options_of_pod(&pod, &secret);
        let dir = directory(&format!("pods/{UID}/volumes/example.com~secret-files/database"));
        assert_eq!(self.call("secret-files", &["init"])["capabilities"]["attach"], false);
        self.call("secret-files", &["mount", &dir, &options]);
        let file = Path::new(&dir).join("pgpass");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "correct horse");
        assert_eq!(owner(&file), (0o440, 0, 2000));
        assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 2);
        self.call("secret-files", &["unmount", &dir]);
        assert!(!is_mount_point(&dir));
    }

    /// What the container that stays tells of all that, as its log.
    fn tells(&self) -> String {
        let [log] = &self.pod.containers[..] else { panic!("one container stays") };
        let mut child = host::start(
            &self.image.entry_point,
            &arguments(log),
            &binds(&self.pod, log),
            capabilities(log),
        );
        let mut stdout = child.stdout.take().expect("a pipe");
        let (mut told, mut buffer) = (Vec::new(), [0; 4096]);
        let wanted = ["loop-image", "secret-files"];
        until("both drivers' unmounts are told", || {
            let soon = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let ready = poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&soon));
            if ready.expect("a pipe") > 0 {
                let read = stdout.read(&mut buffer).expect("readable");
                told.extend_from_slice(&buffer[..read]);
            }
            let text = String::from_utf8_lossy(&told).into_owned();
            let has = |driver: &&str| {
                let mut lines = text.lines();
                lines.any(|line| line.contains(*driver) && line.contains(" unmount "))
            };
            wanted.iter().all(has).then_some(())
        });
        assert_eq!(child.try_wait().expect("a process"), None, "it goes on");
        child.kill().expect("still there");
        child.wait().expect("killed");
        String::from_utf8(told).expect("text")
    }

    fn uninstall(&self) {
        for driver in ["example.com/loop-image", "example.com/secret-files"] {
            let arguments = ["uninstall", driver, "--plugin-dir", self.plugin_dir];
            let ran = self.run(&self.pod.containers[0], &arguments);
            assert_eq!(ran.exit, Some(0), "{}{}", ran.stdout, ran.stderr);
        }
        let left = fs::read_dir(self.plugin_dir).expect("a directory");
        assert_eq!(left.count(), 0);
    }
}

/// Takes a volume down if the test has failed: mounts go with the host, and loop devices do not.
struct Undo<'a> {
    driver: PathBuf,
    calls: [Vec<&'a str>; 3],
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        for call in self.calls.iter().filter(|_| std::thread::panicking()) {
            let _ = Command::new(&self.driver).args(call).output();
        }
    }
}

/// A directory below kubelet's, made as it makes it.
fn directory(below: &str) -> String {
    let path = Path::new(KUBELET).join(below);
    fs::DirBuilder::new().recursive(true).mode(0o750).create(&path).expect("a directory");
    path.display().to_string()
}

#[test]
fn the_daemon_sets_make_nodes_that_mount_the_examples_volumes() {
    if !root() {
        return;
    }
    for (file, plugin_dir) in DAEMON_SETS {
        let cluster = Cluster { image: Image::read(CONTAINERFILE), pod: pod_of(file), plugin_dir };
        host::on_a_host(
            |image| cluster.image.build(image),
            || {
                // The machine may have some of its own.
                for own in [plugin_dir, KUBELET, "/var/lib/wasmount", "/var/log/wasmount"] {
                    host::empty(Path::new(own));
                }
                let images = fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create("/srv/wasmount/images");
                images.expect("what grants.toml names");
                cluster.install("installed example.com/");
                cluster.install("is installed already");
                cluster.uses_a_volume();
                cluster.uses_a_secret();
                let told = cluster.tells();
                assert!(!told.contains("correct horse"), "{told}");
                cluster.uninstall();
            },
        );
    }
}
