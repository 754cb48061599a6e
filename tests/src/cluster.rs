//! What a cluster makes of the manifests in `examples/kubernetes`, as far as a driver sees it:
//! objects that are Kubernetes' own, the containers of a DaemonSet, and kubelet's options of a volume.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Container, Namespace, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec, Secret,
    ServiceAccount,
};
use rustix::thread::CapabilitySet;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::host::Bind;
use crate::{base64, built};

/// The name of the one node.
pub const NODE: &str = "node-1";

/// The objects of a manifest.
#[derive(Debug)]
pub struct Manifest {
    name: String,
    objects: Vec<Value>,
}

/// The image that a Containerfile describes.
#[derive(Debug)]
pub struct Image {
    copies: Vec<(PathBuf, PathBuf)>,
    /// What it runs.
    pub entry_point: String,
}

/// A file of `examples/kubernetes`.
pub fn file(name: &str) -> PathBuf {
    in_project("examples/kubernetes").join(name)
}

fn in_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

impl Manifest {
    /// Reads one, and asserts that Kubernetes knows every kind and every field in it.
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(file(name)).expect("a manifest");
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        for object in &objects {
            let known = match object["kind"].as_str().unwrap_or_default() {
                "DaemonSet" => known::<DaemonSet>(object),
                "Namespace" => known::<Namespace>(object),
                "PersistentVolume" => known::<PersistentVolume>(object),
                "PersistentVolumeClaim" => known::<PersistentVolumeClaim>(object),
                "Pod" => known::<Pod>(object),
                "Secret" => known::<Secret>(object),
                "ServiceAccount" => known::<ServiceAccount>(object),
                other => panic!("{name}: which type is {other}?"),
            };
            if let Some(field) = lost(object, &known) {
                panic!("{name}: Kubernetes does not know {field}");
            }
        }
        Self { name: name.to_owned(), objects }
    }

    /// The one object of a kind.
    pub fn the<T: Resource + DeserializeOwned>(&self) -> T {
        let mut objects = self.objects.iter().filter(|object| object["kind"] == T::KIND);
        let object = objects.next().unwrap_or_else(|| panic!("{}: no {}", self.name, T::KIND));
        assert!(objects.next().is_none(), "{}: more than one {}", self.name, T::KIND);
        serde_json::from_value(object.clone()).expect("it was read before")
    }
}

/// The path of what is written and did not come back from the type that read it.
fn lost(written: &Value, known: &Value) -> Option<String> {
    let below = |key: &str, written: &Value, known: Option<&Value>| match known {
        Some(known) => lost(written, known).map(|path| format!("{key}.{path}")),
        None => Some(key.to_owned()),
    };
    match (written, known) {
        (Value::Object(written), Value::Object(_)) => {
            written.iter().find_map(|(key, value)| below(key, value, known.get(key)))
        }
        (Value::Array(written), Value::Array(known)) => {
            let numbered = written.iter().enumerate();
            numbered.into_iter().find_map(|(n, value)| below(&n.to_string(), value, known.get(n)))
        }
        _ => (written != known).then(|| format!("{written}, which is {known}")),
    }
}

fn known<T: Serialize + DeserializeOwned>(object: &Value) -> Value {
    let parsed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| {
        panic!("{}: {error}", object["kind"]);
    });
    serde_json::to_value(parsed).expect("it is plain data")
}

/// What a container has of the node. A path that is not there is made, if it is to be.
pub fn binds(pod: &PodSpec, container: &Container) -> Vec<Bind> {
    let volumes = pod.volumes.as_deref().unwrap_or_default();
    let mounts = container.volume_mounts.iter().flatten().map(|mount| {
        let volume = volumes.iter().find(|volume| volume.name == mount.name).expect("a volume");
        let path = volume.host_path.as_ref().expect("a directory of the node");
        assert_eq!(path.type_.as_deref(), Some("DirectoryOrCreate"), "{}", path.path);
        Bind {
            from: path.path.clone().into(),
            to: mount.mount_path.clone().into(),
            read_only: mount.read_only.unwrap_or(false),
        }
    });
    mounts.collect()
}

/// What a container has of root's capabilities: none that it does not name.
pub fn capabilities(container: &Container) -> CapabilitySet {
    let context = container.security_context.as_ref().expect("a security context");
    assert_eq!(context.allow_privilege_escalation, Some(false), "{}", container.name);
    let named = context.capabilities.as_ref().expect("capabilities");
    assert_eq!(named.drop.as_deref(), Some(&["ALL".to_owned()][..]), "{}", container.name);
    let by_name = |name: &String| CapabilitySet::from_name(name).expect("one of capabilities(7)");
    named.add.iter().flatten().map(by_name).collect()
}

