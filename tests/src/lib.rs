//! A node for end-to-end tests: directories of its own, drivers installed by the real tool, and
//! calls as kubelet makes them. What it made it takes down when dropped, and nothing else.
//!
//! The programs come from `cargo xtask test`, which builds them and says where they are in
//! the environment. Tests that need root are skipped, with a notice, for an ordinary user, and
//! fail under `CI=true`.

mod answer;
pub mod cluster;
mod edition;
mod figures;
mod given_back;
pub mod host;
mod killed;
pub mod machine;
mod node;
mod process;
mod reboot;
mod rehearsed;
mod running;
mod secret;
mod seen;
mod starts;
mod state;
mod storage;

pub use answer::Answer;
pub use edition::{EDITION, Edition};
pub use figures::{asked, figures, figures_are_wanted};
pub use killed::{dies, killed, points_met};
pub use node::{Driver, Node, UID, answer, is_mount_point, options, options_as};
pub use process::Process;
pub use rehearsed::Decided;
pub use running::{Lock, Running, until};
pub use secret::{Secret, base64};
pub use seen::{mount_options, open_the_way, owner, read_as};
pub use starts::between_starts;
pub use state::State;
pub use storage::Storage;

use std::path::PathBuf;

/// The filesystems, and a size in bytes with which each can be made and grown to the double.
pub const FILESYSTEMS: [(&str, u64); 3] =
    [("ext4", 64 << 20), ("xfs", 320 << 20), ("btrfs", 256 << 20)];

/// All that `loop-image` can use; `{images}` stands for the node's image directory.
pub const LOOP_IMAGE_GRANTS: &str = r#"
version = 1

[images]
directory = "{images}"
names = ["*.img"]
create = true
grow = true

[filesystems]
types = ["ext4", "xfs", "btrfs"]
format = true
check = true
grow = true

[mounts.block]
filesystems = ["ext4", "xfs", "btrfs"]
options = ["noatime"]

[mounts.bind]
"#;

/// A program of `target/dist`.
pub fn program(name: &str) -> PathBuf {
    built("WASMOUNT_DIST").join(name)
}

/// A component, of those that are shipped and those that only tests use.
pub fn component(name: &str) -> PathBuf {
    built("WASMOUNT_COMPONENTS").join(format!("{name}.wasm"))
}

/// The driver that dies where it is told to.
pub fn crash_driver() -> PathBuf {
    built("WASMOUNT_CRASH_DRIVER")
}

/// The driver that runs native code in the component's place, if it is told to.
pub fn breakout_driver() -> PathBuf {
    built("WASMOUNT_BREAKOUT_DRIVER")
}

fn built(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.expect("run these tests with `cargo xtask test`, which builds what they call")
}

/// Whether tests that need root can run.
pub fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var("CI").as_deref() != Ok("true"), "under CI the tests run as root");
    if !root {
        notice("skipped: needs root");
    }
    root
}

/// A line that shows in the test's output.
#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
pub fn notice(text: &str) {
    eprintln!("notice: {text}");
}
