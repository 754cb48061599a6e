//! A pod's life with a volume of each plugin, as kubelet makes the calls, and one call that is
//! refused: enough for there to be something to tell of.

use std::fs;
use std::path::Path;

use wasmount_tests::{Driver, Node, UID, base64, options};

/// What was played.
pub(crate) struct Life {
    /// The volume of `loop-image`.
    pub(crate) volume: &'static str,
    /// The volume that names an image that it may not have.
    pub(crate) refused: &'static str,
}

impl Life {
    /// Installs both plugins with the grants that they come with, and plays it.
    pub(crate) fn of_a_pod(node: &Node) -> Self {
        let image = node.install("loop-image", &shipped("loop-image"));
        let secret = node.install("secret-files", &shipped("secret-files"));
        let life = Self { volume: "pv-1", refused: "pv-2" };
        let json = options(life.volume, "rw", &[("create", "true"), ("size", "64Mi")]);
        let (device_dir, pod_dir) =
            (image.device_dir(life.volume), image.pod_dir(UID, life.volume));
        image.call(&["attach", &json, "node-1"]).success();
        image.call(&["waitforattach", "", &json]).success();
        image.call(&["mountdevice", &device_dir, "", &json]).success();
        image.call(&["mount", &pod_dir, &json]).success();
        with_a_secret(&secret);
        image.call(&["unmount", &pod_dir]).success();
        image.call(&["unmountdevice", &device_dir]).success();
        image.call(&["detach", life.volume, "node-1"]).success();
        let other = options(life.refused, "rw", &[("image", "other")]);
        image.call(&["attach", &other, "node-1"]).fails_with("grant:images.names");
        node.is_idle();
        life
    }
}

fn with_a_secret(driver: &Driver<'_>) {
    let mut json: serde_json::Value =
        serde_json::from_str(&options("credentials", "ro", &[])).expect("JSON");
    json["kubernetes.io/secret/password"] = base64(b"correct horse").into();
    let dir = driver.pod_dir(UID, "credentials");
    driver.call(&["mount", &dir, &json.to_string()]).success();
    driver.call(&["unmount", &dir]).success();
}

/// The grants that a plugin comes with; `{images}` stands for the node's directory.
pub(crate) fn shipped(plugin: &str) -> String {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../plugins/{plugin}/grants.toml"));
    fs::read_to_string(path).expect("shipped").replace("/srv/wasmount/images", "{images}")
}