/// A container's arguments, as kubelet fills them in.
pub fn arguments(container: &Container) -> Vec<String> {
    let mut arguments = container.args.clone().unwrap_or_default();
    for variable in container.env.iter().flatten() {
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        assert_eq!(field.expect("a field").field_path, "spec.nodeName");
        let written = format!("$({})", variable.name);
        arguments.iter_mut().for_each(|text| *text = text.replace(&written, NODE));
    }
    assert!(arguments.iter().all(|text| !text.contains("$(")), "{arguments:?}");
    arguments
}

/// kubelet's options of a PersistentVolume.
pub fn options(volume: &PersistentVolume) -> String {
    let name = volume.metadata.name.as_deref().expect("a name");
    let flex = volume.spec.as_ref().and_then(|spec| spec.flex_volume.as_ref());
    let flex = flex.expect("a FlexVolume");
    let read_only = flex.read_only.unwrap_or(false);
    let user = flex.options.iter().flatten().map(|(key, value)| (key.clone(), json!(value)));
    json_of(name, flex.fs_type.as_deref(), read_only, user.collect())
}

/// kubelet's options of a pod's own volume, which has a secret.
pub fn options_of_pod(pod: &Pod, secret: &Secret) -> String {
    let spec = pod.spec.as_ref().expect("a spec");
    let [volume] = &spec.volumes.as_deref().unwrap_or_default() else { panic!("one volume") };
    let flex = volume.flex_volume.as_ref().expect("a FlexVolume");
    let wanted = flex.secret_ref.as_ref().map(|secret| secret.name.as_str());
    assert_eq!(
        (wanted, &secret.type_),
        (secret.metadata.name.as_deref(), &Some(flex.driver.clone()))
    );
    let user = flex.options.iter().flatten().map(|(key, value)| (key.clone(), json!(value)));
    let mut user: Map<String, Value> = user.collect();
    for (key, value) in secret.string_data.iter().flatten() {
        user.insert(format!("kubernetes.io/secret/{key}"), json!(base64(value.as_bytes())));
    }
    let group = spec.security_context.as_ref().and_then(|context| context.fs_group);
    if let Some(group) = group {
        user.insert("kubernetes.io/mounterArgs.FsGroup".to_owned(), json!(group.to_string()));
    }
    json_of(&volume.name, flex.fs_type.as_deref(), flex.read_only.unwrap_or(false), user)
}

fn json_of(name: &str, fs_type: Option<&str>, read_only: bool, user: Map<String, Value>) -> String {
    let mut all = user;
    all.insert("kubernetes.io/fsType".to_owned(), json!(fs_type.unwrap_or_default()));
    let access = if read_only { "ro" } else { "rw" };
    all.insert("kubernetes.io/readwrite".to_owned(), json!(access));
    all.insert("kubernetes.io/pvOrVolumeName".to_owned(), json!(name));
    Value::Object(all).to_string()
}

impl Image {
    /// Reads a Containerfile, which is to hold nothing but what is known here.
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(file(name)).expect("a Containerfile");
        let mut image = Self { copies: Vec::new(), entry_point: String::new() };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (number, line) in lines.enumerate() {
            match line.split_once(' ').expect("an instruction") {
                ("FROM", "scratch") if number == 0 => {}
                ("COPY", files) => {
                    let mut files: Vec<&str> = files.split(' ').collect();
                    let to = files.pop().expect("a place");
                    image
                        .copies
                        .extend(files.into_iter().map(|from| (source(from), place(from, to))));
                }
                ("ENTRYPOINT", program) => {
                    let [program] = serde_json::from_str(program).expect("one program");
                    image.entry_point = program;
                }
                other => panic!("{other:?} is not known here"),
            }
        }
        image
    }

    /// Makes a directory what the image is.
    pub fn build(&self, root: &Path) {
        for (from, to) in &self.copies {
            let to = root.join(to.strip_prefix("/").expect("an absolute path"));
            fs::create_dir_all(to.parent().expect("it has one")).expect("a directory");
            fs::copy(from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
    }
}

/// A file of the build's context, which is the clone; what is built may lie elsewhere.
fn source(path: &str) -> PathBuf {
    match path.strip_prefix("target/dist/") {
        Some(name) => built("WASMOUNT_DIST").join(name),
        None => in_project(path),
    }
}

fn place(from: &str, to: &str) -> PathBuf {
    match to.ends_with('/') {
        true => Path::new(to).join(Path::new(from).file_name().expect("a name")),
        false => PathBuf::from(to),
    }
}
