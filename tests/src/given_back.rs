//! What is left of a volume that the host attached itself, once no pod has it: nothing but its data.

use std::fs;

use crate::{Driver, Node};

impl Node {
    /// How many images or devices are claimed. A claim that a crash left is void, and is there until
    /// somebody calls for its volume or has a use for what it is on.
    pub fn claims(&self) -> usize {
        fs::read_dir(self.path("data/claims")).map(Iterator::count).unwrap_or(0)
    }

    /// Asserts that nothing is left of a volume on this node, and that every node may have it.
    pub fn has_given_back(&self, driver: &Driver<'_>, volume: &str) {
        self.is_clean();
        let staging = format!("kubelet/plugins/kubernetes.io/flexvolume/{}/mounts", driver.name());
        let staging = self.path(&staging).join(volume);
        assert!(!staging.exists(), "{volume}: {} is left", staging.display());
        let images = fs::read_dir(self.path("images")).expect("images").flatten();
        let mut names = images.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let hidden = names.find(|name| name.starts_with('.'));
        assert_eq!(hidden, None, "{volume}: a lease or a temporary file is left");
        if let Some(record) = driver.record(volume) {
            for left in ["attached_node", "image", "device", "staged"] {
                assert!(record[left].is_null(), "{volume}: {left} is left in {record}");
            }
            assert_eq!(record["published"], serde_json::json!([]), "{volume}: {record}");
        }
    }
}
