//! Which tools are run, and how.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::kernel::testing::{MIB, Node};

#[test]
fn a_tool_that_is_not_there_names_its_package() {
    let failure = Tool::find("mkfs.nothing", "nothing-progs").unwrap_err();
    assert_eq!((failure.code, failure.reason.as_str()), (Code::Unavailable, "tool-missing"));
    assert!(failure.message.contains("install nothing-progs"), "{failure}");
}

#[test]
fn only_what_root_alone_can_change_is_trusted() {
    let Some(node) = Node::new() else { return };
    // The scratch directory is below /tmp, which everybody may write to.
    let tool = node.path().join("tool");
    fs::write(&tool, "").unwrap();
    let problem = trusted(&tool).unwrap_err().unwrap();
    assert!(problem.contains("changed by another than root"), "{problem}");
    // So is what a link in a safe place leads to.
    let link = Path::new("/run").join(format!("wasmount-test-{}", std::process::id()));
    let result = |to: &Path| {
        symlink(to, &link).unwrap();
        let result = trusted(&link);
        fs::remove_file(&link).unwrap();
        result
    };
    assert!(result(&tool).unwrap_err().is_some());
    assert!(result(&link).unwrap_err().unwrap().contains("loop"));
    assert_eq!(result(Path::new("../bin/../bin/true")), Ok(fs::canonicalize("/bin/true").unwrap()));
    assert_eq!(result(Path::new("/no/such")), Err(None));
}

fn shell(node: &Node, script: &str) -> Ended {
    let path = node.root().join("script");
    // Not sh: dash begins with all signals unblocked, as no tool that is run does.
    fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let device = node.device("a.img", 4 * MIB);
    let capabilities = CapabilitySet::empty();
    Tool { name: "script", path, capabilities }
        .run(&["one", "two"], &device, node.lock.as_fd())
        .unwrap()
}

#[test]
fn a_tool_gets_the_device_and_the_lock_and_nothing_else() {
    let Some(node) = Node::new() else { return };
    // Something that is open here without close-on-exec.
    let leak = fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(leak.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let script = r#"
        echo "args: $1 $2 $#"; shift 2
        readlink "$1" | sed 's/[0-9]*$//'
        for fd in /proc/$$/fd/*; do echo "fd: $(readlink $fd)"; done
        echo "env: $(tr '\0' ' ' < /proc/$$/environ)"
        grep -E '^(CapPrm|CapEff|CapInh|NoNewPrivs)' /proc/$$/status
        echo "core: $(ulimit -c)"
        kill $$; kill -HUP $$; echo "alive"
        exit 3"#;
    let ended = shell(&node, script);
    drop(leak);
    assert_eq!(ended.code, Some(3));
    let words = &ended.words;
    for part in [
        "args: one two 3; /dev/loop;",
        "env: LC_ALL=C",
        "CapPrm: 0000000000000000",
        "CapEff: 0000000000000000",
        "NoNewPrivs: 1",
        "core: 0; alive",
        "/lock;",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(!words.contains("passwd"), "{words}");
    let failure = ended.failure("tool-failed", Code::Internal);
    assert!(failure.message.starts_with("script ended with exit code 3: "), "{failure}");
}

#[test]
fn the_end_of_what_a_tool_says_is_kept_and_cleaned() {
    let Some(node) = Node::new() else { return };
    let ended = shell(&node, "seq 1 20000; printf 'the \\033[1mend\\n' >&2; kill -9 $$");
    assert_eq!(ended.code, None);
    assert!(ended.words.len() <= 2 * MAX_WORDS);
    assert!(ended.words.ends_with("20000; the; [1mend"));
    let message = ended.failure("tool-failed", Code::Internal).message;
    assert!(message.contains("ended by a signal") && message.len() < MAX_SHOWN + 100, "{message}");
}
