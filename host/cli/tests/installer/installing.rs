//! How a version gets to its place, and what kubelet sees of it meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::fs::inotify;
use wasmount_cli::layout::{VERSION_FILES, VersionId};

use crate::{Node, directory_of, expect_error, nobody};

#[test]
fn a_new_driver_lies_as_designed() -> Result<()> {
    let node = Node::new()?;
    let staged = node.install("one")?;
    assert_eq!(staged.directory, node.at("example.com~disk"));
    assert_eq!(staged.previous, None);
    assert_eq!(staged.leftovers, Vec::<String>::new());
    let id = directory_of("one");
    assert_eq!(id, ".7692c3ad3540bb80");
    let file = |name: &str| format!("example.com~disk/.versions/{id}/{name}");
    let expected = [
        ("example.com~disk".to_owned(), "40755".to_owned()),
        ("example.com~disk/disk".to_owned(), "-> current/wasmount-driver".to_owned()),
        ("example.com~disk/current".to_owned(), format!("-> .versions/{id}")),
        ("example.com~disk/.versions".to_owned(), "40755".to_owned()),
        (format!("example.com~disk/.versions/{id}"), "40755".to_owned()),
        (file("wasmount-driver"), "100755".to_owned()),
        (file("component.wasm"), "100644".to_owned()),
        (file("component.cwasm"), "100644".to_owned()),
        (file("grants.toml"), "100644".to_owned()),
        (file("receipt.json"), "100644".to_owned()),
        (file("component.wasm.minisig"), "100644".to_owned()),
        (file(".lock"), "100600".to_owned()),
    ];
    assert_eq!(node.tree()?, BTreeMap::from(expected));
    assert_eq!(fs::read(node.at("example.com~disk/disk"))?, b"driver");
    assert_eq!(fs::read(node.at("example.com~disk/current/receipt.json"))?, b"one");
    Ok(())
}

#[test]
fn an_upgrade_swaps_one_link_and_keeps_two_versions_to_go_back_to() -> Result<()> {
    let node = Node::new()?;
    node.install("one")?;
    let executable = fs::symlink_metadata(node.at("example.com~disk/disk"))?.ino();
    for (receipt, before) in [("two", "one"), ("three", "two"), ("four", "three")] {
        let staged = node.install(receipt)?;
        assert_eq!(staged.previous, Some(VersionId::of_receipt(before.as_bytes())));
        assert_eq!(staged.leftovers, Vec::<String>::new());
    }
    let mut kept = ["two", "three", "four"].map(directory_of);
    kept.sort();
    assert_eq!(node.versions()?, kept);
    assert_eq!(fs::read(node.at("example.com~disk/current/receipt.json"))?, b"four");
    let unchanged = fs::symlink_metadata(node.at("example.com~disk/disk"))?.ino();
    assert_eq!(unchanged, executable);

    // Gone back to the oldest: it is what the next upgrade has to keep.
    fs::remove_file(node.at("example.com~disk/current"))?;
    let two = Path::new(".versions").join(directory_of("two"));
    symlink(two, node.at("example.com~disk/current"))?;
    node.install("five")?;
    let mut kept = ["two", "four", "five"].map(directory_of);
    kept.sort();
    assert_eq!(node.versions()?, kept);
    Ok(())
}

#[test]
fn a_version_that_is_not_accepted_leaves_nothing() -> Result<()> {
    let node = Node::new()?;
    let refuse = |directory: &Path| -> Result<()> {
        for file in VERSION_FILES {
            assert!(directory.join(file).exists(), "{file} is there to be examined");
        }
        bail!("no good")
    };
    expect_error(node.install_if("one", &refuse), "no good")?;
    assert_eq!(node.tree()?, BTreeMap::new());
    node.install("one")?;
    let before = node.tree()?;
    expect_error(node.install_if("two", &refuse), "no good")?;
    expect_error(node.install_if("one", &refuse), "no good")?;
    assert_eq!(node.tree()?, before);
    Ok(())
}

