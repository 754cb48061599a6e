//! A kernel that lacks a part of the wall: who is told, and what `isolation = "full"` makes of it.

use std::path::Path;

use wasmount_tests::{Driver, LOOP_IMAGE_GRANTS, Node, UID, is_mount_point, options};

/// What is missing of Landlock where there is none.
const ALL: &str = "landlock-files (Linux 5.13), landlock-truncate (Linux 6.2), landlock-network \
                   (Linux 6.7), landlock-scopes (Linux 6.12)";

const GRANTS: &str = "version = 1\n[mounts.tmpfs]\n";
const FULL: &str = "version = 1\nisolation = \"full\"\n[mounts.tmpfs]\n";

/// Does the work, and starts what that starts, on a kernel that answers as one without Landlock.
fn without_landlock<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let refuse_landlock = || {
        let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let number_is = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        let mut program = [
            op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            op(number_is, 0, 1, libc::SYS_landlock_create_ruleset as u32),
            op(libc::BPF_RET, 0, 0, missing),
            op(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        rustix::thread::set_no_new_privs(true).expect("always allowed");
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        #[expect(unsafe_code, reason = "rustix cannot install a filter")]
        // SAFETY: PR_SET_SECCOMP reads `len` instructions at `filter`, which both outlive the call.
        let result = unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        assert_eq!(result, 0, "root may filter its calls");
        work()
    };
    // The filter is that thread's, and ends with it.
    std::thread::scope(|scope| {
        let ended = scope.spawn(refuse_landlock).join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What the last call's line in the audit log says of it.
fn logged(driver: &Driver<'_>) -> String {
    let log = driver.log();
    let call = log.iter().rfind(|line| line["kind"] == "call").expect("a call");
    call["isolation"].as_str().expect("a text").to_owned()
}

fn doctor(node: &Node) -> String {
    let plugins = node.path("plugins").display().to_string();
    node.wasmount(&["doctor", "--plugin-dir", &plugins]).stdout
}

#[test]
fn what_is_missing_is_said() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", GRANTS);
    let (dir, json) = (driver.pod_dir(UID, "vol"), options("vol", "rw", &[]));
    driver.call(&["mount", &dir, &json]).success();
    let here = logged(&driver);
    assert!(here == "full" || here.starts_with("without landlock-"), "{here}");
    assert_eq!(here != "full", doctor(&node).contains("this kernel lacks "));
    driver.call(&["unmount", &dir]).success();
    without_landlock(|| {
        driver.call(&["mount", &dir, &json]).success();
        assert_eq!(logged(&driver), format!("without {ALL}"));
        driver.call(&["unmount", &dir]).success();
        let found = doctor(&node);
        assert!(found.contains(&format!("warning  this kernel lacks {ALL}\n")), "{found}");
    });
    node.is_clean();
}

#[test]
fn with_full_isolation_nothing_is_run_that_lacks_any_and_all_is_taken_down() {
    let Some(node) = Node::new() else { return };
    let driver = node.install("hostile", FULL);
    let (dir, json) = (driver.pod_dir(UID, "vol"), options("vol", "rw", &[]));
    let is_full = driver.call(&["mount", &dir, &json]).json()["status"] == "Success";
    assert_eq!(is_full, logged(&driver) == "full");
    without_landlock(|| {
        // As if the component had failed, which it would here.
        driver.call(&["unmount", &dir]).success();
        assert!(!is_mount_point(&dir));
        let message = driver.call(&["mount", &dir, &json]).fails_with("isolation");
        let expected = format!(
            "grants.toml demands `isolation = \"full\"`, and this kernel lacks {ALL}; boot a newer \
             one, or one with `landlock` in its `lsm=`, or grant `isolation = \"available\"`"
        );
        assert!(message.contains(&expected), "{message}");
        let found = doctor(&node);
        assert!(found.contains("error    example.com/hostile: grants.toml demands"), "{found}");
    });
    node.is_clean();
}

/// A device that was mounted while there was all of it comes down without the component, too.
#[test]
fn a_device_is_taken_down_without_the_component() {
    let Some(node) = Node::new() else { return };
    let grants = LOOP_IMAGE_GRANTS.replace("version = 1", "version = 1\nisolation = \"full\"");
    let driver = node.install("loop-image", &grants);
    let json = options("pv-1", "rw", &[("create", "true"), ("size", "32Mi")]);
    let device_dir = driver.device_dir("pv-1");
    if driver.call(&["attach", &json, "node-1"]).json()["status"] != "Success" {
        return wasmount_tests::notice("skipped: this kernel lacks a part of Landlock");
    }
    driver.call(&["mountdevice", &device_dir, "", &json]).success();
    without_landlock(|| driver.call(&["unmountdevice", &device_dir]).success());
    assert!(!is_mount_point(&device_dir) && Path::new(&device_dir).exists());
    driver.call(&["detach", "pv-1", "node-1"]).success();
    node.is_clean();
}
