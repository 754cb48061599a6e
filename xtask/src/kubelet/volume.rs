//! What kubelet knows of a volume and a pod, and the JSON that it makes of it.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};

/// A PersistentVolume with a `flexVolume` source.
pub(crate) struct Volume {
    /// The PersistentVolume's name.
    pub(crate) name: &'static str,
    /// `flexVolume.fsType`.
    pub(crate) fs_type: &'static str,
    /// Not `flexVolume.readOnly`.
    pub(crate) writable: bool,
    /// `flexVolume.options`.
    pub(crate) user: Vec<(&'static str, String)>,
    /// What is in the secret of `flexVolume.secretRef`, by key.
    pub(crate) secret: Vec<(&'static str, &'static str)>,
}

/// A pod that uses the volume.
pub(crate) struct Pod {
    /// `metadata.uid`.
    pub(crate) uid: &'static str,
    /// `metadata.name`.
    pub(crate) name: &'static str,
    /// `metadata.namespace`.
    pub(crate) namespace: &'static str,
}

impl Volume {
    /// The options that every call gets.
    pub(crate) fn options(&self) -> String {
        self.json(&[])
    }

    /// The options of `mount`, which also name the pod and have the secret.
    pub(crate) fn options_for(&self, pod: &Pod) -> String {
        let secret = self.secret.iter().map(|(key, value)| {
            (format!("kubernetes.io/secret/{key}"), BASE64_STANDARD.encode(value))
        });
        let secret: Vec<(String, String)> = secret.collect();
        let mut extra = vec![
            ("kubernetes.io/pod.name", pod.name),
            ("kubernetes.io/pod.namespace", pod.namespace),
            ("kubernetes.io/pod.uid", pod.uid),
            ("kubernetes.io/serviceAccount.name", "default"),
        ];
        extra.extend(secret.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        self.json(&extra)
    }

    fn json(&self, extra: &[(&str, &str)]) -> String {
        let mut options = BTreeMap::from([
            ("kubernetes.io/fsType", self.fs_type),
            ("kubernetes.io/readwrite", if self.writable { "rw" } else { "ro" }),
            ("kubernetes.io/pvOrVolumeName", self.name),
        ]);
        options.extend(extra.iter().copied());
        options.extend(self.user.iter().map(|(key, value)| (*key, value.as_str())));
        let json = serde_json::to_string(&options).expect("strings are always JSON");
        escape_like_go(&json)
    }
}

/// Go's json.Marshal writes these characters as escapes; outside strings JSON has none of them.
fn escape_like_go(json: &str) -> String {
    json.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted_and_escaped_as_kubelet_sends_them() {
        let volume = Volume {
            name: "pv-1",
            fs_type: "",
            writable: false,
            user: vec![("image", "a<b>&c".to_string())],
            secret: vec![("password", "horse")],
        };
        let pod = Pod { uid: "1", name: "app", namespace: "default" };
        let options = volume.options_for(&pod);
        assert!(options.contains(r#""kubernetes.io/secret/password":"aG9yc2U=""#), "{options}");
        assert_eq!(
            volume.options(),
            r#"{"image":"a\u003cb\u003e\u0026c","kubernetes.io/fsType":"","kubernetes.io/pvOrVolumeName":"pv-1","kubernetes.io/readwrite":"ro"}"#
        );
    }
}