#[test]
fn the_same_receipt_twice_replaces_the_files() -> Result<()> {
    let node = Node::new()?;
    node.install("one")?;
    let before = node.tree()?;
    fs::write(node.at("example.com~disk/current/component.cwasm"), "tampered with")?;
    node.install("one")?;
    assert_eq!(node.tree()?, before);
    assert_eq!(fs::read(node.at("example.com~disk/current/component.cwasm"))?, b"image");
    Ok(())
}

/// Within a second, installations of the same have the same receipt: what is there may be being
/// called, and stays. It is the one that was put there last all the same.
#[test]
fn the_same_receipt_twice_leaves_what_is_whole() -> Result<()> {
    let node = Node::new()?;
    let inode = |receipt: &str| -> Result<u64> {
        let version = node.at("example.com~disk/.versions").join(directory_of(receipt));
        Ok(fs::metadata(version)?.ino())
    };
    node.install("one")?;
    let before = inode("one")?;
    node.install("one")?;
    assert_eq!(inode("one")?, before);
    node.install("two")?;
    node.install("three")?;
    node.install("one")?;
    assert_eq!(inode("one")?, before);
    // Of the two that were never in use again, the older one goes.
    node.install("four")?;
    let mut kept = ["one", "three", "four"].map(directory_of);
    kept.sort();
    assert_eq!(node.versions()?, kept);
    Ok(())
}

/// A call may have been started by a version that was in use until a moment ago.
#[test]
fn a_version_that_is_called_is_kept() -> Result<()> {
    let node = Node::new()?;
    node.install("one")?;
    let program = node.at("example.com~disk/current/wasmount-driver");
    fs::copy("/bin/sleep", &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let mut call = Command::new(node.at("example.com~disk/disk"))
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .context("running a copy of /bin/sleep")?;
    let installed: Result<Vec<_>> =
        ["two", "three", "four"].into_iter().map(|receipt| node.install(receipt)).collect();
    let kept = node.versions();
    call.kill()?;
    call.wait()?;
    assert!(installed?.iter().all(|staged| staged.leftovers.is_empty()));
    let mut expected = ["one", "two", "three", "four"].map(directory_of);
    expected.sort();
    assert_eq!(kept?, expected);
    node.install("five")?;
    let mut expected = ["three", "four", "five"].map(directory_of);
    expected.sort();
    assert_eq!(node.versions()?, expected);
    Ok(())
}

/// And so is one that is held, but for a directory that anybody could hold.
#[test]
fn a_version_that_is_held_is_kept() -> Result<()> {
    for (is_older, held, kept) in [(false, ".lock", 4), (true, "", 4), (false, "", 3)] {
        let node = Node::new()?;
        node.install("one")?;
        if is_older {
            node.make_older("one")?;
        }
        let call = node.hold("one", held)?;
        for receipt in ["two", "three", "four"] {
            node.install(receipt)?;
        }
        assert_eq!(node.versions()?.len(), kept, "{held:?}, older: {is_older}");
        drop(call);
        node.install("five")?;
        assert_eq!(node.versions()?.len(), 3);
    }
    Ok(())
}

#[test]
fn what_others_put_there_is_not_touched() -> Result<()> {
    let node = Node::new()?;
    let root = node.plugins.path().display();
    fs::write(node.at("example.com~disk"), "")?;
    expect_error(
        node.install("one"),
        &format!("{root}/example.com~disk is in the way: it is not a directory; move it away"),
    )?;
    fs::remove_file(node.at("example.com~disk"))?;

    fs::create_dir(node.at("example.com~disk"))?;
    fs::write(node.at("example.com~disk/disk"), "#!/bin/bash\n")?;
    let before = node.tree()?;
    expect_error(
        node.install("one"),
        &format!(
            "{root}/example.com~disk holds a driver that wasmount did not install; move it out \
             of the plugin directory"
        ),
    )?;
    expect_error(
        node.uninstall(&nobody),
        &format!("{root}/example.com~disk/disk is not of wasmount's making; move it away"),
    )?;
    assert_eq!(node.tree()?, before);
    fs::remove_file(node.at("example.com~disk/disk"))?;

    // An empty directory is nobody's.
    node.install("one")?;
    fs::remove_file(node.at("example.com~disk/disk"))?;
    symlink("/bin/true", node.at("example.com~disk/disk"))?;
    expect_error(
        node.install("two"),
        &format!(
            "{root}/example.com~disk/disk is not the link to current/wasmount-driver that \
             wasmount made; move it away"
        ),
    )
}

#[test]
fn what_a_killed_installation_left_is_swept_up() -> Result<()> {
    let node = Node::new()?;
    let left = node.at(".example.com~disk.tmp-999999999");
    let half = left.join("example.com~disk/.versions/.0123456789abcdef");
    fs::create_dir_all(&half)?;
    fs::write(half.join("component.wasm"), "half")?;
    symlink("current/wasmount-driver", left.join("example.com~disk/disk"))?;
    let others = node.at(".example.com~disk2.tmp-999999999");
    fs::create_dir(&others)?;
    node.install("one")?;
    assert!(!left.exists() && others.exists());

    fs::create_dir(node.at("example.com~disk/.versions/.new.tmp-999999999"))?;
    symlink("x", node.at("example.com~disk/.current.tmp-999999999"))?;
    node.install("two")?;
    let mut kept = ["one", "two"].map(directory_of);
    kept.sort();
    assert_eq!(node.versions()?, kept);
    assert!(fs::symlink_metadata(node.at("example.com~disk/.current.tmp-999999999")).is_err());

    // What is not known stays, is named, and does not stand in the way.
    fs::create_dir(&left)?;
    fs::write(left.join("notes"), "mine")?;
    let staged = node.install("three")?;
    let notes = left.join("notes");
    let expected = format!("{} is not of wasmount's making; move it away", notes.display());
    assert_eq!(staged.leftovers, [expected]);
    assert!(notes.exists());
    Ok(())
}

#[test]
fn a_driver_that_lost_its_links_is_repaired() -> Result<()> {
    let node = Node::new()?;
    node.install("one")?;
    let before = node.tree()?;
    fs::remove_file(node.at("example.com~disk/disk"))?;
    fs::remove_file(node.at("example.com~disk/current"))?;
    let staged = node.install("one")?;
    assert_eq!(staged.previous, None);
    assert_eq!(node.tree()?, before);
    Ok(())
}

/// kubelet acts on every event whose name has no leading dot.
#[test]
fn kubelet_sees_one_change_for_each_installation() -> Result<()> {
    let node = Node::new()?;
    let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let watch = |path: &Path| -> Result<()> {
        // What fsnotify, and so kubelet, asks for.
        let flags = inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::ATTRIB
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::DELETE;
        inotify::add_watch(&events, path, flags)?;
        Ok(())
    };
    let seen = || -> Result<Vec<String>> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&events, &mut buffer);
        let mut names = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
                    names.extend(name.filter(|name| !name.starts_with('.')));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(names),
                Err(error) => return Err(error.into()),
            }
        }
    };
    watch(node.plugins.path())?;
    node.install("one")?;
    assert_eq!(seen()?, ["example.com~disk"]);
    watch(&node.at("example.com~disk"))?;
    watch(&node.at("example.com~disk/.versions"))?;
    node.install("two")?;
    assert_eq!(seen()?, ["current"]);
    Ok(())
}

#[test]
fn installations_take_turns() -> Result<()> {
    let node = Node::new()?;
    let first = node.plugins.lock(|| panic!("nobody else is there"))?;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| node.plugins.lock(|| sender.send(()).expect("it is heard")));
        receiver.recv()?;
        drop(first);
        second.join().expect("it does not panic").map(drop)
    })
}
